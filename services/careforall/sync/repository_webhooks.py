"""All SQL of deliveries to endpoints. An endpoint's row is locked before its deliveries."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.sync import repository_endpoints
from careforall.sync.domain_webhooks import Delivery, Draft, Post, Verdict


async def add(connection: Connection, drafts: Sequence[Draft]) -> int:
    """Store deliveries, of each event one to an endpoint; what is there already stays as it is. Return how many are new."""
    if not drafts:
        return 0
    columns: Sequence[list[Any]] = (
        [one.id for one in drafts],
        [one.endpoint_id for one in drafts],
        [one.event_number for one in drafts],
        [one.event_id for one in drafts],
        [one.event_type for one in drafts],
        [one.test_body for one in drafts],
        [one.traceparent for one in drafts],
    )
    return int((await connection.execute(_ADD, *columns)).split()[-1])


async def claim(connection: Connection, busy: Mapping[UUID, int], *, at_once: int, seconds: float) -> list[Post]:
    """Lease what is due, of each endpoint as many as it has places free; what another worker holds is left to it."""
    rows = await connection.fetch(_CLAIM, list(busy), list(busy.values()), at_once, seconds)
    salts: dict[UUID, list[bytes]] = defaultdict(list)
    for secret in await repository_endpoints.secrets(connection, list({row["endpoint_id"] for row in rows})):
        salts[secret.endpoint_id].append(secret.salt)
    return [Post(**row, salts=tuple(salts[row["endpoint_id"]])) for row in rows]


async def settle(connection: Connection, verdicts: Sequence[Verdict]) -> set[UUID]:
    """Note what came of posts and return whose lease still held."""
    rows = await connection.fetch(_SETTLE, msgspec.json.encode(verdicts).decode())
    return {row["id"] for row in rows}


async def end(connection: Connection, endpoint_ids: Sequence[UUID] | None, limit: int) -> int:
    """End some waiting deliveries of disabled endpoints, of all or of the given ones; return how many."""
    return int((await connection.execute(_END, endpoint_ids, limit)).split()[-1])


async def deliveries(
    connection: Connection, endpoint_id: UUID, status: str | None, before: UUID | None, limit: int
) -> list[Delivery]:
    """Return deliveries to an endpoint, newest first."""
    rows = await connection.fetch(f"{_DELIVERIES} {_LISTED}", endpoint_id, status, before, limit)
    return [Delivery(**row) for row in rows]


async def again(connection: Connection, endpoint_id: UUID, delivery_id: UUID, traceparent: str | None) -> Delivery | None:
    """Give a delivery another life, beginning now, in the trace of who asked for it."""
    await connection.execute(_AGAIN, endpoint_id, delivery_id, traceparent)
    row = await connection.fetchrow(f"{_DELIVERIES} WHERE endpoint_id = $1 AND id = $2", endpoint_id, delivery_id)
    return Delivery(**row) if row else None


async def missing(
    connection: Connection, endpoint_id: UUID, *, after: int, until: int, limit: int
) -> tuple[int, list[tuple[int, UUID, str]]]:
    """Return how far a bite of events reaches, and those in it that no delivery to an endpoint was made of."""
    rows = await connection.fetch(_MISSING, endpoint_id, after, until, limit)
    found = [(row["number"], row["event_id"], row["event_type"]) for row in rows if not row["there"]]
    return (rows[-1]["number"] if len(rows) == limit else until), found


async def revive(connection: Connection, endpoint_id: UUID, *, after: int, until: int) -> None:
    """Give deliveries that were given up on or ended another life."""
    await connection.execute(_REVIVE, endpoint_id, after, until)


async def stored_before(connection: Connection, moment: datetime) -> int:
    """Return the last number that was given before a moment."""
    number: int = await connection.fetchval(_STORED_BEFORE, moment)
    return number


async def backlog(connection: Connection) -> tuple[float, float, int]:
    """Return how long the oldest delivery waits, for how long the most overdue is due, and how many were given up on."""
    row = await connection.fetchrow(_BACKLOG)
    assert row is not None
    return row["oldest"], row["overdue"], row["dead"]


_DELIVERIES = """
SELECT id, event_id, event_type, event_number IS NULL AS test, status, attempt AS attempts, next_retry_at, status_code,
       error_message, created_at, processed_at
FROM webhook_deliveries
"""
_ADD = """
INSERT INTO webhook_deliveries (id, endpoint_id, event_number, event_id, event_type, test_body, traceparent)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::bytea[], $7::text[])
ON CONFLICT (event_number, endpoint_id) DO NOTHING
"""
_CLAIM = """
WITH due AS (
    SELECT due.id, endpoint.url, endpoint.version, coalesce(due.test_body, event.body) AS body
    FROM webhook_endpoints AS endpoint
    LEFT JOIN unnest($1::uuid[], $2::integer[]) AS busy (endpoint_id, posts) ON busy.endpoint_id = endpoint.id
    CROSS JOIN LATERAL (
        SELECT id, event_number, test_body
        FROM webhook_deliveries
        WHERE endpoint_id = endpoint.id AND status IN ('PENDING', 'FAILED') AND next_retry_at <= clock_timestamp()
        ORDER BY next_retry_at, id
        LIMIT greatest($3 - coalesce(busy.posts, 0), 0)
        FOR UPDATE SKIP LOCKED
    ) AS due
    LEFT JOIN webhook_events AS event ON event.number = due.event_number
    WHERE endpoint.enabled AND endpoint.deleted_at IS NULL
)
UPDATE webhook_deliveries AS delivery
SET attempt = attempt + 1, next_retry_at = clock_timestamp() + make_interval(secs => $4)
FROM due
WHERE delivery.id = due.id
RETURNING delivery.id, endpoint_id, due.version AS endpoint_version, due.url, event_id, due.body, attempt, retry_count,
          traceparent
"""
# What ended while it was posted is told how that went, and never waits again.
_SETTLE = """
UPDATE webhook_deliveries AS delivery
SET status = verdict.status,
    retry_count = retry_count + CASE WHEN verdict.status = 'PROCESSED' THEN 0 ELSE 1 END,
    next_retry_at = clock_timestamp() + make_interval(secs => verdict.delay),
    status_code = verdict.status_code,
    error_message = verdict.error,
    processed_at = CASE WHEN verdict.status = 'PROCESSED' THEN clock_timestamp() ELSE processed_at END
FROM jsonb_to_recordset($1::jsonb) AS verdict (
    id uuid, attempt bigint, status text, delay double precision, status_code integer, error text
)
WHERE delivery.id = verdict.id
  AND delivery.attempt = verdict.attempt
  AND (delivery.status IN ('PENDING', 'FAILED') OR (delivery.status = 'ENDED' AND verdict.status <> 'FAILED'))
RETURNING delivery.id
"""
_END = """
UPDATE webhook_deliveries
SET status = 'ENDED', error_message = 'the endpoint was disabled'
WHERE id IN (
    SELECT delivery.id
    FROM webhook_endpoints AS endpoint
    JOIN webhook_deliveries AS delivery ON delivery.endpoint_id = endpoint.id
    WHERE NOT endpoint.enabled
      AND ($1::uuid[] IS NULL OR endpoint.id = ANY($1))
      AND delivery.status IN ('PENDING', 'FAILED')
    LIMIT $2
    FOR UPDATE OF delivery SKIP LOCKED
)
"""
_LISTED = """
WHERE endpoint_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
"""
_AGAIN = """
UPDATE webhook_deliveries
SET status = 'PENDING', retry_count = 0, next_retry_at = clock_timestamp(), error_message = NULL, traceparent = $3
WHERE endpoint_id = $1 AND id = $2
"""
_MISSING = """
SELECT number, event.event_id, event.event_type, delivery.id IS NOT NULL AS there
FROM webhook_events AS event
LEFT JOIN webhook_deliveries AS delivery ON delivery.event_number = event.number AND delivery.endpoint_id = $1
WHERE number > $2 AND number <= $3
ORDER BY number
LIMIT $4
"""
_REVIVE = """
UPDATE webhook_deliveries
SET status = 'PENDING', retry_count = 0, next_retry_at = clock_timestamp(), error_message = NULL
WHERE endpoint_id = $1 AND event_number > $2 AND event_number <= $3 AND status IN ('DEAD', 'ENDED')
"""
_STORED_BEFORE = """
SELECT coalesce(
    (SELECT number FROM webhook_events WHERE stored_at < $1 ORDER BY stored_at DESC, number DESC LIMIT 1),
    (SELECT pruned FROM webhook_sequence)
)
"""
_BACKLOG = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(oldest.created_at)), 0)::float8 AS oldest,
       greatest(coalesce(extract(epoch FROM clock_timestamp() - min(soonest.next_retry_at)), 0), 0)::float8 AS overdue,
       (SELECT count(*) FROM webhook_deliveries WHERE status = 'DEAD') AS dead
FROM webhook_endpoints AS endpoint
LEFT JOIN LATERAL (
    SELECT created_at
    FROM webhook_deliveries
    WHERE endpoint_id = endpoint.id AND status IN ('PENDING', 'FAILED')
    ORDER BY id
    LIMIT 1
) AS oldest ON true
LEFT JOIN LATERAL (
    SELECT next_retry_at
    FROM webhook_deliveries
    WHERE endpoint_id = endpoint.id AND status IN ('PENDING', 'FAILED')
    ORDER BY next_retry_at
    LIMIT 1
) AS soonest ON true
WHERE endpoint.enabled
"""
OLD_DELIVERIES = """
DELETE FROM webhook_deliveries
WHERE id IN (SELECT id FROM webhook_deliveries WHERE event_number <= $1 ORDER BY event_number LIMIT $2)
"""
OLD_TESTS = """
DELETE FROM webhook_deliveries
WHERE id IN (SELECT id FROM webhook_deliveries WHERE event_number IS NULL AND id < $1 ORDER BY id LIMIT $2)
"""
