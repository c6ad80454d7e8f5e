"""What a list of products looks like wherever one is shown: in the catalog and in search, with the same facets."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta

from careforall.contracts.catalog import ProductStatus
from careforall.kit import money
from careforall.kit.faceted import BOUNDS, Counted, Counts, Match, Wanted, next_cursor
from careforall.kit.offers import Offer

_PLACES = 2
"""Of prices where no product says its currency: a page behind the last."""
AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]


class SoldVariant(Protocol):
    """What lists know of a variant."""

    @property
    def sku(self) -> str:
        """Its own name."""

    @property
    def attributes(self) -> dict[str, str]:
        """Such as its color."""

    @property
    def price_difference(self) -> Decimal:
        """What it costs more than the product."""

    @property
    def active(self) -> bool:
        """Whether it is sold."""


class SoldProduct(Protocol):
    """What lists know of a product, whether it comes from a row or from an event."""

    @property
    def slug(self) -> str:
        """Its name in addresses."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def brand(self) -> str:
        """Who makes it."""

    @property
    def category(self) -> str:
        """Slug of its category."""

    @property
    def category_path(self) -> tuple[str, ...]:
        """Slugs from the root down."""

    @property
    def status(self) -> ProductStatus:
        """Whether it is sold."""

    @property
    def base_price(self) -> Decimal:
        """Its price."""

    @property
    def sale_price(self) -> Decimal | None:
        """Its price for now."""

    @property
    def currency(self) -> str:
        """ISO 4217."""

    @property
    def attributes(self) -> dict[str, str]:
        """Such as its material."""

    @property
    def rating_average(self) -> Decimal:
        """0 to 5."""

    @property
    def rating_count(self) -> int:
        """Of how many buyers."""

    @property
    def variants(self) -> Sequence[SoldVariant]:
        """All its variants."""


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


def offers_of(product_id: UUID, product: SoldProduct, available: Mapping[str, int]) -> list[Offer]:
    """Return what visitors may find of a product: each active variant, or the bare product; nothing of an INACTIVE one."""
    if product.status == "INACTIVE":
        return []
    sold: Iterable[SoldVariant | None] = [variant for variant in product.variants if variant.active] or [None]
    return [_offer(product_id, place, product, variant, available) for place, variant in enumerate(sold)]


def _offer(
    product_id: UUID, place: int, product: SoldProduct, variant: SoldVariant | None, available: Mapping[str, int]
) -> Offer:
    attributes = product.attributes | (variant.attributes if variant else {})
    price = product.base_price if product.sale_price is None else product.sale_price
    sellable = variant is not None and product.status == "ACTIVE"
    return Offer(
        product_id=product_id,
        place=place,
        sku=variant.sku if variant else None,
        name=product.name,
        brand=product.brand,
        categories=tuple(product.category_path),
        price=price + (variant.price_difference if variant else 0),
        rating=product.rating_average,
        sellable=sellable,
        in_stock=sellable and variant is not None and available.get(variant.sku, 0) > 0,
        terms=tuple(f"{name}={value}" for name, value in sorted(attributes.items())),
    )


def listed(product: SoldProduct, match: Match, *, image_url: str) -> ListedProduct:
    """Return a product as lists show it, with the prices of those variants that match."""

    def shown(amount: Decimal) -> str:
        return money.show(amount, product.currency)

    return ListedProduct(
        id=match.id,
        slug=product.slug,
        name=product.name,
        brand=product.brand,
        category=product.category,
        status=product.status,
        price=shown(match.price),
        highest_price=shown(match.highest),
        base_price=shown(product.base_price),
        sale_price=None if product.sale_price is None else shown(product.sale_price),
        currency=product.currency,
        in_stock=match.in_stock,
        rating=Rating(average=f"{product.rating_average:.2f}", count=product.rating_count),
        image_url=image_url,
    )


def pagination(wanted: Wanted, found: Sequence[Match], counted: Counts) -> Pagination:
    """Return where a page is."""
    pages = -(-counted.total // wanted.size)
    cursor = next_cursor(wanted, found)
    return Pagination(page=wanted.page, size=wanted.size, total=counted.total, pages=pages, next_cursor=cursor)


def facets(counted: Counts, currencies: Iterable[str]) -> Facets:
    """Return the counts as the API shows them, without what nothing has.

    Args:
        counted: The counts.
        currencies: Those of the products shown; prices have the digits of the finest, here or on another page.
    """
    places = max(counted.digits, max(map(money.exponent, currencies), default=_PLACES))
    ratings = [RatingCount(rating=least, count=count) for least, count in enumerate(counted.ratings, 1) if count]
    lowest, highest = counted.lowest, counted.highest
    return Facets(
        brand=[_count(one) for one in counted.brands],
        price=PriceFacet(
            min=None if lowest is None else f"{lowest:.{places}f}",
            max=None if highest is None else f"{highest:.{places}f}",
            ranges=_ranges(counted, places),
        ),
        rating=ratings,
        attributes=_attributes(counted.terms),
    )


def _count(one: Counted) -> ValueCount:
    return ValueCount(value=one.value, count=one.count)


def _ranges(counted: Counts, places: int) -> list[PriceRange]:
    """Return the ranges; the highest price of one is the last that can be written below the next."""
    step = Decimal(1).scaleb(-places)
    ends = [*(f"{bound - step:.{places}f}" for bound in BOUNDS[1:]), None]
    return [
        PriceRange(min_price=f"{low:.{places}f}", max_price=high, count=count)
        for low, high, count in zip(BOUNDS, ends, counted.ranges, strict=True)
        if count
    ]


def _attributes(terms: Sequence[Counted]) -> dict[str, list[ValueCount]]:
    found: dict[str, list[ValueCount]] = {}
    for one in terms:
        name, _, value = one.value.partition("=")
        found.setdefault(name, []).append(ValueCount(value=value, count=one.count))
    return {name: found[name] for name in sorted(found)}
