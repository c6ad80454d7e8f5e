"""Lists with filters, facets, order and pages, out of a table of offers.

A table of offers has a row for each thing that can be had, with `product_id, name, brand, categories, price, rating`,
`in_stock` and `terms` (its attributes as `name=value`). Filters, counts and order all look at one set, the rows that match,
grouped by product; so a facet's count is what is left when it is chosen. Whoever has ranked candidates joins them in `source` and
names their `rank`.
"""

import base64
import binascii
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.kit.errors import InvalidInput

Sort = Literal["newest", "price_asc", "price_desc", "rating", "name", "relevance"]
SORTS: tuple[str, ...] = get_args(Sort)
BOUNDS = (0, 10, 25, 50, 100, 250, 500, 1000)
"""Where ranges of prices begin."""
_STEP = Decimal("0.001")
"""The least difference of two prices; NUMERIC(18, 3) holds every currency."""
_MOST_VALUES = 1000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which products, in which order, which page of them."""

    category: str = ""
    brands: tuple[str, ...] = ()
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    rating: Decimal | None = None
    in_stock: bool | None = None
    terms: tuple[tuple[str, ...], ...] = ()
    """One group for each attribute, of which one `name=value` has to be met."""
    sort: Sort = "newest"
    page: int = 0
    size: int = 20
    cursor: str | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A product that matches, by those of its rows that do; `key` and `id` say where it stands in the order."""

    id: UUID
    price: Decimal
    highest: Decimal
    in_stock: bool
    key: str


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A value and how many products have it."""

    value: str
    count: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """All that match, counted. `ranges` and `ratings` go with BOUNDS and 1 to 4."""

    total: int
    lowest: Decimal | None
    highest: Decimal | None
    digits: int
    """Behind the point, of the price that has the most: no price lies between the end of a range and the next."""
    brands: list[Counted]
    terms: list[Counted]
    ranges: list[int]
    ratings: list[int]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows are: a FROM clause that names the offers `o`, its own arguments, and an expression that ranks a row."""

    source: str = "offers AS o"
    arguments: tuple[Any, ...] = ()
    rank: str = "0::numeric"


async def matches(connection: Connection, wanted: Wanted, table: Table = Table()) -> list[Match]:  # noqa: B008 - frozen
    """Return a page, and one more where there are more."""
    arguments = list(table.arguments)
    rows = _rows(wanted, table, arguments)
    key, kind, direction = _ORDERS[wanted.sort]
    after = "true"
    if wanted.cursor is not None:
        where, identifier = _read_cursor(wanted)
        arguments += [where, identifier]
        sign = "<" if direction == "DESC" else ">"
        after = f"({key}, id) {sign} (${len(arguments) - 1}::text::{kind}, ${len(arguments)}::uuid)"
    arguments += [wanted.size + 1, wanted.page * wanted.size]
    sql = _PAGE.format(rows=rows, key=key, after=after, direction=direction, limit=len(arguments) - 1, offset=len(arguments))
    return [Match(**row) for row in await connection.fetch(sql, *arguments)]


async def counts(connection: Connection, wanted: Wanted, table: Table = Table()) -> Counts:  # noqa: B008 - frozen
    """Count all that match."""
    arguments = list(table.arguments)
    rows = _rows(wanted, table, arguments)
    lows = [Decimal(bound) for bound in BOUNDS]
    arguments += [lows, [range_end(index) for index in range(len(BOUNDS))]]
    sql = _COUNTS.format(rows=rows, lows=len(arguments) - 1, highs=len(arguments), most=_MOST_VALUES)
    row = await connection.fetchrow(sql, *arguments)
    assert row is not None, "an aggregate without GROUP BY has a row"
    return msgspec.convert({**row, "brands": _values(row["brands"]), "terms": _values(row["terms"])}, Counts)


def range_end(index: int) -> Decimal | None:
    """Return the highest price of a range, None for the last."""
    return Decimal(BOUNDS[index + 1]) - _STEP if index + 1 < len(BOUNDS) else None


def next_cursor(wanted: Wanted, found: Sequence[Match]) -> str | None:
    """Return the cursor of the page after, if there is one."""
    if len(found) <= wanted.size:
        return None
    last = found[wanted.size - 1]
    text = msgspec.json.encode([wanted.sort, last.key, last.id])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _read_cursor(wanted: Wanted) -> tuple[str, UUID]:
    try:
        cursor = wanted.cursor or ""
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        sort, key, identifier = msgspec.json.decode(data, type=tuple[str, str, UUID])
        _KINDS[_ORDERS[wanted.sort][1]](key)
    except (binascii.Error, ValueError, ArithmeticError):
        sort = ""
    if sort != wanted.sort or "\0" in key:
        raise InvalidInput.field("/cursor", "invalid_cursor", "use next_cursor of the page before, with the same sort")
    return key, identifier


def _rows(wanted: Wanted, table: Table, arguments: list[Any]) -> str:
    """Return the query of all rows that match, and add its arguments."""
    conditions = ["true"]

    def add(condition: str, value: object) -> None:
        arguments.append(value)
        conditions.append(condition.format(f"${len(arguments)}"))

    if wanted.category:
        add("o.categories @> {}::text[]", [wanted.category])
    if wanted.brands:
        add("o.brand = ANY({}::text[])", list(wanted.brands))
    if wanted.min_price is not None:
        add("o.price >= {}::numeric", wanted.min_price)
    if wanted.max_price is not None:
        add("o.price <= {}::numeric", wanted.max_price)
    if wanted.rating is not None:
        add("o.rating >= {}::numeric", wanted.rating)
    if wanted.in_stock is not None:
        add("o.in_stock = {}::boolean", wanted.in_stock)
    for group in wanted.terms:
        add("o.terms && {}::text[]", list(group))
    return _ROWS.format(rank=table.rank, source=table.source, conditions=" AND ".join(conditions))


def _values(text: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(text) if text else []
    return found


_ORDERS: dict[str, tuple[str, str, str]] = {
    "newest": ("id", "uuid", "DESC"),
    "price_asc": ("price", "numeric", "ASC"),
    "price_desc": ("price", "numeric", "DESC"),
    "rating": ("rating", "numeric", "DESC"),
    "name": ("name", "text", "ASC"),
    "relevance": ("rank", "numeric", "DESC"),
}
_KINDS: dict[str, Any] = {"uuid": UUID, "numeric": Decimal, "text": str}
_ROWS = """
SELECT o.product_id, o.name, o.brand, o.price, o.rating, o.in_stock, o.terms, {rank} AS rank
FROM {source}
WHERE {conditions}
"""
_PAGE = """
WITH found AS (
    SELECT product_id AS id, min(price) AS price, max(price) AS highest, bool_or(in_stock) AS in_stock, max(rating) AS rating,
           min(name) AS name, max(rank) AS rank
    FROM ({rows}) AS matched
    GROUP BY product_id
)
SELECT id, price, highest, in_stock, {key}::text AS key
FROM found
WHERE {after}
ORDER BY {key} {direction}, id {direction}
LIMIT ${limit} OFFSET ${offset}
"""
_COUNTS = """
WITH matched AS MATERIALIZED ({rows}),
brand AS (
    SELECT brand AS value, count(DISTINCT product_id) AS count FROM matched WHERE brand <> ''
    GROUP BY brand ORDER BY count DESC, value LIMIT {most}
),
term AS (
    SELECT term AS value, count(DISTINCT product_id) AS count FROM matched, unnest(terms) AS term
    GROUP BY term ORDER BY count DESC, value LIMIT {most}
)
SELECT (SELECT count(DISTINCT product_id) FROM matched) AS total,
       (SELECT min(price) FROM matched) AS lowest,
       (SELECT max(price) FROM matched) AS highest,
       coalesce((SELECT max(scale(trim_scale(price))) FROM matched), 0) AS digits,
       (SELECT jsonb_agg(brand) FROM brand) AS brands,
       (SELECT jsonb_agg(term) FROM term) AS terms,
       ARRAY(
           SELECT (SELECT count(DISTINCT product_id) FROM matched
                   WHERE price >= bound.low AND (bound.high IS NULL OR price <= bound.high))
           FROM unnest(${lows}::numeric[], ${highs}::numeric[]) WITH ORDINALITY AS bound (low, high, place)
           ORDER BY place
       ) AS ranges,
       ARRAY(
           SELECT (SELECT count(DISTINCT product_id) FROM matched WHERE rating >= least) FROM generate_series(1, 4) AS least
           ORDER BY least
       ) AS ratings
"""
