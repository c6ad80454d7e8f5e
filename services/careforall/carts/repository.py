"""All SQL of the carts service. Every transaction takes idempotency keys first, then carts by id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.carts.domain import Cart, Goods
from careforall.contracts.carts import CartState
from careforall.kit import json
from careforall.kit.db import Connection
from careforall.kit.ids import by_id


class ProductFact(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a product."""

    product_id: UUID
    version: int
    name: str
    slug: str
    image_url: str
    status: str
    base_price: Any
    sale_price: Any
    currency: str
    reservation_policy: str
    max_per_order: int


class VariantFact(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a variant."""

    sku: str
    product_id: UUID
    attributes: dict[str, str]
    price_difference: Any
    active: bool


async def make_missing(connection: Connection, users: Sequence[UUID], ids: Sequence[UUID]) -> None:
    """Make carts for users that have no active one; `ids` are those of the new carts."""
    await connection.execute(_MAKE_OF_USERS, sorted(users, key=by_id), list(ids))


async def lock_carts(connection: Connection, users: Sequence[UUID], ids: Sequence[UUID], *, wait: bool = False) -> list[Cart]:
    """Lock and return the active carts of users and the carts of these ids, by id; without `wait` none that others hold."""
    return _carts(await connection.fetch(_LOCK_WAITING if wait else _LOCK, list(users), list(ids)))


async def find_carts(connection: Connection, users: Sequence[UUID], ids: Sequence[UUID]) -> list[Cart]:
    """Return the active carts of users and the carts of these ids."""
    return _carts(await connection.fetch(_FIND, list(users), list(ids)))


async def store_carts(connection: Connection, carts: Sequence[Cart]) -> dict[UUID, datetime]:
    """Store locked carts; return when."""
    ordered = sorted(carts, key=lambda cart: cart.id.int)
    rows = await connection.fetch(_STORE, json.encode(ordered).decode())
    return {row["id"]: row["updated_at"] for row in rows}


async def insert_carts(connection: Connection, carts: Sequence[Cart]) -> None:
    """Store new carts with what is in them; a repeat meets those that are there."""
    await connection.execute(_INSERT, json.encode(carts).decode())


async def abandon(connection: Connection, *, guest_days: int, user_days: int, limit: int) -> int:
    """Abandon carts that nobody has changed for long; return how many."""
    return len(await connection.fetch(_ABANDON, guest_days, user_days, limit))


async def states(connection: Connection) -> dict[CartState, int]:
    """Count carts by state."""
    return {row["state"]: row["count"] for row in await connection.fetch(_STATES)}


async def goods(connection: Connection, skus: Sequence[str]) -> dict[str, Goods]:
    """Return goods by SKU."""
    rows = await connection.fetch(_GOODS, list(set(skus)))
    return {row["sku"]: _goods(row) for row in rows}


async def coupons(connection: Connection, codes: Sequence[str]) -> dict[str, bool]:
    """Return whether the known ones of these coupons are active."""
    return {row["code"]: row["active"] for row in await connection.fetch(_COUPONS, list(set(codes)))}


async def now(connection: Connection) -> datetime:
    """Return the database's clock (rule 4)."""
    moment: datetime = await connection.fetchval(_NOW)
    return moment


async def keep_products(connection: Connection, products: Sequence[ProductFact]) -> set[UUID]:
    """Store products where they are newer than what is known; return those."""
    rows = await connection.fetch(_KEEP_PRODUCTS, json.encode(products).decode())
    return {row["product_id"] for row in rows}


async def keep_variants(connection: Connection, product_ids: Sequence[UUID], variants: Sequence[VariantFact]) -> None:
    """Replace the variants of products."""
    await connection.execute(_DROP_VARIANTS, list(product_ids), [one.sku for one in variants])
    await connection.execute(_KEEP_VARIANTS, json.encode(variants).decode())


async def keep_stock(connection: Connection, levels: Sequence[tuple[str, int, int]]) -> None:
    """Store (SKU, available, version) where newer than what is known."""
    await connection.execute(
        _KEEP_STOCK, [sku for sku, _, _ in levels], [left for _, left, _ in levels], [version for _, _, version in levels]
    )


async def keep_coupons(connection: Connection, told: Sequence[tuple[str, UUID, bool, int]]) -> None:
    """Store (code, id, active, version) where newer than what is known."""
    await connection.execute(
        _KEEP_COUPONS,
        [code for code, _, _, _ in told],
        [coupon_id for _, coupon_id, _, _ in told],
        [active for _, _, active, _ in told],
        [version for _, _, _, version in told],
    )


def _carts(rows: Sequence[asyncpg.Record]) -> list[Cart]:
    return [msgspec.json.decode(row["body"], type=Cart) for row in rows]


def _goods(row: asyncpg.Record) -> Goods:
    base, sale, difference = row["base_price"], row["sale_price"], row["price_difference"]
    price = (base if sale is None else min(base, sale)) + difference
    return Goods(
        sku=row["sku"],
        product_id=row["product_id"],
        name=row["name"],
        slug=row["slug"],
        image_url=row["image_url"],
        attributes=msgspec.json.decode(row["attributes"]),
        active=row["active"] and row["status"] != "INACTIVE",
        price=max(price, price * 0),
        currency=row["currency"],
        available=0 if row["status"] == "OUT_OF_STOCK" else row["available"],
        max_per_order=row["max_per_order"],
        reservation_policy=row["reservation_policy"],
    )


_MAKE_OF_USERS = """
INSERT INTO carts (id, user_id)
SELECT id, user_id FROM unnest($1::uuid[], $2::uuid[]) AS wanted (user_id, id)
WHERE NOT EXISTS (SELECT 1 FROM carts AS c WHERE c.user_id = wanted.user_id AND c.state = 'ACTIVE')
ORDER BY user_id
ON CONFLICT (user_id) WHERE state = 'ACTIVE' AND user_id IS NOT NULL DO NOTHING
"""
_FIND = """
SELECT to_jsonb(c)::text AS body FROM carts AS c WHERE user_id = ANY($1::uuid[]) AND state = 'ACTIVE'
UNION
SELECT to_jsonb(c)::text AS body FROM carts AS c WHERE id = ANY($2::uuid[])
"""
# One plan for all calls: see `kit/db.py`.
_LOCK_WAITING = """
SELECT to_jsonb(c)::text AS body FROM carts AS c
WHERE id IN (
    SELECT id FROM carts WHERE user_id = ANY((SELECT $1::uuid[])::uuid[]) AND state = 'ACTIVE'
    UNION
    SELECT id FROM unnest((SELECT $2::uuid[])) AS id
)
ORDER BY id
FOR UPDATE OF c
"""
_LOCK = f"{_LOCK_WAITING}SKIP LOCKED"
_STORE = """
UPDATE carts AS c
SET state = n.state, version = n.version, items = n.items, coupons = n.coupons, holds = n.holds, notes = n.notes,
    recent = n.recent, merged_into = n.merged_into, updated_at = clock_timestamp()
FROM jsonb_populate_recordset(NULL::carts, $1::jsonb) AS n
WHERE c.id = n.id
RETURNING c.id, c.updated_at
"""
_INSERT = """
INSERT INTO carts (id, user_id, version, items, coupons, holds, notes, recent)
SELECT id, user_id, version, items, coupons, holds, notes, recent
FROM jsonb_populate_recordset(NULL::carts, $1::jsonb)
ORDER BY id
ON CONFLICT (id) DO NOTHING
"""
_ABANDON = """
UPDATE carts SET state = 'ABANDONED', version = version + 1
WHERE id IN (
    SELECT id FROM carts
    WHERE state = 'ACTIVE'
      AND updated_at < clock_timestamp() - make_interval(days => CASE WHEN user_id IS NULL THEN $1::integer ELSE $2::integer END)
    ORDER BY id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING id
"""
_STATES = "SELECT state, count(*) AS count FROM carts GROUP BY state"
# One plan for all calls: see `kit/db.py`.
_GOODS = """
SELECT v.sku, v.product_id, v.attributes, v.price_difference, v.active, p.name, p.slug, p.image_url, p.status, p.base_price,
       p.sale_price, p.currency, p.reservation_policy, p.max_per_order, s.available
FROM variants AS v
JOIN products AS p USING (product_id)
LEFT JOIN stock_levels AS s USING (sku)
WHERE v.sku = ANY((SELECT $1::text[])::text[])
"""
_COUPONS = "SELECT code, active FROM coupons WHERE code = ANY($1::text[])"
_NOW = "SELECT clock_timestamp()"
_KEEP_PRODUCTS = """
INSERT INTO products SELECT * FROM jsonb_populate_recordset(NULL::products, $1::jsonb) ORDER BY product_id
ON CONFLICT (product_id) DO UPDATE
SET version = excluded.version, name = excluded.name, slug = excluded.slug, image_url = excluded.image_url,
    status = excluded.status, base_price = excluded.base_price, sale_price = excluded.sale_price, currency = excluded.currency,
    reservation_policy = excluded.reservation_policy, max_per_order = excluded.max_per_order
WHERE products.version < excluded.version
RETURNING product_id
"""
_DROP_VARIANTS = "DELETE FROM variants WHERE product_id = ANY($1::uuid[]) AND sku <> ALL($2::text[])"
_KEEP_VARIANTS = """
INSERT INTO variants SELECT * FROM jsonb_populate_recordset(NULL::variants, $1::jsonb) ORDER BY sku
ON CONFLICT (sku) DO UPDATE
SET product_id = excluded.product_id, attributes = excluded.attributes, price_difference = excluded.price_difference,
    active = excluded.active
"""
_KEEP_STOCK = """
INSERT INTO stock_levels (sku, available, version)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS told (sku, available, version)
ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET available = excluded.available, version = excluded.version
WHERE stock_levels.version < excluded.version
"""
_KEEP_COUPONS = """
INSERT INTO coupons (code, coupon_id, active, version)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::boolean[], $4::bigint[]) AS told (code, coupon_id, active, version)
ORDER BY code
ON CONFLICT (code) DO UPDATE SET coupon_id = excluded.coupon_id, active = excluded.active, version = excluded.version
WHERE coupons.version < excluded.version
"""
