"""The SQL by which buyers are forgotten. Sagas and orders are locked first, in id order, and read by a second look."""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection


async def note(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Remember who is to be forgotten."""
    await connection.execute(_NOTE, list(user_ids))


async def unsettled(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """Return buyers of whom something may be left, by id."""
    return [row["user_id"] for row in await connection.fetch(_UNSETTLED, after, limit)]


async def empty_sagas(connection: Connection, user_ids: Sequence[UUID], limit: int) -> int:
    """Take the person out of sagas and return of how many; whoever has one in mind finds out that it went on."""
    found = [row["id"] for row in await connection.fetch(_LOCK_SAGAS, list(user_ids), limit)]
    await connection.execute(_EMPTY_SAGAS, found)
    return len(found)


async def empty_orders(connection: Connection, user_ids: Sequence[UUID], return_days: int, limit: int) -> int:
    """Take the person out of orders and return of how many; open ones keep where they go and why they come back."""
    found = [row["id"] for row in await connection.fetch(_LOCK_ORDERS, list(user_ids), return_days, limit)]
    await connection.execute(_EMPTY_ORDERS, found, return_days)
    await connection.execute(_EMPTY_RETURNS, found)
    return len(found)


async def settle(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Note of whom nothing is left, a day after their erasure: what was being written then has come by now."""
    await connection.execute(_SETTLE, list(user_ids))


_NOTE = "INSERT INTO erased_buyers (user_id) SELECT unnest($1::uuid[]) ON CONFLICT (user_id) DO NOTHING"
_UNSETTLED = "SELECT user_id FROM erased_buyers WHERE settled_at IS NULL AND user_id > $1 ORDER BY user_id LIMIT $2"

# An open saga keeps where its order will go and the means of payment; one that was called off may quote its buyer.
_NAMING = """(
    CASE
        WHEN s.lease_until IS NULL THEN ARRAY['email', 'billing_address', 'shipping_address', 'card', 'refund_reason']
        ELSE ARRAY['email', 'billing_address']
    END
)"""
_QUOTING = """(
    s.lease_until IS NULL AND s.payload #>> '{saga,cancelled}' = 'true' AND s.payload #>> '{saga,ending}' <> 'cancelled'
)"""
_LOCK_SAGAS = """
SELECT s.id
FROM saga_state AS s
WHERE s.user_id = ANY($1::uuid[]) AND (s.payload -> 'sale' ?| @naming@ OR @quoting@)
ORDER BY s.id
LIMIT $2
FOR UPDATE
""".replace("@naming@", _NAMING).replace("@quoting@", _QUOTING)
_EMPTY_SAGAS = """
UPDATE saga_state AS s
SET payload = s.payload
        || jsonb_build_object('sale', (s.payload -> 'sale') - @naming@)
        || CASE WHEN @quoting@ THEN jsonb_build_object('saga', s.payload -> 'saga' || '{"ending": "cancelled"}') ELSE '{}' END,
    epoch = s.epoch + 1, version = s.version + 1, updated_at = clock_timestamp()
WHERE s.id = ANY($1::uuid[])
""".replace("@naming@", _NAMING).replace("@quoting@", _QUOTING)

_ENDED = """(
    o.status IN ('FAILED', 'CANCELLED', 'RETURNED', 'REFUNDED')
    OR (
        o.status = 'DELIVERED' AND coalesce(o.delivered_at, o.updated_at) < statement_timestamp() - make_interval(days => $2)
        AND NOT EXISTS (SELECT FROM order_returns r WHERE r.order_id = o.id AND r.status IN ('PENDING', 'APPROVED'))
    )
)"""
_LOCK_ORDERS = """
SELECT o.id
FROM orders AS o
WHERE o.user_id = ANY($1::uuid[]) AND o.erased_at IS NULL AND (o.email <> '' OR o.billing_address IS NOT NULL OR @ended@)
ORDER BY o.id
LIMIT $3
FOR UPDATE
""".replace("@ended@", _ENDED)
_EMPTY_ORDERS = """
UPDATE orders AS o
SET email = '',
    billing_address = NULL,
    shipping_address = CASE WHEN @ended@ THEN NULL ELSE o.shipping_address END,
    reason = CASE WHEN o.status = 'CANCELLED' THEN '' ELSE o.reason END,
    erased_at = CASE WHEN @ended@ THEN clock_timestamp() END
WHERE o.id = ANY($1::uuid[])
""".replace("@ended@", _ENDED)
_EMPTY_RETURNS = """
UPDATE order_returns AS r
SET note = ''
FROM orders AS o
WHERE r.order_id = ANY($1::uuid[]) AND r.note <> '' AND o.id = r.order_id AND o.erased_at IS NOT NULL
"""
_SETTLE = """
UPDATE erased_buyers AS b
SET settled_at = clock_timestamp()
WHERE b.user_id = ANY($1::uuid[])
  AND b.erased_at < clock_timestamp() - interval '1 day'
  AND NOT EXISTS (SELECT FROM orders AS o WHERE o.user_id = b.user_id AND o.erased_at IS NULL)
  AND NOT EXISTS (
      SELECT FROM saga_state AS s
      WHERE s.user_id = b.user_id AND (s.lease_until IS NOT NULL OR s.payload -> 'sale' ?| @naming@ OR @quoting@)
  )
""".replace("@naming@", _NAMING).replace("@quoting@", _QUOTING)
