"""The SQL of refunds that staff or services order; what gateways say of them is written by `repository.write`."""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection
from careforall.payments.records import Refund, columns_of


async def refunds_of(connection: Connection, ids: Sequence[UUID]) -> list[Refund]:
    """Return all refunds of several payments."""
    return [Refund(**row) for row in await connection.fetch(_REFUNDS_OF, list(ids))]


async def refunds(connection: Connection, identifier: UUID) -> list[Refund]:
    """Return all refunds of a payment."""
    return [Refund(**row) for row in await connection.fetch(_REFUNDS, identifier)]


async def claim_refund(connection: Connection, refund: Refund, lease_seconds: float) -> bool:
    """Insert an ordered refund; False where its key is known."""
    row = await connection.fetchval(
        _CLAIM_REFUND,
        refund.id,
        refund.intent_id,
        refund.gateway,
        refund.amount,
        refund.reason,
        refund.requested_by,
        refund.request_key,
        refund.request_hash,
        lease_seconds,
    )
    return bool(row)


async def refund_by_key(connection: Connection, key: str) -> Refund | None:
    """Return the refund ordered under a key, touching it (rule 2)."""
    row = await connection.fetchrow(_REFUND_BY_KEY, key)
    return Refund(**row) if row else None


async def lease_refund(connection: Connection, identifier: UUID, seconds: float) -> bool:
    """Take a pending refund that nobody works on."""
    return bool(await connection.fetchval(_LEASE_REFUND, identifier, seconds))


async def release_refund(connection: Connection, identifier: UUID) -> None:
    """Let go of a refund that stays pending: whoever repeats the order may try at once."""
    await connection.execute(_RELEASE_REFUND, identifier)


async def due_refunds(connection: Connection, seconds: float, limit: int) -> list[Refund]:
    """Take pending refunds whose time has come and on which nobody works; each further try waits twice as long."""
    return [Refund(**row) for row in await connection.fetch(_DUE_REFUNDS, seconds, limit)]


async def keep_refund_answer(connection: Connection, identifier: UUID, answer: bytes) -> None:
    """Keep the bytes that repeats of the order get."""
    await connection.execute(_KEEP_ANSWER, identifier, answer)


async def put_refunds(connection: Connection, refunds: Sequence[Refund]) -> None:
    """Write refunds as gateways tell of them."""
    await connection.execute(_PUT_REFUNDS, *columns_of(refunds, _REFUND_COLUMNS))


_REFUND_COLUMNS = (
    *("id", "intent_id", "gateway", "gateway_refund_id", "amount", "status", "parked", "reason"),
    *("requested_by", "request_key", "unapplied", "gateway_object"),
)
_PUT_REFUNDS = """
INSERT INTO refunds (
    id, intent_id, gateway, gateway_refund_id, amount, status, parked, reason, requested_by, request_key, unapplied,
    gateway_object, settled_at
)
SELECT n.*, CASE WHEN n.status <> 'PENDING' THEN clock_timestamp() END
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::boolean[], $8::text[], $9::text[],
    $10::text[], $11::boolean[], $12::text[]
) AS n (
    id, intent_id, gateway, gateway_refund_id, amount, status, parked, reason, requested_by, request_key, unapplied,
    gateway_object
)
ON CONFLICT (id) DO UPDATE
SET gateway_refund_id = coalesce(excluded.gateway_refund_id, refunds.gateway_refund_id), status = excluded.status,
    parked = excluded.parked, settled_at = coalesce(refunds.settled_at, excluded.settled_at)
"""
_REFUNDS_OF = """
SELECT id, intent_id, gateway, gateway_refund_id, amount, status, parked, reason, requested_by, request_key, request_hash,
       answer, unapplied, gateway_object, tries, created_at, settled_at
FROM refunds
WHERE intent_id = ANY($1::uuid[])
ORDER BY id
"""

_REFUNDS = """
SELECT id, intent_id, gateway, gateway_refund_id, amount, status, parked, reason, requested_by, request_key, request_hash,
       answer, unapplied, gateway_object, tries, created_at, settled_at
FROM refunds
WHERE intent_id = $1
ORDER BY id
"""

_CLAIM_REFUND = """
INSERT INTO refunds (
    id, intent_id, gateway, amount, status, reason, requested_by, request_key, request_hash, lease_until, retry_at
)
SELECT $1, $2, $3, $4, 'PENDING', $5, $6, $7, $8, soon, soon
FROM (SELECT clock_timestamp() + make_interval(secs => $9)) AS lease (soon)
ON CONFLICT (request_key) DO NOTHING
RETURNING true
"""

_REFUND_BY_KEY = """
UPDATE refunds SET tries = tries WHERE request_key = $1
RETURNING id, intent_id, gateway, gateway_refund_id, amount, status, parked, reason, requested_by, request_key, request_hash,
       answer, unapplied, gateway_object, tries, created_at, settled_at
"""

_LEASE_REFUND = """
UPDATE refunds
SET lease_until = soon, retry_at = soon, tries = tries + 1
FROM (SELECT clock_timestamp() + make_interval(secs => $2)) AS lease (soon)
WHERE id = $1 AND status = 'PENDING' AND lease_until <= clock_timestamp()
RETURNING true
"""

_RELEASE_REFUND = """
UPDATE refunds SET lease_until = clock_timestamp() WHERE id = $1 AND status = 'PENDING'
"""

_DUE_REFUNDS = """
UPDATE refunds r
SET lease_until = clock_timestamp() + make_interval(secs => $1),
    retry_at = clock_timestamp() + make_interval(secs => $1 * power(2, least(r.tries, 6))), tries = r.tries + 1
FROM (
    SELECT id FROM refunds
    WHERE status = 'PENDING' AND retry_at <= (SELECT clock_timestamp()) AND lease_until <= (SELECT clock_timestamp())
    ORDER BY retry_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due
WHERE r.id = due.id
RETURNING r.id, r.intent_id, r.gateway, r.gateway_refund_id, r.amount, r.status, r.parked, r.reason, r.requested_by,
       r.request_key, r.request_hash, r.answer, r.unapplied, r.gateway_object, r.tries, r.created_at, r.settled_at
"""

_KEEP_ANSWER = "UPDATE refunds SET answer = $2 WHERE id = $1 AND answer IS NULL"
