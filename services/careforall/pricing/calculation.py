"""The price of a basket, the same for the same input, with every rule that was looked at explained.

Base price > dynamic rules > sale > coupons > members' discount; then sending and tax. Every step is rounded, by line, by
`domain.rounded`, so that explanations add up to the price exactly. Nothing here depends on the order of the lines.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from careforall.contracts.pricing import Explanation, PricedLine, Quote, QuoteAsked, Refused
from careforall.kit import money
from careforall.pricing import charges, conditions, coupons
from careforall.pricing.conditions import Buyer
from careforall.pricing.coupons import Bag, CouponState
from careforall.pricing.domain import DYNAMIC, ZERO, Coupon, Offer, Promotion, Rulebook, TaxRate, rounded, share

MOST_UNITS = 100_000
MOST_LINES = 200


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """A finished price and the coupons that count in it."""

    quote: Quote
    applied: tuple[Coupon, ...] = ()


class _Line:
    """A line on its way through the steps."""

    def __init__(self, offer: Offer, quantity: int) -> None:
        self.offer = offer
        self.quantity = quantity
        self.unit = rounded(offer.base_price, offer.currency)
        self.discount = ZERO
        self.tax = ZERO

    @property
    def value(self) -> Decimal:
        """What is to be paid for the goods, before tax is added."""
        return self.unit * self.quantity - self.discount


def price(
    asked: QuoteAsked,
    offers: Mapping[str, Offer],
    rules: Rulebook,
    states: Mapping[str, CouponState],
    *,
    now: datetime,
    quote_id: UUID,
) -> Priced:
    """Return the price of what is asked for, or why there is none.

    Args:
        asked: The basket and its buyer.
        offers: What is known of its SKUs.
        rules: All rules.
        states: Its coupons by code.
        now: The time that decides.
        quote_id: Names the quote.
    """
    quantities = _summed(asked)
    if refused := _refused(quantities, offers):
        return Priced(quote=Quote(quote_id=quote_id, refused=refused))
    lines = [_Line(offers[sku], quantity) for sku, quantity in sorted(quantities.items())]
    return _Till(asked, lines, rules, now).rung_up(states, list(quantities), quote_id)


class _Till:
    """Takes the lines of one basket through all steps, noting why."""

    def __init__(self, asked: QuoteAsked, lines: Sequence[_Line], rules: Rulebook, now: datetime) -> None:
        self._asked = asked
        self._lines = lines
        self._rules = rules
        self._buyer = Buyer(now=now, segment=asked.segment, member=asked.member, country=asked.country, region=asked.region)
        self._currency = lines[0].offer.currency
        self._notes: list[Explanation] = []
        self._refused: list[Refused] = []

    def rung_up(self, states: Mapping[str, CouponState], order: Sequence[str], quote_id: UUID) -> Priced:
        """Return the price; lines come back in the order in which they were asked for."""
        for line in self._lines:
            self._dynamic(line)
            self._sale(line)
        subtotal = sum((line.unit * line.quantity for line in self._lines), ZERO)
        applied = self._coupons(states, subtotal)
        for line in self._lines:
            self._member(line)
        shipping = self._shipping()
        tax = self._taxes(shipping)
        if any(one.code == "not_shipped_there" for one in self._refused):
            return Priced(quote=Quote(quote_id=quote_id, refused=self._refused, explanation=self._notes))
        included = charges.is_inclusive(self._rules.tax_rates, self._asked.country)
        goods = sum((line.value for line in self._lines), ZERO)
        total = goods + shipping + (ZERO if included else tax)
        if max(subtotal, total) >= money.LIMIT:
            return Priced(quote=Quote(quote_id=quote_id, refused=[Refused(code="too_large", subject="")]))
        priced = {line.offer.sku: _priced(line, included=included) for line in self._lines}
        quote = Quote(
            quote_id=quote_id,
            currency=self._currency,
            lines=[priced[sku] for sku in order],
            subtotal=subtotal,
            discount=subtotal - goods,
            shipping=shipping,
            tax=tax,
            tax_included=included,
            total=total,
            explanation=self._notes,
            refused=self._refused,
        )
        return Priced(quote=quote, applied=tuple(applied))

    def _dynamic(self, line: _Line) -> None:
        self._stage(line, [rule for rule in self._rules.promotions if rule.type in DYNAMIC])

    def _sale(self, line: _Line) -> None:
        """Take the product's sale price where it is lower, then the sales."""
        if (sale := line.offer.sale_price) is not None:
            lower = rounded(sale, self._currency)
            reason = "on sale" if lower < line.unit else "the price is lower already"
            self._note("sale_price", line, min(lower, line.unit), reason)
        self._stage(line, [rule for rule in self._rules.promotions if rule.type == "SALE"])

    def _stage(self, line: _Line, rules: Sequence[Promotion]) -> None:
        closed = ""
        for rule in rules:
            if not rule.active:
                continue
            if reason := closed or conditions.refusal(rule, line.offer, self._buyer):
                self._explain(f"promotion:{rule.name}", reason, sku=line.offer.sku)
                continue
            self._note(f"promotion:{rule.name}", line, self._changed(rule, line.unit), _terms(rule))
            closed = f"{rule.name} excludes it" if rule.exclusive else ""

    def _changed(self, rule: Promotion, unit: Decimal) -> Decimal:
        change = share(unit, rule.percent, self._currency) if rule.percent is not None else rule.amount or ZERO
        return max(rounded(unit + change, self._currency), ZERO)

    def _note(self, rule: str, line: _Line, unit: Decimal, reason: str) -> None:
        """Set a line's unit price and tell of it."""
        change = (unit - line.unit) * line.quantity
        self._explain(rule, reason, applied=change != 0, amount=change, sku=line.offer.sku)
        line.unit = unit

    def _coupons(self, states: Mapping[str, CouponState], subtotal: Decimal) -> list[Coupon]:
        """Take off what coupons give, in the order in which they were given."""
        applied: list[Coupon] = []
        for code in dict.fromkeys(code.upper() for code in self._asked.coupons):
            bag = self._bag(subtotal)
            state = states.get(code)
            if (refused := coupons.refusal(state, bag, others=applied)) is not None or state is None:
                self._refuse_coupon(refused or "coupon_unknown", code)
                continue
            self._take_off(f"coupon:{code}", coupons.discounts(state.coupon, bag))
            applied.append(state.coupon)
        return applied

    def _bag(self, subtotal: Decimal) -> Bag:
        return Bag(
            currency=self._currency,
            subtotal=subtotal,
            values={line.offer.sku: line.value for line in self._lines},
            offers={line.offer.sku: line.offer for line in self._lines},
            user_id=self._asked.user_id,
            now=self._buyer.now,
        )

    def _refuse_coupon(self, code: str, coupon: str) -> None:
        self._refused.append(Refused(code=code, subject=coupon))
        self._explain(f"coupon:{coupon}", coupons.REASONS[code])

    def _take_off(self, rule: str, discounts: Mapping[str, Decimal]) -> None:
        for line in self._lines:
            if off := discounts.get(line.offer.sku, ZERO):
                line.discount += off
                self._explain(rule, "taken off", applied=True, amount=-off, sku=line.offer.sku)

    def _member(self, line: _Line) -> None:
        """Take off what members get of what is left to pay for a line."""
        closed = ""
        for rule in (rule for rule in self._rules.promotions if rule.type == "MEMBER" and rule.active):
            if reason := closed or conditions.refusal(rule, line.offer, self._buyer):
                self._explain(f"promotion:{rule.name}", reason, sku=line.offer.sku)
                continue
            percent, amount = rule.percent, rule.amount or ZERO
            off = -share(line.value, percent, self._currency) if percent is not None else -amount * line.quantity
            self._take_off(f"promotion:{rule.name}", {line.offer.sku: min(rounded(off, self._currency), line.value)})
            closed = f"{rule.name} excludes it" if rule.exclusive else ""

    def _shipping(self) -> Decimal:
        parcel = [line for line in self._lines if line.offer.shippable]
        if not self._asked.country or not parcel:
            self._explain("shipping", "no address given" if parcel else "nothing to send")
            return ZERO
        rate = charges.shipping_rate(self._rules.shipping_rates, self._asked.country, self._asked.region, self._currency)
        if rate is None:
            return self._not_shipped()
        cost = rounded(charges.shipping_cost(rate, sum((line.value for line in self._lines), ZERO)), self._currency)
        self._explain(f"shipping:{rate.name}", "for this value" if cost else "free for this value", applied=True, amount=cost)
        return cost

    def _not_shipped(self) -> Decimal:
        """Say that goods are not sent there, unless nobody has set any rate: then sending is free."""
        if self._rules.shipping_rates:
            self._refused.append(Refused(code="not_shipped_there", subject=self._asked.country))
        self._explain("shipping", "there is no rate for this place and currency")
        return ZERO

    def _taxes(self, shipping: Decimal) -> Decimal:
        for line in self._lines:
            line.tax = self._tax(line.offer.tax_category, line.value, line.offer.sku)
        own = [rate for rate in self._rules.tax_rates if rate.category == charges.SHIPPING_CATEGORY]
        on_shipping = self._tax(charges.SHIPPING_CATEGORY, shipping, "", rates=own) if shipping else ZERO
        return sum((line.tax for line in self._lines), on_shipping)

    def _tax(self, category: str, amount: Decimal, sku: str, rates: Sequence[TaxRate] | None = None) -> Decimal:
        asked = self._asked
        if not asked.country:
            return ZERO
        known = self._rules.tax_rates if rates is None else rates
        rate = charges.tax_rate(known, asked.country, asked.region, category)
        if rate is None or rate.exempt:
            self._explain(f"tax:{category}", "exempt" if rate else f"there is no rate for {asked.country}", sku=sku)
            return ZERO
        tax = charges.tax_of(amount, rate, self._currency)
        how = "in the price" if rate.inclusive else "on top"
        self._explain(f"tax:{category}", f"{rate.percent:f} % {how}", applied=True, amount=tax, sku=sku)
        return tax

    def _explain(self, rule: str, reason: str, *, applied: bool = False, amount: Decimal = ZERO, sku: str = "") -> None:
        self._notes.append(Explanation(rule=rule, applied=applied, reason=reason, amount=amount, sku=sku))


def _summed(asked: QuoteAsked) -> dict[str, int]:
    """Return quantities by SKU, the same SKU twice as one line; 0 for one of which less than one is asked for."""
    quantities: dict[str, int] = {}
    for line in asked.lines:
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    return quantities | dict.fromkeys((line.sku for line in asked.lines if line.quantity < 1), 0)


def _refused(quantities: Mapping[str, int], offers: Mapping[str, Offer]) -> list[Refused]:
    """Return what cannot be priced: nothing at all, too much, unknown or closed goods, or goods of several currencies."""
    if not 0 < len(quantities) <= MOST_LINES:
        return [Refused(code="too_many_lines" if quantities else "no_lines", subject="")]
    currency = next((offers[sku].currency for sku in sorted(quantities) if sku in offers), "")
    codes = {sku: _fault(offers.get(sku), quantities[sku], currency) for sku in sorted(quantities)}
    return [Refused(code=code, subject=sku) for sku, code in codes.items() if code]


def _fault(offer: Offer | None, quantity: int, currency: str) -> str:
    if not 0 < quantity <= MOST_UNITS:
        return "invalid_quantity"
    if offer is None:
        return "unknown_sku"
    if not offer.active:
        return "inactive"
    return "" if offer.currency == currency else "currency_mismatch"


def _priced(line: _Line, *, included: bool) -> PricedLine:
    return PricedLine(
        sku=line.offer.sku,
        name=line.offer.name,
        quantity=line.quantity,
        unit_price=line.unit,
        discount=line.discount,
        tax=line.tax,
        total=line.value + (ZERO if included else line.tax),
        seller_id=line.offer.seller_id,
        shippable=line.offer.shippable,
    )


def _terms(rule: Promotion) -> str:
    change = f"{rule.percent.normalize():+f} %" if rule.percent is not None else f"{rule.amount or ZERO:+f} {rule.currency}"
    return f"{rule.type.lower()} {change}"
