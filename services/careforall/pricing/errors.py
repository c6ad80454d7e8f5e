"""Refusals of the pricing service.

Problem
+-- CouponNotFound        404 coupon_not_found
+-- PromotionNotFound     404 promotion_not_found
+-- TaxRateNotFound       404 tax_rate_not_found
+-- ShippingRateNotFound  404 shipping_rate_not_found
+-- CouponCodeTaken       409 coupon_code_taken
+-- LimitBelowUse         409 limit_below_use
+-- RatePlaceTaken        409 rate_place_taken
+-- TaxModeConflict       409 tax_mode_conflict
"""

from careforall.kit.errors import Conflict, NotFound


class CouponNotFound(NotFound):
    """There is no such coupon."""

    code = "coupon_not_found"
    title = "There is no such coupon"


class PromotionNotFound(NotFound):
    """There is no such promotion."""

    code = "promotion_not_found"
    title = "There is no such promotion"


class TaxRateNotFound(NotFound):
    """There is no such tax rate."""

    code = "tax_rate_not_found"
    title = "There is no such tax rate"


class ShippingRateNotFound(NotFound):
    """There is no such shipping rate."""

    code = "shipping_rate_not_found"
    title = "There is no such shipping rate"


class CouponCodeTaken(Conflict):
    """Another coupon has this code; the codes of ended coupons stay taken."""

    code = "coupon_code_taken"
    title = "Another coupon has this code"


class LimitBelowUse(Conflict):
    """The limit is below what is used and held already."""

    code = "limit_below_use"
    title = "The limit is below what is used and held already"


class RatePlaceTaken(Conflict):
    """There is a rate for this place already."""

    code = "rate_place_taken"
    title = "There is a rate for this place already"


class TaxModeConflict(Conflict):
    """All rates of one country are inclusive, or none: a receipt shows tax in one way."""

    code = "tax_mode_conflict"
    title = "All tax rates of a country are inclusive, or none"
