"""The SQL of what is sold, as catalog tells: newer versions of a product replace all of its SKUs."""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection
from careforall.orders.domain import Item
from careforall.orders.records import columns_of

_NAMES = (
    *("sku", "product_id", "seller_id", "name", "price", "currency", "active", "sold_out", "shippable"),
    *("max_per_order", "reservation_policy", "version"),
)


async def items(connection: Connection, skus: Sequence[str]) -> dict[str, Item]:
    """Return what is sold under these SKUs; an unknown one is left out."""
    return {row["sku"]: Item(**row) for row in await connection.fetch(_ITEMS, list(skus))}


async def put(connection: Connection, products: Sequence[tuple[UUID, int]], found: Sequence[Item]) -> None:
    """Take over newer versions of products: SKUs a product has no more are sold no more."""
    rows = sorted(found, key=lambda item: item.sku)
    await connection.execute(_PUT, *columns_of(rows, _NAMES))
    await connection.execute(_CLOSE, [product for product, _ in products], [version for _, version in products])


_ITEMS = "SELECT @columns@ FROM sold_items WHERE sku = ANY($1::text[])".replace("@columns@", ", ".join(_NAMES))
_PUT = """
INSERT INTO sold_items (
    sku, product_id, seller_id, name, price, currency, active, sold_out, shippable, max_per_order, reservation_policy, version
)
SELECT *
FROM unnest(
    $1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::numeric[], $6::text[], $7::boolean[], $8::boolean[], $9::boolean[],
    $10::integer[], $11::text[], $12::integer[]
)
ON CONFLICT (sku) DO UPDATE
SET product_id = excluded.product_id, seller_id = excluded.seller_id, name = excluded.name, price = excluded.price,
    currency = excluded.currency, active = excluded.active, sold_out = excluded.sold_out,
    shippable = excluded.shippable, max_per_order = excluded.max_per_order, reservation_policy = excluded.reservation_policy,
    version = excluded.version
WHERE sold_items.product_id <> excluded.product_id OR sold_items.version < excluded.version
"""
_CLOSE = """
UPDATE sold_items i SET active = false, sold_out = false
FROM unnest($1::uuid[], $2::integer[]) AS n (product_id, version)
WHERE i.product_id = n.product_id AND i.version < n.version AND (i.active OR i.sold_out)
"""
