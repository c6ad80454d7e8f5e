"""Keeps the platform's own processes alive: what dies is started again, each time after a longer pause."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from careforall.launch.plan import Process
from careforall.launch.processes import end_group, spawn, stand_back, stop_process

FIRST_PAUSE_S, LONGEST_PAUSE_S, CALM_S = 0.5, 30.0, 60.0
STOP_TIMEOUT_S = 15.0


class ServiceProcess:
    """One process of the plan.

    Args:
        process: what to run.
        env: its environment, complete.
        log: file its output is appended to.
        cwd: folder it works in.
        doors: descriptors of the sockets it answers on.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        process: Process,
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path,
        doors: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = process
        self.log = log
        self.popen: subprocess.Popen[bytes] | None = None
        self._env, self._cwd, self._doors, self._clock = env, cwd, doors, clock
        self._pause_s = FIRST_PAUSE_S
        self._started = self._next_start = 0.0
        self._in_front = False

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self.popen is not None and self.popen.poll() is None

    def start(self) -> None:
        """Start it now."""
        self._started = self._clock()
        self._next_start = 0.0
        self.popen = spawn(self.plan.command, log=self.log, env=self._env, cwd=self._cwd, keep=self._doors)
        self._in_front = self.plan.niceness > 0

    @property
    def in_front(self) -> bool:
        """Whether it has yet to stand back: behind a busy machine it would hardly ever come up."""
        return self._in_front and self.running

    def stand_back(self) -> None:
        """Let others go first, now that it has started; as far as its plan says."""
        if self.in_front and self.popen is not None:
            stand_back(self.popen.pid, self.plan.niceness)
        self._in_front = False

    def revive(self) -> str | None:
        """Start it again when it is dead and its pause is over; returns what there is to say about it, if anything."""
        if self.popen is None or self.running:
            return None
        now = self._clock()
        if not self._next_start:
            end_group(self.popen.pid)
            return self._plan_restart(now, f"ended with status {self.popen.returncode}")
        if now < self._next_start:
            return None
        try:
            self.start()
        except OSError as error:  # no process is to be had, or its program is just being replaced
            return self._plan_restart(now, f"could not be started: {error}")
        return f"{self.plan.name} was started again"

    def ask_to_stop(self) -> None:
        """Send the signal only, so that all can stop at the same time."""
        if self.popen is not None and self.running:
            self.popen.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Wait for the end; insist after a while."""
        if self.popen is not None:
            stop_process(self.popen, signal.SIGTERM, timeout_s=STOP_TIMEOUT_S)
            end_group(self.popen.pid)

    def _plan_restart(self, now: float, what: str) -> str:
        if now - self._started > CALM_S:
            self._pause_s = FIRST_PAUSE_S
        pause_s = self._pause_s
        self._next_start = now + pause_s
        self._pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        return f"{self.plan.name} {what}; next start in {pause_s:g} s (see {self.log})"
