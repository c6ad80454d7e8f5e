"""One server as a child process: launched, waited for, stopped, killed, frozen, started again on the same port.

What a particular server needs is in `careforall.launch.servers`. Everything here is synchronous. `Server.launch` must be
called from the main thread; `wait_ready`, `stop` and `kill` may be called from any thread, so that a test can keep its
event loop running meanwhile.
"""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from careforall.launch.binaries import Binary
from careforall.launch.errors import LaunchError
from careforall.launch.identity import Identity
from careforall.launch.ports import free_port, is_free, port_or_free
from careforall.launch.processes import PAUSE_S, children_of, send, spawn, stop_process

START_TIMEOUT_S = 30.0
STALE_MEMORY = "pre-existing shared memory block"
BUSY_PORT = ("could not bind", "address already in use", "Address already in use")


class Server(ABC):
    """One server process with its data folder.

    Args:
        binary: the program, as found by `careforall.launch.binaries`.
        data: folder of its data; made when absent.
        log: file its output is appended to.
        identity: whom it runs as.
        port: the port to listen on; 0 takes a free one and keeps it for later starts.
        rather: the port to take, where `port` is 0, if nobody else has it.
        durable: False trades crash safety for speed, for tests.
        password: what clients must present; random when not given.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        *,
        binary: Binary,
        data: Path,
        log: Path,
        identity: Identity | None = None,
        port: int = 0,
        rather: int = 0,
        durable: bool = True,
        password: str | None = None,
    ) -> None:
        self.binary = binary
        self.data = data
        self.log = log
        self.identity = identity or Identity()
        self.port = port
        self.durable = durable
        self.password = password or secrets.token_urlsafe(24)
        self.process: subprocess.Popen[bytes] | None = None
        self._rather = rather
        self._port_is_ours_to_choose = port == 0
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """Where and as whom clients connect."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the data and configuration that `command` needs; repeated calls change nothing."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server."""

    @abstractmethod
    def probe(self) -> bool:
        """Ask the server a real question; True when it answers and is ours."""

    @property
    def running(self) -> bool:
        """Whether our process is alive."""
        return self.process is not None and self.process.poll() is None

    @property
    def stuck(self) -> bool:
        """Whether it runs and will not serve again until it is started anew."""
        return False

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start and wait until ready.

        Raises:
            LaunchError: it ended or did not become ready in time; the message carries the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        self.launch()
        while not self._became_ready(deadline):
            if time.monotonic() > deadline or not self._may_try_again():
                self.kill()
                raise LaunchError(f"{self.name} did not become ready.\n{self.log_tail()}")
            self.launch()
        self._port_is_ours_to_choose = False  # from now on others know it

    def launch(self) -> None:
        """Start without waiting; from the main thread only."""
        if self.running:
            raise LaunchError(f"{self.name} runs already.")
        if self.port == 0:
            self.port = port_or_free(self._rather)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.prepare()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self.process = spawn(
            self.command(),
            log=self.log,
            death_signal=self.stop_signal,
            identity=self.identity,
            env=clean_environment(),
        )

    def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for a server that was launched.

        Raises:
            LaunchError: it ended or did not become ready in time.
        """
        if not self._became_ready(time.monotonic() + timeout_s):
            raise LaunchError(f"{self.name} did not become ready.\n{self.log_tail()}")

    def stop(self) -> None:
        """End it the orderly way; nothing happens when it does not run."""
        if self.process is not None:
            stop_process(self.process, self.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL to it and its children."""
        if self.process is None or not self.running:
            return
        children = children_of(self.process.pid)
        self.process.kill()
        for child in children:
            send(child, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it hang: connections stay open and nobody answers, until `thaw`."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log since it was last started."""
        return "\n".join(self._new_log().splitlines()[-lines:])

    def make_folder(self, path: Path) -> None:
        """Make a private folder that belongs to the server's identity."""
        path.mkdir(parents=True, exist_ok=True, mode=0o711)
        path.chmod(0o700)
        self.identity.own(path)

    def write_private(self, path: Path, text: str) -> None:
        """Write a file only the server's identity may read."""
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        self.identity.own(path)

    def _became_ready(self, deadline: float) -> bool:
        while self.running and time.monotonic() < deadline:
            if self.probe():
                return self.running
            time.sleep(PAUSE_S)
        return False

    def _may_try_again(self) -> bool:
        if self.running:
            return False
        said = self._new_log()
        if STALE_MEMORY in said:
            return True
        lost_the_port = any(text in said for text in BUSY_PORT) or not is_free(self.port)
        if lost_the_port and self._port_is_ours_to_choose:
            self.port = free_port()
            return True
        return False

    def _signal_all(self, what: signal.Signals) -> None:
        if self.process is None or not self.running:
            return
        for pid in [self.process.pid, *children_of(self.process.pid)]:
            send(pid, what)

    def _new_log(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_start)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


def clean_environment() -> dict[str, str]:
    """What the servers get to see: no locale that may not exist here, no PG* variable that bends them."""
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}
