"""What is added to the goods: sending them and tax; pure."""

from collections.abc import Sequence
from decimal import Decimal

from careforall.pricing.domain import ANYWHERE, PERCENT, ZERO, ShippingRate, TaxRate, rounded, share

SHIPPING_CATEGORY = "shipping"


def tax_rate(rates: Sequence[TaxRate], country: str, region: str, category: str) -> TaxRate | None:
    """Return the rate that fits closest: the region's before the country's, the category's before that of all goods."""
    fitting = [
        rate for rate in rates if rate.country == country and rate.region in ("", region) and rate.category in ("", category)
    ]
    return max(fitting, key=lambda rate: (rate.region != "", rate.category != ""), default=None)


def tax_of(amount: Decimal, rate: TaxRate, currency: str) -> Decimal:
    """Return the tax in an amount that includes it, or on one that does not."""
    if rate.inclusive:
        return rounded(amount * rate.percent / (PERCENT + rate.percent), currency)
    return share(amount, rate.percent, currency)


def is_inclusive(rates: Sequence[TaxRate], country: str) -> bool:
    """Whether prices in a country include tax; its rates agree about it."""
    return any(rate.inclusive for rate in rates if rate.country == country)


def shipping_rate(rates: Sequence[ShippingRate], country: str, region: str, currency: str) -> ShippingRate | None:
    """Return the rate that fits closest: the region's, the country's, or that for anywhere."""
    fitting = [
        rate
        for rate in rates
        if rate.currency == currency and rate.country in (country, ANYWHERE) and rate.region in ("", region)
    ]
    return max(fitting, key=lambda rate: (rate.country != ANYWHERE, rate.region != ""), default=None)


def shipping_cost(rate: ShippingRate, value: Decimal) -> Decimal:
    """Return what it costs to send goods of a value."""
    if rate.free_above is not None and value >= rate.free_above:
        return ZERO
    return max((step for step in rate.steps if step.from_value <= value), key=lambda step: step.from_value).amount
