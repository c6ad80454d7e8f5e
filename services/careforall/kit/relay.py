"""Moves outbox rows to JetStream: claim, publish many at once, mark what was acknowledged, all without a transaction held open.

One relay is active per database (session advisory lock); others wait. A claim is a transaction that writes, so its own COMMIT
proves that the rows it read are durable before anybody hears of them (rule 2). Marking the last batch and claiming the next is
one transaction. A crash between acknowledgement and mark repeats messages: the broker's window and the inbox take care of that.
A batch is marked only while the stream is the one this relay checked: a relay that lost its lock must not mark what went into a
stream that its successor found wiped and has replayed.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import asyncpg
import msgspec
import structlog
from nats.errors import Error as NatsError

from careforall.kit import crash, tasks
from careforall.kit.bus import Bus, Extent
from careforall.kit.connections import WIRE_ERRORS
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Posted
from careforall.kit.errors import PASSING
from careforall.kit.metrics import EVENTS_PUBLISHED, OUTBOX_FAILURES, OUTBOX_LAG, OUTBOX_PUBLISHED, RELAY_ACTIVE
from careforall.kit.publishing import Ack, Refused
from careforall.kit.tracing import Tracing

log = structlog.get_logger(__name__)

BATCH = 500


class StreamReplaced(Exception):
    """Another relay noticed a younger stream: what we published may be gone, so it stays pending."""


_PAUSES = (StreamReplaced, *PASSING, asyncpg.PostgresError, NatsError, *WIRE_ERRORS)
_IDLE_POLL = 0.25
_GATHER = 0.05
"""Seconds in which rows gather between two batches that were not full: a turn costs the same for one row as for many."""
_LOCK_NAMESPACE = 0x52454C41
_CHECK_STREAM_EVERY = 10.0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a published batch: ids with their stream sequences, and ids with a lasting refusal."""

    acked: tuple[tuple[object, int], ...] = ()
    refused: tuple[tuple[object, str], ...] = ()


def _nudge_subject(instance: str, service: str) -> str:
    """Return the core subject on which who writes tells the relay that it committed."""
    return f"hint.{instance}.outbox.{service}"


class Nudge:
    """Tells the relay of a commit: at once after a pause, and of those that follow together, as it gathers them anyway."""

    def __init__(self, bus: Bus, instance: str, service: str) -> None:
        self._bus = bus
        self._subject = _nudge_subject(instance, service)
        self._resting = False
        self._due = False

    def __call__(self) -> None:
        """Note a commit."""
        if self._resting:
            self._due = True
        else:
            self._send()

    def _send(self) -> None:
        self._resting, self._due = True, False
        asyncio.get_running_loop().call_later(_GATHER, self._rested)
        self._bus.hint(self._subject)

    def _rested(self) -> None:
        self._resting = False
        if self._due:
            self._send()


class Relay:
    """The relay of one service's database; it rests while `resting` says so."""

    def __init__(
        self,
        service: str,
        database: Database,
        bus: Bus,
        tracing: Tracing,
        *,
        stream: str,
        instance: str,
        resting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._service = service
        self._database = database
        self._bus = bus
        self._tracing = tracing
        self._stream = stream
        self._resting = resting
        self._nudge = _nudge_subject(instance, service)
        self._wake = asyncio.Event()
        self._checked_stream = 0.0
        self._stream_created: datetime | None = None
        self._published = OUTBOX_PUBLISHED.labels(service=service)
        self._failures = OUTBOX_FAILURES.labels(service=service)
        self._lag = OUTBOX_LAG.labels(service=service)
        self._active = RELAY_ACTIVE.labels(service=service)

    def wake(self) -> None:
        """Look for rows now."""
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled; losing the database or the broker only pauses it."""
        self._bus.on_connect(self._doubt)
        await self._bus.listen(self._nudge, self._on_nudge)
        while True:
            try:
                await self._lead()
            except _PAUSES as error:
                log.info("relay pauses", service=self._service, error=repr(error))
            self._active.set(0)
            await asyncio.sleep(random.uniform(0.2, 0.6))  # noqa: S311 - jitter, not a secret

    async def _on_nudge(self, _: object) -> None:
        self._wake.set()

    async def _doubt(self) -> None:
        """Look at the stream before anything more is sent: who comes back after a crash may have lost what it had."""
        self._checked_stream = 0.0

    async def _lead(self) -> None:
        """Work while holding the lock on a session of its own."""
        session = await self._database.dedicated()
        try:
            while not await session.fetchval("SELECT pg_try_advisory_lock($1, 1)", _LOCK_NAMESPACE):
                await asyncio.sleep(1)
            self._active.set(1)
            self._checked_stream = 0.0
            while not session.is_closed():
                if not self._resting():
                    await self._drain(session)
                await self._rest()
        finally:
            session.terminate()

    async def _rest(self) -> None:
        await tasks.set_within(self._wake, _IDLE_POLL)
        self._wake.clear()

    async def _drain(self, session: Connection) -> None:
        """Publish until nothing is left; stay quiet while the broker is away."""
        await self._bus.when_ready()
        await self._check_stream()
        if not await session.fetchval(_ANY):
            return
        turn = Turn()
        wait = 0.1
        while True:
            rows = await self._turn(turn)
            if not rows:
                return
            crash.point("relay.after_claim")
            turn, lost = await self._publish(rows)
            crash.point("relay.after_ack_before_mark")
            if not lost and not self._check_due() and not self._resting():
                await asyncio.sleep(_GATHER if len(rows) < BATCH else 0)
                continue
            await self._turn(turn)
            turn = Turn()
            if self._resting():
                return
            if lost:
                await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311 - jitter, not a secret
                wait = min(wait * 2, 30.0)
                await self._bus.when_ready()
            await self._check_stream()

    async def _turn(self, last: Turn) -> list[asyncpg.Record]:
        """Mark the last batch and claim the next in one writing transaction, whose first statement fences: `StreamReplaced`."""

        async def work(connection: Connection) -> list[asyncpg.Record]:
            reached = max((seq for _, seq in last.acked), default=0)
            if await connection.fetchval(_CLAIM, len(last.acked), reached) != self._stream_created:
                raise StreamReplaced
            if last.acked:
                await connection.execute(_MARK, [row for row, _ in last.acked], [seq for _, seq in last.acked])
            if last.refused:
                await connection.execute(_REFUSE, [row for row, _ in last.refused], [why for _, why in last.refused])
            return list(await connection.fetch(_NEXT, BATCH))

        rows = await self._database.run(work)
        if last.acked:
            crash.point("relay.after_mark")
        return rows

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> tuple[Turn, int]:
        wanted = [Posted(row["event_type"], str(row["id"]), row["payload"], row["traceparent"]) for row in rows]
        with self._tracing.sending(wanted) as messages:
            answers = await self._bus.publish_window(messages)
        acked = tuple((row["id"], answer.sequence) for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Ack))
        refused = tuple(
            (row["id"], answer.reason)
            for row, answer in zip(rows, answers, strict=True)
            if isinstance(answer, Refused) and answer.lasting
        )
        self._count(row["event_type"] for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Ack))
        lost = len(rows) - len(acked) - len(refused)
        if lost:
            self._failures.inc(lost)
        self._lag.set((datetime.now(UTC) - rows[-1]["created_at"]).total_seconds())
        return Turn(acked=acked, refused=refused), lost

    def _count(self, acked: Iterable[str]) -> None:
        found = Counter(acked)
        self._published.inc(found.total())
        for subject, number in found.items():
            EVENTS_PUBLISHED.labels(subject=subject).inc(number)

    def _check_due(self) -> bool:
        return time.monotonic() - self._checked_stream >= _CHECK_STREAM_EVERY

    async def _check_stream(self) -> None:
        """Notice a stream that was wiped, or lost its newest messages, and send again what is still kept (rule 6).

        Call it with nothing left to mark: what was acknowledged by the stream that is gone must not be marked after the replay.
        """
        if not self._check_due():
            return
        extent = await self._bus.extent(self._stream)
        if extent is None:
            await self._bus.repair_streams()
            return
        replayed = await self._database.run(lambda connection: _note_stream(connection, extent))
        self._checked_stream = time.monotonic()
        self._stream_created = extent.created
        if replayed:
            log.warning("stream lost messages, sending again", service=self._service, stream=self._stream, events=replayed)


async def _note_stream(connection: Connection, extent: Extent) -> int:
    known = await connection.fetchrow(_KNOWN_STREAM)
    assert known is not None
    created = known["stream_created"]
    if created == extent.created and known["last_sequence"] <= extent.last:
        return 0
    await connection.execute(_REMEMBER_STREAM, extent.created, extent.last)
    if created == extent.created:
        return int((await connection.execute(_REPLAY_LOST, extent.last)).split()[-1])
    return 0 if created is None else await replay(connection, since=None)


async def replay(connection: Connection, *, since: datetime | None, known_for: float = 0.0) -> int:
    """Make published rows pending again, under the same ids; return how many.

    A stream that was not wiped takes an id that it has heard within the last `known_for` seconds for a repeat, and keeps nothing:
    such a row waits until that is over.
    """
    return int((await connection.execute(_REPLAY, since, known_for)).split()[-1])


_ANY = """
SELECT EXISTS (
    SELECT FROM outbox
    WHERE status IN ('PENDING', 'FAILED') AND (next_retry_at IS NULL OR next_retry_at <= clock_timestamp())
)
"""
_CLAIM = """
UPDATE relay_state
SET claims = claims + 1, published = published + $1, last_sequence = greatest(last_sequence, $2), updated_at = clock_timestamp()
RETURNING stream_created
"""
_NEXT = """
SELECT id, event_type, payload, created_at, traceparent
FROM outbox
WHERE status IN ('PENDING', 'FAILED') AND (next_retry_at IS NULL OR next_retry_at <= clock_timestamp())
ORDER BY id
LIMIT $1
"""
_MARK = """
UPDATE outbox SET status = 'PROCESSED', published_at = clock_timestamp(), stream_sequence = acked.sequence, error_message = NULL
FROM unnest($1::uuid[], $2::bigint[]) AS acked (id, sequence)
WHERE outbox.id = acked.id
"""
_REFUSE = """
UPDATE outbox
SET retry_count = retry_count + 1,
    status = CASE WHEN retry_count + 1 >= max_retries THEN 'DEAD' ELSE 'FAILED' END,
    next_retry_at = clock_timestamp() + interval '1 second' * power(2, retry_count),
    error_message = refused.reason
FROM unnest($1::uuid[], $2::text[]) AS refused (id, reason)
WHERE outbox.id = refused.id
"""
_KNOWN_STREAM = "SELECT stream_created, last_sequence FROM relay_state FOR UPDATE"
_REMEMBER_STREAM = "UPDATE relay_state SET stream_created = $1, last_sequence = $2"
_REPLAY = """
UPDATE outbox
SET status = 'PENDING', published_at = NULL, next_retry_at = nullif(published_at + make_interval(secs => $2), published_at)
WHERE status = 'PROCESSED' AND ($1::timestamptz IS NULL OR created_at >= $1)
"""
_REPLAY_LOST = """
UPDATE outbox SET status = 'PENDING', published_at = NULL, next_retry_at = NULL
WHERE status = 'PROCESSED' AND stream_sequence > $1
"""
