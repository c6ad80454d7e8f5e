"""HTTP shapes of payments. Input forbids unknown fields; amounts are decimal strings (numbers are accepted)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.contracts.payments import Method, PaymentStatus, SubjectType
from careforall.kit import money
from careforall.payments.domain import AttemptStatus, DisputeStatus, Intent, RefundStatus
from careforall.payments.records import Attempt, Dispute, Refund, Transition

AmountIn = Annotated[Decimal, Meta(description='Decimal string such as "25.00"; numbers are accepted.')]
AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]


class IntentWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for the intent of a gift or order of one's own; the amount must be its own."""

    subject_type: SubjectType
    subject_id: UUID
    amount: AmountIn
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    gateway: Annotated[str, Meta(pattern="^[a-z]{2,20}$")] | None = None
    method: Method | None = None


class IntentOrder(IntentWish, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for an intent in the name of another service."""

    title: Annotated[str, Meta(max_length=200)] = ""
    user_id: UUID | None = None


class PayOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pay an order."""

    order_id: UUID


class PaymentStarted(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order is paid."""

    payment_id: UUID
    payment_intent_id: UUID
    order_id: UUID
    amount: AmountOut
    currency: str
    amount_cents: int
    status: PaymentStatus
    redirect_url: str
    expires_at: datetime


class IntentMade(msgspec.Struct, frozen=True, kw_only=True):
    """Where to pay; `id`, `payment_id` and `payment_intent_id` are one value everywhere."""

    id: UUID
    payment_id: UUID
    payment_intent_id: UUID
    subject_type: SubjectType
    subject_id: UUID
    status: PaymentStatus
    amount: AmountOut
    amount_cents: int
    currency: str
    gateway: str
    livemode: bool
    redirect_url: str
    expires_at: datetime


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send money back; without an amount all that is left."""

    reason: Annotated[str, Meta(min_length=1, max_length=200)]
    amount: AmountIn | None = None


class RefundOut(msgspec.Struct, frozen=True, kw_only=True):
    """A refund; PENDING means that the gateway has not said yet, and we go on asking."""

    id: UUID
    refund_id: UUID
    payment_id: UUID
    amount: AmountOut
    currency: str
    status: RefundStatus
    gateway_refund_id: str | None
    reason: str
    created_at: datetime | None
    settled_at: datetime | None
    total_refunded: AmountOut
    payment_status: PaymentStatus


class WebhookOut(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is told: the step with the payment's new version, or the reason why there was none."""

    status: Literal["processed", "ignored", "rejected"]
    old_status: PaymentStatus | UnsetType = UNSET
    new_status: PaymentStatus | UnsetType = UNSET
    version: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


class AttemptOut(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a gateway."""

    number: int
    gateway: str
    status: AttemptStatus
    gateway_object: str
    reason: str
    code: str
    created_at: datetime | None
    updated_at: datetime | None


class RefundEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A refund inside a payment."""

    id: UUID
    amount: AmountOut
    status: RefundStatus
    gateway: str
    gateway_refund_id: str | None
    reason: str
    parked: bool
    unapplied: bool
    """Of money that came after the payment had failed."""
    created_at: datetime | None
    settled_at: datetime | None


class DisputeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute inside a payment; OPEN and LOST ones lower what stays, unless they are parked."""

    id: UUID
    amount: AmountOut
    status: DisputeStatus
    gateway: str
    gateway_dispute_id: str
    reason: str
    parked: bool
    opened_at: datetime | None
    settled_at: datetime | None


class TransitionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded step with its cause."""

    from_status: PaymentStatus = msgspec.field(name="from")
    to_status: PaymentStatus = msgspec.field(name="to")
    version: int
    cause: str
    event_id: UUID | None
    event_time: datetime | None
    received_at: datetime | None


class PaymentOut(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as its payer or staff see it."""

    id: UUID
    payment_id: UUID
    payment_intent_id: UUID
    subject_type: SubjectType
    subject_id: UUID
    title: str
    amount: AmountOut
    amount_cents: int
    currency: str
    gateway: str
    method: Method | None
    livemode: bool
    status: PaymentStatus
    version: int
    captured_amount: AmountOut
    refunded_amount: AmountOut
    disputed_amount: AmountOut
    reason: str
    redirect_url: str
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    attempts: list[AttemptOut]
    refunds: list[RefundEntry]
    disputes: list[DisputeEntry]
    transitions: list[TransitionOut]


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with everything that happened to it."""

    intent: Intent
    attempts: list[Attempt]
    refunds: list[Refund]
    disputes: list[Dispute]
    transitions: list[Transition]


def started(intent: Intent) -> PaymentStarted:
    """Show where an order is paid."""
    return PaymentStarted(
        payment_id=intent.id,
        payment_intent_id=intent.id,
        order_id=intent.subject_id,
        amount=money.show(intent.amount, intent.currency),
        currency=intent.currency,
        amount_cents=money.cents(intent.amount, intent.currency),
        status=intent.status,
        redirect_url=f"/pay/{intent.id}",
        expires_at=intent.expires_at,
    )


def made(intent: Intent) -> IntentMade:
    """Show where to pay."""
    return IntentMade(
        id=intent.id,
        payment_id=intent.id,
        payment_intent_id=intent.id,
        subject_type=intent.subject_type,
        subject_id=intent.subject_id,
        status=intent.status,
        amount=money.show(intent.amount, intent.currency),
        amount_cents=money.cents(intent.amount, intent.currency),
        currency=intent.currency,
        gateway=intent.gateway,
        livemode=intent.livemode,
        redirect_url=f"/pay/{intent.id}",
        expires_at=intent.expires_at,
    )


def refund_out(intent: Intent, refund: Refund) -> RefundOut:
    """Show a refund with what it made of its payment."""
    return RefundOut(
        id=refund.id,
        refund_id=refund.id,
        payment_id=intent.id,
        amount=money.show(refund.amount, intent.currency),
        currency=intent.currency,
        status=refund.status,
        gateway_refund_id=refund.gateway_refund_id,
        reason=refund.reason,
        created_at=refund.created_at,
        settled_at=refund.settled_at,
        total_refunded=money.show(intent.refunded_amount, intent.currency),
        payment_status=intent.status,
    )


def payment_out(payment: Payment) -> PaymentOut:
    """Show a payment with its history."""
    intent = payment.intent
    return PaymentOut(
        id=intent.id,
        payment_id=intent.id,
        payment_intent_id=intent.id,
        subject_type=intent.subject_type,
        subject_id=intent.subject_id,
        title=intent.title,
        amount=money.show(intent.amount, intent.currency),
        amount_cents=money.cents(intent.amount, intent.currency),
        currency=intent.currency,
        gateway=intent.gateway,
        method=intent.method,
        livemode=intent.livemode,
        status=intent.status,
        version=intent.version,
        captured_amount=money.show(intent.captured_amount, intent.currency),
        refunded_amount=money.show(intent.refunded_amount, intent.currency),
        disputed_amount=money.show(intent.disputed_amount, intent.currency),
        reason=intent.reason,
        redirect_url=f"/pay/{intent.id}",
        expires_at=intent.expires_at,
        created_at=intent.created_at,
        updated_at=intent.updated_at,
        attempts=[_attempt_out(attempt) for attempt in payment.attempts],
        refunds=[_refund_entry(refund, intent.currency) for refund in payment.refunds],
        disputes=[_dispute_entry(dispute, intent.currency) for dispute in payment.disputes],
        transitions=[_transition_out(transition) for transition in payment.transitions],
    )


def _attempt_out(attempt: Attempt) -> AttemptOut:
    return AttemptOut(**{name: getattr(attempt, name) for name in AttemptOut.__struct_fields__})


def _refund_entry(refund: Refund, currency: str) -> RefundEntry:
    return RefundEntry(
        id=refund.id,
        amount=money.show(refund.amount, currency),
        status=refund.status,
        gateway=refund.gateway,
        gateway_refund_id=refund.gateway_refund_id,
        reason=refund.reason,
        parked=refund.parked,
        unapplied=refund.unapplied,
        created_at=refund.created_at,
        settled_at=refund.settled_at,
    )


def _dispute_entry(dispute: Dispute, currency: str) -> DisputeEntry:
    shown = {name: getattr(dispute, name) for name in DisputeEntry.__struct_fields__ if name != "amount"}
    return DisputeEntry(**shown, amount=money.show(dispute.amount, currency))


def _transition_out(transition: Transition) -> TransitionOut:
    return TransitionOut(**{name: getattr(transition, name) for name in TransitionOut.__struct_fields__})
