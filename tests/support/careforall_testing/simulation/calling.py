"""Requests between processes: a caller waits, the process that answers may die, and an answer may be lost on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from careforall_testing.simulation.faults import Faults
from careforall_testing.simulation.scheduler import Process, Scheduler, Steps

I = TypeVar("I")  # noqa: E741 - what is asked
R = TypeVar("R")


class Request(Generic[I, R]):
    """One request and, in the end, its answer; None means that none came."""

    __slots__ = ("answer", "caller", "done", "item")

    def __init__(self, item: I, caller: Process | None) -> None:
        self.item = item
        self.caller = caller
        self.answer: R | None = None
        self.done = False


class Door(Generic[I, R]):
    """Where requests reach the processes of one kind.

    Args:
        settle: Handles a batch of requests and returns an answer for each, None for "try again".
        batch: Requests handled together.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        faults: Callable[[], Faults],
        settle: Callable[[Sequence[I]], Steps[Sequence[R | None]]],
        batch: int,
    ) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._settle = settle
        self._batch = batch
        self._open: list[_Desk[I, R]] = []

    def serve(self) -> Steps[None]:
        """Be one of the processes behind this door."""
        desk: _Desk[I, R] = _Desk(self._scheduler.current)
        self._open.append(desk)
        try:
            while True:
                while not desk.waiting:
                    yield None
                yield "door.taken"
                requests, desk.waiting = desk.waiting[: self._batch], desk.waiting[self._batch :]
                desk.taken = requests
                answers = yield from self._settle([request.item for request in requests])
                for request, answer in zip(requests, answers, strict=True):
                    self._answer(request, answer)
                desk.taken = []
                yield "door.answered"
        finally:
            self._open.remove(desk)
            for request in [*desk.taken, *desk.waiting]:
                self._answer(request, None)

    def ask(self, item: I) -> Steps[R | None]:
        """Send a request and wait for the answer; None if nobody answered."""
        if not self._open:
            yield 0.05
            return None
        desk = self._open[int(self._scheduler.random.random() * len(self._open))]
        request: Request[I, R] = Request(item, self._scheduler.current)
        desk.waiting.append(request)
        self._scheduler.wake(desk.process)
        while not request.done:
            yield None
        return request.answer

    def _answer(self, request: Request[I, R], answer: R | None) -> None:
        if request.done:
            return
        if answer is not None and self._scheduler.random.random() < self._faults().answer_lost:
            answer = None
        request.answer = answer
        request.done = True
        self._scheduler.wake(request.caller)


class _Desk(Generic[I, R]):
    __slots__ = ("process", "taken", "waiting")

    def __init__(self, process: Process | None) -> None:
        self.process = process
        self.waiting: list[Request[I, R]] = []
        self.taken: list[Request[I, R]] = []
