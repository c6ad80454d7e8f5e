"""PayPal's objects as far as we read them, and what an order says about the money in our words.

`custom_id` is ours: the intent's id; `<intent>.<refund>` on a refund we ordered; `<intent>.canceled` on an order we gave up.
"""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import msgspec

from careforall.contracts.payments import PaymentStatus
from careforall.kit import money
from careforall.kit.ids import new_id, parse_id
from careforall.payments.domain import (
    OBJECT_ENDED,
    DeclineFact,
    DisputeFact,
    DisputeStatus,
    Fact,
    Fee,
    RefundFact,
    RefundStatus,
    StateFact,
)
from careforall.payments.gateways.base import AnyName, Name, plain
from careforall.payments.gateways.generic import read_time

CANCELED = "canceled"
TAKEN = frozenset({"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"})
"""States of a capture whose money arrived."""
UNTAKEN = frozenset({"DECLINED", "DENIED", "FAILED"})
"""States of a capture or authorisation that never will."""

_WHOLE_ONLY = frozenset({"HUF", "JPY", "TWD"})
_REFUND_STATES: Mapping[str, RefundStatus] = {
    "PENDING": "PENDING",
    "COMPLETED": "SUCCEEDED",
    "FAILED": "FAILED",
    "CANCELLED": "FAILED",
}
_DISPUTES_OPEN = frozenset({"OPEN", "WAITING_FOR_BUYER_RESPONSE", "WAITING_FOR_SELLER_RESPONSE", "UNDER_REVIEW", "OTHER"})
_DISPUTES_RESOLVED: Mapping[str, DisputeStatus] = {
    "RESOLVED_BUYER_FAVOUR": "LOST",
    "ACCEPTED": "LOST",
    "RESOLVED_SELLER_FAVOUR": "WON",
    "RESOLVED_WITH_PAYOUT": "WON",
    "CANCELED_BY_BUYER": "WON",
    "DENIED": "WON",
}


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """An amount as PayPal writes it."""

    currency_code: str = ""
    value: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What can be done next, and where."""

    rel: str = ""
    href: str = ""


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Why a payment is in its state."""

    reason: str = ""


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """The order a payment belongs to."""

    order_id: AnyName = ""


class Supplement(msgspec.Struct, frozen=True, kw_only=True):
    """What PayPal adds to a payment."""

    related_ids: Related = Related()


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a capture for us."""

    paypal_fee: Money = Money()


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A capture, an authorisation or a refund."""

    id: Name
    status: str = ""
    status_details: Details = Details()
    amount: Money = Money()
    custom_id: str = ""
    invoice_id: str = ""
    create_time: str = ""
    supplementary_data: Supplement = Supplement()
    seller_receivable_breakdown: Breakdown = Breakdown()


class Payments(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with the money of a purchase unit."""

    authorizations: list[Payment] = []
    captures: list[Payment] = []
    refunds: list[Payment] = []


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What is paid for; our orders have one."""

    amount: Money = Money()
    custom_id: str = ""
    invoice_id: str = ""
    payments: Payments = Payments()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a payer is asked to pay."""

    id: Name
    status: str = ""
    intent: str = ""
    create_time: str = ""
    update_time: str = ""
    purchase_units: list[Unit] = []
    links: list[Link] = []

    @property
    def unit(self) -> Unit:
        """The one purchase unit."""
        return self.purchase_units[0] if self.purchase_units else Unit()

    @property
    def pay_url(self) -> str:
        """Where the payer agrees."""
        return next((link.href for link in self.links if link.rel in {"payer-action", "approve"}), "")

    @property
    def canceled(self) -> bool:
        """Whether we gave it up."""
        return self.unit.custom_id.endswith(f".{CANCELED}")

    @property
    def capture(self) -> Payment | None:
        """The capture whose money arrived."""
        return next((one for one in self.unit.payments.captures if one.status in TAKEN), None)

    @property
    def held(self) -> Payment | None:
        """The authorisation that can be captured or voided."""
        return next((one for one in self.unit.payments.authorizations if one.status in {"CREATED", "PENDING"}), None)

    @property
    def pending(self) -> bool:
        """Whether PayPal has not decided about a payment yet."""
        payments = self.unit.payments
        return any(one.status == "PENDING" for one in (*payments.captures, *payments.authorizations))


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a dispute ended."""

    outcome_code: str = ""


class Disputed(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction under dispute: our capture."""

    seller_transaction_id: str = ""
    invoice_number: str = ""
    custom: str = ""


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """A payer's complaint."""

    dispute_id: Name
    status: str = ""
    reason: str = ""
    dispute_amount: Money = Money()
    dispute_outcome: Outcome = Outcome()
    disputed_transactions: list[Disputed] = []
    create_time: str = ""
    update_time: str = ""


def written(amount: Decimal, currency: str) -> Money | None:
    """Return an amount as PayPal wants it, or None where PayPal cannot take it: some currencies it takes without decimals."""
    if currency not in _WHOLE_ONLY:
        return Money(currency_code=currency, value=money.show(amount, currency))
    return Money(currency_code=currency, value=f"{amount:.0f}") if amount == amount.to_integral_value() else None


def amount_of(given: Money) -> tuple[Decimal, str]:
    """Return an amount as a decimal; zero where it cannot be read, which then differs from ours."""
    currency = given.currency_code.upper()
    try:
        return money.parse_amount(given.value, currency), currency
    except money.MoneyError:
        return Decimal(0), currency


def names(custom_id: str, invoice_id: str = "") -> tuple[UUID | None, UUID | None]:
    """Return the intent and the refund that a payment names."""
    intent, _, rest = custom_id.partition(".")
    return parse_id(intent) or parse_id(invoice_id), parse_id(rest)


def facts_of(order: Order) -> tuple[Fact, ...]:
    """Return what an order says about the money, in the order it happened: its state, then each refund."""
    state = state_of(order)
    refunds = [refund_fact(one, order.id) for one in order.unit.payments.refunds]
    return (*((state,) if state is not None else ()), *(one for one in refunds if one is not None))


def state_of(order: Order) -> StateFact | DeclineFact | None:
    """Return the state of an order's money; None while nothing has happened, or while PayPal has not decided."""
    payments = order.unit.payments
    if order.capture is not None:
        return captured(order.id, order.capture)
    if order.pending:
        return None
    if order.held is not None:
        return told("AUTHORIZED", order.id, order.held.amount if order.held.amount.value else order.unit.amount)
    failed = next((one for one in (*payments.captures, *payments.authorizations) if one.status in UNTAKEN), None)
    if failed is not None:
        return ended(order.id, failed.status_details.reason or failed.status)
    released = any(one.status in {"VOIDED", "EXPIRED"} for one in payments.authorizations)
    if released or order.canceled:
        return canceled(order.id)
    return ended(order.id, "voided") if order.status == "VOIDED" else None


def told(target: PaymentStatus, order_id: str, given: Money) -> StateFact:
    """Return a state with the amount PayPal says it is about."""
    amount, currency = amount_of(given)
    return StateFact(target=target, amount=amount, currency=currency, gateway_object=order_id, method="PAYPAL")


def captured(order_id: str, capture: Payment) -> StateFact:
    """Return what a capture says, with PayPal's fee where it is told."""
    amount, currency = amount_of(capture.seller_receivable_breakdown.paypal_fee)
    state = told("CAPTURED", order_id, capture.amount)
    return msgspec.structs.replace(state, fee=Fee(amount=amount, currency=currency)) if amount else state


def canceled(order_id: str) -> StateFact:
    """Return the state of an order nobody will pay."""
    return StateFact(target="FAILED", reason=CANCELED, gateway_object=order_id)


def ended(order_id: str, reason: str) -> DeclineFact:
    """Return a decline after which the order cannot be paid any more."""
    return DeclineFact(reason=plain(reason), code=OBJECT_ENDED, gateway_object=order_id)


def refund_fact(refund: Payment, order_id: str) -> RefundFact | None:
    """Return how a refund stands, or None in a state we do not know."""
    status = _REFUND_STATES.get(refund.status)
    if status is None:
        return None
    amount, currency = amount_of(refund.amount)
    return RefundFact(
        gateway_refund_id=refund.id,
        refund_id=names(refund.custom_id)[1] or new_id(),
        amount=amount,
        currency=currency,
        status=status,
        at=read_time(refund.create_time or None),
        gateway_object=order_id,
    )


def refund_status(refund: Payment) -> RefundStatus | None:
    """Return the state of a refund in our words."""
    return _REFUND_STATES.get(refund.status)


def dispute_fact(dispute: Dispute, order_id: str) -> DisputeFact | None:
    """Return how a dispute stands, or None in a state we do not know."""
    status = _dispute_status(dispute)
    if status is None:
        return None
    amount, currency = amount_of(dispute.dispute_amount)
    return DisputeFact(
        gateway_dispute_id=dispute.dispute_id,
        amount=amount,
        currency=currency,
        status=status,
        at=read_time(dispute.update_time or dispute.create_time or None),
        reason=plain(dispute.reason),
        gateway_object=order_id,
    )


def _dispute_status(dispute: Dispute) -> DisputeStatus | None:
    if dispute.status in _DISPUTES_OPEN:
        return "OPEN"
    return _DISPUTES_RESOLVED.get(dispute.dispute_outcome.outcome_code) if dispute.status == "RESOLVED" else None
