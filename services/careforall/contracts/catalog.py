"""Events of the catalog service: the whole product after the change, so that readers keep their own copy (rule 5)."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from careforall.kit.envelope import Event

ProductStatus = Literal["ACTIVE", "INACTIVE", "OUT_OF_STOCK"]
ReservationPolicy = Literal["AT_CHECKOUT", "AT_CART", "AT_PAYMENT"]


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """What is sold: one SKU of a product. Its price is the product's plus `price_difference`."""

    variant_id: UUID
    sku: str
    attributes: dict[str, str] = {}
    price_difference: Decimal = Decimal(0)
    active: bool = True


class ProductEvent(Event, frozen=True, kw_only=True):
    """State of a product with all its variants; a removed product stays known, as INACTIVE."""

    product_id: UUID
    slug: str
    name: str
    description: str = ""
    brand: str = ""
    category: str = ""
    """Slug of the category."""
    category_path: tuple[str, ...] = ()
    """Slugs from the root down to `category`."""
    seller_id: UUID | None = None
    status: ProductStatus
    base_price: Decimal
    sale_price: Decimal | None = None
    currency: str
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    image_url: str = ""
    rating_average: Decimal = Decimal(0)
    rating_count: int = 0
    reservation_policy: ReservationPolicy = "AT_CHECKOUT"
    max_per_order: int = 10
    shippable: bool = True
    tax_category: str = "standard"
    created_at: datetime


class ProductCreated(ProductEvent, frozen=True, kw_only=True):
    """A product exists."""

    SUBJECT: ClassVar[str] = "catalog.product_created"


class ProductUpdated(ProductEvent, frozen=True, kw_only=True):
    """A product, one of its variants, or its rating changed."""

    SUBJECT: ClassVar[str] = "catalog.product_updated"


class ProductRemoved(ProductEvent, frozen=True, kw_only=True):
    """A product is sold no more."""

    SUBJECT: ClassVar[str] = "catalog.product_removed"


class ProductSnapshot(ProductEvent, frozen=True, kw_only=True):
    """The present state, sent again for projections."""

    SUBJECT: ClassVar[str] = "catalog.product_snapshot"


PRODUCT_EVENTS: tuple[type[Event], ...] = (ProductCreated, ProductUpdated, ProductRemoved, ProductSnapshot)
"""All that carry the state of a product."""

PRODUCTS_OF = "query.catalog.products_of"
"""Request subject: `ProductsAsked` to `ProductsTold`: products of which whoever asks has not heard yet."""


class ProductsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Whose products are asked for; of more than a hundred SKUs the rest is left out."""

    skus: list[str]


class ProductTold(msgspec.Struct, frozen=True, kw_only=True):
    """A product as it is, and the version that its events carry."""

    version: int
    product: ProductSnapshot


class ProductsTold(msgspec.Struct, frozen=True, kw_only=True):
    """The products that have one of the SKUs; SKUs that nobody has are left out."""

    products: list[ProductTold]
