"""A large catalogue, made by the server itself through the real tables of catalog and search, as their own code leaves them."""

import asyncio
from collections.abc import Sequence

import asyncpg

from careforall_bench.repository_growth import MADE_ID

ADJECTIVES = ("small", "large", "red", "blue", "green", "round", "light", "heavy", "plain", "warm")
MATERIALS = ("steel", "copper", "oak", "pine", "wool", "linen", "cotton", "glass", "stone", "bamboo")
NOUNS = ("kettle", "lamp", "blanket", "chair", "table", "basket", "bottle", "shirt", "candle", "mirror")
_LONG = 1800.0


def fill(catalog: str, search: str, products: int) -> None:
    """Put so many products into both databases, ready to be found; they replace those of an earlier run that broke off."""
    asyncio.run(_work(catalog, products, (*_EMPTY_CATALOG, *_FILL_CATALOG)))
    asyncio.run(_work(search, products, (*_EMPTY_SEARCH, *_FILL_SEARCH)))


def forget(catalog: str, search: str, products: int) -> None:
    """Take so many products out again."""
    asyncio.run(_work(catalog, products, _EMPTY_CATALOG))
    asyncio.run(_work(search, products, _EMPTY_SEARCH))


def some_ids(catalog: str, number: int) -> list[str]:
    """The ids of so many products that were filled in, spread over all of them."""
    return asyncio.run(_some_ids(catalog, number))


async def _some_ids(dsn: str, number: int) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [str(row["id"]) for row in await connection.fetch(_SOME_IDS, number)]
    finally:
        await connection.close()


async def _work(dsn: str, products: int, statements: Sequence[str]) -> None:
    """Make the rows of so many products beside the tables, and let statements use them."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET session_replication_role = replica")  # no triggers: rows refer to rows of the same fill
        await connection.execute(MADE_ID)
        await connection.execute(_MADE)
        await connection.execute(_MAKE, products, ADJECTIVES, MATERIALS, NOUNS, timeout=_LONG)
        for statement in statements:
            await connection.execute(statement, timeout=_LONG)
        await connection.execute("VACUUM ANALYZE", timeout=_LONG)
    finally:
        await connection.close()


_MADE = """
CREATE TEMPORARY TABLE made (
    id uuid PRIMARY KEY, variant_id uuid, sku text, slug text, name text, brand text, description text, material text, color text,
    price numeric(18, 3), rating numeric(3, 2), ratings integer, available integer
)
"""
_MAKE = """
INSERT INTO made
SELECT pg_temp.made_id(11, number), pg_temp.made_id(12, number), 'BENCH-' || number, 'bench-' || number,
       initcap(adjective || ' ' || material || ' ' || noun) || ' ' || number, 'Brand ' || number % 40,
       'A ' || adjective || ' ' || noun || ' of ' || material || ', made to last and easy to keep clean. No. ' || number,
       material, color, 5 + number % 900 / 10.0, 1 + number % 41 / 10.0, number % 200, number % 11
FROM (
    SELECT number,
           ($2::text[])[1 + number % cardinality($2::text[])] AS adjective,
           ($2::text[])[1 + number / 7 % cardinality($2::text[])] AS color,
           ($3::text[])[1 + number / 10 % cardinality($3::text[])] AS material,
           ($4::text[])[1 + number / 100 % cardinality($4::text[])] AS noun
    FROM generate_series(1, $1::integer) AS number
) AS numbered
"""
_SOME_IDS = "SELECT id FROM products WHERE slug LIKE 'bench-%' ORDER BY md5(id::text) LIMIT $1"
_EMPTY_CATALOG = (
    "DELETE FROM offers WHERE product_id IN (SELECT id FROM made)",
    "DELETE FROM stock WHERE sku IN (SELECT sku FROM made)",
    "DELETE FROM variants WHERE product_id IN (SELECT id FROM made)",
    "DELETE FROM products WHERE id IN (SELECT id FROM made)",
    "UPDATE list_generation SET generation = generation + 1",
)
_STOCK = "INSERT INTO stock (sku, available, version) SELECT sku, available, 1 FROM made"
_OFFERS = """
INSERT INTO offers (product_id, place, sku, name, brand, categories, price, rating, sellable, in_stock, terms)
SELECT id, 0, sku, name, brand, '{}', price, rating, true, available > 0, ARRAY['color=' || color, 'material=' || material]
FROM made
"""
_FILL_CATALOG = (
    """
INSERT INTO products (id, slug, name, description, brand, status, base_price, currency, attributes, reservation_policy,
                      max_per_order, shippable, tax_category, rating_average, rating_count, version, removed,
                      created_at, updated_at)
SELECT id, slug, name, description, brand, 'ACTIVE', price, 'EUR', jsonb_build_object('material', material), 'AT_CHECKOUT',
       10, true, 'standard', rating, ratings, 1, false, clock_timestamp(), clock_timestamp()
FROM made
""",
    """
INSERT INTO variants (id, product_id, display_order, sku, attributes, price_difference, active)
SELECT variant_id, id, 0, sku, jsonb_build_object('color', color), 0, true FROM made
""",
    _STOCK,
    _OFFERS,
)
_EMPTY_SEARCH = (
    "DELETE FROM offers WHERE product_id IN (SELECT id FROM made)",
    "DELETE FROM documents WHERE id IN (SELECT id FROM made)",
    "DELETE FROM stock WHERE sku IN (SELECT sku FROM made)",
    "DELETE FROM products WHERE id IN (SELECT id FROM made)",
)
_FILL_SEARCH = (
    """
INSERT INTO products (id, version, event)
SELECT id, 1, convert_to(jsonb_build_object(
    'product_id', id, 'slug', slug, 'name', name, 'description', description, 'brand', brand, 'status', 'ACTIVE',
    'base_price', price::text, 'currency', 'EUR', 'attributes', jsonb_build_object('material', material),
    'variants', jsonb_build_array(jsonb_build_object(
        'variant_id', variant_id, 'sku', sku, 'attributes', jsonb_build_object('color', color), 'price_difference', '0',
        'active', true
    )),
    'rating_average', rating::text, 'rating_count', ratings, 'created_at', clock_timestamp()
)::text, 'UTF8')
FROM made
""",
    _STOCK,
    """
INSERT INTO documents (id, name, body, words)
SELECT id, name, description,
       setweight(to_tsvector('english', name), 'A') || setweight(to_tsvector('english', brand), 'B')
       || setweight(to_tsvector('english', material || ' ' || color), 'C') || setweight(to_tsvector('english', description), 'D')
FROM made
""",
    _OFFERS,
    """
INSERT INTO words (word)
SELECT DISTINCT word
FROM made, regexp_split_to_table(lower(name || ' ' || brand), '[^[:alnum:]]+') AS word
WHERE char_length(word) BETWEEN 3 AND 40
ORDER BY word
ON CONFLICT (word) DO NOTHING
""",
)
