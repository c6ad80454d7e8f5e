"""How Stripe counts: its decimal places are not always ours, and an amount a hundred times too large is no detail.

Ours come from Unicode CLDR, which counts what is in use (no cents in Iceland); Stripe counts two places but for the listed ones.
"""

from decimal import Decimal

from careforall.kit import money
from careforall.payments.gateways.base import GatewayRefused

_NONE = frozenset({
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
})  # fmt: skip
_THREE = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_AMBIGUOUS = frozenset({"UGX"})
"""Documented as having no decimal places and as to be sent with two: not worth a guess."""


def places(currency: str) -> int:
    """Return with how many decimal places Stripe counts a currency.

    Raises:
        MoneyError: It is no currency.
    """
    money.exponent(currency)
    if currency in _NONE:
        return 0
    return 3 if currency in _THREE else 2


def minor(amount: Decimal, currency: str) -> int:
    """Return an amount as Stripe takes it.

    Raises:
        GatewayRefused: Stripe cannot be asked for it.
    """
    if currency in _AMBIGUOUS:
        raise GatewayRefused("currency_not_supported", f"Amounts in {currency} cannot be paid with Stripe.")
    exact = amount.scaleb(places(currency))
    if exact != exact.to_integral_value():
        raise GatewayRefused("amount_not_supported", f"Stripe does not count {currency} that exactly.")
    return int(exact)
