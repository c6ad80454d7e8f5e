"""Group commit: concurrent requests of one kind share a transaction; each caller awaits its own result.

A flush starts as soon as a slot is free, never on a timer, so a lone request waits for nobody and a crowd is written together.
The contract is rule 1 of the rules of correctness: equal keys meet in memory, batches are sorted by key, one bad item never
fails its neighbours, an unknown COMMIT is settled by writing again under the same keys, and the queue is bounded.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg

from careforall.kit import constraints, context, crash
from careforall.kit.db import Connection, Database
from careforall.kit.errors import DatabaseUnavailable, IdempotencyKeyReused, Locked, Overloaded, Unavailable, UnknownOutcome
from careforall.kit.metrics import BATCH_SIZE, BATCH_WAITING

I = TypeVar("I")  # noqa: E741 - the item of a batch
R = TypeVar("R")

_HELD_SECONDS = 0.02
"""How long an item whose row is held by another transaction waits before it is tried again."""
_SETTLE_SECONDS = 0.7
"""How long an unknown COMMIT is settled for while callers wait; then 503, and their retry with the same key settles it."""


class Busy:
    """Outcome of an item whose row is locked by somebody else: it is queued again until its deadline."""


BUSY = Busy()


class Left:
    """Outcome of an item that the swift statement left to the transaction."""


LEFT = Left()

Write = Callable[[Connection, Sequence[I]], Awaitable[Sequence[R | Exception | Busy]]]
"""Writes sorted items in the given transaction and returns one outcome each, in order."""
Swift = Callable[[Connection, Sequence[I]], Awaitable[Sequence[R | Left]]]
"""Writes sorted items by one statement, which is a transaction of its own; whatever is not the usual case is `LEFT`.

What an item was written under must keep a repeat from being written again, so that a repeat is `LEFT` too: that is how an unknown
outcome is settled.
"""


class _Entry(Generic[I, R]):
    """One item with everybody who waits for it."""

    __slots__ = ("deadline", "fingerprint", "futures", "item", "key", "traceparent")

    def __init__(self, item: I, key: str, fingerprint: bytes, deadline: float) -> None:
        self.item = item
        self.key = key
        self.fingerprint = fingerprint
        self.deadline = deadline
        self.traceparent = context.current().traceparent
        self.futures: list[asyncio.Future[R]] = []

    @property
    def wanted(self) -> bool:
        return any(not future.done() for future in self.futures)

    def settle(self, outcome: R | Exception) -> None:
        for future in self.futures:
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class GroupCommit(Generic[I, R]):
    """Collects items of one kind and writes them in shared transactions.

    Args:
        name: Names the batch in metrics.
        database: Where the transactions run.
        write: The statements; see `Write`.
        swift: The usual case in a single round trip, tried first; see `Swift`.
        max_batch: Items per transaction.
        flights: Transactions in flight at once.
        max_waiting: Items waiting beyond which callers get 503.
        deadline: Seconds an item may wait for a locked row or an unknown outcome.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        write: Write[I, R],
        *,
        swift: Swift[I, R] | None = None,
        max_batch: int = 512,
        flights: int = 2,
        max_waiting: int = 20_000,
        deadline: float = 4.0,
    ) -> None:
        self._database = database
        self._write = write
        self._swift = swift
        self._max_batch = max_batch
        self._free = flights
        self._max_waiting = max_waiting
        self._deadline = deadline
        self._queue: deque[_Entry[I, R]] = deque()
        self._by_key: dict[str, _Entry[I, R]] = {}
        self._flights: set[asyncio.Task[None]] = set()
        self._pump_scheduled = False
        self._sizes = BATCH_SIZE.labels(batch=name)
        BATCH_WAITING.labels(batch=name).set_function(self._queue.__len__)

    async def submit(self, item: I, *, key: str, fingerprint: bytes = b"") -> R:
        """Write `item` with its neighbours and return its own result.

        Raises:
            IdempotencyKeyReused: The same key is under way with another fingerprint.
            Overloaded: The queue is full.
            UnknownOutcome: The COMMIT could not be settled before the deadline.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        entry = self._by_key.get(key)
        if entry is not None and entry.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        if entry is None:
            entry = self._enqueue(item, key, fingerprint)
        entry.futures.append(future)
        return await future

    async def drain(self) -> None:
        """Wait until everything accepted so far is answered; for an orderly stop."""
        while self._by_key:
            self._pump()
            await asyncio.gather(*self._flights)
            await asyncio.sleep(_HELD_SECONDS if self._by_key else 0)

    def _enqueue(self, item: I, key: str, fingerprint: bytes) -> _Entry[I, R]:
        if len(self._queue) >= self._max_waiting:
            raise Overloaded
        entry: _Entry[I, R] = _Entry(item, key, fingerprint, time.monotonic() + self._deadline)
        self._by_key[key] = entry
        self._queue.append(entry)
        self._schedule()
        return entry

    def _schedule(self) -> None:
        """Pump once the current burst of submissions has been queued."""
        if not self._pump_scheduled and self._free:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._free and (batch := self._take()):
            self._free -= 1
            flight = asyncio.ensure_future(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)

    def _take(self) -> list[_Entry[I, R]]:
        batch: list[_Entry[I, R]] = []
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if entry.wanted:
                batch.append(entry)
            else:
                self._by_key.pop(entry.key, None)
        batch.sort(key=_key)
        return batch

    async def _fly(self, batch: list[_Entry[I, R]]) -> None:
        self._sizes.observe(len(batch))
        try:
            await self._settle(batch)
        except Exception as error:  # noqa: BLE001 - every caller must be answered, whatever happened
            self._answer(batch, [error] * len(batch))
        finally:
            self._free += 1
            self._schedule_if_waiting()

    def _schedule_if_waiting(self) -> None:
        if self._queue:
            self._schedule()

    async def _settle(self, batch: list[_Entry[I, R]]) -> None:
        """Commit a batch, halving it around an item that violates a constraint."""
        try:
            outcomes = await self._commit(batch)
        except Locked:
            self._answer(batch, [BUSY] * len(batch))
            return
        except asyncpg.PostgresError as error:
            if not constraints.is_refusal(error):
                raise
            if len(batch) == 1:
                self._answer(batch, [constraints.as_problem(error)])
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        self._answer(batch, outcomes)

    async def _commit(self, batch: list[_Entry[I, R]]) -> Sequence[R | Exception | Busy]:
        """Commit; after an unknown outcome write again under the same keys, whose own COMMIT settles it (rule 2)."""
        write = self._in_transaction if self._swift is None else self._at_once
        unknown: UnknownOutcome | None = None
        give_up = time.monotonic()
        while True:
            try:
                outcomes = await write(batch)
            except (UnknownOutcome, DatabaseUnavailable) as error:
                if unknown is None:
                    if not isinstance(error, UnknownOutcome):
                        raise
                    unknown, give_up = error, time.monotonic() + _SETTLE_SECONDS
                if time.monotonic() >= give_up:
                    raise unknown from error
                await asyncio.sleep(0.05)
            else:
                crash.point("batch.after_commit")
                return outcomes

    async def _at_once(self, batch: list[_Entry[I, R]]) -> Sequence[R | Exception | Busy]:
        """Write the usual case by its one statement, and what that left in a transaction."""
        assert self._swift is not None
        swift, items = self._swift, [entry.item for entry in batch]
        found = await self._database.single(lambda connection: swift(connection, items), shared_by=_sharing(batch))
        left = [entry for entry, outcome in zip(batch, found, strict=True) if isinstance(outcome, Left)]
        rest = iter(await self._in_transaction(left) if left else ())
        return [next(rest) if isinstance(outcome, Left) else outcome for outcome in found]

    async def _in_transaction(self, batch: list[_Entry[I, R]]) -> Sequence[R | Exception | Busy]:
        items = [entry.item for entry in batch]
        return await self._database.run(lambda connection: self._written(connection, items), shared_by=_sharing(batch))

    async def _written(self, connection: Connection, items: Sequence[I]) -> Sequence[R | Exception | Busy]:
        outcomes = await self._write(connection, items)
        crash.point("batch.before_commit")
        return outcomes

    def _answer(self, batch: list[_Entry[I, R]], outcomes: Sequence[R | Exception | Busy]) -> None:
        now = time.monotonic()
        held: list[_Entry[I, R]] = []
        for entry, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, Busy):
                self._by_key.pop(entry.key, None)
                entry.settle(outcome)
            elif now < entry.deadline:
                held.append(entry)
            else:
                self._by_key.pop(entry.key, None)
                entry.settle(Unavailable("The row is held by another transaction, please retry."))
        if held:
            asyncio.get_running_loop().call_later(_HELD_SECONDS, self._again, held)

    def _again(self, held: list[_Entry[I, R]]) -> None:
        """Queue items whose rows were held."""
        self._queue.extend(held)
        self._schedule()


def _sharing(batch: list[_Entry[I, R]]) -> list[str | None]:
    return [entry.traceparent for entry in batch]


def _key(entry: _Entry[I, R]) -> str:
    return entry.key
