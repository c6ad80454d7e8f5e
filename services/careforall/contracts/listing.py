"""What a list of products looks like wherever one is shown: in the catalog and in search, with the same facets."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from careforall.contracts.catalog import ProductStatus
from careforall.kit.faceted import BOUNDS, Counted, Counts, Match, Wanted, next_cursor, range_end

AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """What verified buyers think of it, 1 to 5."""

    average: str
    count: int


class ListedProduct(msgspec.Struct, frozen=True, kw_only=True):
    """A product in a list. `price` and `highest_price` span the variants that match; `in_stock`: one of these is."""

    id: UUID
    slug: str
    name: str
    brand: str
    category: str
    status: ProductStatus
    price: AmountOut
    highest_price: AmountOut
    base_price: AmountOut
    sale_price: AmountOut | None
    currency: str
    in_stock: bool
    rating: Rating
    image_url: str


class Pagination(msgspec.Struct, frozen=True, kw_only=True):
    """Where this page is. Pages start at 0; `next_cursor` leads on however far, until it is null."""

    page: int
    size: int
    total: int
    pages: int
    next_cursor: str | None


class ValueCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the results have a value; filtered by it, exactly so many are left."""

    value: str
    count: int


class RatingCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the results are rated so or better."""

    rating: int
    count: int


class PriceRange(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the results cost between, both included; without `max_price` there is no upper end."""

    min_price: str
    max_price: str | None
    count: int


class PriceFacet(msgspec.Struct, frozen=True, kw_only=True):
    """What the results cost: the least, the most, and how many in each range that holds any."""

    min: str | None
    max: str | None
    ranges: list[PriceRange]


class Facets(msgspec.Struct, frozen=True, kw_only=True):
    """The results of all filters, counted."""

    brand: list[ValueCount]
    price: PriceFacet
    rating: list[RatingCount]
    attributes: dict[str, list[ValueCount]]


class ProductList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of products, and the facets of all of them."""

    products: list[ListedProduct]
    pagination: Pagination
    facets: Facets


def pagination(wanted: Wanted, found: Sequence[Match], counted: Counts) -> Pagination:
    """Return where a page is."""
    pages = -(-counted.total // wanted.size)
    cursor = next_cursor(wanted, found)
    return Pagination(page=wanted.page, size=wanted.size, total=counted.total, pages=pages, next_cursor=cursor)


def facets(counted: Counts) -> Facets:
    """Return the counts as the API shows them, without what nothing has."""
    ratings = [RatingCount(rating=least, count=count) for least, count in enumerate(counted.ratings, 1) if count]
    lowest, highest = counted.lowest, counted.highest
    return Facets(
        brand=[_count(one) for one in counted.brands],
        price=PriceFacet(
            min=None if lowest is None else f"{lowest:f}",
            max=None if highest is None else f"{highest:f}",
            ranges=_ranges(counted),
        ),
        rating=ratings,
        attributes=_attributes(counted.terms),
    )


def _count(one: Counted) -> ValueCount:
    return ValueCount(value=one.value, count=one.count)


def _ranges(counted: Counts) -> list[PriceRange]:
    ends = [range_end(index) for index in range(len(BOUNDS))]
    return [
        PriceRange(min_price=str(low), max_price=None if high is None else str(high), count=count)
        for low, high, count in zip(BOUNDS, ends, counted.ranges, strict=True)
        if count
    ]


def _attributes(terms: Sequence[Counted]) -> dict[str, list[ValueCount]]:
    found: dict[str, list[ValueCount]] = {}
    for one in terms:
        name, _, value = one.value.partition("=")
        found.setdefault(name, []).append(ValueCount(value=value, count=one.count))
    return {name: found[name] for name in sorted(found)}
