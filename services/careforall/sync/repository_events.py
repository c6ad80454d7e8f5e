"""All SQL of the events that integrators hear. The row of `webhook_sequence` is locked before anything else of webhooks."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.sync.domain_webhooks import KEPT_DAYS, PublicEvent, StoredEvent, Stretch


async def lock(connection: Connection) -> int:
    """Become the one who numbers events and changes endpoints until this transaction ends; return the last number."""
    last: int = await connection.fetchval(_LOCK)
    return last


async def append(connection: Connection, events: Sequence[tuple[PublicEvent, bytes]]) -> dict[UUID, int]:
    """Store events that are not there yet, in order, and return their numbers by id; the caller holds the lock."""
    rows = await connection.fetch(
        _APPEND,
        [event.id for event, _ in events],
        [event.type for event, _ in events],
        [event.object_id for event, _ in events],
        [body for _, body in events],
    )
    return {row["event_id"]: row["number"] for row in rows}


async def read(connection: Connection, after: int, types: Sequence[str], limit: int) -> tuple[int, Stretch]:
    """Return the number up to which events were forgotten, and events after a number, of all types or of the given ones."""
    statement, arguments = (_READ_OF_TYPES, [after, limit, list(types)]) if types else (_READ, [after, limit])
    rows = await connection.fetch(statement, *arguments)
    events = [StoredEvent(number=row["number"], body=row["body"]) for row in rows if row["number"] is not None]
    newest = rows[0]["last"]
    reached = events[-1].number if len(events) == limit else newest
    return rows[0]["pruned"], Stretch(events=events, reached=reached, newest=newest)


async def forget_place(connection: Connection) -> int:
    """Note up to which number events are older than they are kept, so that readers are told before one is gone; return it."""
    pruned: int = await connection.fetchval(_FORGET_PLACE, KEPT_DAYS)
    return pruned


def encoded(event: PublicEvent) -> bytes:
    """Return an event as it is sent."""
    return msgspec.json.encode(event)


_LOCK = "SELECT last FROM webhook_sequence FOR UPDATE"
_APPEND = """
WITH fresh AS (
    SELECT given.*, (SELECT last FROM webhook_sequence) + row_number() OVER (ORDER BY place) AS number
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[]) WITH ORDINALITY
        AS given (event_id, event_type, object_id, body, place)
    WHERE NOT EXISTS (SELECT FROM webhook_events AS known WHERE known.event_id = given.event_id)
), counted AS (
    UPDATE webhook_sequence SET last = last + (SELECT count(*) FROM fresh)
)
INSERT INTO webhook_events (number, event_id, event_type, object_id, body)
SELECT number, event_id, event_type, object_id, body
FROM fresh
RETURNING event_id, number
"""
# One statement, so one snapshot: what is said to be the last was looked at. No row but the place where nothing is found.
_READ = """
SELECT pruned, last, number, body
FROM webhook_sequence
LEFT JOIN LATERAL (
    SELECT number, body FROM webhook_events WHERE number > greatest($1, pruned) ORDER BY number LIMIT $2
) AS events ON true
ORDER BY number
"""
_READ_OF_TYPES = """
SELECT pruned, last, number, body
FROM webhook_sequence
LEFT JOIN LATERAL (
    SELECT one.number, one.body
    FROM unnest($3::text[]) AS wanted (event_type)
    CROSS JOIN LATERAL (
        SELECT number, body
        FROM webhook_events
        WHERE webhook_events.event_type = wanted.event_type AND number > greatest($1, pruned)
        ORDER BY number
        LIMIT $2
    ) AS one
    ORDER BY number
    LIMIT $2
) AS events ON true
ORDER BY number
"""
_FORGET_PLACE = """
UPDATE webhook_sequence
SET pruned = greatest(
    pruned,
    (SELECT number
     FROM webhook_events
     WHERE stored_at < clock_timestamp() - make_interval(days => $1)
     ORDER BY stored_at DESC
     LIMIT 1)
)
RETURNING pruned
"""
OLD_EVENTS = """
DELETE FROM webhook_events WHERE number IN (SELECT number FROM webhook_events WHERE number <= $1 ORDER BY number LIMIT $2)
"""
