"""The SQL of disputes, which only gateways open and decide."""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection
from careforall.payments.records import Dispute, columns_of


async def disputes_of(connection: Connection, ids: Sequence[UUID]) -> list[Dispute]:
    """Return all disputes of payments, oldest first."""
    return [Dispute(**row) for row in await connection.fetch(_DISPUTES_OF, list(ids))]


async def put_disputes(connection: Connection, disputes: Sequence[Dispute]) -> None:
    """Write disputes as gateways tell of them."""
    await connection.execute(_PUT_DISPUTES, *columns_of(disputes, Dispute.__struct_fields__))


_DISPUTES_OF = """
SELECT id, intent_id, gateway, gateway_dispute_id, amount, status, parked, reason, opened_at, settled_at
FROM disputes
WHERE intent_id = ANY($1::uuid[])
ORDER BY id
"""
_PUT_DISPUTES = """
INSERT INTO disputes (id, intent_id, gateway, gateway_dispute_id, amount, status, parked, reason, opened_at, settled_at)
SELECT *
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::boolean[], $8::text[], $9::timestamptz[],
    $10::timestamptz[]
)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, parked = excluded.parked, settled_at = excluded.settled_at
"""
