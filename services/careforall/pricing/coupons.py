"""What a coupon gives to a basket, or why it does not count; pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from uuid import UUID

import msgspec

from careforall.kit import money
from careforall.pricing.domain import ZERO, Coupon, Offer, in_scope, share

REASONS = {
    "coupon_unknown": "there is no such coupon",
    "coupon_inactive": "it was ended",
    "coupon_not_started": "its time has not come yet",
    "coupon_expired": "its time is over",
    "coupon_exhausted": "it was used as often as it may be",
    "coupon_needs_account": "sign in to use it",
    "coupon_used_up": "you have used it as often as you may",
    "coupon_currency": "it is for another currency",
    "coupon_minimum": "the basket is below its minimum",
    "coupon_not_applicable": "none of its goods is in the basket",
    "coupon_not_combinable": "it cannot be combined with another coupon",
}


class CouponState(msgspec.Struct, frozen=True, kw_only=True):
    """A coupon as a basket meets it: what is free for it, and how often its buyer uses it elsewhere."""

    coupon: Coupon
    free: int | None
    by_user: int = 0


class Bag(msgspec.Struct, frozen=True, kw_only=True):
    """What coupons are judged by: the lines' remaining values by SKU, and whose they are."""

    currency: str
    subtotal: Decimal
    values: Mapping[str, Decimal]
    offers: Mapping[str, Offer]
    user_id: UUID | None
    now: datetime


def refusal(state: CouponState | None, bag: Bag, *, others: Sequence[Coupon]) -> str | None:
    """Return the code of why a coupon does not count, or None where it does."""
    if state is None:
        return "coupon_unknown"
    coupon = state.coupon
    return (
        _by_time(coupon, bag.now)
        or _by_limit(state, bag.user_id)
        or _by_basket(coupon, bag)
        or ("coupon_not_combinable" if others and not all(one.combinable for one in (*others, coupon)) else None)
    )


def discounts(coupon: Coupon, bag: Bag) -> dict[str, Decimal]:
    """Return what a coupon takes off each line: percents rounded by line, an amount shared out by value to the last cent."""
    values = {sku: bag.values[sku] for sku in sorted(_touched(coupon, bag))}
    if coupon.percent is not None:
        return {sku: share(value, coupon.percent, bag.currency) for sku, value in values.items()}
    return _shared_out(min(coupon.amount or ZERO, sum(values.values(), ZERO)), values, bag.currency)


def _by_time(coupon: Coupon, now: datetime) -> str | None:
    if not coupon.active:
        return "coupon_inactive"
    if coupon.starts_at is not None and now < coupon.starts_at:
        return "coupon_not_started"
    return "coupon_expired" if coupon.ends_at is not None and now >= coupon.ends_at else None


def _by_limit(state: CouponState, user_id: UUID | None) -> str | None:
    if state.free is not None and state.free <= 0:
        return "coupon_exhausted"
    if state.coupon.per_user_limit is None:
        return None
    if user_id is None:
        return "coupon_needs_account"
    return "coupon_used_up" if state.by_user >= state.coupon.per_user_limit else None


def _by_basket(coupon: Coupon, bag: Bag) -> str | None:
    if coupon.currency is not None and coupon.currency != bag.currency:
        return "coupon_currency"
    if coupon.minimum is not None and bag.subtotal < coupon.minimum:
        return "coupon_minimum"
    return None if any(bag.values[sku] > 0 for sku in _touched(coupon, bag)) else "coupon_not_applicable"


def _touched(coupon: Coupon, bag: Bag) -> list[str]:
    return [sku for sku in bag.values if in_scope(coupon.skus, coupon.categories, bag.offers[sku])]


def _shared_out(amount: Decimal, values: Mapping[str, Decimal], currency: str) -> dict[str, Decimal]:
    """Share an amount out in proportion to values: rounded down, then the rest cent by cent to the largest remainders."""
    total = sum(values.values(), ZERO)
    if not total:
        return dict.fromkeys(values, ZERO)
    cent = Decimal(1).scaleb(-money.exponent(currency))
    exact = {sku: amount * value / total for sku, value in values.items()}
    shares = {sku: part.quantize(cent, ROUND_DOWN) for sku, part in exact.items()}
    missing = int((amount - sum(shares.values(), ZERO)) / cent)
    by_remainder = sorted((sku for sku in values if shares[sku] < values[sku]), key=lambda sku: (shares[sku] - exact[sku], sku))
    for sku in by_remainder[:missing]:
        shares[sku] += cent
    return shares
