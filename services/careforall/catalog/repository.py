"""SQL of products, variants, images and offers. Rows travel as one JSON document each way, so that many cost what one costs."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.catalog.domain import Image, Product, Variant
from careforall.kit import json
from careforall.kit.db import Connection, Database
from careforall.kit.ids import by_id

_variants = msgspec.json.Decoder(tuple[Variant, ...]).decode
_images = msgspec.json.Decoder(tuple[Image, ...]).decode
_attributes = msgspec.json.Decoder(dict[str, str]).decode


class TakenSku(msgspec.Struct, frozen=True, kw_only=True):
    """Which variant has a SKU already."""

    sku: str
    variant_id: UUID
    product_id: UUID


async def product(connection: Connection, product_id: UUID) -> Product | None:
    """Return a product, removed or not."""
    found = await products(connection, [product_id])
    return found[0] if found else None


async def products(connection: Connection, product_ids: Sequence[UUID]) -> list[Product]:
    """Return products by id, removed or not."""
    return [_product(row) for row in await connection.fetch(_PRODUCTS, list(product_ids))]


async def lock_products(connection: Connection, product_ids: Sequence[UUID]) -> list[Product]:
    """Lock and return those that are not removed, in id order."""
    rows = await connection.fetch(_LOCK, sorted(product_ids, key=by_id))
    return await products(connection, [row["id"] for row in rows])


async def listed(connection: Connection, after: UUID | None, limit: int) -> list[Product]:
    """Return products in id order, removed ones too."""
    rows = await connection.fetch(_PAGE_OF_IDS, after, limit)
    return await products(connection, [row["id"] for row in rows])


async def for_staff(connection: Connection, status: str | None, text: str, before: UUID | None, limit: int) -> list[Product]:
    """Return products that are not removed, newest first, by status and part of the name or a SKU."""
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = await connection.fetch(_FOR_STAFF, status, pattern, before, limit)
    found = {one.id: one for one in await products(connection, [row["id"] for row in rows])}
    return [found[row["id"]] for row in rows]


async def taken_skus(connection: Connection, skus: Sequence[str]) -> dict[str, TakenSku]:
    """Return those SKUs that some variant has."""
    rows = await connection.fetch(_TAKEN_SKUS, list(skus))
    return {row["sku"]: TakenSku(**row) for row in rows}


async def taken_slugs(connection: Connection, slugs: Sequence[str]) -> dict[str, UUID]:
    """Return the products that have those slugs."""
    return {row["slug"]: row["id"] for row in await connection.fetch(_TAKEN_SLUGS, list(slugs))}


async def attribute_names(connection: Connection) -> tuple[list[str], list[str]]:
    """Return the names of all attributes that products have, and of those that variants have."""
    row = await connection.fetchrow(_ATTRIBUTE_NAMES)
    assert row is not None, "a SELECT without FROM has a row"
    return list(row["products"]), list(row["variants"])


async def store(connection: Connection, changed: Sequence[Product], category_ids: Mapping[str, UUID]) -> None:
    """Store products, new or changed, with all that belongs to them except offers."""
    ids = [one.id for one in changed]
    rows = [_row(one, category_ids) for one in changed]
    variants = [_variant_row(one, place, variant) for one in changed for place, variant in enumerate(one.variants)]
    images = [_image_row(one, image) for one in changed for image in one.images]
    await connection.execute(_STORE_PRODUCTS, _text(rows))
    await connection.execute(_DELETE_VARIANTS, ids, [row["id"] for row in variants])
    await connection.execute(_STORE_VARIANTS, _text(variants))
    await connection.execute(_DELETE_IMAGES, ids)
    await connection.execute(_STORE_IMAGES, _text(images))


async def generation(database: Database) -> int:
    """Return how often what visitors may see has changed."""
    row = await database.fetchrow("SELECT generation FROM list_generation")
    return int(row["generation"]) if row else 0


async def next_generation(connection: Connection) -> None:
    """Make every cached answer unreachable once this transaction commits; the last statement of a change."""
    await connection.execute("UPDATE list_generation SET generation = generation + 1")


def _text(rows: Sequence[object]) -> str:
    return json.encode(rows).decode()


def _product(row: asyncpg.Record) -> Product:
    fields = {
        **row,
        "category_path": tuple(row["category_path"]),
        "attributes": _attributes(row["attributes"]),
        "variants": _variants(row["variants"]),
        "images": _images(row["images"]),
    }
    return Product(**fields)


def _row(one: Product, category_ids: Mapping[str, UUID]) -> dict[str, Any]:
    left_out = {"category", "category_path", "variants", "images"}
    row = {name: getattr(one, name) for name in one.__struct_fields__ if name not in left_out}
    return {**row, "category_id": category_ids[one.category] if one.category else None}


def _variant_row(one: Product, place: int, variant: Variant) -> dict[str, Any]:
    return {**msgspec.structs.asdict(variant), "product_id": one.id, "display_order": place}


def _image_row(one: Product, image: Image) -> dict[str, Any]:
    return {**msgspec.structs.asdict(image), "product_id": one.id}


_PRODUCTS = """
SELECT p.id, p.slug, p.name, p.description, p.brand, coalesce(c.slug, '') AS category,
       coalesce(c.path, '{}') AS category_path, p.seller_id, p.status, p.base_price, p.sale_price, p.currency, p.attributes,
       p.reservation_policy, p.max_per_order, p.shippable, p.tax_category, p.rating_average, p.rating_count, p.version, p.removed,
       p.created_at, p.updated_at,
       (SELECT coalesce(jsonb_agg(to_jsonb(v) ORDER BY v.display_order), '[]') FROM variants AS v WHERE v.product_id = p.id)
           AS variants,
       (SELECT coalesce(jsonb_agg(to_jsonb(i) ORDER BY i.display_order, i.id), '[]') FROM images AS i WHERE i.product_id = p.id)
           AS images
FROM products AS p
LEFT JOIN categories AS c ON c.id = p.category_id
WHERE p.id = ANY($1::uuid[])
ORDER BY p.id
"""
_LOCK = "SELECT id FROM products WHERE id = ANY($1::uuid[]) AND NOT removed ORDER BY id FOR UPDATE"
_PAGE_OF_IDS = "SELECT id FROM products WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2"
_FOR_STAFF = """
SELECT p.id
FROM products AS p
WHERE NOT p.removed AND ($1::text IS NULL OR p.status = $1) AND ($3::uuid IS NULL OR p.id < $3)
  AND (p.name ILIKE $2 OR EXISTS (SELECT FROM variants AS v WHERE v.product_id = p.id AND v.sku ILIKE $2))
ORDER BY p.id DESC
LIMIT $4
"""
_TAKEN_SKUS = "SELECT sku, id AS variant_id, product_id FROM variants WHERE sku = ANY($1::text[])"
_TAKEN_SLUGS = "SELECT slug, id FROM products WHERE slug = ANY($1::text[]) AND NOT removed"
_ATTRIBUTE_NAMES = """
SELECT ARRAY(SELECT DISTINCT jsonb_object_keys(attributes) FROM products WHERE NOT removed) AS products,
       ARRAY(
           SELECT DISTINCT jsonb_object_keys(v.attributes)
           FROM variants AS v
           JOIN products AS p ON p.id = v.product_id
           WHERE NOT p.removed
       ) AS variants
"""
_STORE_PRODUCTS = """
INSERT INTO products
SELECT * FROM jsonb_populate_recordset(NULL::products, $1::jsonb) ORDER BY id
ON CONFLICT (id) DO UPDATE
SET slug = excluded.slug, name = excluded.name, description = excluded.description, brand = excluded.brand,
    category_id = excluded.category_id, status = excluded.status, base_price = excluded.base_price,
    sale_price = excluded.sale_price, currency = excluded.currency, attributes = excluded.attributes,
    reservation_policy = excluded.reservation_policy, max_per_order = excluded.max_per_order, shippable = excluded.shippable,
    tax_category = excluded.tax_category, rating_average = excluded.rating_average, rating_count = excluded.rating_count,
    version = excluded.version, removed = excluded.removed, updated_at = excluded.updated_at
"""
_DELETE_VARIANTS = "DELETE FROM variants WHERE product_id = ANY($1::uuid[]) AND id <> ALL($2::uuid[])"
_STORE_VARIANTS = """
INSERT INTO variants
SELECT * FROM jsonb_populate_recordset(NULL::variants, $1::jsonb)
ON CONFLICT (id) DO UPDATE
SET display_order = excluded.display_order, sku = excluded.sku, attributes = excluded.attributes,
    price_difference = excluded.price_difference, active = excluded.active
"""
_DELETE_IMAGES = "DELETE FROM images WHERE product_id = ANY($1::uuid[])"
_STORE_IMAGES = "INSERT INTO images SELECT * FROM jsonb_populate_recordset(NULL::images, $1::jsonb)"
