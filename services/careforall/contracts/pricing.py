"""What pricing is asked by carts and checkouts. Steps carry a `step_id`: asked again they are answered as the first time."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from careforall.kit.envelope import Event

QUOTE = "query.pricing.quote"
"""Request subject: `QuoteAsked`, or `HeldQuoteAsked`, to `Quote`; nothing is written."""
LOCK = "ask.pricing.lock"
"""Request subject: `Lock` to `Quote`; the price is kept and the coupon held until `locked_until`."""
EXTEND = "ask.pricing.extend"
"""Request subject: `Extend` to `Settled`; price and coupons are kept for longer (rule 15)."""
REDEEM = "ask.pricing.redeem"
"""Request subject: `Settle` to `Settled`; the coupon is used."""
RELEASE = "ask.pricing.release"
"""Request subject: `Settle` to `Settled`; the coupon is free again."""
COUPONS_OF = "query.pricing.coupons_of"
"""Request subject: `CouponsAsked` to `CouponsTold`: coupons of which whoever asks has not heard yet."""


class QuotedLine(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one SKU is to be priced."""

    sku: str
    quantity: int


class QuoteAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be priced for whom; without a country no shipping and no tax are counted."""

    lines: list[QuotedLine]
    coupons: list[str] = []
    user_id: UUID | None = None
    segment: str = ""
    member: bool = False
    country: str = ""
    region: str = ""
    postal_code: str = ""


class HeldQuoteAsked(QuoteAsked, frozen=True, kw_only=True):
    """The same of a checkout that holds coupons already: what it holds itself does not stand in its way."""

    holder_id: UUID | None = None


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """Price, keep the price and hold the coupons for a checkout."""

    step_id: UUID
    holder_id: UUID
    asked: QuoteAsked
    seconds: int = 900


class PricedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line's price: `unit_price` of one after rules and sale; the other amounts are of all `quantity`."""

    sku: str
    name: str
    quantity: int
    unit_price: Decimal
    discount: Decimal
    tax: Decimal
    total: Decimal
    seller_id: UUID | None = None
    shippable: bool = True


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that was looked at: applied or not, and why."""

    rule: str
    applied: bool
    reason: str
    amount: Decimal = Decimal(0)
    sku: str = ""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why something cannot be priced: `unknown_sku`, `inactive`, `coupon_unknown`, `coupon_expired`, `coupon_exhausted`, ..."""

    code: str
    subject: str
    """The SKU or coupon; empty where it is the whole (`too_large`)."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The price of it all. With `refused` entries about SKUs there is no price; a refused coupon only does not count."""

    quote_id: UUID
    currency: str = ""
    lines: list[PricedLine] = []
    subtotal: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)
    shipping: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    tax_included: bool = False
    total: Decimal = Decimal(0)
    explanation: list[Explanation] = []
    refused: list[Refused] = []
    locked_until: datetime | None = None


class Extend(msgspec.Struct, frozen=True, kw_only=True):
    """Keep a holder's price and coupons until `until`; `pinned` coupons are never given back by a sweep (rule 15)."""

    step_id: UUID
    holder_id: UUID
    until: datetime
    pinned: bool = False


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Use, or give back, the coupons that a holder holds."""

    step_id: UUID
    holder_id: UUID


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. NOT_HELD: nothing is promised to the holder, or a coupon is gone; nothing changed.

    REFUSED: the question itself is at fault, `reason` is the code of the refusal.
    """

    outcome: Literal["DONE", "NOT_HELD", "REFUSED"]
    reason: str = ""


class CouponChanged(Event, frozen=True, kw_only=True):
    """A coupon was made, changed or ended."""

    SUBJECT: ClassVar[str] = "pricing.coupon_changed"

    coupon_id: UUID
    code: str
    active: bool
    total_limit: int | None = None
    used: int = 0


class CouponsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which coupons are asked for; of more than a hundred codes the rest is left out."""

    codes: list[str]


class CouponTold(msgspec.Struct, frozen=True, kw_only=True):
    """A coupon as it is, and the version that its events carry."""

    version: int
    coupon: CouponChanged


class CouponsTold(msgspec.Struct, frozen=True, kw_only=True):
    """The coupons that have one of the codes; codes that nobody has are left out."""

    coupons: list[CouponTold]
