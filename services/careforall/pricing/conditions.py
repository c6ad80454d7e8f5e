"""Why a promotion does not count for a line: each condition is one question, and the first that fails is the reason."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from careforall.pricing.domain import MOST_DEMAND_HOURS, Conditions, Offer, Promotion, PromotionType, in_scope


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """For whom and when a price is made."""

    now: datetime
    segment: str = ""
    member: bool = False
    country: str = ""
    region: str = ""

    @property
    def places(self) -> frozenset[str]:
        """The buyer's country, and the region in it where there is one."""
        return frozenset({self.country, f"{self.country}-{self.region}"} if self.region else {self.country}) - {""}


def refusal(promotion: Promotion, offer: Offer, buyer: Buyer) -> str | None:
    """Return why a promotion does not change the price of an offer for a buyer, or None where it does."""
    if promotion.currency is not None and promotion.currency != offer.currency:
        return f"is an amount of {promotion.currency}"
    if promotion.type == "MEMBER" and not buyer.member:
        return "is for members"
    return next((reason for ask in _QUESTIONS if (reason := ask(promotion.conditions, offer, buyer)) is not None), None)


def _dates(when: Conditions, _: Offer, buyer: Buyer) -> str | None:
    if when.starts_at is not None and buyer.now < when.starts_at:
        return "has not begun"
    return "has ended" if when.ends_at is not None and buyer.now >= when.ends_at else None


def _hours(when: Conditions, _: Offer, buyer: Buyer) -> str | None:
    if when.weekdays and buyer.now.isoweekday() not in when.weekdays:
        return "is not for this day of the week"
    if when.from_time is None or when.until_time is None:
        return None
    now, begins, ends = buyer.now.time(), when.from_time, when.until_time
    inside = begins <= now < ends if begins <= ends else now >= begins or now < ends
    return None if inside else "is not for this time of the day"


def _stock(when: Conditions, offer: Offer, _: Buyer) -> str | None:
    if when.stock_below is None and when.stock_at_least is None:
        return None
    if offer.available is None:
        return "the stock is not known"
    if when.stock_below is not None and offer.available >= when.stock_below:
        return f"there are {when.stock_below} or more in stock"
    if when.stock_at_least is not None and offer.available < when.stock_at_least:
        return f"there are fewer than {when.stock_at_least} in stock"
    return None


def _demand(when: Conditions, offer: Offer, buyer: Buyer) -> str | None:
    if when.demand_at_least is None:
        return None
    units = offer.units_since(buyer.now - timedelta(hours=when.demand_hours))
    return None if units >= when.demand_at_least else f"fewer than {when.demand_at_least} sold in {when.demand_hours} h"


def _segment(when: Conditions, _: Offer, buyer: Buyer) -> str | None:
    return "is for other buyers" if when.segments and buyer.segment not in when.segments else None


def _region(when: Conditions, _: Offer, buyer: Buyer) -> str | None:
    return "is for other regions" if when.regions and not buyer.places & set(when.regions) else None


def _scope(when: Conditions, offer: Offer, _: Buyer) -> str | None:
    return None if in_scope(when.skus, when.categories, offer) else "is for other goods"


_QUESTIONS: tuple[Callable[[Conditions, Offer, Buyer], str | None], ...] = (
    _scope,
    _dates,
    _hours,
    _stock,
    _demand,
    _segment,
    _region,
)

_OWN: dict[PromotionType, Callable[[Conditions], bool]] = {
    "DEMAND": lambda when: when.demand_at_least is not None and 1 <= when.demand_hours <= MOST_DEMAND_HOURS,
    "TIME_WINDOW": lambda when: bool(when.starts_at or when.ends_at or when.weekdays or when.from_time is not None),
    "STOCK_LEVEL": lambda when: when.stock_below is not None or when.stock_at_least is not None,
    "SEGMENT": lambda when: bool(when.segments),
    "REGION": lambda when: bool(when.regions),
    "SALE": lambda _: True,
    "MEMBER": lambda _: True,
}


def has_own(kind: PromotionType, conditions: Conditions) -> bool:
    """Whether a promotion carries the condition that its type is named after."""
    return _OWN[kind](conditions)
