"""The SQL of webhook events: their keys, stored answers and raw bodies."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from careforall.kit.db import Connection
from careforall.payments.records import EventRow, columns_of

Key = tuple[str, str]
"""A gateway and the dedupe key of an event."""


async def touch_events(connection: Connection, keys: Sequence[Key]) -> dict[Key, EventRow]:
    """Return known events; touching them makes this COMMIT prove the first one durable (rule 2)."""
    ordered = sorted(set(keys))
    rows = await connection.fetch(_TOUCH_EVENTS, [key[0] for key in ordered], [key[1] for key in ordered])
    return {(row["gateway"], row["dedupe_key"]): EventRow(**row) for row in rows}


async def insert_events(connection: Connection, events: Sequence[EventRow], bodies: Sequence[tuple[UUID, str, bytes]]) -> int:
    """Keep raw bodies and insert events with their answers; fewer than given means that another process was first with a key."""
    rows = sorted(events, key=lambda event: (event.gateway, event.dedupe_key))
    raw = [[row[index] for row in bodies] for index in range(3)]
    inserted = await connection.fetchval(_INSERT_EVENTS, *columns_of(rows, EventRow.__struct_fields__), *raw)
    return int(inserted)


async def early_events(connection: Connection, ids: Sequence[UUID]) -> list[Any]:
    """Return the kept events of intents that are just being created, oldest first, with their bodies."""
    return await connection.fetch(_EARLY_EVENTS, list(ids))


async def settle_events(connection: Connection, events: Sequence[EventRow]) -> None:
    """Write outcome and answer of events that had been early."""
    names = ("gateway", "dedupe_key", "outcome", "reason", "http_status", "answer")
    await connection.execute(_SETTLE_EVENTS, *columns_of(events, names))


# One plan for all calls: see `kit/db.py`.
_TOUCH_EVENTS = """
UPDATE webhook_events e
SET copies = e.copies + 1
FROM unnest((SELECT $1::text[]), $2::text[]) AS k (gateway, dedupe_key)
WHERE e.gateway = k.gateway AND e.dedupe_key = k.dedupe_key
RETURNING e.gateway, e.dedupe_key, e.id, e.body_hash, e.event_type, e.payment_id, e.outcome, e.reason, e.http_status,
       e.answer,
          e.event_time
"""

_INSERT_EVENTS = """
WITH inserted AS (
    INSERT INTO webhook_events (
        gateway, dedupe_key, id, body_hash, event_type, payment_id, outcome, reason, http_status, answer, event_time
    )
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::uuid[], $4::bytea[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::smallint[],
        $10::bytea[], $11::timestamptz[]
    )
    ON CONFLICT (gateway, dedupe_key) DO NOTHING
    RETURNING true
), kept AS (
    INSERT INTO webhook_bodies (id, gateway, body)
    SELECT * FROM unnest($12::uuid[], $13::text[], $14::bytea[])
)
SELECT count(*) FROM inserted
"""

_EARLY_EVENTS = """
SELECT e.gateway, e.dedupe_key, e.id, e.body_hash, e.event_type, e.payment_id, b.body, e.received_at
FROM webhook_events e
JOIN webhook_bodies b ON b.id = e.id
WHERE e.payment_id = ANY($1::uuid[]) AND e.outcome = 'EARLY'
ORDER BY e.id
FOR NO KEY UPDATE OF e
"""

_SETTLE_EVENTS = """
UPDATE webhook_events e
SET outcome = n.outcome, reason = n.reason, http_status = n.http_status, answer = n.answer
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bytea[])
    AS n (gateway, dedupe_key, outcome, reason, http_status, answer)
WHERE e.gateway = n.gateway AND e.dedupe_key = n.dedupe_key
"""
