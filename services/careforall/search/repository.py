"""All SQL of the search service."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from careforall.contracts.catalog import ProductSnapshot
from careforall.kit import faceted, json
from careforall.kit.db import Connection
from careforall.kit.faceted import Counts, Match, Table, Wanted
from careforall.search.domain import Near, exchanged
from careforall.search.index import END, START, Known

TABLES = ("products", "stock", "documents", "offers", "words")
_event = msgspec.json.Decoder(ProductSnapshot).decode
_RANKED = """
(SELECT d.id, ts_rank(d.words, websearch_to_tsquery('english', $1))::numeric(9, 6) AS rank
 FROM (
     SELECT id, words FROM documents WHERE words @@ websearch_to_tsquery('english', $1)
     UNION
     SELECT id, words FROM documents WHERE id IN (SELECT product_id FROM offers WHERE sku = $1)
     LIMIT $2
 ) AS d) AS c
JOIN offers AS o ON o.product_id = c.id
"""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A product's name and description with what was found in them marked."""

    id: UUID
    event: bytes
    name: str
    description: str

    @property
    def product(self) -> ProductSnapshot:
        """The product as the catalog told of it."""
        return _event(self.event)


async def keep_products(connection: Connection, products: Sequence[Known]) -> list[Known]:
    """Keep products where newer than what is known, and return these."""
    ids = [one.product_id for one in products]
    events = [json.encode(one.product) for one in products]
    rows = await connection.fetch(_KEEP_PRODUCTS, ids, [one.version for one in products], events)
    newer = {row["id"] for row in rows}
    return [one for one in products if one.product_id in newer]


async def store_documents(connection: Connection, products: Sequence[Known]) -> None:
    """Replace the documents of products; what is INACTIVE has none."""
    await connection.execute("DELETE FROM documents WHERE id = ANY($1::uuid[])", [one.product_id for one in products])
    shown = [one for one in products if one.product.status != "INACTIVE"]
    ids, events = [one.product_id for one in shown], [one.product for one in shown]
    names, brands = [event.name for event in events], [event.brand for event in events]
    other = [" ".join((*event.category_path, *_values(event))) for event in events]
    await connection.execute(_STORE_DOCUMENTS, ids, names, brands, other, [event.description for event in events])
    await connection.execute(_STORE_WORDS, [*names, *brands])


async def find(connection: Connection, text: str, most: int, wanted: Wanted) -> tuple[list[Match], Counts]:
    """Return a page of what matches (one more where there are more), and all of it counted."""
    table = Table(source=_RANKED, arguments=(text, most), rank="c.rank")
    return await faceted.matches(connection, wanted, table), await faceted.counts(connection, wanted, table)


async def texts(connection: Connection, ids: Sequence[UUID], text: str) -> dict[UUID, Text]:
    """Return the texts of products with what was found in them marked."""
    rows = await connection.fetch(_TEXTS, list(ids), text, f"{_MARKS}, HighlightAll=true", f"{_MARKS}, MaxWords=30, MinWords=10")
    return {row["id"]: Text(**row) for row in rows}


async def near(connection: Connection, words: Sequence[str], most: int) -> list[Near]:
    """Return for each word the known ones that are most alike, at most so many, and those with two letters exchanged."""
    await connection.execute(f"SET LOCAL pg_trgm.similarity_threshold = {_BARELY}")
    swapped = [(word, one) for word in words for one in exchanged(word)]
    given, others = [word for word, _ in swapped], [one for _, one in swapped]
    return [Near(**row) for row in await connection.fetch(_NEAR, list(words), most, given, others)]


async def names(connection: Connection, prefix: str, limit: int) -> list[str]:
    """Return names of products that begin so, then words."""
    pattern = prefix.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return [row["text"] for row in await connection.fetch(_NAMES, pattern, limit)]


async def begin_anew(connection: Connection) -> None:
    """Make empty tables beside those that serve."""
    await connection.execute("DROP SCHEMA IF EXISTS next CASCADE; CREATE SCHEMA next")
    for table in TABLES:
        await connection.execute(f"CREATE TABLE next.{table} (LIKE public.{table} INCLUDING ALL)")


async def work_beside(connection: Connection) -> None:
    """Let every statement of this transaction mean the tables beside those that serve."""
    await connection.execute("SET LOCAL search_path = next, public")


async def told_since(connection: Connection, last: UUID | None) -> tuple[list[Known], list[tuple[str, int, int]]]:
    """Lock the tables that serve and return what they know better than those beside: products and stock."""
    await connection.execute("SET LOCAL lock_timeout = '200ms'")  # whoever searches in another order of tables goes first
    await connection.execute(f"LOCK TABLE {', '.join(f'public.{table}' for table in TABLES)} IN ACCESS EXCLUSIVE MODE")
    rows = await connection.fetch(_PRODUCTS_SINCE, last)
    products = [Known(product_id=row["id"], version=row["version"], product=_event(row["event"])) for row in rows]
    stock = await connection.fetch(_STOCK_SINCE)
    return products, [(row["sku"], row["available"], row["version"]) for row in stock]


async def take_over(connection: Connection) -> None:
    """Put the tables beside in the place of those that serve."""
    for table in TABLES:
        await connection.execute(f"DROP TABLE public.{table}")
        await connection.execute(f"ALTER TABLE next.{table} SET SCHEMA public")
    await connection.execute("DROP SCHEMA next")


def _values(event: ProductSnapshot) -> set[str]:
    found = set(event.attributes.values())
    return found.union(*(variant.attributes.values() for variant in event.variants if variant.active))


_MARKS = f"StartSel={START}, StopSel={END}"
_KEEP_PRODUCTS = """
INSERT INTO products (id, version, event)
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bytea[]) ORDER BY 1
ON CONFLICT (id) DO UPDATE SET version = excluded.version, event = excluded.event
WHERE products.version < excluded.version
RETURNING id
"""
_STORE_DOCUMENTS = """
INSERT INTO documents (id, name, body, words)
SELECT id, name, body,
       setweight(to_tsvector('english', name), 'A') || setweight(to_tsvector('english', brand), 'B')
       || setweight(to_tsvector('english', other), 'C') || setweight(to_tsvector('english', body), 'D')
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS new (id, name, brand, other, body)
"""
_STORE_WORDS = """
INSERT INTO words (word)
SELECT DISTINCT word
FROM unnest($1::text[]) AS text, regexp_split_to_table(lower(text), '[^[:alnum:]]+') AS word
WHERE char_length(word) BETWEEN 3 AND 40
ORDER BY word
ON CONFLICT (word) DO NOTHING
"""
_TEXTS = """
SELECT d.id, p.event,
       ts_headline('english', d.name, websearch_to_tsquery('english', $2), $3) AS name,
       ts_headline('english', d.body, websearch_to_tsquery('english', $2), $4) AS description
FROM documents AS d
JOIN products AS p ON p.id = d.id
WHERE d.id = ANY($1::uuid[])
"""
_BARELY = 0.1
"""A wrong letter in a short word leaves little more in common."""
_NEAR = """
SELECT given, near.word, near.alike
FROM unnest($1::text[]) AS given
CROSS JOIN LATERAL (
    SELECT word, similarity(word, given) AS alike
    FROM words
    WHERE word % given
    ORDER BY alike DESC, word
    LIMIT $2
) AS near
UNION
SELECT given, word, similarity(word, given)
FROM unnest($3::text[], $4::text[]) AS swapped (given, word)
JOIN words USING (word)
"""
_NAMES = """
(SELECT name AS text FROM documents WHERE lower(name) LIKE $1 GROUP BY name ORDER BY name LIMIT $2)
UNION ALL
(SELECT word AS text FROM words WHERE word LIKE $1 ORDER BY word LIMIT $2)
LIMIT $2
"""
_PRODUCTS_SINCE = """
SELECT one.id, one.version, one.event
FROM public.products AS one
LEFT JOIN next.products AS other ON other.id = one.id
WHERE one.version > other.version OR (other.id IS NULL AND ($1::uuid IS NULL OR one.id > $1))
ORDER BY one.id
"""
_STOCK_SINCE = """
SELECT one.sku, one.available, one.version
FROM public.stock AS one
LEFT JOIN next.stock AS other ON other.sku = one.sku
WHERE one.version > coalesce(other.version, 0)
ORDER BY one.sku
"""
