"""Commands about an instance from outside its launcher: start it in the background, stop it, look at it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from careforall.launch import health
from careforall.launch.errors import LaunchError
from careforall.launch.plan import Plan
from careforall.launch.processes import is_running, poll, send
from careforall.launch.reporter import OutputClosedError
from careforall.launch.state import STATE, InstanceFolder, State
from careforall.launch.summary import status_document
from careforall.launch.watcher import stop_left_overs

DETACH_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
LAUNCHER_LOG = "launcher.log"


def launcher_lives(state: State | None) -> bool:
    """Whether the launcher that wrote this state still runs."""
    return state is not None and is_running(state.launcher_pid, state.launcher_start)


def start_detached(
    folder: InstanceFolder, command: Sequence[str], *, env: Mapping[str, str], tell: Callable[[str], None]
) -> None:
    """Run the launcher in the background and return when the platform is ready, also to a reader who went away meanwhile.

    Raises:
        LaunchError: it is not going to be; the exit status is the launcher's own.
    """
    folder.make()
    log = folder.logs / LAUNCHER_LOG

    def tell_who_listens(line: str) -> None:
        with contextlib.suppress(OutputClosedError):
            tell(line)

    with log.open("ab") as out:  # a launcher that runs already may write there
        start = out.tell()
        launcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
    try:
        _follow_until_ready(folder, launcher, log, start, tell_who_listens)
    except BaseException:
        launcher.terminate()
        launcher.wait()
        raise
    launcher.returncode = 0  # from here on it is nobody's child


def stop(folder: InstanceFolder) -> bool:
    """Stop an instance, whether its launcher lives or only left things behind; returns whether anything ran.

    Raises:
        LaunchError: the launcher does not end, or cannot be told from others.
    """
    state = folder.read_state()
    alive = state is not None and launcher_lives(state)
    if state is not None and alive:
        send(state.launcher_pid, signal.SIGTERM)
        if not poll(lambda: not launcher_lives(state), timeout_s=STOP_TIMEOUT_S):
            raise LaunchError(f"The launcher (process {state.launcher_pid}) does not end; end it with kill -9.")
    elif holder := folder.holder():
        raise LaunchError(
            f"It runs, but {STATE} is damaged and does not name its launcher.\n  kill {holder} ends it: it stops all in order."
        )
    return bool(stop_left_overs(folder)) or alive


def purge(folder: InstanceFolder) -> bool:
    """Forget an instance that does not run: data, secrets, logs; returns whether there was anything."""
    had = folder.path.exists()
    if had:
        shutil.rmtree(folder.path)
    return had


@dataclass(frozen=True)
class Found:
    """How an instance is."""

    document: dict[str, Any]
    """What ``status --json`` prints."""
    notes: dict[str, tuple[str, ...]]
    """Of each service, what stands in its way."""
    launched: bool
    """Whether its launcher runs: then what is down comes up without anybody."""


def look(folder: InstanceFolder, *, instance: str, plan: Plan) -> Found:
    """Ask the processes of an instance how it is."""
    state = folder.read_state() or State(instance=instance)
    alive = launcher_lives(state)
    first = plan.processes[0].name
    others = {name: port for name, port in state.internal_ports.items() if name != first}
    services = health.service_states({first: state.port if alive else 0, **others}, state.services)
    document = status_document(
        state=state,
        credentials=folder.read_secrets(),
        plan=plan,
        data=folder.path,
        services={name: found.word for name, found in services.items()},
        ready=alive and state.ready and bool(services) and all(found.word != health.DOWN for found in services.values()),
    )
    return Found(document, {name: found.notes for name, found in services.items()}, launched=alive)


def launcher_command(words: Sequence[str]) -> list[str]:
    """The command line that runs the launcher in the foreground."""
    return [sys.executable, "-m", "careforall", "up", *words]


def _follow_until_ready(
    folder: InstanceFolder, launcher: subprocess.Popen[bytes], log: Path, start: int, tell: Callable[[str], None]
) -> None:
    with log.open(encoding="utf-8", errors="replace") as lines:
        lines.seek(start)

        def settled() -> bool:
            for line in lines:
                tell(line.rstrip("\n"))
            state = folder.read_state()
            ready = state is not None and state.ready and state.launcher_pid == launcher.pid
            return ready or launcher.poll() is not None

        in_time = poll(settled, timeout_s=DETACH_TIMEOUT_S, pause_s=0.05)
        poll(lambda: _says_nothing_new(lines, tell), timeout_s=1)
    if launcher.returncode is not None:
        error = LaunchError(f"It did not start; {log} has the whole story, and ./careforall doctor looks at this machine.")
        error.exit_status = launcher.returncode if launcher.returncode > 0 else 1
        raise error
    if not in_time:
        raise LaunchError(f"Not ready after {DETACH_TIMEOUT_S:g} s; {log} has the whole story.")


def _says_nothing_new(lines: Any, tell: Callable[[str], None]) -> bool:
    new = lines.readlines()
    for line in new:
        tell(line.rstrip("\n"))
    return not new


def log_files(folder: InstanceFolder) -> dict[str, Path]:
    """The log files of an instance by the name of their process."""
    return {path.stem: path for path in sorted(folder.logs.glob("*.log"))}
