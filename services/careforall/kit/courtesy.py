"""Lets requests go first on a machine that is short of cores: background work waits while others wait for a processor.

A priority alone does not do it: the database works for requests and for background work alike, at one priority. Only where all
share one machine is it asked for, as `up` does; the waiting is bounded, so a rush makes messages late and never forgotten. What
lasts is no rush: work put off then would have to be done beside the same requests later.
"""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

_PRESSURE = Path("/proc/pressure/cpu")
_SHORT = 0.3
"""Share of the time in which somebody waited for a processor, from which on cores count as short."""
_LOOK_EVERY = 0.1
_REST = 5.0
"""Seconds without shortage after which another one is a new rush."""


class Pressure:
    """How short of cores the machine was of late (Linux; elsewhere it never is); many may ask."""

    def __init__(self, file: Path = _PRESSURE, *, every: float = _LOOK_EVERY) -> None:
        self._file = file
        self._every = every
        self._at, self._stalled = time.monotonic(), self._total()
        self._share = 0.0

    def __call__(self) -> float:
        """Return the share of the last tenth of a second, or of the time since the last look, in which somebody waited."""
        now = time.monotonic()
        if now - self._at >= self._every:
            stalled = self._total()
            self._share = (stalled - self._stalled) / (now - self._at)
            self._at, self._stalled = now, stalled
        return self._share

    def _total(self) -> float:
        try:
            first = self._file.read_text().partition("\n")[0]
        except OSError:
            return 0.0
        return int(first.rpartition("=")[2]) / 1e6


class Rush:
    """For how long cores have been short without a rest."""

    def __init__(self, rest: float = _REST) -> None:
        self._rest = rest
        self._began = self._short_at = -math.inf

    def note(self, *, short: bool) -> None:
        """Note how it is at the moment; a time in which nobody asked is one of rest."""
        if not short:
            return
        now = time.monotonic()
        if self._has_rested(now):
            self._began = now
        self._short_at = now

    @property
    def seconds(self) -> float:
        """How long it has lasted; 0 after a rest."""
        now = time.monotonic()
        return 0.0 if self._has_rested(now) else now - self._began

    def _has_rested(self, now: float) -> bool:
        return now - self._short_at > self._rest


class Courtesy:
    """Makes background work wait.

    Args:
        seconds: How old a message may become by it, and how long a rush may last in which anything waits; 0 never waits.
        pressure: How short of cores the machine is, 0 to 1.
        rest: Seconds without shortage that end a rush.
    """

    def __init__(self, seconds: float, pressure: Callable[[], float] | None = None, *, rest: float = _REST) -> None:
        self._seconds = seconds
        self._pressure = pressure or Pressure()
        self._rush = Rush(rest)

    async def give_way(self, born: datetime, patience: float | None = None) -> None:
        """Wait while cores are short, until what was born then has become too old to wait or this is no rush any more.

        Args:
            born: When the newest message came.
            patience: Seconds after which this work waits no longer, where it is more pressing than others.
        """
        if not self._seconds:
            return
        seconds = self._seconds if patience is None else min(patience, self._seconds)
        self._is_short()
        while (datetime.now(UTC) - born).total_seconds() < seconds and self._rush.seconds < self._seconds:
            await asyncio.sleep(_LOOK_EVERY)
            if not self._is_short():
                return

    def _is_short(self) -> bool:
        short = self._pressure() >= _SHORT
        self._rush.note(short=short)
        return short
