"""Builds the events of this service out of its rows."""

from careforall.contracts.pricing import CouponChanged
from careforall.kit import outbox
from careforall.kit.context import Cause
from careforall.kit.outbox import Outgoing
from careforall.pricing.domain import Coupon

SOURCE = "pricing"


def changed(coupon: Coupon, cause: Cause) -> Outgoing:
    """Return the event that tells what a coupon is now."""
    event = CouponChanged(
        coupon_id=coupon.id,
        code=coupon.code,
        active=coupon.active,
        total_limit=coupon.total_limit,
        used=coupon.used,
    )
    return outbox.outgoing(event, aggregate_id=coupon.id, aggregate_version=coupon.version, source=SOURCE, cause=cause)
