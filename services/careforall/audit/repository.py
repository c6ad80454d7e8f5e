"""All SQL of the audit log and its chain."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from careforall.audit.domain import AuditEvent, Link
from careforall.audit.signing import SignedHead
from careforall.kit.db import Connection, Database


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to list; None is any."""

    event_type: str | None = None
    aggregate_id: UUID | None = None
    correlation_id: str | None = None


async def append(connection: Connection, events: Sequence[AuditEvent]) -> set[UUID]:
    """Store events in id order and return the ids of those that were not there."""
    ordered = sorted(events, key=lambda event: event.event_id.int)
    rows = await connection.fetch(
        _APPEND,
        [event.event_id for event in ordered],
        [event.batch_id for event in ordered],
        [event.event_type for event in ordered],
        [event.version for event in ordered],
        [event.aggregate_id for event in ordered],
        [event.aggregate_version for event in ordered],
        [event.occurred_at for event in ordered],
        [event.correlation_id for event in ordered],
        [event.source for event in ordered],
        [event.trace_id for event in ordered],
        [event.body for event in ordered],
        [event.commitment for event in ordered],
        [event.salt for event in ordered],
        [event.personal for event in ordered],
        [event.person for event in ordered],
    )
    return {row["event_id"] for row in rows}


async def hold_chain(connection: Connection) -> tuple[Link | None, datetime]:
    """Become the chain's one writer until this transaction ends; return its head and the time under the lock."""
    await connection.execute(_WAIT)
    await connection.execute(_LOCK)
    row = await connection.fetchrow(_HEAD)
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return (_link(row) if row else None), now


async def add_link(connection: Connection, link: Link) -> None:
    """Store a link; the caller holds the chain."""
    await connection.execute(
        _ADD_LINK, link.number, link.batch_id, link.count, link.root, link.previous, link.hash, link.created_at
    )


async def erased(connection: Connection, people: Sequence[bytes]) -> dict[bytes, datetime]:
    """Return when people were erased."""
    rows = await connection.fetch(_ERASED, sorted(set(people)))
    return {row["person"]: row["erased_at"] for row in rows}


async def note_erasures(connection: Connection, people: dict[bytes, datetime]) -> None:
    """Remember who was erased, and when."""
    ordered = sorted(people)
    await connection.execute(_NOTE_ERASURES, ordered, [people[person] for person in ordered])


async def erase(connection: Connection) -> int:
    """Take the personal parts out of all events from before their person's erasure; return how many."""
    return int((await connection.execute(_ERASE)).split()[-1])


async def head(database: Database) -> Link | None:
    """Return the newest link."""
    row = await database.fetchrow(_HEAD)
    return _link(row) if row else None


async def link(database: Database, number: int) -> Link | None:
    """Return one link."""
    row = await database.fetchrow(_LINK, number)
    return _link(row) if row else None


async def link_of_batch(database: Database, batch_id: UUID) -> Link | None:
    """Return the link of a batch."""
    row = await database.fetchrow(_LINK_OF_BATCH, batch_id)
    return _link(row) if row else None


async def links(database: Database, first: int, count: int) -> list[Link]:
    """Return links from a number on, in order."""
    return [_link(row) for row in await database.fetch(_LINKS, first, count)]


async def events_of_batches(database: Database, batches: Sequence[UUID]) -> list[AuditEvent]:
    """Return the events of batches."""
    return [_event(row) for row in await database.fetch(_OF_BATCHES, batches)]


async def event(database: Database, identifier: UUID) -> AuditEvent | None:
    """Return one event."""
    row = await database.fetchrow(_EVENT, identifier)
    return _event(row) if row else None


async def events(database: Database, wanted: Filter, before: UUID | None, limit: int) -> list[AuditEvent]:
    """Return events, newest first."""
    rows = await database.fetch(_EVENTS, wanted.event_type, wanted.aggregate_id, wanted.correlation_id, before, limit)
    return [_event(row) for row in rows]


async def export_head(connection: Connection, head: SignedHead) -> bool:
    """Keep the signed head of a day; False when the day has one."""
    link = head.link
    return bool(await connection.fetchval(_EXPORT, head.day, link.number, link.hash, head.signature, head.public_key))


async def mark(database: Database, name: str) -> str | None:
    """Return how far a verification came."""
    row = await database.fetchrow(_MARK, name)
    return row["reached"] if row else None


async def set_mark(connection: Connection, name: str, reached: str) -> None:
    """Remember how far a verification came."""
    await connection.execute(_SET_MARK, name, reached)


async def keep_report(connection: Connection, identifier: UUID, ok: bool, digest: str, report: str) -> None:  # noqa: FBT001 - a column
    """Keep what a verification found; good ones are kept for a week."""
    await connection.execute(_KEEP_REPORT, identifier, ok, digest, report)
    await connection.execute(_SWEEP_REPORTS)


async def newest_report(database: Database) -> str | None:
    """Return the newest report as JSON."""
    row = await database.fetchrow(_NEWEST_REPORT)
    return row["report"] if row else None


def _link(row: asyncpg.Record) -> Link:
    return Link(**row)


def _event(row: asyncpg.Record) -> AuditEvent:
    return AuditEvent(**row)


_APPEND = """
INSERT INTO audit_events (
    event_id, batch_id, event_type, version, aggregate_id, aggregate_version, occurred_at, correlation_id, source, trace_id, body,
    commitment, salt, personal, person
)
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::uuid[], $6::bigint[], $7::timestamptz[], $8::text[], $9::text[],
    $10::text[], $11::bytea[], $12::bytea[], $13::bytea[], $14::bytea[], $15::bytea[]
)
ON CONFLICT (event_id) DO NOTHING
RETURNING event_id
"""
# Waiting one's turn is no failure of a message: only the statement time-out bounds it, which counts as an absent database.
_WAIT = "SET LOCAL lock_timeout = 0"
_LOCK = "SELECT pg_advisory_xact_lock(1096107849)"
_HEAD = """
SELECT number, batch_id, count, root, previous, hash, created_at FROM audit_links ORDER BY number DESC LIMIT 1
"""
_ADD_LINK = """
INSERT INTO audit_links (number, batch_id, count, root, previous, hash, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_ERASED = "SELECT person, erased_at FROM audit_erasures WHERE person = ANY($1::bytea[])"
_NOTE_ERASURES = """
INSERT INTO audit_erasures (person, erased_at)
SELECT * FROM unnest($1::bytea[], $2::timestamptz[])
ON CONFLICT (person) DO UPDATE SET erased_at = greatest(audit_erasures.erased_at, excluded.erased_at)
"""
_ERASE = """
UPDATE audit_events
SET salt = NULL, personal = NULL, person = NULL
FROM audit_erasures
WHERE audit_events.person = audit_erasures.person AND audit_events.occurred_at <= audit_erasures.erased_at
"""
_LINK = "SELECT number, batch_id, count, root, previous, hash, created_at FROM audit_links WHERE number = $1"
_LINK_OF_BATCH = "SELECT number, batch_id, count, root, previous, hash, created_at FROM audit_links WHERE batch_id = $1"
_LINKS = """
SELECT number, batch_id, count, root, previous, hash, created_at FROM audit_links WHERE number >= $1 ORDER BY number LIMIT $2
"""
_OF_BATCHES = """
SELECT event_id, batch_id, event_type, version, aggregate_id, aggregate_version, occurred_at, correlation_id, source, trace_id,
       body, commitment, salt, personal, person
FROM audit_events
WHERE batch_id = ANY($1::uuid[])
"""
_EVENT = """
SELECT event_id, batch_id, event_type, version, aggregate_id, aggregate_version, occurred_at, correlation_id, source, trace_id,
       body, commitment, salt, personal, person
FROM audit_events
WHERE event_id = $1
"""
_EVENTS = """
SELECT event_id, batch_id, event_type, version, aggregate_id, aggregate_version, occurred_at, correlation_id, source, trace_id,
       body, commitment, salt, personal, person
FROM audit_events
WHERE ($1::text IS NULL OR event_type = $1)
  AND ($2::uuid IS NULL OR aggregate_id = $2)
  AND ($3::text IS NULL OR correlation_id = $3)
  AND ($4::uuid IS NULL OR event_id < $4)
ORDER BY event_id DESC
LIMIT $5
"""
_EXPORT = """
INSERT INTO audit_heads (day, number, hash, signature, public_key)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (day) DO NOTHING
RETURNING true
"""
_MARK = "SELECT reached FROM verification_marks WHERE name = $1"
_SET_MARK = """
INSERT INTO verification_marks (name, reached) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET reached = excluded.reached, updated_at = clock_timestamp()
"""
_KEEP_REPORT = "INSERT INTO verification_reports (id, ok, hash, report) VALUES ($1, $2, $3, $4::jsonb)"
_SWEEP_REPORTS = "DELETE FROM verification_reports WHERE ok AND created_at < clock_timestamp() - interval '7 days'"
_NEWEST_REPORT = "SELECT report FROM verification_reports ORDER BY id DESC LIMIT 1"
