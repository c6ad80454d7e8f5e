"""What prices are made of: offers, rules, coupons, rates. Frozen facts and pure questions about them."""

from collections.abc import Sequence
from datetime import datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.catalog import ProductStatus
from careforall.kit import money

ZERO = Decimal(0)
PERCENT = Decimal(100)
ANYWHERE = "*"
MOST_DEMAND_HOURS = 168

PromotionType = Literal["DEMAND", "TIME_WINDOW", "STOCK_LEVEL", "SEGMENT", "REGION", "SALE", "MEMBER"]
DYNAMIC: frozenset[PromotionType] = frozenset({"DEMAND", "TIME_WINDOW", "STOCK_LEVEL", "SEGMENT", "REGION"})
HoldState = Literal["HELD", "USED", "RELEASED", "EXPIRED"]


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Round to the currency's places, half away from zero: the one rule for every amount of every line."""
    return amount.quantize(Decimal(1).scaleb(-money.exponent(currency)), ROUND_HALF_UP)


def share(amount: Decimal, percent: Decimal, currency: str) -> Decimal:
    """Return so many percent of an amount, rounded."""
    return rounded(amount * percent / PERCENT, currency)


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """The copy of a product, as of its version."""

    product_id: UUID
    version: int
    name: str
    category_path: tuple[str, ...]
    seller_id: UUID | None
    status: ProductStatus
    base_price: Decimal
    sale_price: Decimal | None
    currency: str
    tax_category: str
    shippable: bool


class ProductVariant(msgspec.Struct, frozen=True, kw_only=True):
    """The copy of a variant."""

    sku: str
    product_id: UUID
    price_difference: Decimal
    active: bool


class StockLevel(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a SKU is available, as of a version."""

    sku: str
    available: int
    version: int


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A SKU as it is sold now."""

    sku: str
    name: str
    category_path: tuple[str, ...] = ()
    seller_id: UUID | None = None
    active: bool = True
    base_price: Decimal
    sale_price: Decimal | None = None
    currency: str
    tax_category: str = "standard"
    shippable: bool = True
    available: int | None = None
    sold: tuple[tuple[datetime, int], ...] = ()
    """Units by the hour in which they were sold."""

    def units_since(self, moment: datetime) -> int:
        """Return the units sold in the hours since then."""
        return sum(units for hour, units in self.sold if hour >= moment)


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When and for whom a promotion counts: all that is given must hold. Times of day are UTC."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    weekdays: tuple[int, ...] = ()
    """1 is Monday."""
    from_time: time | None = None
    until_time: time | None = None
    stock_below: int | None = None
    stock_at_least: int | None = None
    demand_at_least: int | None = None
    demand_hours: int = 24
    segments: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    """Countries such as DE, or regions such as US-CA."""
    skus: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that changes prices; `percent` or `amount` is added to the price, so a discount is negative."""

    id: UUID
    name: str
    type: PromotionType
    active: bool = True
    priority: int = 100
    """Lower ones come first."""
    exclusive: bool = False
    """Ends its stage for the lines it changed."""
    percent: Decimal | None = None
    amount: Decimal | None = None
    currency: str | None = None
    conditions: Conditions = Conditions()
    version: int = 1
    created_at: datetime
    updated_at: datetime


class TaxRate(msgspec.Struct, frozen=True, kw_only=True):
    """What a country, or one of its regions, takes of a category of goods; empty means all."""

    id: UUID
    country: str
    region: str = ""
    category: str = ""
    percent: Decimal
    inclusive: bool = False
    exempt: bool = False
    version: int = 1
    created_at: datetime
    updated_at: datetime


class ShippingStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From this value of goods on, sending them costs so much."""

    from_value: Decimal
    amount: Decimal


class ShippingRate(msgspec.Struct, frozen=True, kw_only=True):
    """What sending costs by place and value; one step is a flat rate."""

    id: UUID
    name: str
    country: str
    """A country, or * for all that have no rate of their own."""
    region: str = ""
    currency: str
    steps: tuple[ShippingStep, ...]
    free_above: Decimal | None = None
    version: int = 1
    created_at: datetime
    updated_at: datetime


class Coupon(msgspec.Struct, frozen=True, kw_only=True):
    """A code that lowers a basket's price, with what is used and held of its limit."""

    id: UUID
    code: str
    percent: Decimal | None = None
    amount: Decimal | None = None
    currency: str | None = None
    minimum: Decimal | None = None
    total_limit: int | None = None
    per_user_limit: int | None = None
    used: int = 0
    held: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    active: bool = True
    combinable: bool = False
    skus: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    version: int = 1
    created_at: datetime
    updated_at: datetime

    @property
    def free(self) -> int | None:
        """How often it may still be held; None without a limit."""
        return None if self.total_limit is None else self.total_limit - self.used - self.held


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A coupon in a checkout's hand."""

    holder_id: UUID
    coupon_id: UUID
    user_id: UUID | None
    state: HoldState
    expires_at: datetime
    pinned: bool = False


class Rulebook(msgspec.Struct, frozen=True, kw_only=True):
    """All rules of one moment; promotions in the order in which they count."""

    version: int = 0
    promotions: tuple[Promotion, ...] = ()
    tax_rates: tuple[TaxRate, ...] = ()
    shipping_rates: tuple[ShippingRate, ...] = ()

    @property
    def demand_hours(self) -> int:
        """The longest time over which a rule of demand looks; 0 without such rules."""
        return max((one.conditions.demand_hours for one in self.promotions if one.type == "DEMAND" and one.active), default=0)


def in_scope(skus: Sequence[str], categories: Sequence[str], offer: Offer) -> bool:
    """Whether goods are among those named; naming none means all."""
    named = not skus and not categories
    return named or offer.sku in skus or any(category in categories for category in offer.category_path)


def ordered(promotions: Sequence[Promotion]) -> tuple[Promotion, ...]:
    """Return promotions in the order in which they count, the same whatever the order they come in."""
    return tuple(sorted(promotions, key=lambda one: (one.priority, one.id.int)))
