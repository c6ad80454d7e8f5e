"""What Stripe's objects and events mean in our words: one translation for Stripe itself and for the simulator.

The state of a payment comes from its payment intent, never from the checkout session beside it: of a session only its end counts,
because then nothing can be paid there any more. Amounts are compared as received where money was taken, as asked for elsewhere.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from careforall.contracts.payments import PaymentStatus
from careforall.kit import money
from careforall.kit.ids import new_id, parse_id
from careforall.payments.domain import (
    DeclineFact,
    DisputeFact,
    DisputeStatus,
    Fact,
    Fee,
    NoFact,
    RefundFact,
    RefundStatus,
    StateFact,
)
from careforall.payments.gateways.base import GatewayObject, Told, plain
from careforall.payments.gateways.stripe_shapes import Decline, Event, Thing, decode_event, decode_thing

STATES: Mapping[str, PaymentStatus] = {"requires_capture": "AUTHORIZED", "succeeded": "CAPTURED", "canceled": "FAILED"}
REFUND_STATES: Mapping[str, RefundStatus] = {
    "pending": "PENDING",
    "requires_action": "PENDING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "canceled": "FAILED",
}
DISPUTE_STATES: Mapping[str, DisputeStatus] = {
    "needs_response": "OPEN",
    "under_review": "OPEN",
    "warning_needs_response": "OPEN",
    "warning_under_review": "OPEN",
    "warning_closed": "WON",
    "prevented": "WON",
    "won": "WON",
    "lost": "LOST",
}
"""An inquiry that was closed and a dispute that was prevented took no money: what counts is that it stays with us."""

_STATE_EVENTS: Mapping[str, PaymentStatus] = {
    "payment_intent.amount_capturable_updated": "AUTHORIZED",
    "payment_intent.succeeded": "CAPTURED",
    "payment_intent.canceled": "FAILED",
}
_END_EVENTS: Mapping[str, str] = {
    "checkout.session.expired": "expired",
    "checkout.session.async_payment_failed": "payment_failed",
}
_REFUND_EVENTS = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})
_DISPUTE_EVENTS = "charge.dispute."
_TOLD_ELSEWHERE: Mapping[str, str] = {
    "charge.refunded": "told_by_refund_event",
    "checkout.session.completed": "told_by_payment_intent_event",
    "checkout.session.async_payment_succeeded": "told_by_payment_intent_event",
}


class StripeFacts:
    """Translates for one company that speaks Stripe's shapes.

    Args:
        livemode: Whether it moves real money here; what is of the other mode says nothing. None leaves that to somebody else.
        places: With how many decimal places it counts a currency; may raise MoneyError.
    """

    def __init__(self, *, livemode: bool | None, places: Callable[[str], int]) -> None:
        self._livemode = livemode
        self._places = places

    def read_event(self, body: bytes) -> Told:
        """Translate a webhook event; never raises."""
        try:
            event = decode_event(body)
        except msgspec.ValidationError as error:
            return Told(flaw=str(error), pointer="validation")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Told(flaw=str(error))
        at = _time(event.created)
        if self._is_foreign(event):
            return Told(event_id=event.id, event_type=event.type, fact=NoFact(reason="foreign_mode", at=at))
        try:
            subject = decode_thing(event.data.object)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Told(event_id=event.id, event_type=event.type, fact=NoFact(reason="unreadable_object", at=at))
        return Told(
            event_id=event.id,
            event_type=event.type,
            payment_id=parse_id(subject.noted("intent_id")),
            gateway_object=subject.intent_name or subject.id,
            fact=self._told(event.type, subject, at),
        )

    def state(self, found: Thing) -> Fact | None:
        """Return what the state of a payment intent says, None while nothing has happened to the money."""
        if self._is_foreign(found):
            return NoFact(reason="foreign_mode")
        target = STATES.get(found.status or "")
        return self._state(target, found, None) if target is not None else None

    def ended(self, session: Thing, reason: str, at: datetime | None = None) -> Fact:
        """Return what the end of a checkout session says: an intent has one, and nobody can pay there any more."""
        if self._is_foreign(session):
            return NoFact(reason="foreign_mode", at=at)
        return StateFact(target="FAILED", at=at, reason=reason, gateway_object=session.intent_name or session.id)

    def refund(self, found: Thing, at: datetime | None = None) -> Fact:
        """Return what a refund says."""
        amount, currency = self._amount(found.amount, found.currency)
        status = REFUND_STATES.get(found.status or "")
        if status is None:
            return NoFact(reason="unknown_refund_status", at=at)
        return RefundFact(
            gateway_refund_id=found.id,
            refund_id=parse_id(found.noted("refund_id")) or new_id(),
            amount=amount,
            currency=currency,
            status=status,
            at=at,
            reason=plain(found.failure_reason or ""),
            gateway_object=found.intent_name,
        )

    def dispute(self, found: Thing, at: datetime | None = None) -> Fact:
        """Return what a dispute says."""
        amount, currency = self._amount(found.amount, found.currency)
        status = DISPUTE_STATES.get(found.status or "")
        if status is None:
            return NoFact(reason="unknown_dispute_status", at=at)
        return DisputeFact(
            gateway_dispute_id=found.id,
            amount=amount,
            currency=currency,
            status=status,
            at=at,
            reason=plain(found.reason or ""),
            gateway_object=found.intent_name,
        )

    def _told(self, event_type: str, subject: Thing, at: datetime | None) -> Fact:
        if event_type in _STATE_EVENTS:
            return self._state(_STATE_EVENTS[event_type], subject, at)
        if event_type == "payment_intent.payment_failed":
            return _declined(subject, at)
        if event_type in _REFUND_EVENTS:
            return self.refund(subject, at)
        if event_type.startswith(_DISPUTE_EVENTS):
            return self.dispute(subject, at)
        if event_type in _END_EVENTS:
            return self.ended(subject, _END_EVENTS[event_type], at)
        return NoFact(reason=_TOLD_ELSEWHERE.get(event_type, "unhandled_type"), at=at)

    def _state(self, target: PaymentStatus, found: Thing, at: datetime | None) -> StateFact:
        amount, currency = self._amount(found.amount_received if target == "CAPTURED" else found.amount, found.currency)
        return StateFact(
            target=target,
            at=at,
            amount=amount,
            currency=currency,
            reason=plain(found.cancellation_reason or "canceled") if target == "FAILED" else "",
            gateway_object=found.id,
            method="CARD" if (found.payment_method_types or ["card"]) == ["card"] else None,
            fee=self._fee(found.settlement) if target == "CAPTURED" else None,
        )

    def _fee(self, settled: Thing | None) -> Fee | None:
        if settled is None or settled.fee is None:
            return None
        amount, currency = self._amount(settled.fee, settled.currency)
        return Fee(amount=amount, currency=currency)

    def _amount(self, minor: int | None, currency: str | None) -> tuple[Decimal, str]:
        """Return the amount as a decimal; of a currency unknown to us the bare number, which then differs from ours."""
        upper = plain((currency or "").upper(), 8)
        try:
            return from_minor(minor or 0, upper, self._places(upper)), upper
        except money.MoneyError:
            return Decimal(minor or 0), upper

    def _is_foreign(self, found: Thing | Event) -> bool:
        return self._livemode is not None and found.livemode is not None and found.livemode != self._livemode


def from_minor(minor: int, currency: str, places: int) -> Decimal:
    """Return an amount as we write it, whatever its company counts in; what we could not write differs from all of ours."""
    exact = Decimal(minor).scaleb(-places)
    shown = exact.quantize(Decimal(1).scaleb(-money.exponent(currency)))
    return shown if shown == exact else exact


def made_at(found: Thing) -> datetime | None:
    """Return when an object was made."""
    return _time(found.created)


def changed(found: Thing, fact: Fact) -> GatewayObject:
    """Return a refund or dispute as the object it hangs on, with that one fact."""
    return GatewayObject(
        id=found.intent_name or found.id,
        facts=(fact,),
        intent_id=parse_id(found.noted("intent_id")),
        created_at=made_at(found),
    )


def _declined(subject: Thing, at: datetime | None) -> DeclineFact:
    error = subject.last_payment_error or Decline()
    return DeclineFact(
        at=at,
        reason=plain(error.message or ""),
        code=plain(error.decline_code or error.code or "", 80),
        gateway_object=subject.id,
    )


def _time(raw: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(raw, tz=UTC) if isinstance(raw, int) else None
    except (ValueError, OverflowError, OSError):
        return None
