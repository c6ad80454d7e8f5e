"""The scheduler: picks one process after another at random, moves the clock, and lets trouble strike between two steps."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from random import Random
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[str | float | None, None, T]
"""A running process. It yields the name of the place it stands at, or seconds to sleep, or None to wait until it is woken."""

Trouble = Callable[[], None]

TICK = 0.001
"""Seconds of simulated time that a step takes."""
_KEPT_EVENTS = 80


class Violation(AssertionError):
    """A promise was broken."""


class Process:
    """Something that runs, crashes and starts again."""

    __slots__ = ("begin", "life", "name", "ready", "steps")

    def __init__(self, name: str, begin: Callable[[], Steps[None]]) -> None:
        self.name = name
        self.begin = begin
        self.steps = begin()
        self.life = 0
        self.ready = True


class Scheduler:
    """Runs processes until a number of steps is done."""

    def __init__(self, random: Random, *, mean_steps_between_troubles: float) -> None:
        self.random = random
        self.now = 0.0
        self.step = 0
        self.processes: list[Process] = []
        self.trouble: Trouble | None = None
        self.events: deque[tuple[int, str, str, object]] = deque(maxlen=_KEPT_EVENTS)
        self._mean = mean_steps_between_troubles
        self._next_trouble = self._draw_trouble()
        self._ready: list[Process] = []
        self._timers: list[tuple[float, int, Callable[[], None] | None, Process | None, int]] = []
        self._serial = 0
        self.current: Process | None = None

    def spawn(self, name: str, begin: Callable[[], Steps[None]]) -> Process:
        """Add a process."""
        process = Process(name, begin)
        self.processes.append(process)
        self._ready.append(process)
        return process

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._serial += 1
        heapq.heappush(self._timers, (self.now + seconds, self._serial, action, None, 0))

    def wake(self, process: Process | None) -> None:
        """Let a waiting or sleeping process go on."""
        if process is not None and not process.ready:
            process.life += 1
            process.ready = True
            self._ready.append(process)

    def crash(self, process: Process, down: float) -> None:
        """Kill a process where it stands; it starts anew after `down` seconds."""
        self.note("crashed", process.name)
        process.steps.close()
        process.steps = _born_again(process.begin, down)
        self.wake(process)

    def note(self, what: str, detail: object = None) -> None:
        """Remember an event for the report of a failure."""
        self.events.append((self.step, self.current.name if self.current else "-", what, detail))

    def run(self, steps: int) -> None:
        """Take so many steps; fewer if nothing is left to do."""
        end = self.step + steps
        ready, timers, draw = self._ready, self._timers, self.random.random
        while self.step < end:
            if timers and timers[0][0] <= self.now:
                self._ring()
            if not ready:
                if not timers:
                    return
                self.now = max(self.now, timers[0][0])
                continue
            if self.trouble is not None and self.step >= self._next_trouble:
                self._next_trouble = self._draw_trouble()
                self.current = None
                self.trouble()
            self.step += 1
            self.now += TICK
            self._advance(int(draw() * len(ready)))

    def _advance(self, index: int) -> None:
        process = self._ready[index]
        self.current = process
        try:
            told = next(process.steps)
        except StopIteration:
            told = None
        if told.__class__ is str:
            self.events.append((self.step, process.name, told, None))
            return
        last = self._ready.pop()
        if last is not process:
            self._ready[index] = last
        process.ready = False
        if told is not None:
            self._serial += 1
            heapq.heappush(self._timers, (self.now + told, self._serial, None, process, process.life))  # type: ignore[operator]

    def _ring(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            _, _, action, process, life = heapq.heappop(timers)
            if action is not None:
                action()
            elif process is not None and process.life == life:
                self.wake(process)

    def _draw_trouble(self) -> int:
        return self.step + 1 + int(self.random.expovariate(1.0) * self._mean)


def _born_again(begin: Callable[[], Steps[None]], down: float) -> Steps[None]:
    yield down
    yield from begin()
