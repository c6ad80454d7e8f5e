"""Reads and repairs of a service's plumbing, behind the operations endpoints: outbox, inbox, dead letters, database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit import outbox
from careforall.kit.context import current
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Event
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of messages; ages in seconds; rates between 0 and 1."""

    processed: int
    pending: int
    failed: int
    dead: int
    success_rate: float
    failure_rate: float
    oldest_age: float


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits to be published."""

    id: UUID
    event_type: str
    aggregate_id: UUID
    status: str
    retry_count: int
    created_at: datetime
    next_retry_at: datetime | None
    error_message: str | None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message given up on: on its way out by the relay (outbox) or another way (a queue named in `consumer`), or coming in."""

    id: UUID
    kind: Literal["outbox", "queue", "inbox"]
    event_type: str
    consumer: str | None
    aggregate_id: UUID | None
    reason: str
    attempts: int
    created_at: datetime


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters of a service, newest first."""

    events: list[DeadLetter]
    count: int


class AdminAction(Event, frozen=True, kw_only=True):
    """Staff did what no other event tells of; goes into the audit log under `<service>.admin_action`."""

    action: str
    actor: UUID
    target: str


class Operations:
    """The plumbing of one service's database as staff see it.

    Args:
        publishes: Whether the service has a stream: only then it can tell the audit log.
        queues: Tables with the columns of an outbox whose rows leave by another way.
    """

    def __init__(self, service: str, database: Database, *, publishes: bool = True, queues: Sequence[str] = ()) -> None:
        self.service = service
        self.database = database
        self._publishes = publishes
        self._tables = ("outbox", *queues)

    async def outbox_statistics(self) -> Statistics:
        """Count outbox rows by state."""
        return _statistics(await self.database.fetchrow(self._over(_OUTBOX_STATISTICS)))

    async def inbox_statistics(self) -> Statistics:
        """Count received messages and dead letters."""
        return _statistics(await self.database.fetchrow(_INBOX_STATISTICS))

    async def pending(self, limit: int) -> list[Pending]:
        """Return the oldest unpublished events."""
        return [Pending(**row) for row in await self.database.fetch(self._over(_PENDING), limit)]

    async def dead_letters(self, limit: int) -> DeadLetters:
        """Return what was given up on."""
        rows = await self.database.fetch(self._over(_DEAD), limit)
        count = await self.database.fetchrow(self._over(_COUNT_DEAD))
        return DeadLetters(events=[DeadLetter(**row) for row in rows], count=count["count"] if count else 0)

    async def retry(self, identifier: UUID, actor: UUID) -> bool:
        """Give a dead letter another life; False when there is none with this id."""

        async def work(connection: Connection) -> bool:
            retries = (*(_RETRY.replace("TABLE", table) for table in self._tables), _RETRY_INBOX)
            found = any([await connection.fetchval(statement, identifier) for statement in retries])
            if found:
                await self._note(connection, "outbox.retry", actor, str(identifier))
            return found

        return await self.database.run(work)

    async def discard(self, identifier: UUID, actor: UUID) -> bool:
        """Settle an inbox dead letter without applying it; False when there is none with this id."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(_DISCARD, identifier)
            if found:
                await self._note(connection, "outbox.discard", actor, str(identifier))
            return bool(found)

        return await self.database.run(work)

    async def process(self, actor: UUID) -> int:
        """Make everything that waits for a retry due now; the commit wakes the relay. Return how many rows waited."""

        async def work(connection: Connection) -> int:
            for table in self._tables:
                await connection.execute(_DUE_NOW.replace("TABLE", table))
            waiting = int(await connection.fetchval(self._over(_COUNT_PENDING)))
            await self._note(connection, "outbox.process", actor, self.service)
            return waiting

        return await self.database.run(work)

    def _over(self, statement: str) -> str:
        """Return a statement over the rows of all tables of outgoing messages."""
        rows = (
            _ROWS.replace("TABLE", table).replace("KIND", "outbox" if table == "outbox" else "queue") for table in self._tables
        )
        return f"WITH outgoing AS ({' UNION ALL '.join(rows)})" + statement

    async def _note(self, connection: Connection, action: str, actor: UUID, target: str) -> None:
        if not self._publishes:
            return
        await outbox.insert(connection, [admin_action(self.service, action, actor, target)])


def admin_action(service: str, action: str, actor: UUID, target: str) -> Outgoing:
    """Return what the audit log hears of a thing that staff did."""
    return outbox.outgoing(
        AdminAction(action=action, actor=actor, target=target),
        aggregate_id=actor,
        aggregate_version=0,
        source=service,
        cause=current(),
        event_id=new_id(),
        subject=f"{service}.admin_action",
    )


def _statistics(row: object) -> Statistics:
    counts = dict(row)  # type: ignore[call-overload]  # asyncpg's Record is a mapping its stubs do not declare
    total = counts["processed"] + counts["failed"] + counts["dead"]
    bad = (counts["failed"] + counts["dead"]) / total if total else 0.0
    return Statistics(**counts, success_rate=1 - bad, failure_rate=bad)


_ROWS = """
SELECT id, 'KIND' AS kind, CASE WHEN 'KIND' = 'queue' THEN 'TABLE' END AS consumer, event_type, aggregate_id, status, retry_count,
       created_at, next_retry_at, error_message
FROM TABLE
"""
_OUTBOX_STATISTICS = """
SELECT count(*) FILTER (WHERE status = 'PROCESSED') AS processed,
       count(*) FILTER (WHERE status = 'PENDING') AS pending,
       count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status = 'DEAD') AS dead,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE status IN ('PENDING', 'FAILED'))), 0)::float8
           AS oldest_age
FROM outgoing
"""
_INBOX_STATISTICS = """
SELECT (SELECT count(*) FROM inbox) AS processed,
       (SELECT count(*) FROM dead_letters WHERE status = 'RETRY') AS pending,
       (SELECT count(*) FROM message_failures) AS failed,
       (SELECT count(*) FROM dead_letters WHERE status = 'DEAD') AS dead,
       coalesce(
           (SELECT extract(epoch FROM clock_timestamp() - min(created_at)) FROM dead_letters WHERE status = 'DEAD'), 0
       )::float8 AS oldest_age
"""
_PENDING = """
SELECT id, event_type, aggregate_id, status, retry_count, created_at, next_retry_at, error_message
FROM outgoing
WHERE status IN ('PENDING', 'FAILED')
ORDER BY id
LIMIT $1
"""
_DEAD = """
SELECT id, kind, event_type, consumer, aggregate_id, coalesce(error_message, '') AS reason, retry_count AS attempts, created_at
FROM outgoing
WHERE status = 'DEAD'
UNION ALL
SELECT id, 'inbox', event_type, consumer, aggregate_id, reason, attempts, created_at
FROM dead_letters
WHERE status = 'DEAD'
ORDER BY created_at DESC
LIMIT $1
"""
_COUNT_DEAD = """
SELECT (SELECT count(*) FROM outgoing WHERE status = 'DEAD') + (SELECT count(*) FROM dead_letters WHERE status = 'DEAD') AS count
"""
_RETRY = """
UPDATE TABLE SET status = 'PENDING', retry_count = 0, next_retry_at = NULL WHERE id = $1 AND status = 'DEAD' RETURNING true
"""
_RETRY_INBOX = "UPDATE dead_letters SET status = 'RETRY' WHERE id = $1 AND status = 'DEAD' RETURNING true"
_DISCARD = """
UPDATE dead_letters SET status = 'DISCARDED', settled_at = clock_timestamp() WHERE id = $1 AND status = 'DEAD' RETURNING true
"""
_DUE_NOW = "UPDATE TABLE SET next_retry_at = NULL WHERE status = 'FAILED'"
_COUNT_PENDING = " SELECT count(*) FROM outgoing WHERE status IN ('PENDING', 'FAILED')"
