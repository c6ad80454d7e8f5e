"""The processes of an instance that `up` started on this machine: frozen and killed from outside, and started again by it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from careforall.drills.polling import eventually
from careforall.launch.errors import MissingError
from careforall.launch.processes import is_running, send
from careforall.launch.state import InstanceFolder, Running

STARTED_AGAIN_S = 90.0


class LocalProcesses:
    """The processes of one instance.

    Args:
        folder: Where its launcher notes what runs; None for a platform that no launcher started.
    """

    def __init__(self, folder: InstanceFolder | None) -> None:
        self._folder = folder

    def find(self, name: str) -> Running | None:
        """Return a process that runs; None while its launcher has not started it again.

        Raises:
            MissingError: No launcher runs this platform, or its plan has no such process.
        """
        if self._folder is None:
            raise MissingError("This drill stops processes: it needs an instance that ./careforall up started on this machine.")
        found = [entry for entry in self._folder.read_running() if entry.name == name]
        return next((entry for entry in found if is_running(entry.pid, entry.start)), None)

    def require(self, name: str) -> Running:
        """Return a process that must run now.

        Raises:
            MissingError: It does not, for example because the platform uses a server of somebody else.
        """
        running = self.find(name)
        if running is None:
            raise MissingError(f"This drill needs {name} as a process of the instance's own: start it without a server's URL.")
        return running

    def kill(self, name: str) -> bool:
        """End a process as a power cut would; false while it does not run."""
        running = self.find(name)
        if running is not None:
            send(running.pid, signal.SIGKILL)
        return running is not None

    async def kill_and_wait(self, name: str) -> bool:
        """Kill a process and wait until its launcher has started it again, which it does after ever longer pauses.

        Raises:
            NotInTime: It was not started again.
        """
        killed = self.kill(name)
        await eventually(lambda: self.find(name), within_s=STARTED_AGAIN_S, every_s=0.2, what=f"{name} again")
        return killed

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Let a server hang while the context is open: connections stay open and nobody answers."""
        running = self.require(name)
        send(running.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            send(running.pid, signal.SIGCONT)
