"""Reads and repairs of a service's plumbing, behind the operations endpoints: outbox, inbox, dead letters, database."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit import outbox
from careforall.kit.context import current
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Event
from careforall.kit.ids import new_id


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
    """A message given up on: on its way out (outbox) or coming in (inbox)."""

    id: UUID
    kind: Literal["outbox", "inbox"]
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
    """Staff used an operations endpoint; goes into the audit log under `<service>.admin_action`."""

    action: str
    actor: UUID
    target: str


class Operations:
    """The plumbing of one service's database as staff see it; only a service with a stream can tell the audit log."""

    def __init__(self, service: str, database: Database, *, publishes: bool = True) -> None:
        self.service = service
        self.database = database
        self._publishes = publishes

    async def outbox_statistics(self) -> Statistics:
        """Count outbox rows by state."""
        return _statistics(await self.database.fetchrow(_OUTBOX_STATISTICS))

    async def inbox_statistics(self) -> Statistics:
        """Count received messages and dead letters."""
        return _statistics(await self.database.fetchrow(_INBOX_STATISTICS))

    async def pending(self, limit: int) -> list[Pending]:
        """Return the oldest unpublished events."""
        return [Pending(**row) for row in await self.database.fetch(_PENDING, limit)]

    async def dead_letters(self, limit: int) -> DeadLetters:
        """Return what was given up on."""
        rows = await self.database.fetch(_DEAD, limit)
        count = await self.database.fetchrow(_COUNT_DEAD)
        return DeadLetters(events=[DeadLetter(**row) for row in rows], count=count["count"] if count else 0)

    async def retry(self, identifier: UUID, actor: UUID) -> bool:
        """Give a dead letter another life; False when there is none with this id."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(_RETRY_OUTBOX, identifier) or await connection.fetchval(_RETRY_INBOX, identifier)
            if found:
                await self._note(connection, "outbox.retry", actor, str(identifier))
            return bool(found)

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
        """Make everything that waits for a retry due now; the commit wakes the relay. Return how many rows wait."""

        async def work(connection: Connection) -> int:
            await self._note(connection, "outbox.process", actor, self.service)
            await connection.execute(_DUE_NOW)
            return int(await connection.fetchval(_COUNT_PENDING))

        return await self.database.run(work)

    async def _note(self, connection: Connection, action: str, actor: UUID, target: str) -> None:
        if not self._publishes:
            return
        row = outbox.outgoing(
            AdminAction(action=action, actor=actor, target=target),
            aggregate_id=actor,
            aggregate_version=0,
            source=self.service,
            cause=current(),
            event_id=new_id(),
            subject=f"{self.service}.admin_action",
        )
        await outbox.insert(connection, [row])


def _statistics(row: object) -> Statistics:
    counts = dict(row)  # type: ignore[call-overload]  # asyncpg's Record is a mapping its stubs do not declare
    total = counts["processed"] + counts["failed"] + counts["dead"]
    bad = (counts["failed"] + counts["dead"]) / total if total else 0.0
    return Statistics(**counts, success_rate=1 - bad, failure_rate=bad)


_OUTBOX_STATISTICS = """
SELECT count(*) FILTER (WHERE status = 'PROCESSED') AS processed,
       count(*) FILTER (WHERE status = 'PENDING') AS pending,
       count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status = 'DEAD') AS dead,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE status IN ('PENDING', 'FAILED'))), 0)::float8
           AS oldest_age
FROM outbox
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
FROM outbox
WHERE status IN ('PENDING', 'FAILED')
ORDER BY id
LIMIT $1
"""
_DEAD = """
SELECT id, 'outbox' AS kind, event_type, NULL AS consumer, aggregate_id, coalesce(error_message, '') AS reason,
       retry_count AS attempts, created_at
FROM outbox
WHERE status = 'DEAD'
UNION ALL
SELECT id, 'inbox', event_type, consumer, aggregate_id, reason, attempts, created_at
FROM dead_letters
WHERE status = 'DEAD'
ORDER BY created_at DESC
LIMIT $1
"""
_COUNT_DEAD = """
SELECT (SELECT count(*) FROM outbox WHERE status = 'DEAD') + (SELECT count(*) FROM dead_letters WHERE status = 'DEAD') AS count
"""
_RETRY_OUTBOX = """
UPDATE outbox SET status = 'PENDING', retry_count = 0, next_retry_at = NULL WHERE id = $1 AND status = 'DEAD' RETURNING true
"""
_RETRY_INBOX = "UPDATE dead_letters SET status = 'RETRY' WHERE id = $1 AND status = 'DEAD' RETURNING true"
_DISCARD = """
UPDATE dead_letters SET status = 'DISCARDED', settled_at = clock_timestamp() WHERE id = $1 AND status = 'DEAD' RETURNING true
"""
_DUE_NOW = "UPDATE outbox SET next_retry_at = NULL WHERE status = 'FAILED'"
_COUNT_PENDING = "SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'FAILED')"
