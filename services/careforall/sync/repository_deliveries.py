"""All SQL of what is on its way to targets: one row a customer and target, of which only the newest version is carried."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.kit.ids import new_id
from careforall.sync.domain import Call, Content, Customer, Delivery, EventType, Verdict

_CONTENT = msgspec.json.Decoder(Content)
_CALL = msgspec.json.Decoder(Call)


async def want(
    connection: Connection, targets: Sequence[str], customer: Customer, event_type: EventType, tries: int, traceparent: str | None
) -> None:
    """Have the newest version carried to each target that has a row, and to the given ones, in the trace of its change."""
    ids = [new_id() for _ in targets]
    await connection.execute(_ADD, ids, customer.id, list(targets), event_type, customer.version, tries, traceparent)
    await connection.execute(_WANT, customer.id, event_type, customer.version, traceparent)


async def of_customer(connection: Connection, customer_id: UUID, target: str) -> Delivery | None:
    """Lock and return a customer's delivery."""
    row = await connection.fetchrow(f"{_DELIVERY} WHERE aggregate_id = $1 AND target = $2 FOR UPDATE", customer_id, target)
    return _delivery(row) if row else None


async def customer_of(connection: Connection, target: str, external_id: str) -> UUID | None:
    """Return whose image an object is."""
    found: UUID | None = await connection.fetchval(_OWNER, target, external_id)
    return found


async def take_over(connection: Connection, delivery: Delivery, version: int, content: Content | None, at: datetime) -> None:
    """Note that the target holds a version by its own word, so that nothing is carried back."""
    await connection.execute(_TAKE_OVER, delivery.id, version, _text(content), at)


async def forget(connection: Connection, delivery: Delivery, traceparent: str | None) -> None:
    """Note that the target has lost its object: the waiting version is to be created anew, in the trace of who said so."""
    await connection.execute(_FORGET, delivery.id, traceparent)


async def due(connection: Connection, target: str, limit: int) -> list[Delivery]:
    """Lock and return what may be carried now; what another worker holds is left to it."""
    return [_delivery(row) for row in await connection.fetch(_DUE, target, limit)]


async def lease(connection: Connection, calls: Sequence[tuple[Delivery, Call]], seconds: float) -> None:
    """Note the calls about to be made, for so long that nobody else makes them meanwhile."""
    rows = [(delivery.id, msgspec.json.encode(call).decode(), call.version, call.number, seconds) for delivery, call in calls]
    await connection.executemany(_LEASE, rows)


async def settle_idle(connection: Connection, deliveries: Sequence[Delivery], versions: Sequence[int]) -> None:
    """Note that nothing is to be done: what was deleted had never been carried."""
    await connection.executemany(_IDLE, [(one.id, version) for one, version in zip(deliveries, versions, strict=True)])


async def settle(connection: Connection, verdicts: Sequence[Verdict]) -> set[UUID]:
    """Note what came of calls and return whose lease still held."""
    rows = [msgspec.to_builtins(one) | {"carried": _text(one.carried), "payload": _call_text(one.payload)} for one in verdicts]
    found = await connection.fetch(_SETTLE, msgspec.json.encode(rows).decode())
    return {row["id"] for row in found}


async def adopt(connection: Connection, target: str, tries: int, limit: int) -> int:
    """Queue customers that a target has not heard of yet, such as from before it was set up; return how many."""
    rows = await connection.fetch(_UNHEARD_OF, target, limit)
    ids = [new_id() for _ in rows]
    await connection.execute(_ADOPT, ids, [row["id"] for row in rows], [row["version"] for row in rows], target, tries)
    return len(rows)


async def backlog(connection: Connection, target: str) -> tuple[int, float]:
    """Return how many changes were given up on, and the age of the oldest that waits."""
    row = await connection.fetchrow(_BACKLOG, target)
    assert row is not None
    return row["dead"], row["oldest"]


def _text(content: Content | None) -> str | None:
    return msgspec.json.encode(content).decode() if content else None


def _call_text(call: Call | None) -> str | None:
    return msgspec.json.encode(call).decode() if call else None


def _delivery(row: Any) -> Delivery:
    fields = dict(row)
    fields["carried"] = _CONTENT.decode(fields["carried"]) if fields["carried"] else None
    fields["payload"] = _CALL.decode(fields["payload"]) if fields["payload"] else None
    return Delivery(**fields)


_DELIVERY = """
SELECT id, aggregate_id, version, carried_version, noted_version, carried, external_id, payload, keyed_version, key_number,
       attempt, retry_count, max_retries, told_at, traceparent,
       coalesce(called_at < clock_timestamp() - interval '20 hours', false) AS old
FROM deliveries
"""
_ADD = """
INSERT INTO deliveries (id, aggregate_id, target, event_type, version, max_retries, traceparent)
SELECT id, $2, target, $4, $5, $6, $7 FROM unnest($1::uuid[], $3::text[]) AS wanted (id, target)
ON CONFLICT (aggregate_id, target) DO NOTHING
"""
# A row that waits already keeps its place and its back-off: many changes must not hammer a target that fails.
_WANT = """
UPDATE deliveries
SET event_type = $2,
    version = $3,
    traceparent = $4,
    created_at = CASE WHEN status = 'PROCESSED' THEN clock_timestamp() ELSE created_at END,
    retry_count = CASE WHEN status IN ('PROCESSED', 'DEAD') THEN 0 ELSE retry_count END,
    next_retry_at = CASE WHEN status IN ('PROCESSED', 'DEAD') THEN NULL ELSE next_retry_at END,
    status = CASE WHEN status = 'FAILED' THEN status ELSE 'PENDING' END
WHERE aggregate_id = $1 AND version < $3
"""
_OWNER = "SELECT aggregate_id FROM deliveries WHERE target = $1 AND external_id = $2"
_TAKE_OVER = """
UPDATE deliveries
SET version = $2,
    carried_version = $2,
    carried = $3::jsonb,
    told_at = $4,
    external_id = CASE WHEN $3 IS NULL THEN NULL ELSE external_id END,
    event_type = CASE WHEN $3 IS NULL THEN 'customer.deleted' ELSE 'customer.updated' END,
    status = 'PROCESSED',
    processed_at = clock_timestamp(),
    error_message = NULL,
    next_retry_at = NULL
WHERE id = $1
"""
_FORGET = """
UPDATE deliveries
SET external_id = NULL, carried = NULL, carried_version = 0, noted_version = 0, status = 'PENDING', traceparent = $2
WHERE id = $1
"""
_DUE = (
    _DELIVERY
    + """
WHERE target = $1
  AND status IN ('PENDING', 'FAILED')
  AND (next_retry_at IS NULL OR next_retry_at <= clock_timestamp())
  AND (leased_until IS NULL OR leased_until <= clock_timestamp())
ORDER BY next_retry_at NULLS FIRST, id
LIMIT $2
FOR UPDATE SKIP LOCKED
"""
)
_LEASE = """
UPDATE deliveries
SET payload = $2::jsonb,
    keyed_version = $3,
    key_number = $4,
    called_at = coalesce(called_at, clock_timestamp()),
    attempt = attempt + 1,
    leased_until = clock_timestamp() + make_interval(secs => $5)
WHERE id = $1
"""
_IDLE = """
UPDATE deliveries
SET carried_version = $2,
    noted_version = $2,
    carried = NULL,
    status = CASE WHEN version = $2 THEN 'PROCESSED' ELSE 'PENDING' END,
    processed_at = clock_timestamp(),
    error_message = NULL
WHERE id = $1
"""
_SETTLE = """
UPDATE deliveries AS d
SET external_id = CASE WHEN v.forget OR (v.done AND v.carried IS NULL) THEN NULL ELSE coalesce(v.external_id, d.external_id) END,
    carried = CASE WHEN v.done OR v.forget THEN v.carried::jsonb ELSE d.carried END,
    carried_version = CASE WHEN v.done THEN v.version WHEN v.forget THEN 0 ELSE d.carried_version END,
    noted_version = CASE WHEN v.done THEN v.version WHEN v.forget THEN 0 ELSE d.noted_version END,
    payload = v.payload::jsonb,
    called_at = CASE WHEN v.payload IS NULL OR v.renewed THEN NULL ELSE d.called_at END,
    leased_until = NULL,
    status = CASE WHEN d.version > v.version AND v.payload IS NULL THEN 'PENDING' ELSE v.status END,
    retry_count = CASE WHEN v.done THEN 0 WHEN v.counted THEN d.retry_count + 1 ELSE d.retry_count END,
    next_retry_at = CASE WHEN v.delay > 0 THEN clock_timestamp() + make_interval(secs => v.delay) END,
    error_message = v.error,
    processed_at = CASE WHEN v.done THEN clock_timestamp() ELSE d.processed_at END
FROM jsonb_to_recordset($1::jsonb) AS v (
    id uuid, attempt bigint, version integer, status text, done boolean, forget boolean, external_id text, carried text,
    payload text, renewed boolean, counted boolean, delay double precision, error text
)
WHERE d.id = v.id AND d.attempt = v.attempt + 1
RETURNING d.id
"""
_UNHEARD_OF = """
SELECT id, version
FROM customers
WHERE deleted_at IS NULL AND NOT EXISTS (SELECT FROM deliveries WHERE aggregate_id = customers.id AND target = $1)
ORDER BY id
LIMIT $2
"""
_ADOPT = """
INSERT INTO deliveries (id, aggregate_id, target, event_type, version, max_retries)
SELECT id, customer_id, $4, 'customer.created', version, $5
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS unheard_of (id, customer_id, version)
ON CONFLICT (aggregate_id, target) DO NOTHING
"""
_BACKLOG = """
SELECT (SELECT count(*) FROM deliveries WHERE target = $1 AND status = 'DEAD') AS dead,
       coalesce((SELECT extract(epoch FROM clock_timestamp() - min(created_at))
                 FROM deliveries WHERE target = $1 AND status IN ('PENDING', 'FAILED')), 0)::float8 AS oldest
"""
