"""The life of one instance: start servers, prepare data, start services, keep them alive, end in order.

One launcher process owns one instance; it holds the instance's lock until the kernel takes it away. However it ends
(orderly, by a signal, by SIGKILL) nothing it started outlives it: see `careforall.launch.watcher`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from careforall.launch import health
from careforall.launch.credentials import Credentials, load_or_create
from careforall.launch.errors import LaunchError
from careforall.launch.guard import stop_signals, watched
from careforall.launch.local_servers import make_servers, stop_servers
from careforall.launch.logs import curb
from careforall.launch.plan import Once, Plan, Process, Step
from careforall.launch.ports import LOOPBACK, Doors
from careforall.launch.processes import PAUSE_S, spawn, started_at
from careforall.launch.reporter import OutputClosedError, Reporter
from careforall.launch.server_process import Server
from careforall.launch.service_environment import service_environment
from careforall.launch.services import ServiceProcess
from careforall.launch.settings import DEFAULT_PORT, LaunchEnvironment, Wish
from careforall.launch.state import InstanceFolder, Running, State
from careforall.launch.summary import summary_lines
from careforall.launch.watcher import SERVER, SERVICE, stop_left_overs

READY_TIMEOUT_S = 90.0
SUPERVISE_PAUSE_S = 0.2
LOOK_PAUSE_S = 5.0
SERVER_PAUSE_S = 2.0
"""Until a server that did not come up is tried again."""
PROBE_TIMEOUT_S = 0.5
"""A probe is not refused while its process starts, it waits."""
LOG_LINES = 25
NOTE = "note: "
"""How a command begins what whoever starts the platform should read."""
DESCRIPTORS = ("CAREFORALL_FD", "CAREFORALL_INTERNAL_FD")
"""How a process is told the sockets it answers on: the first, and that of the internal routes where it serves them."""


class InterruptedLaunchError(LaunchError):
    """Somebody asked us to stop before the platform was ready."""


class Launcher:
    """Runs one instance in the foreground.

    Args:
        environment: the machine.
        wish: what the caller asked for.
        plan: what to run.
        reporter: whom to tell.
    """

    def __init__(self, *, environment: LaunchEnvironment, wish: Wish, plan: Plan, reporter: Reporter) -> None:
        self.environment, self.wish, self.plan, self.reporter = environment, wish, plan, reporter
        self.folder = InstanceFolder(environment.places.instance(wish.instance))
        self.state = State(instance=wish.instance)
        self.servers: dict[str, Server] = {}
        self.services: list[ServiceProcess] = []
        self.doors: Doors | None = None
        self.extra: list[Running] = []
        self.unnoted = False
        self.stop_requested = False

    def run(self) -> None:
        """Start everything, then stay until told to stop.

        Raises:
            LaunchError: it did not come up, with the reason.
        """
        self.folder.make()
        with self.folder.locked() as mine:
            if not mine:
                raise LaunchError(self._already_running())
            with ExitStack() as stack:
                stack.enter_context(stop_signals(self._request_stop))
                self._begin()
                stack.enter_context(watched(self.folder))
                stack.callback(self._end)
                self._serve()

    def _serve(self) -> None:
        try:
            self._start()
            self._supervise()
        except OutputClosedError:
            self.stop_requested = True

    def _begin(self) -> None:
        for left in stop_left_overs(self.folder):
            self.reporter.line(f"  stopped {left.name}, left by an earlier run")
        known = self.folder.read_state() or self.state
        me = os.getpid()
        self.state = replace(known, launcher_pid=me, launcher_start=started_at(me) or "", ready=False)
        self.folder.write_state(self.state)

    def _start(self) -> None:
        self.reporter.line(f"CareForAll starts (instance {self.wish.instance}, data in {self.folder.path})")
        credentials = load_or_create(self.folder)
        self._start_servers(credentials)
        self._open_doors()
        for step in self.plan.steps:
            self._run_step(step, credentials)
        with self.reporter.step(f"{', '.join(process.name for process in self.plan.processes)} answer"):
            self._start_services(credentials)
            self._wait_ready()
        for line in summary_lines(
            state=self.state,
            credentials=credentials,
            plan=self.plan,
            data=self.folder.path,
            campaign=health.first_campaign(self.state.port) or "CAMPAIGN_ID",
        ):
            self.reporter.line(line)
        self._remember(ready=True, services=list(health.service_states({self.plan.processes[0].name: self.state.port}, [])))

    def _start_servers(self, credentials: Credentials) -> None:
        self.servers = make_servers(self.environment, self.folder, state=self.state, credentials=credentials)
        for server in self.servers.values():
            self._check_interrupt()
            with self.reporter.step(f"{server.name} {server.binary.version} ({server.binary.provenance})"):
                server.start()
                self._note_running()
        own = {role: server.url for role, server in self.servers.items()}
        ports = {role: server.port for role, server in self.servers.items()}
        self._remember(dsn={**own, **self.environment.server_urls}, server_ports=ports)

    def _open_doors(self) -> None:
        wished, known = self.wish.port, self.state.internal_ports
        self.doors = Doors.opened(
            [self.state.port or DEFAULT_PORT, DEFAULT_PORT, 0] if wished is None else [wished],
            internal={process.name: known.get(process.name, 0) for process in self.plan.processes},
        )
        self._remember(port=self.doors.port, internal_ports=self.doors.internal_ports)

    def _run_step(self, step: Step, credentials: Credentials) -> None:
        if not self._is_due(step):
            return
        self._check_interrupt()
        log = self.folder.logs / "setup.log"
        told = log.stat().st_size if log.exists() else 0
        secret = str(getattr(credentials, step.stdin)) if step.stdin else None
        with self.reporter.step(step.title):
            process = spawn(
                step.command,
                log=log,
                env=self._environment_of(self.plan.processes[0].name, credentials),
                cwd=self.environment.places.root,
                stdin=secret,
            )
            self._with_extra(process, lambda: self._wait_for(process))
            if process.returncode != 0:
                raise LaunchError(f"This did not work: {' '.join(step.command[1:])}\n{tail(log)}")
        for line in log.read_bytes()[told:].decode(errors="replace").splitlines():
            if line.startswith(NOTE):
                self.reporter.line(f"  {line}", style="yellow")
        if step.once is Once.DEMO:
            self._remember(demo_loaded=True)
        if step.once is Once.ADMIN:
            self._remember(admin_created=True)

    def _is_due(self, step: Step) -> bool:
        if step.once is Once.DEMO:
            return self.wish.demo and not self.state.demo_loaded
        return step.once is Once.ALWAYS or not self.state.admin_created

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            self._check_interrupt()
            time.sleep(PAUSE_S)

    def _with_extra(self, process: subprocess.Popen[bytes], wait: Callable[[], None]) -> None:
        self.extra = [_running("setup", process, SERVICE, signal.SIGTERM)]
        self._note_running()
        try:
            wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            self.extra = []
            self._note_running()

    def _start_services(self, credentials: Credentials) -> None:
        self.services = [self._service(process, credentials) for process in self.plan.processes]
        for service in self.services:
            service.start()
            self._note_running()

    def _service(self, process: Process, credentials: Credentials) -> ServiceProcess:
        assert self.doors is not None
        doors = self.doors.of(process.name, serves=process is self.plan.processes[0])
        return ServiceProcess(
            process,
            env={**self._environment_of(process.name, credentials), **dict(zip(DESCRIPTORS, map(str, doors), strict=False))},
            log=self.folder.logs / f"{process.name}.log",
            cwd=self.environment.places.root,
            doors=doors,
        )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        waiting = list(self.services)
        while waiting:
            self._check_interrupt()
            for service in waiting:
                if not service.running:
                    raise LaunchError(f"{service.plan.name} ended while starting.\n{tail(service.log)}")
            waiting = [service for service in waiting if not self._stands_back_when_ready(service)]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(service.plan.name for service in waiting)
                raise LaunchError(f"{names} not ready after {READY_TIMEOUT_S:g} s.\n{tail(waiting[0].log)}")
            time.sleep(PAUSE_S)

    def _stands_back_when_ready(self, service: ServiceProcess) -> bool:
        if not health.is_ready(self._ready_port(service), timeout_s=PROBE_TIMEOUT_S):
            return False
        service.stand_back()
        return True

    def _ready_port(self, service: ServiceProcess) -> int:
        is_first = service.plan.name == self.plan.processes[0].name
        return self.state.port if is_first else self.state.internal_ports[service.plan.name]

    def _supervise(self) -> None:
        reader = select.poll()
        reader.register(self.reporter.stream.fileno(), 0)
        next_look = 0.0
        while not self.stop_requested:
            if any(event & (select.POLLERR | select.POLLNVAL) for _, event in reader.poll(0)):
                return
            if time.monotonic() >= next_look:
                self._free_stuck_servers()
                curb(self.folder.logs.glob("*.log"))
                next_look = time.monotonic() + LOOK_PAUSE_S
            for server in self.servers.values():
                self._revive_server(server)
            for service in self.services:
                self._revive_service(service)
            if self.unnoted:
                self._note_if_possible()
            time.sleep(SUPERVISE_PAUSE_S)

    def _free_stuck_servers(self) -> None:
        for server in self.servers.values():
            if server.running and server.stuck:
                self.reporter.line(f"  {server.name} could not write and has room again", style="yellow")
                server.stop()

    def _revive_server(self, server: Server) -> None:
        if server.running:
            return
        self.reporter.line(f"  {server.name} ended; starting it again", style="yellow")
        try:
            server.start()
        except (LaunchError, OSError) as error:
            self.reporter.line(f"  {error}", style="red")
            time.sleep(SERVER_PAUSE_S)
        self._note_if_possible()

    def _revive_service(self, service: ServiceProcess) -> None:
        news = service.revive()
        if news:
            self._note_if_possible()
            self.reporter.line(f"  {news}", style="yellow")
        if service.in_front:
            self._stands_back_when_ready(service)

    def _end(self) -> None:
        if self.services:
            with contextlib.suppress(OutputClosedError):
                self.reporter.line("Stopping: services first, then servers ...")
        if self.doors is not None:
            self.doors.close()
        for service in self.services:
            service.ask_to_stop()
        for service in self.services:
            service.wait_stopped()
        stop_servers(self.servers)
        # What stays noted on a full disk are ids and start times of processes that are gone: nobody is taken for them.
        with contextlib.suppress(OSError):
            self.folder.write_running([])
            self._remember(ready=False, launcher_pid=0, launcher_start="")

    def _remember(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]  # field names are checked at run time
        self.folder.write_state(self.state)

    def _note_if_possible(self) -> None:
        """Note what runs, later if the disk is full: that is no reason to end it."""
        try:
            self._note_running()
        except OSError:
            self.unnoted = True

    def _note_running(self) -> None:
        servers = [
            _running(server.name, server.process, SERVER, server.stop_signal)
            for server in self.servers.values()
            if server.process is not None and server.running
        ]
        services = [
            _running(service.plan.name, service.popen, SERVICE, signal.SIGTERM)
            for service in self.services
            if service.popen is not None and service.running
        ]
        self.folder.write_running([*servers, *services, *self.extra])
        self.unnoted = False

    def _environment_of(self, process: str, credentials: Credentials) -> dict[str, str]:
        return service_environment(
            self.environment.variables,
            state=self.state,
            credentials=credentials,
            process=process,
            first=self.plan.processes[0].name,
        )

    def _request_stop(self) -> None:
        self.stop_requested = True

    def _check_interrupt(self) -> None:
        if self.stop_requested:
            raise InterruptedLaunchError("Stopped before the platform was ready.")

    def _already_running(self) -> str:
        state = self.folder.read_state()
        where = f" at http://{LOOPBACK}:{state.port}" if state and state.port else ""
        return (
            f"Instance {self.wish.instance} runs already{where}.\n"
            "  ./careforall status shows it, ./careforall down stops it, --instance NAME starts another beside it."
        )


def tail(log: os.PathLike[str], lines: int = LOG_LINES) -> str:
    """The last lines of a log file."""
    with open(log, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - takes any path
        return "".join(file.readlines()[-lines:])


def _running(name: str, process: subprocess.Popen[bytes], group: str, stop_signal: signal.Signals) -> Running:
    start = started_at(process.pid) or "gone"
    return Running(name=name, pid=process.pid, start=start, stop_signal=int(stop_signal), group=group)
