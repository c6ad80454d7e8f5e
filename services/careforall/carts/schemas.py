"""HTTP shapes of carts. Input forbids unknown fields; amounts are decimal strings."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]
Sku = Annotated[str, Meta(pattern="^[^\\x00-\\x1f\\x7f]{1,100}(?!\\n)$")]
Quantity = Annotated[int, Meta(ge=1, le=10_000)]
Availability = Literal["IN_STOCK", "LOW", "SOLD_OUT", "REMOVED", "UNKNOWN"]


class NewItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put goods into the cart; more of a SKU that is in it already adds up."""

    sku: Sku
    quantity: Quantity = 1


class ItemPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set how many; `version` of the cart may also come as If-Match."""

    quantity: Quantity
    version: int | UnsetType = UNSET


class NewCartCoupon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put a coupon on the cart; whether it counts is told with the price."""

    code: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{3,40}(?!\\n)$")]


class MergeIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take the goods of a guest's cart over into one's own."""

    guest_cart_id: UUID


class ItemOut(msgspec.Struct, frozen=True, kw_only=True):
    """Goods in the cart: what one cost when it was put in, what it costs now, and how many there are."""

    id: UUID
    sku: str
    product_id: UUID | None
    name: str
    slug: str
    image_url: str
    attributes: dict[str, str]
    quantity: int
    price_at_addition: AmountOut
    price: AmountOut | None
    line_total: AmountOut
    currency: str
    availability: Availability
    available: int | None
    max_per_order: int | None
    reserved_until: datetime | None
    added_at: datetime


class NoticeOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something the buyer should know: `price_changed`, `product_removed`, `sold_out`, `low_stock`, `quantity_limited`, ..."""

    code: str
    message: str
    sku: str = ""
    before: str | None = None
    now: str | None = None


class CartOut(msgspec.Struct, frozen=True, kw_only=True):
    """A cart. A guest keeps `cart_id` and sends it as X-Cart-Id; it is null while there is no cart yet."""

    cart_id: UUID | None
    items: list[ItemOut]
    subtotal: AmountOut
    currency: str
    item_count: int
    coupons: list[str]
    notices: list[NoticeOut]
    version: int
    expires_at: datetime | None = None
