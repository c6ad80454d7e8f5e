"""Refuses coupons and rules that make no sense, naming every field at fault; pure. What is returned has exact amounts."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation

from msgspec.structs import replace

from careforall.kit import moments, money
from careforall.kit.errors import FieldError, InvalidInput
from careforall.kit.text import text_error
from careforall.pricing.conditions import has_own
from careforall.pricing.domain import PERCENT, ZERO, Conditions, Coupon, Promotion, ShippingRate, ShippingStep, TaxRate

_PERCENT_PLACES = 4
_DAYS = range(1, 8)
_MOST_WORDS = 500


class _Faults:
    """Collects fields at fault."""

    def __init__(self) -> None:
        self._found: list[FieldError] = []

    def add(self, pointer: str, code: str, message: str) -> None:
        """Note a fault."""
        self._found.append(FieldError(pointer=pointer, code=code, message=message))

    def note(self, fault: FieldError | None) -> None:
        """Note a fault that somebody else has found, if any."""
        if fault is not None:
            self._found.append(fault)

    def amount(self, value: Decimal | None, currency: str | None, pointer: str, *, signed: bool = False) -> Decimal | None:
        """Return an exact amount, positive unless `signed`, noting what is wrong with it."""
        if value is None:
            return None
        if currency is None:
            self.add("/currency", "required_field", "an amount needs its currency")
            return value
        if signed and not value:
            self.add(pointer, "invalid_value", "an amount of zero changes nothing")
            return value
        try:
            exact = money.parse_amount(abs(value) if signed else value, currency)
        except (money.MoneyError, InvalidOperation) as error:
            code = error.code if isinstance(error, money.MoneyError) else "not_a_number"
            self.add("/currency" if code == "unknown_currency" else pointer, code, str(error))
            return value
        return -exact if signed and value < 0 else exact

    def cost(self, value: Decimal, currency: str, pointer: str) -> Decimal:
        """Return an exact amount that may be zero."""
        return ZERO if value == 0 else self.amount(value, currency, pointer) or ZERO

    def percent(self, value: Decimal | None, pointer: str, fits: Callable[[Decimal], bool], message: str) -> None:
        """Note a percentage out of its range, or with too many places."""
        if value is None:
            return
        if not value.is_finite() or not fits(value):
            self.add(pointer, "invalid_value", message)
        elif round(value, _PERCENT_PLACES) != value:
            self.add(pointer, "too_many_decimals", f"{_PERCENT_PLACES} decimal places at most")

    def one_of(self, percent: Decimal | None, amount: Decimal | None) -> None:
        """Note where not exactly one of both is given."""
        if (percent is None) == (amount is None):
            self.add("/percent", "required_field", "give either percent or amount")

    def moment(self, value: datetime | None, pointer: str) -> datetime | None:
        """Return a moment in UTC, or None where there is none or it was noted."""
        try:
            return moments.in_utc(value) if value is not None else None
        except moments.MomentError as error:
            self.add(pointer, error.code, str(error))
            return None

    def period(self, begins: datetime | None, ends: datetime | None, at: str = "") -> tuple[datetime | None, datetime | None]:
        """Return when it begins and ends, in UTC; note times that are none, and an end before the beginning."""
        begins, ends = self.moment(begins, f"{at}/starts_at"), self.moment(ends, f"{at}/ends_at")
        if begins is not None and ends is not None and begins >= ends:
            self.add(f"{at}/ends_at", "before_start", "the end must be after the start")
        return begins, ends

    def settle(self) -> None:
        """Refuse what was noted, if anything was."""
        if self._found:
            raise InvalidInput(self._found[0].message, errors=self._found)


def checked_coupon(coupon: Coupon) -> Coupon:
    """Return a coupon that can be stored.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    faults = _Faults()
    faults.one_of(coupon.percent, coupon.amount)
    faults.percent(coupon.percent, "/percent", lambda value: 0 < value <= PERCENT, "between 0 and 100")
    amount = faults.amount(coupon.amount, coupon.currency, "/amount")
    minimum = faults.amount(coupon.minimum, coupon.currency, "/minimum")
    if coupon.currency is not None and coupon.amount is None and coupon.minimum is None:
        _check_currency(faults, coupon.currency)
    starts_at, ends_at = faults.period(coupon.starts_at, coupon.ends_at)
    faults.settle()
    return replace(coupon, amount=amount, minimum=minimum, starts_at=starts_at, ends_at=ends_at)


def checked_promotion(rule: Promotion) -> Promotion:
    """Return a promotion that can be stored.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    faults = _Faults()
    faults.note(text_error("/name", rule.name, limit=100))
    faults.one_of(rule.percent, rule.amount)
    faults.percent(rule.percent, "/percent", lambda value: 0 < abs(value) <= PERCENT, "between -100 and 100, not 0")
    amount = faults.amount(rule.amount, rule.currency, "/amount", signed=True)
    if rule.amount is None and rule.currency is not None:
        faults.add("/currency", "invalid_value", "a percentage has no currency")
    change = rule.percent if rule.percent is not None else rule.amount
    if rule.type in ("SALE", "MEMBER") and change is not None and change > 0:
        faults.add("/percent" if rule.percent is not None else "/amount", "invalid_value", f"a {rule.type} lowers the price")
    _check_conditions(faults, rule)
    faults.settle()
    return replace(rule, amount=amount)


def checked_tax_rate(rate: TaxRate) -> TaxRate:
    """Return a tax rate that can be stored.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    faults = _Faults()
    faults.percent(rate.percent, "/percent", lambda value: 0 <= value <= PERCENT, "between 0 and 100")
    if rate.exempt and rate.percent:
        faults.add("/percent", "invalid_value", "what is exempt has a rate of 0")
    faults.settle()
    return rate


def checked_shipping_rate(rate: ShippingRate) -> ShippingRate:
    """Return a shipping rate that can be stored, its steps in order.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    faults = _Faults()
    faults.note(text_error("/name", rate.name, limit=100))
    _check_currency(faults, rate.currency)
    faults.settle()
    steps = [_step(faults, step, rate.currency, index) for index, step in enumerate(rate.steps)]
    steps.sort(key=lambda step: step.from_value)
    if not steps or steps[0].from_value != 0 or len({step.from_value for step in steps}) < len(steps):
        faults.add("/steps", "invalid_value", "the first step begins at 0, and no two at the same value")
    free_above = None if rate.free_above is None else faults.cost(rate.free_above, rate.currency, "/free_above")
    faults.settle()
    return replace(rate, steps=tuple(steps), free_above=free_above)


def _step(faults: _Faults, step: ShippingStep, currency: str, index: int) -> ShippingStep:
    at = f"/steps/{index}"
    return ShippingStep(
        from_value=faults.cost(step.from_value, currency, f"{at}/from_value"),
        amount=faults.cost(step.amount, currency, f"{at}/amount"),
    )


def _check_currency(faults: _Faults, currency: str) -> None:
    try:
        money.usable(currency)
    except money.MoneyError as error:
        faults.add("/currency", error.code, str(error))


def _check_conditions(faults: _Faults, rule: Promotion) -> None:
    when = rule.conditions
    at = "/conditions"
    if not has_own(rule.type, when):
        faults.add(at, "required_field", f"a promotion of type {rule.type} needs the condition it is named after")
    faults.period(when.starts_at, when.ends_at, at)
    if any(day not in _DAYS for day in when.weekdays):
        faults.add(f"{at}/weekdays", "invalid_value", "1 is Monday, 7 is Sunday")
    if (when.from_time is None) != (when.until_time is None):
        faults.add(f"{at}/from_time", "required_field", "give both from_time and until_time")
    if any(moment is not None and moment.tzinfo is not None for moment in (when.from_time, when.until_time)):
        faults.add(f"{at}/from_time", "invalid_value", "times of day are UTC and written without a zone, such as 18:00:00")
    for name, value in _counts(when).items():
        if value is not None and not 0 <= value <= 2**31 - 1:
            faults.add(f"{at}/{name}", "invalid_value", "a number that is not negative")
    _check_words(faults, when)


def _counts(when: Conditions) -> dict[str, int | None]:
    return {
        "stock_below": when.stock_below,
        "stock_at_least": when.stock_at_least,
        "demand_at_least": when.demand_at_least,
        "demand_hours": when.demand_hours,
    }


def _check_words(faults: _Faults, when: Conditions) -> None:
    for name in ("segments", "regions", "skus", "categories"):
        words: tuple[str, ...] = getattr(when, name)
        if len(words) > _MOST_WORDS or any(not 0 < len(word) <= 100 or not word.isprintable() for word in words):  # noqa: PLR2004 - longest SKU
            faults.add(f"/conditions/{name}", "invalid_value", f"at most {_MOST_WORDS} plain words")
