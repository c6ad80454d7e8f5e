"""Prices: the order of calculation, rounding by line, and what must hold for every basket (random ones by Hypothesis)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from careforall.contracts.pricing import Quote, QuoteAsked, QuotedLine
from careforall.kit.ids import NIL, new_id
from careforall.pricing import calculation, charges
from careforall.pricing.coupons import CouponState
from careforall.pricing.domain import (
    ZERO,
    Conditions,
    Coupon,
    Offer,
    Promotion,
    Rulebook,
    ShippingRate,
    ShippingStep,
    TaxRate,
    ordered,
    rounded,
)

NOW = datetime(2027, 1, 30, 12, tzinfo=UTC)  # a Saturday
LIFE: dict[str, Any] = {"created_at": NOW, "updated_at": NOW}
SKUS = ("book", "cup", "shirt", "tea")
CENT = Decimal("0.01")
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault of the basket."""


def offer(sku: str = "cup", price: str = "10.00", **changes: Any) -> Offer:
    fields: dict[str, Any] = {"sku": sku, "name": sku.title(), "base_price": Decimal(price), "currency": "EUR"}
    return Offer(**fields | changes)


def promotion(kind: str, percent: str | None = None, **changes: Any) -> Promotion:
    fields: dict[str, Any] = {"id": new_id(), "name": kind.lower(), "type": kind, **LIFE}
    return Promotion(**fields | {"percent": Decimal(percent) if percent else None} | changes)


def coupon(code: str = "TEN", **changes: Any) -> Coupon:
    return Coupon(**{"id": new_id(), "code": code, **LIFE} | changes)


def tax(percent: str, **changes: Any) -> TaxRate:
    return TaxRate(**{"id": new_id(), "country": "DE", "percent": Decimal(percent), **LIFE} | changes)


def shipping(*steps: tuple[str, str], **changes: Any) -> ShippingRate:
    table = tuple(ShippingStep(from_value=Decimal(value), amount=Decimal(amount)) for value, amount in steps)
    return ShippingRate(**{"id": new_id(), "name": "Post", "country": "DE", "currency": "EUR", "steps": table, **LIFE} | changes)


def rules(*found: Promotion | TaxRate | ShippingRate) -> Rulebook:
    return Rulebook(
        promotions=ordered([one for one in found if isinstance(one, Promotion)]),
        tax_rates=tuple(one for one in found if isinstance(one, TaxRate)),
        shipping_rates=tuple(one for one in found if isinstance(one, ShippingRate)),
    )


def asked(*lines: tuple[str, int], **changes: Any) -> QuoteAsked:
    return QuoteAsked(lines=[QuotedLine(sku=sku, quantity=quantity) for sku, quantity in lines], **changes)


def states(*coupons: Coupon, by_user: int = 0) -> dict[str, CouponState]:
    return {one.code: CouponState(coupon=one, free=one.free, by_user=by_user) for one in coupons}


def quoted(
    basket: QuoteAsked,
    *offers: Offer,
    book: Rulebook | None = None,
    coupons: Mapping[str, CouponState] | None = None,
    now: datetime = NOW,
) -> Quote:
    shelf = {one.sku: one for one in offers}
    return calculation.price(basket, shelf, book or Rulebook(), coupons or {}, now=now, quote_id=NIL).quote


def reasons(quote: Quote) -> dict[str, str]:
    return {one.rule: one.reason for one in quote.explanation if not one.applied}


def test_base_then_rules_then_sale_then_coupon_then_member_then_shipping_and_tax() -> None:
    book = rules(
        promotion("REGION", "10", conditions=Conditions(regions=("DE",))),
        promotion("SALE", "-50"),
        promotion("MEMBER", "-10"),
        shipping(("0", "5.00")),
        tax("20"),
    )
    basket = asked(("cup", 2), coupons=["ten"], country="DE", member=True, user_id=new_id())
    quote = quoted(
        basket, offer(sale_price=Decimal("9.00")), book=book, coupons=states(coupon(percent=Decimal(10), used=5, total_limit=9))
    )
    [line] = quote.lines
    # 10.00 + 10 % = 11.00; sale price 9.00, half of it 4.50; two are 9.00, less a tenth, less a tenth; tax a fifth of 7.29
    assert (line.unit_price, line.discount, line.tax, line.total) == tuple(map(Decimal, ("4.50", "1.71", "1.46", "8.75")))
    assert (quote.subtotal, quote.discount, quote.shipping, quote.tax, quote.total) == tuple(
        map(Decimal, ("9.00", "1.71", "5.00", "1.46", "13.75"))
    )
    applied = [(one.rule, one.amount) for one in quote.explanation if one.applied]
    assert applied == [
        ("promotion:region", Decimal("2.00")),
        ("sale_price", Decimal("-4.00")),
        ("promotion:sale", Decimal("-9.00")),
        ("coupon:TEN", Decimal("-0.90")),
        ("promotion:member", Decimal("-0.81")),
        ("shipping:Post", Decimal("5.00")),
        ("tax:standard", Decimal("1.46")),
    ]


@pytest.mark.parametrize(
    ("kind", "conditions", "facts", "reason"),
    [
        ("TIME_WINDOW", Conditions(weekdays=(6,)), {}, None),
        ("TIME_WINDOW", Conditions(weekdays=(7,)), {}, "is not for this day of the week"),
        ("TIME_WINDOW", Conditions(from_time=time(11), until_time=time(13)), {}, None),
        ("TIME_WINDOW", Conditions(from_time=time(22), until_time=time(6)), {}, "is not for this time of the day"),
        ("TIME_WINDOW", Conditions(from_time=time(22), until_time=time(12, 1)), {}, None),
        ("TIME_WINDOW", Conditions(starts_at=NOW + timedelta(seconds=1)), {}, "has not begun"),
        ("TIME_WINDOW", Conditions(starts_at=NOW), {}, None),
        ("TIME_WINDOW", Conditions(ends_at=NOW), {}, "has ended"),
        ("STOCK_LEVEL", Conditions(stock_below=5), {"available": 4}, None),
        ("STOCK_LEVEL", Conditions(stock_below=5), {"available": 5}, "there are 5 or more in stock"),
        ("STOCK_LEVEL", Conditions(stock_at_least=5), {"available": 4}, "there are fewer than 5 in stock"),
        ("STOCK_LEVEL", Conditions(stock_below=5), {}, "the stock is not known"),
        ("DEMAND", Conditions(demand_at_least=3, demand_hours=2), {"sold": ((NOW, 1), (NOW - timedelta(hours=2), 2))}, None),
        (
            "DEMAND",
            Conditions(demand_at_least=3, demand_hours=2),
            {"sold": ((NOW, 2), (NOW - timedelta(hours=3), 9))},
            "fewer than 3 sold in 2 h",
        ),
        ("SEGMENT", Conditions(segments=("vip",)), {}, None),
        ("SEGMENT", Conditions(segments=("staff",)), {}, "is for other buyers"),
        ("REGION", Conditions(regions=("DE-BE",)), {}, None),
        ("REGION", Conditions(regions=("FR", "BE")), {}, "is for other regions"),
        ("SALE", Conditions(categories=("mugs",)), {"category_path": ("home", "mugs")}, None),
        ("SALE", Conditions(categories=("mugs",)), {"category_path": ("home",)}, "is for other goods"),
    ],
)
def test_a_rule_counts_where_all_its_conditions_hold_and_says_why_not(
    kind: str, conditions: Conditions, facts: dict[str, Any], reason: str | None
) -> None:
    rule = promotion(kind, "-10", conditions=conditions)
    quote = quoted(asked(("cup", 1), country="DE", region="BE", segment="vip"), offer(**facts), book=rules(rule))
    assert reasons(quote).get(f"promotion:{kind.lower()}") == reason
    assert quote.lines[0].unit_price == Decimal("10.00" if reason else "9.00")


def test_rules_count_by_priority_and_an_exclusive_one_ends_its_stage() -> None:
    first = promotion("SALE", "-10", name="first", priority=1, exclusive=True)
    second = promotion("SALE", "-20", name="second", priority=2)
    quote = quoted(asked(("cup", 1)), offer(), book=rules(second, first))
    assert quote.lines[0].unit_price == Decimal("9.00")
    assert reasons(quote)["promotion:second"] == "first excludes it"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"active": False}, "coupon_inactive"),
        ({"starts_at": NOW + timedelta(hours=1)}, "coupon_not_started"),
        ({"ends_at": NOW}, "coupon_expired"),
        ({"total_limit": 7, "used": 4, "held": 3}, "coupon_exhausted"),
        ({"per_user_limit": 2}, "coupon_used_up"),
        ({"minimum": Decimal("20.01"), "currency": "EUR"}, "coupon_minimum"),
        ({"percent": None, "amount": Decimal(1), "currency": "USD"}, "coupon_currency"),
        ({"skus": ("other",)}, "coupon_not_applicable"),
    ],
)
def test_a_refused_coupon_only_does_not_count(changes: dict[str, Any], code: str) -> None:
    one = coupon(**{"percent": Decimal(10)} | changes)
    quote = quoted(asked(("cup", 2), coupons=["TEN", "none"], user_id=new_id()), offer(), coupons=states(one, by_user=2))
    assert [(one.code, one.subject) for one in quote.refused] == [(code, "TEN"), ("coupon_unknown", "NONE")]
    assert (quote.total, quote.discount) == (Decimal("20.00"), ZERO)


def test_guests_cannot_use_what_is_limited_by_user_and_two_coupons_count_only_where_both_may() -> None:
    limited = states(coupon(percent=Decimal(10), per_user_limit=1))
    assert [one.code for one in quoted(asked(("cup", 1), coupons=["TEN"]), offer(), coupons=limited).refused] == [
        "coupon_needs_account"
    ]
    alone, beside = coupon("ALONE", percent=Decimal(10)), coupon("BESIDE", percent=Decimal(10), combinable=True)
    more = coupon("MORE", percent=Decimal(10), combinable=True)
    both = quoted(asked(("cup", 1), coupons=["beside", "alone", "more"]), offer(), coupons=states(alone, beside, more))
    assert [(one.code, one.subject) for one in both.refused] == [("coupon_not_combinable", "ALONE")]
    assert both.discount == Decimal("1.90"), "the second tenth is of what is left"


def test_an_amount_is_shared_out_to_the_last_cent_and_never_above_the_price() -> None:
    one = coupon(amount=Decimal("10.00"), currency="EUR")
    quote = quoted(
        asked(("cup", 1), ("tea", 1), ("book", 1), coupons=["TEN"]),
        *(offer(sku, "5.00") for sku in ("cup", "tea", "book")),
        coupons=states(one),
    )
    assert [line.discount for line in quote.lines] == [Decimal("3.33"), Decimal("3.33"), Decimal("3.34")], "the lowest SKU first"
    small = quoted(asked(("cup", 1), coupons=["TEN"]), offer(price="3.00"), coupons=states(one))
    assert (small.discount, small.total) == (Decimal("3.00"), ZERO)


def test_shipping_by_value_free_above_and_nowhere_else() -> None:
    post = shipping(("0", "7.00"), ("50", "3.00"), free_above=Decimal(100))
    rest = shipping(("0", "20.00"), country="*", name="World")
    for quantity, country, cost in ((4, "DE", "7.00"), (5, "DE", "3.00"), (10, "DE", "0"), (1, "FR", "20.00"), (1, "", "0")):
        quote = quoted(asked(("cup", quantity), country=country), offer(), book=rules(post, rest))
        assert quote.shipping == Decimal(cost), (quantity, country)
    nowhere = quoted(asked(("cup", 1), country="FR"), offer(), book=rules(post))
    assert ([(one.code, one.subject) for one in nowhere.refused], nowhere.lines) == ([("not_shipped_there", "FR")], [])
    assert quoted(asked(("cup", 1), country="FR"), offer(shippable=False), book=rules(post)).total == Decimal("10.00")


def test_tax_of_the_closest_rate_and_exempt_goods() -> None:
    book = rules(tax("20"), tax("10", category="books"), tax("25", region="BE"), tax("0", category="gift", exempt=True))
    for category, region, due in (("standard", "", "2.00"), ("books", "", "1.00"), ("standard", "BE", "2.50"), ("gift", "", "0")):
        quote = quoted(asked(("cup", 1), country="DE", region=region), offer(tax_category=category), book=book)
        assert quote.tax == Decimal(due), (category, region)
    assert reasons(quote)["tax:gift"] == "exempt"
    assert quoted(asked(("cup", 1), country="FR"), offer(), book=book).tax == ZERO


def test_what_cannot_be_priced_is_named_and_nothing_is_priced() -> None:
    offers = (offer("a"), offer("b", active=False), offer("d", currency="USD"))
    quote = quoted(asked(("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 0), ("a", 100_000)), *offers)
    assert [(one.subject, one.code) for one in quote.refused] == [
        ("a", "invalid_quantity"),
        ("b", "inactive"),
        ("c", "unknown_sku"),
        ("d", "currency_mismatch"),
        ("e", "invalid_quantity"),
    ]
    assert (quote.lines, quote.total) == ([], ZERO)
    assert [one.code for one in quoted(asked()).refused] == ["no_lines"]


def test_what_costs_more_than_is_kept_is_not_priced() -> None:
    dear = offer(price="9999999999.99")
    quote = quoted(asked(("cup", 100)), dear)
    assert (quote.total, quote.refused) == (Decimal("999999999999.00"), [])
    for basket, book in ((asked(("cup", 101)), rules()), (asked(("cup", 100), country="DE"), rules(tax("1")))):
        quote = quoted(basket, dear, book=book)
        assert ([(one.code, one.subject) for one in quote.refused], quote.lines, quote.total) == ([("too_large", "")], [], ZERO)


def test_a_sku_asked_for_twice_is_one_line() -> None:
    quote = quoted(asked(("cup", 1), ("tea", 1), ("cup", 2)), offer(), offer("tea", "1.00"))
    assert [(line.sku, line.quantity) for line in quote.lines] == [("cup", 3), ("tea", 1)]


percents = st.integers(-1000, 1000).filter(bool).map(lambda tenth: Decimal(tenth) / 10)
lower = percents.map(lambda percent: -abs(percent))
prices = st.integers(0, 1_000_000).map(lambda cents: Decimal(cents) / 100)
lines = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 9), min_size=1).map(lambda found: tuple(found.items()))


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """A basket with goods, rules and coupons."""
    inclusive = draw(st.booleans())
    book = rules(
        *(
            promotion(kind, str(draw(percents if kind == "REGION" else lower)), conditions=Conditions(regions=("DE",)))
            for kind in draw(st.lists(st.sampled_from(["REGION", "SALE", "MEMBER"]), max_size=4))
        ),
        *([tax(str(draw(st.integers(0, 40))), inclusive=inclusive)] if draw(st.booleans()) else []),
        *([shipping(("0", str(draw(prices))))] if draw(st.booleans()) else []),
    )
    found: list[dict[str, Any]] = draw(
        st.lists(
            st.one_of(
                st.builds(dict, percent=lower.map(abs), combinable=st.booleans()),
                st.builds(dict, amount=prices.filter(bool), currency=st.just("EUR"), combinable=st.booleans()),
            ),
            max_size=3,
        )
    )
    coupons = [coupon(f"C{number}", **fields) for number, fields in enumerate(found)]
    return {
        "basket": asked(*draw(lines), coupons=[one.code for one in coupons], country="DE", member=draw(st.booleans())),
        "offers": [offer(sku, str(draw(prices)), sale_price=draw(st.none() | prices)) for sku in SKUS],
        "book": book,
        "coupons": states(*coupons),
    }


def priced(world: dict[str, Any], basket: QuoteAsked | None = None) -> Quote:
    return quoted(basket or world["basket"], *world["offers"], book=world["book"], coupons=world["coupons"])


@BUSY
@given(worlds())
def test_lines_add_up_to_the_total_and_explanations_to_the_price(world: dict[str, Any]) -> None:
    quote = priced(world)
    goods = quote.subtotal - quote.discount
    assert quote.total == goods + quote.shipping + (ZERO if quote.tax_included else quote.tax)
    assert quote.total == sum(line.total for line in quote.lines) + quote.shipping
    assert quote.subtotal == sum(line.unit_price * line.quantity for line in quote.lines)
    assert quote.discount == sum(line.discount for line in quote.lines)
    assert quote.tax == sum(line.tax for line in quote.lines)
    base = {one.sku: one.base_price for one in world["offers"]}
    for line in quote.lines:
        changes = [one.amount for one in quote.explanation if one.sku == line.sku and not one.rule.startswith("tax:")]
        assert base[line.sku] * line.quantity + sum(changes) == line.unit_price * line.quantity - line.discount


@BUSY
@given(worlds())
def test_nothing_is_negative_no_discount_is_above_its_price_and_every_amount_is_in_cents(world: dict[str, Any]) -> None:
    quote = priced(world)
    for line in quote.lines:
        assert 0 <= line.discount <= line.unit_price * line.quantity
        assert min(line.unit_price, line.tax, line.total) >= 0
        assert all(amount == amount.quantize(CENT) for amount in (line.unit_price, line.discount, line.tax, line.total))
    assert 0 <= quote.discount <= quote.subtotal
    assert min(quote.total, quote.tax, quote.shipping) >= 0


@BUSY
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_lines_and_of_rules_changes_nothing_and_the_same_is_the_same(world: dict[str, Any], shuffler: Any) -> None:
    quote = priced(world)
    assert priced(world) == quote
    mixed = list(world["basket"].lines)
    shuffler.shuffle(mixed)
    again = priced(world, asked(*((line.sku, line.quantity) for line in mixed), **_buyer(world["basket"])))
    assert sorted(again.lines, key=lambda line: line.sku) == sorted(quote.lines, key=lambda line: line.sku)
    assert (again.total, again.tax, again.explanation) == (quote.total, quote.tax, quote.explanation)
    halved = [(line.sku, part) for line in mixed for part in (line.quantity - line.quantity // 2, line.quantity // 2) if part]
    assert priced(world, asked(*halved, **_buyer(world["basket"]))).total == quote.total


def _buyer(basket: QuoteAsked) -> dict[str, Any]:
    return {"coupons": basket.coupons, "country": basket.country, "member": basket.member}


@BUSY
@given(prices, st.integers(1, 400).map(lambda tenth: Decimal(tenth) / 10))
def test_tax_put_on_top_is_the_tax_found_inside(net: Decimal, percent: Decimal) -> None:
    on_top = charges.tax_of(net, tax(str(percent)), "EUR")
    inside = charges.tax_of(net + on_top, tax(str(percent), inclusive=True), "EUR")
    assert inside == on_top


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0.005", "EUR", "0.01"),
        ("-0.005", "EUR", "-0.01"),
        ("2.675", "EUR", "2.68"),
        ("0.5", "JPY", "1"),
        ("1.0005", "KWD", "1.001"),
    ],
)
def test_halves_are_rounded_away_from_zero_in_the_currency_s_places(amount: str, currency: str, expected: str) -> None:
    assert rounded(Decimal(amount), currency) == Decimal(expected)
