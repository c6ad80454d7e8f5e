"""Amounts: exact decimals in, exact decimals out, and a code for every way to be wrong."""

from __future__ import annotations

from decimal import Decimal

import pytest
from babel.numbers import get_currency_precision, list_currencies
from hypothesis import example, given
from hypothesis import strategies as st

from careforall.kit import money

CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3, "USD": 2}


@pytest.mark.parametrize(("currency", "places"), CURRENCIES.items())
def test_decimal_places_are_those_of_the_currency(currency: str, places: int) -> None:
    assert money.exponent(currency) == places


@pytest.mark.parametrize("currency", ["", "EU", "EURO", "eur", "Eur", "ZZZ", "E1R", "€€€", "EUR ", "\x00\x00\x00", "DEM "])
def test_unknown_and_lower_case_currencies_are_refused(currency: str) -> None:
    with pytest.raises(money.MoneyError) as refused:
        money.parse_amount("1", currency)
    assert refused.value.code == "unknown_currency"


def test_what_is_no_money_is_refused() -> None:
    for currency in ("XXX", "XTS", "XAU", "XAG", "XPT", "XPD", "XDR", "XBA", "XUA", "XSU", "XEU"):
        with pytest.raises(money.MoneyError) as refused:
            money.parse_amount("1", currency)
        assert refused.value.code == "unknown_currency", currency
    for currency in ("XAF", "XCD", "XCG", "XOF", "XPF"):
        assert money.parse_amount("1", currency) == 1


@pytest.mark.parametrize(
    ("amount", "currency", "language", "words"),
    [
        ("2500", "JPY", "en", "¥2,500"),
        ("25.00", "EUR", "en", "€25.00"),
        (Decimal("1234.50"), "EUR", "de", "1.234,50\N{NO-BREAK SPACE}€"),
        (Decimal("2.500"), "KWD", "en", "KWD\N{NO-BREAK SPACE}2.500"),
        ("2.5", "CHF", "de", "2,50\N{NO-BREAK SPACE}CHF"),
    ],
)
def test_amounts_are_written_for_people(amount: Decimal | str, currency: str, language: str, words: str) -> None:
    assert money.written(amount, currency, language) == words


def test_no_amount_is_kept_as_another() -> None:
    refused = set()
    for currency in (one for one in list_currencies() if one.isupper() and not one.startswith("X")):
        smallest = Decimal(1).scaleb(-get_currency_precision(currency))
        try:
            assert money.parse_amount(str(smallest), currency).quantize(Decimal("0.001")) == smallest, (
                "the databases keep three places"
            )
        except money.MoneyError as error:
            refused.add((currency, error.code))
    assert refused == {("CLF", "unknown_currency"), ("UYW", "unknown_currency")}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not_a_number"),
        ("ten", "not_a_number"),
        ("1,50", "not_a_number"),
        ("1_000", "not_a_number"),
        (" 1", "not_a_number"),
        ("1 ", "not_a_number"),
        ("٣", "not_a_number"),
        ("NaN", "not_a_number"),
        ("sNaN", "not_a_number"),
        ("Infinity", "not_a_number"),
        ("-Infinity", "not_a_number"),
        ("0x10", "not_a_number"),
        ("1" * 25, "not_a_number"),
        ("0", "not_positive"),
        ("-0", "not_positive"),
        ("0.00", "not_positive"),
        ("-1", "not_positive"),
        ("-0.01", "not_positive"),
        ("9223372036854775808", "too_large"),
        ("1000000000000", "too_large"),
        ("1e30", "too_large"),
        ("1e400", "too_large"),
        ("1E+999999", "too_large"),
        ("0.001", "too_many_decimals"),
        ("10.005", "too_many_decimals"),
        ("1e-30", "too_many_decimals"),
        ("1e-999999", "too_many_decimals"),
        ("0.30000000000000004", "too_many_decimals"),
    ],
)
def test_every_wrong_amount_has_its_code(text: str, code: str) -> None:
    with pytest.raises(money.MoneyError) as refused:
        money.parse_amount(text, "EUR")
    assert refused.value.code == code


def test_cents_are_refused_where_the_currency_has_none() -> None:
    with pytest.raises(money.MoneyError) as refused:
        money.parse_amount("100.50", "JPY")
    assert refused.value.code == "too_many_decimals"
    assert money.parse_amount("100.00", "JPY") == 100


@given(minor=st.integers(min_value=1, max_value=10**14 - 1), currency=st.sampled_from(sorted(CURRENCIES)))
@example(minor=1, currency="KWD")
def test_what_is_shown_is_parsed_back_exactly(minor: int, currency: str) -> None:
    amount = money.from_cents(minor, currency)
    if amount < money.LIMIT:
        shown = money.show(amount, currency)
        assert "E" not in shown
        assert money.parse_amount(shown, currency) == amount
        assert money.cents(amount, currency) == minor


@given(text=st.text(max_size=30))
def test_any_text_is_an_amount_or_a_refusal_and_never_another_error(text: str) -> None:
    try:
        amount = money.parse_amount(text, "EUR")
    except money.MoneyError:
        return
    assert 0 < amount < money.LIMIT
    assert amount == amount.quantize(Decimal("0.01"))


@given(amount=st.decimals(allow_nan=True, allow_infinity=True))
def test_any_decimal_is_an_amount_or_a_refusal_and_never_another_error(amount: Decimal) -> None:
    try:
        parsed = money.parse_amount(amount, "KWD")
    except money.MoneyError:
        return
    assert parsed == amount
