"""Shared reads: concurrent questions of one kind share a statement, as writes share a transaction (`kit/batch.py`).

A question that comes alone is asked at once; whoever comes while one is under way waits for the next, so that each is answered by
a read that began after it was asked, and sees everything that was committed before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from careforall.kit.db import Connection, Database
from careforall.kit.errors import Unavailable

I = TypeVar("I")  # noqa: E741 - the item of a batch
R = TypeVar("R")

Read = Callable[[Connection, Sequence[I]], Awaitable[Sequence[R]]]
"""Reads on the given connection and returns one answer for each item, in order."""


class SharedRead(Generic[I, R]):
    """Collects questions of one kind and answers them together.

    Args:
        database: Where it is read.
        read: The statement, or several in a snapshot of their own; see `Read`.
        at_once: Questions that share a read at most.
    """

    def __init__(self, database: Database, read: Read[I, R], *, at_once: int = 256) -> None:
        self._database = database
        self._read = read
        self._at_once = at_once
        self._waiting: list[tuple[I, asyncio.Future[R]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, item: I) -> R:
        """Return the answer to a question.

        Raises:
            DatabaseUnavailable: Nothing can be read now.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._answer_all())
        return await future

    async def _answer_all(self) -> None:
        """Read until nobody waits; a task begins after those that are ready, so a burst is read together."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
                await self._answer([one for one in batch if not one[1].done()])
        finally:
            self._reading = None

    async def _answer(self, batch: Sequence[tuple[I, asyncio.Future[R]]]) -> None:
        """Answer a batch; where it cannot be read together each is read by itself, so that a bad question fails alone."""
        try:
            async with self._database.connection() as connection:
                answers = await self._read(connection, [item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - everybody must be answered, whatever happened
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for one in batch:
                    await self._answer([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
