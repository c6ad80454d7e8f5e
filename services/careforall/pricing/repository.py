"""SQL about what is sold and the rules of prices. Coupons and what checkouts hold are in `repository_coupons`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from careforall.kit import json
from careforall.kit.db import Connection
from careforall.pricing.domain import (
    ZERO,
    Offer,
    Product,
    ProductVariant,
    Promotion,
    Rulebook,
    ShippingRate,
    StockLevel,
    TaxRate,
    ordered,
)

Rule = Promotion | TaxRate | ShippingRate
R = TypeVar("R", Promotion, TaxRate, ShippingRate)


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """What is sold at one moment, and by which version of the rules."""

    rules: int
    now: datetime
    offers: Mapping[str, Offer]


async def keep_products(connection: Connection, products: Sequence[Product]) -> set[UUID]:
    """Store products where they are newer than what is known; return those."""
    rows = await connection.fetch(
        _KEEP_PRODUCTS,
        [one.product_id for one in products],
        [one.version for one in products],
        [one.name for one in products],
        [json.encode(one.category_path).decode() for one in products],
        [one.seller_id for one in products],
        [one.status for one in products],
        [one.base_price for one in products],
        [one.sale_price for one in products],
        [one.currency for one in products],
        [one.tax_category for one in products],
        [one.shippable for one in products],
    )
    return {row["product_id"] for row in rows}


async def keep_variants(connection: Connection, product_ids: Sequence[UUID], variants: Sequence[ProductVariant]) -> None:
    """Replace the variants of products."""
    await connection.execute(_DROP_VARIANTS, list(product_ids), [one.sku for one in variants])
    await connection.execute(
        _KEEP_VARIANTS,
        [one.sku for one in variants],
        [one.product_id for one in variants],
        [one.price_difference for one in variants],
        [one.active for one in variants],
    )


async def keep_stock(connection: Connection, levels: Sequence[StockLevel]) -> None:
    """Store stock levels where they are newer than what is known."""
    await connection.execute(
        _KEEP_STOCK, [one.sku for one in levels], [one.available for one in levels], [one.version for one in levels]
    )


async def count_demand(connection: Connection, sold: Sequence[tuple[str, datetime, int]]) -> None:
    """Add units to the hours in which they were sold; each SKU and hour once."""
    await connection.execute(
        _COUNT_DEMAND, [sku for sku, _, _ in sold], [hour for _, hour, _ in sold], [units for _, _, units in sold]
    )


async def forget_demand(connection: Connection, hours: int) -> None:
    """Forget hours at which no rule looks any more."""
    await connection.execute(_FORGET_DEMAND, hours)


async def shelf(connection: Connection, skus: Sequence[str]) -> Shelf:
    """Return what is known of SKUs, with the version of the rules and the database's clock (rule 4), by one statement."""
    rows = await connection.fetch(_SHELF, list(set(skus)))
    offers = {row["sku"]: _offer(row) for row in rows if row["sku"] is not None}
    return Shelf(rules=rows[0]["rules"], now=rows[0]["now"], offers=offers)


async def rulebook(connection: Connection) -> Rulebook:
    """Return all rules of one moment, by one statement."""
    row = await connection.fetchrow(_RULEBOOK)
    assert row is not None
    return Rulebook(
        version=row["version"],
        promotions=ordered(msgspec.json.decode(row["promotions"], type=list[Promotion])),
        tax_rates=msgspec.json.decode(row["tax_rates"], type=tuple[TaxRate, ...]),
        shipping_rates=msgspec.json.decode(row["shipping_rates"], type=tuple[ShippingRate, ...]),
    )


async def open_rulebook(connection: Connection) -> None:
    """Let nobody else change rules before this transaction ends, and count up their version."""
    await connection.execute(_OPEN_RULEBOOK)


async def put_rule(connection: Connection, rule: Rule) -> None:
    """Store a rule in place of its former version, if any; the rulebook is open."""
    store, drop = _RULES[type(rule)]
    await connection.execute(drop, rule.id)
    await connection.execute(store, json.encode(rule).decode())


async def drop_rule(connection: Connection, rule: Rule) -> None:
    """Remove a rule; the rulebook is open."""
    await connection.execute(_RULES[type(rule)][1], rule.id)


async def demand(connection: Connection, skus: Sequence[str], hours: int) -> dict[str, list[tuple[datetime, int]]]:
    """Return the units of SKUs that were sold in each of the last hours."""
    sold: dict[str, list[tuple[datetime, int]]] = {}
    for row in await connection.fetch(_DEMAND, list(set(skus)), hours):
        sold.setdefault(row["sku"], []).append((row["hour"], row["units"]))
    return sold


async def now(connection: Connection) -> datetime:
    """Return the database's clock (rule 4)."""
    moment: datetime = await connection.fetchval(_NOW)
    return moment


def _offer(row: Any) -> Offer:
    difference, sale = row["price_difference"], row["sale_price"]
    return Offer(
        sku=row["sku"],
        name=row["name"],
        category_path=tuple(row["category_path"]),
        seller_id=row["seller_id"],
        active=row["active"] and row["status"] != "INACTIVE",
        base_price=max(row["base_price"] + difference, ZERO),
        sale_price=max(sale + difference, ZERO) if sale is not None else None,
        currency=row["currency"],
        tax_category=row["tax_category"],
        shippable=row["shippable"],
        available=row["available"],
    )


_KEEP_PRODUCTS = """
INSERT INTO products (
    product_id, version, name, category_path, seller_id, status, base_price, sale_price, currency, tax_category, shippable
)
SELECT product_id, version, name, ARRAY(SELECT jsonb_array_elements_text(category_path)), seller_id, status, base_price,
       sale_price, currency, tax_category, shippable
FROM unnest(
    $1::uuid[], $2::bigint[], $3::text[], $4::jsonb[], $5::uuid[], $6::text[], $7::numeric[], $8::numeric[], $9::text[],
    $10::text[], $11::boolean[]
) AS told (
    product_id, version, name, category_path, seller_id, status, base_price, sale_price, currency, tax_category, shippable
)
ORDER BY product_id
ON CONFLICT (product_id) DO UPDATE
SET version = excluded.version, name = excluded.name, category_path = excluded.category_path, seller_id = excluded.seller_id,
    status = excluded.status, base_price = excluded.base_price, sale_price = excluded.sale_price, currency = excluded.currency,
    tax_category = excluded.tax_category, shippable = excluded.shippable, updated_at = clock_timestamp()
WHERE products.version < excluded.version
RETURNING product_id
"""
_DROP_VARIANTS = "DELETE FROM variants WHERE product_id = ANY($1::uuid[]) AND sku <> ALL($2::text[])"
_KEEP_VARIANTS = """
INSERT INTO variants (sku, product_id, price_difference, active)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::numeric[], $4::boolean[]) AS told (sku, product_id, price_difference, active)
ORDER BY sku
ON CONFLICT (sku) DO UPDATE
SET product_id = excluded.product_id, price_difference = excluded.price_difference, active = excluded.active
"""
_KEEP_STOCK = """
INSERT INTO stock_levels (sku, available, version)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS told (sku, available, version)
ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET available = excluded.available, version = excluded.version
WHERE stock_levels.version < excluded.version
"""
_COUNT_DEMAND = """
INSERT INTO demand (sku, hour, units)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bigint[]) AS sold (sku, hour, units)
ORDER BY sku, hour
ON CONFLICT (sku, hour) DO UPDATE SET units = demand.units + excluded.units
"""
_FORGET_DEMAND = "DELETE FROM demand WHERE hour < clock_timestamp() - make_interval(hours => $1)"
_DEMAND = """
SELECT sku, hour, units
FROM demand
WHERE sku = ANY($1::text[]) AND hour >= (SELECT clock_timestamp()) - make_interval(hours => $2)
ORDER BY sku, hour
"""
_RULEBOOK = """
SELECT version,
       (SELECT coalesce(jsonb_agg(p), '[]') FROM promotions AS p) AS promotions,
       (SELECT coalesce(jsonb_agg(t ORDER BY id), '[]') FROM tax_rates AS t) AS tax_rates,
       (SELECT coalesce(jsonb_agg(s ORDER BY id), '[]') FROM shipping_rates AS s) AS shipping_rates
FROM rulebook
"""
_OPEN_RULEBOOK = "UPDATE rulebook SET version = version + 1"
_RULES: dict[type[Rule], tuple[str, str]] = {
    Promotion: (
        "INSERT INTO promotions SELECT * FROM jsonb_populate_record(NULL::promotions, $1::jsonb)",
        "DELETE FROM promotions WHERE id = $1",
    ),
    TaxRate: (
        "INSERT INTO tax_rates SELECT * FROM jsonb_populate_record(NULL::tax_rates, $1::jsonb)",
        "DELETE FROM tax_rates WHERE id = $1",
    ),
    ShippingRate: (
        "INSERT INTO shipping_rates SELECT * FROM jsonb_populate_record(NULL::shipping_rates, $1::jsonb)",
        "DELETE FROM shipping_rates WHERE id = $1",
    ),
}
"""How each kind of rule is stored (from the row as JSON) and removed."""
# One plan for all calls: see `kit/db.py`.
_SHELF = """
SELECT r.version AS rules, clock_timestamp() AS now, o.*
FROM rulebook AS r
LEFT JOIN (
    SELECT v.sku, v.price_difference, v.active, p.name, p.category_path, p.seller_id, p.status, p.base_price, p.sale_price,
           p.currency, p.tax_category, p.shippable, s.available
    FROM variants AS v
    JOIN products AS p USING (product_id)
    LEFT JOIN stock_levels AS s USING (sku)
    WHERE v.sku = ANY((SELECT $1::text[])::text[])
) AS o ON true
"""
_NOW = "SELECT clock_timestamp()"
