"""HTTP shapes of pricing. Input forbids unknown fields; amounts are decimal strings (numbers are accepted)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.pricing.domain import Conditions, PromotionType, ShippingStep

AmountIn = Annotated[Decimal, Meta(description='Decimal string such as "25.00"; numbers are accepted.')]
AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]
PercentIn = Annotated[Decimal, Meta(description='Decimal string such as "7.5", four places at most.')]
CurrencyIn = Annotated[str, Meta(min_length=3, max_length=3, description="ISO 4217, upper case.")]
Code = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{3,40}(?!\\n)$", description="Letters, digits, - and _; upper and lower case are one.")
]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}(?!\\n)$", description="ISO 3166-1, upper case.")]
PlaceOrAnywhere = Annotated[str, Meta(pattern="^([A-Z]{2}|\\*)(?!\\n)$", description="A country, or * for all others.")]
Region = Annotated[str, Meta(pattern="^[A-Z0-9]{0,3}(?!\\n)$", description="ISO 3166-2 without the country; empty means all.")]
Word = Annotated[str, Meta(pattern="^[A-Za-z0-9._:-]{1,64}(?!\\n)$")]
CategoryIn = Annotated[str, Meta(pattern="^[a-z0-9-]{0,64}(?!\\n)$", description="A tax category; empty means all goods.")]
Words = Annotated[tuple[Word, ...], Meta(max_length=500)]
Limit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Quantity = Annotated[int, Meta(ge=1, le=100_000)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Priority = Annotated[int, Meta(ge=0, le=10_000, description="Lower ones come first.")]


class NewCoupon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a coupon: `percent`, or `amount` with its currency."""

    code: Code
    percent: PercentIn | None = None
    amount: AmountIn | None = None
    currency: CurrencyIn | None = None
    minimum: AmountIn | None = None
    total_limit: Limit | None = None
    per_user_limit: Limit | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    active: bool = True
    combinable: bool = False
    skus: Words = ()
    categories: Words = ()


class CouponPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a coupon; absent fields stay. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    percent: PercentIn | None | UnsetType = UNSET
    amount: AmountIn | None | UnsetType = UNSET
    currency: CurrencyIn | None | UnsetType = UNSET
    minimum: AmountIn | None | UnsetType = UNSET
    total_limit: Limit | None | UnsetType = UNSET
    per_user_limit: Limit | None | UnsetType = UNSET
    starts_at: datetime | None | UnsetType = UNSET
    ends_at: datetime | None | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    combinable: bool | UnsetType = UNSET
    skus: Words | UnsetType = UNSET
    categories: Words | UnsetType = UNSET


class CouponOut(msgspec.Struct, frozen=True, kw_only=True):
    """A coupon, with how often it is used and held by checkouts."""

    id: UUID
    code: str
    percent: str | None
    amount: AmountOut | None
    currency: str | None
    minimum: AmountOut | None
    total_limit: int | None
    per_user_limit: int | None
    used: int
    held: int
    starts_at: datetime | None
    ends_at: datetime | None
    active: bool
    combinable: bool
    skus: tuple[str, ...]
    categories: tuple[str, ...]
    version: int
    created_at: datetime
    updated_at: datetime


class PromotionIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule that changes prices, whole. `percent` or `amount` is added to the price: a discount is negative.

    `conditions` must hold the one that `type` is named after; all that are given must be true. `version` is for PUT only.
    """

    name: Name
    type: PromotionType
    active: bool = True
    priority: Priority = 100
    exclusive: bool = False
    percent: PercentIn | None = None
    amount: AmountIn | None = None
    currency: CurrencyIn | None = None
    conditions: Conditions = msgspec.field(default_factory=Conditions)
    version: int | UnsetType = UNSET


class PromotionOut(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that changes prices."""

    id: UUID
    name: str
    type: PromotionType
    active: bool
    priority: int
    exclusive: bool
    percent: str | None
    amount: AmountOut | None
    currency: str | None
    conditions: Conditions
    version: int
    created_at: datetime
    updated_at: datetime


class TaxRateIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tax rate, whole. The closest counts: a region before its country, a category before all goods.

    `version` is for PUT only.
    """

    country: Country
    region: Region = ""
    category: CategoryIn = ""
    percent: PercentIn
    inclusive: bool = False
    exempt: bool = False
    version: int | UnsetType = UNSET


class TaxRateOut(msgspec.Struct, frozen=True, kw_only=True):
    """A tax rate."""

    id: UUID
    country: str
    region: str
    category: str
    percent: str
    inclusive: bool
    exempt: bool
    version: int
    created_at: datetime
    updated_at: datetime


class ShippingRateIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shipping rate, whole: `amount` for a flat rate, or `steps` by the value of the goods. `version` is for PUT only."""

    name: Name
    country: PlaceOrAnywhere
    region: Region = ""
    currency: CurrencyIn
    amount: AmountIn | None = None
    steps: Annotated[tuple[ShippingStep, ...], Meta(max_length=50)] = ()
    free_above: AmountIn | None = None
    version: int | UnsetType = UNSET


class ShippingStepOut(msgspec.Struct, frozen=True, kw_only=True):
    """From this value of goods on, sending them costs so much."""

    from_value: AmountOut
    amount: AmountOut


class ShippingRateOut(msgspec.Struct, frozen=True, kw_only=True):
    """A shipping rate."""

    id: UUID
    name: str
    country: str
    region: str
    currency: str
    steps: list[ShippingStepOut]
    free_above: AmountOut | None
    version: int
    created_at: datetime
    updated_at: datetime


class QuoteItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a SKU."""

    sku: Annotated[str, Meta(min_length=1, max_length=100)]
    quantity: Quantity = 1


class QuoteIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be priced; without a country no shipping and no tax are counted."""

    items: Annotated[list[QuoteItem], Meta(min_length=1, max_length=200)]
    coupons: Annotated[list[Annotated[str, Meta(min_length=1, max_length=40)]], Meta(max_length=10)] = []
    country: Country | None = None
    region: Region = ""
    postal_code: Annotated[str, Meta(max_length=20)] = ""


class QuoteLineOut(msgspec.Struct, frozen=True, kw_only=True):
    """One line's price; all amounts but `unit_price` are of the whole quantity."""

    sku: str
    name: str
    quantity: int
    unit_price: AmountOut
    discount: AmountOut
    tax: AmountOut
    total: AmountOut
    shippable: bool


class ExplanationOut(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that was looked at: applied or not, and why."""

    rule: str
    applied: bool
    reason: str
    amount: AmountOut
    sku: str


class RefusedOut(msgspec.Struct, frozen=True, kw_only=True):
    """Why a SKU, or all of it together (`too_large`, without a subject), has no price, or why a coupon does not count."""

    code: str
    subject: str


class QuoteOut(msgspec.Struct, frozen=True, kw_only=True):
    """A price with its reasons. It is not locked; a checkout locks it."""

    currency: str
    items: list[QuoteLineOut]
    subtotal: AmountOut
    discount: AmountOut
    shipping: AmountOut
    tax: AmountOut
    tax_included: bool
    total: AmountOut
    explanation: list[ExplanationOut]
    refused: list[RefusedOut]
