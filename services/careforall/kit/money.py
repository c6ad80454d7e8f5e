"""Amounts: exact decimals with an ISO 4217 currency, never floats. Exponents come from Unicode CLDR by babel."""

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from babel.numbers import format_currency, get_currency_precision, is_currency

LIMIT = Decimal(10) ** 12
"""Amounts are below this; NUMERIC(18, 3) holds them."""

PLACES = 3
"""Decimal places that are kept: what has more (CLF, UYW) would be stored as another amount than was said."""

MAX_DIGITS = 24

_TOGETHER = re.compile(r"(?<=[^\W\d_])(?=\d)")
"""Between a letter and a digit: where a currency has no sign, babel writes its code against the amount."""
_SHARED = frozenset({"XAF", "XCD", "XCG", "XOF", "XPF"})
"""Money of several countries. What else begins with X is metal, a fund, a test or no currency at all."""


class MoneyError(ValueError):
    """An amount or currency that cannot be accepted; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@lru_cache(maxsize=512)
def exponent(currency: str) -> int:
    """Return the number of decimal places of `currency` (JPY 0, EUR 2, KWD 3).

    Raises:
        MoneyError: `unknown_currency` unless it is an upper-case ISO 4217 code of three letters.
    """
    if len(currency) != 3 or not currency.isascii() or not currency.isupper() or not is_currency(currency):  # noqa: PLR2004 - ISO 4217 alphabetic codes have three letters
        raise MoneyError("unknown_currency", "use an upper-case ISO 4217 code such as EUR")
    return get_currency_precision(currency)


def usable(currency: str) -> int:
    """Return the decimal places of a currency in which something can be paid.

    Raises:
        MoneyError: `unknown_currency`, also where it is no money, or where its amounts have more places than are kept.
    """
    places = exponent(currency)
    if currency.startswith("X") and currency not in _SHARED:
        raise MoneyError("unknown_currency", f"{currency} is no money that anybody pays with")
    if places > PLACES:
        raise MoneyError("unknown_currency", f"amounts of {currency} have {places} decimal places, and {PLACES} are kept here")
    return places


def parse_amount(value: Decimal | str, currency: str) -> Decimal:
    """Return `value` as a positive amount with exactly the decimal places of `currency`.

    Raises:
        MoneyError: `not_a_number`, `not_positive`, `too_large`, `too_many_decimals` or `unknown_currency`.
    """
    places = usable(currency)
    try:
        amount = value if isinstance(value, Decimal) else Decimal(_plain(value))
    except InvalidOperation:
        raise MoneyError("not_a_number", 'write the amount as a decimal string such as "25.00"') from None
    if not amount.is_finite():
        raise MoneyError("not_a_number", "the amount must be a finite number")
    if amount <= 0:
        raise MoneyError("not_positive", "the amount must be greater than zero")
    if amount >= LIMIT:
        raise MoneyError("too_large", f"the amount must be below {LIMIT}")
    return _quantized(amount, places, currency)


def _plain(text: str) -> str:
    if len(text) > MAX_DIGITS or "_" in text or text != text.strip() or not text.isascii():
        raise InvalidOperation
    return text


def _quantized(amount: Decimal, places: int, currency: str) -> Decimal:
    exact = amount.as_tuple().exponent
    if isinstance(exact, int) and -exact > MAX_DIGITS:
        raise MoneyError("too_many_decimals", f"{currency} has {places} decimal places")
    rounded = amount.quantize(Decimal(1).scaleb(-places))
    if rounded != amount:
        raise MoneyError("too_many_decimals", f"{currency} has {places} decimal places")
    return rounded


def show(amount: Decimal, currency: str) -> str:
    """Return the amount as the API writes it: plain digits with the currency's decimal places."""
    return f"{amount:.{exponent(currency)}f}"


@lru_cache(maxsize=1024)
def written(amount: Decimal | str, currency: str, language: str = "en") -> str:
    """Return an amount as people of a language write it; many are the same round ones, so their words are kept."""
    return _TOGETHER.sub("\N{NO-BREAK SPACE}", format_currency(Decimal(amount), currency, locale=language))


def cents(amount: Decimal, currency: str) -> int:
    """Return the amount in the currency's smallest unit, as gateways count."""
    return int(amount.scaleb(exponent(currency)))


def from_cents(minor: int, currency: str) -> Decimal:
    """Return the amount written in the currency's smallest unit as a decimal."""
    places = exponent(currency)
    return Decimal(minor).scaleb(-places).quantize(Decimal(1).scaleb(-places))
