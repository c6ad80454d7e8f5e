"""The worker of one target: lease what is due, call outside any transaction, note what came of it.

A customer has one row, so there is never more than one call about them. A call is stored before it is made and repeated as it
is, under the same key, until it has an answer; only then is the newest version looked at again. Whoever dies in between leaves
a lease that ends. Several processes may work: leases are taken with SKIP LOCKED, and the late word of an ended lease counts
for nothing.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Sequence
from uuid import UUID

import msgspec
import structlog

from careforall.kit import crash, tasks
from careforall.kit.batch import GroupCommit
from careforall.kit.cache import Breaker
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Unavailable
from careforall.kit.tracing import Tracing
from careforall.sync import repository, repository_deliveries
from careforall.sync.domain import Call, Customer, Delivery, Later, Outcome, Spent, Verdict, next_call, verdict
from careforall.sync.gateways.base import Target
from careforall.sync.metrics import CALLS, DEAD_DELIVERIES, OLDEST_DELIVERY

log = structlog.get_logger(__name__)

_CALLS_OF_A_LEASE = 3
"""A call, a look for what it made, and time to note it."""


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How patiently a target is called; times in seconds."""

    at_once: int
    seconds: float
    first_pause: float
    breaker_pause: float


class Carrying:
    """Carries changes to one target."""

    def __init__(self, database: Database, target: Target, tracing: Tracing, pacing: Pacing) -> None:
        self._database = database
        self._target = target
        self._tracing = tracing
        self._pacing = pacing
        self._breaker = Breaker(f"sync_{target.name}", pause=pacing.breaker_pause)
        self._settling: GroupCommit[Verdict, bool] = GroupCommit(f"sync_{target.name}", database, _settle)

    @property
    def state(self) -> str:
        """How it goes, in a word."""
        return "paused after failures" if self._breaker.probing else "on"

    async def run(self) -> int:
        """Carry until nothing is due, the target is given a pause or the database is away; return how many calls were made."""
        return await tasks.work_off(lambda under_way: self._started(self._room(under_way)))

    async def measure(self) -> None:
        """Set what the metrics say of the queue."""
        async with self._database.connection() as connection:
            dead, oldest = await repository_deliveries.backlog(connection, self._target.name)
        DEAD_DELIVERIES.labels(target=self._target.name).set(dead)
        OLDEST_DELIVERY.labels(target=self._target.name).set(oldest)

    def _room(self, under_way: int) -> int:
        free = self._pacing.at_once - under_way
        if free <= 0 or not self._breaker.closed:
            return 0
        return 1 if self._breaker.probing else free

    async def _started(self, room: int) -> set[asyncio.Task[None]]:
        if not room:
            return set()
        calls = await self._database.run(lambda connection: self._leased(connection, room))
        crash.point("sync.after_lease")
        return {asyncio.create_task(self._carry(delivery, call)) for delivery, call in calls}

    async def _leased(self, connection: Connection, room: int) -> list[tuple[Delivery, Call]]:
        """Lease what is due; a deletion of what was never carried is done without a call."""
        due = await repository_deliveries.due(connection, self._target.name, room)
        customers = await repository.by_ids(connection, [one.aggregate_id for one in due])
        calls = [(one, call) for one in due if (call := next_call(one, customers[one.aggregate_id])) is not None]
        await repository_deliveries.lease(connection, calls, self._pacing.seconds * _CALLS_OF_A_LEASE)
        called = {one.id for one, _ in calls}
        await _settle_idle(connection, [one for one in due if one.id not in called], customers)
        return calls

    async def _carry(self, delivery: Delivery, call: Call) -> None:
        outcome = await self._made(delivery, call)
        crash.point("sync.after_call_before_settle")
        self._learn(outcome)
        found = verdict(
            delivery,
            call,
            outcome,
            first_pause=self._pacing.first_pause,
            jitter=random.random(),  # noqa: S311 - jitter, not a secret
        )
        self._log(found, delivery, call)
        with contextlib.suppress(Unavailable):  # the lease ends, and the call is made again under its key
            await self._settling.submit(found, key=str(delivery.id))

    async def _made(self, delivery: Delivery, call: Call) -> Outcome:
        """Make a call; where its key cannot tell whether it has created something, that is looked for."""
        with self._tracing.span(f"{self._target.name} {call.kind}", delivery.traceparent, target=self._target.name):
            if call.kind != "create":
                return await self._within(self._target.make(delivery.aggregate_id, call, delivery.external_id))
            outcome: Outcome = Spent(error="the key may be forgotten by now")
            if not delivery.old:
                outcome = await self._within(self._target.make(delivery.aggregate_id, call, None))
            if isinstance(outcome, Spent):
                outcome = await self._within(self._target.look(delivery.aggregate_id, call))
            return outcome

    async def _within(self, asked: Awaitable[Outcome]) -> Outcome:
        try:
            async with asyncio.timeout(self._pacing.seconds):
                return await asked
        except TimeoutError:
            return Later(error=f"no answer in {self._pacing.seconds} s")

    def _learn(self, outcome: Outcome) -> None:
        CALLS.labels(target=self._target.name, outcome=type(outcome).__name__.lower()).inc()
        if isinstance(outcome, Later):
            self._breaker.failed()
        else:
            self._breaker.succeeded()

    def _log(self, found: Verdict, delivery: Delivery, call: Call) -> None:
        if found.status == "DEAD":
            words = {"target": self._target.name, "customer": str(delivery.aggregate_id), "version": call.version}
            log.warning("delivery given up", **words, delivery=str(delivery.id))


async def _settle(connection: Connection, verdicts: Sequence[Verdict]) -> Sequence[bool]:
    settled = await repository_deliveries.settle(connection, verdicts)
    return [one.id in settled for one in verdicts]


async def _settle_idle(connection: Connection, idle: Sequence[Delivery], customers: dict[UUID, Customer]) -> None:
    versions = [customers[one.aggregate_id].version for one in idle]
    await repository_deliveries.settle_idle(connection, idle, versions)
