"""Keeping a table of offers (see `faceted`) and the stock that says which of them can be had now.

Both are locked in this order: stock by SKU, then offers. A product that comes and stock that is told of at the same moment meet
at the SKU's row in `stock`, so that neither misses the other.
"""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit import json
from careforall.kit.db import Connection


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What can be had: `terms` are its attributes as `name=value`; what is not `sellable` is never in stock."""

    product_id: UUID
    place: int
    sku: str | None
    name: str
    brand: str
    categories: tuple[str, ...]
    price: Decimal
    rating: Decimal
    sellable: bool
    in_stock: bool
    terms: tuple[str, ...]


async def store(connection: Connection, product_ids: Sequence[UUID], offers: Sequence[Offer]) -> None:
    """Replace the offers of products."""
    await connection.execute(_DELETE, list(product_ids))
    await connection.execute(_INSERT, json.encode(offers).decode())


async def lock_stock(connection: Connection, skus: Sequence[str]) -> dict[str, int]:
    """Return what is available of SKUs by what was said last, and let nobody say more before this transaction ends."""
    await connection.execute(_KNOW_SKUS, list(skus))  # a row to wait at, also of a SKU that is spoken of right now
    return _available(await connection.fetch(_AVAILABLE + " ORDER BY sku FOR SHARE", list(skus)))


async def available(connection: Connection, skus: Sequence[str]) -> dict[str, int]:
    """Return what is available of SKUs, by what was said last."""
    return _available(await connection.fetch(_AVAILABLE, list(skus)))


async def keep_stock(connection: Connection, facts: Sequence[tuple[str, int, int]]) -> int:
    """Keep (SKU, available, version) where newer than what is known; return how many offers came or went by it."""
    newest = {fact[0]: fact for fact in sorted(facts, key=lambda fact: fact[2])}
    skus = sorted(newest)
    await connection.execute(_KEEP, skus, [newest[sku][1] for sku in skus], [newest[sku][2] for sku in skus])
    return len(await connection.fetch(_SHOW, skus))


def _available(rows: Sequence[asyncpg.Record]) -> dict[str, int]:
    return {row["sku"]: row["available"] for row in rows}


_DELETE = "DELETE FROM offers WHERE product_id = ANY($1::uuid[])"
_INSERT = "INSERT INTO offers SELECT * FROM jsonb_populate_recordset(NULL::offers, $1::jsonb)"
_KNOW_SKUS = """
INSERT INTO stock (sku, available, version)
SELECT sku, 0, 0 FROM unnest($1::text[]) AS sku ORDER BY sku
ON CONFLICT (sku) DO NOTHING
"""
_AVAILABLE = "SELECT sku, available FROM stock WHERE sku = ANY($1::text[])"
_KEEP = """
INSERT INTO stock (sku, available, version)
SELECT * FROM unnest($1::text[], $2::integer[], $3::integer[]) ORDER BY 1
ON CONFLICT (sku) DO UPDATE SET available = excluded.available, version = excluded.version
WHERE stock.version < excluded.version
"""
_SHOW = """
UPDATE offers AS o
SET in_stock = stock.available > 0
FROM stock
WHERE stock.sku = ANY($1::text[]) AND o.sku = stock.sku AND o.sellable AND o.in_stock <> (stock.available > 0)
RETURNING o.product_id
"""
