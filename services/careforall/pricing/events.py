"""Builds the events of this service out of its rows."""

from careforall.contracts.pricing import CouponChanged
from careforall.kit import outbox
from careforall.kit.context import Cause
from careforall.kit.outbox import Outgoing
from careforall.pricing.domain import Coupon

SOURCE = "pricing"


def changed(coupon: Coupon, cause: Cause) -> Outgoing:
    """Return the event that tells what a coupon is now."""
    return outbox.outgoing(state(coupon), aggregate_id=coupon.id, aggregate_version=coupon.version, source=SOURCE, cause=cause)


def state(coupon: Coupon) -> CouponChanged:
    """Return what others are told of a coupon."""
    return CouponChanged(
        coupon_id=coupon.id,
        code=coupon.code,
        active=coupon.active,
        total_limit=coupon.total_limit,
        used=coupon.used,
    )
