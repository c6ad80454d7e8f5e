"""PayPal's webhook events in our words.

An approved order is no fact yet: it has payments ask, and asking takes the money (see `paypal`). Declines and voided orders are
asked about too, so that each counts once and for the attempt of its own order. A reversal is none either: money PayPal takes back
belongs to a dispute, which is told by events of its own and would count twice.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from careforall.payments.domain import Fact, NoFact
from careforall.payments.gateways.base import Told
from careforall.payments.gateways.generic import read_time
from careforall.payments.gateways.paypal_objects import (
    Dispute,
    Order,
    Payment,
    canceled,
    captured,
    dispute_fact,
    names,
    refund_fact,
    state_of,
    told,
)


class _Event(msgspec.Struct, frozen=True):
    id: str
    event_type: str
    resource: msgspec.Raw
    create_time: str = ""
    resource_type: str = ""


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_order = msgspec.json.Decoder(Order).decode
_decode_payment = msgspec.json.Decoder(Payment).decode
_decode_dispute = msgspec.json.Decoder(Dispute).decode

_REFUNDS = "PAYMENT.REFUND."
_DISPUTES = "CUSTOMER.DISPUTE."
_ORDERS = "CHECKOUT.ORDER."


def read_event(body: bytes) -> Told:
    """Translate an event; never raises."""
    try:
        event = _decode_event(body)
    except msgspec.ValidationError as error:
        return Told(flaw=str(error), pointer="validation")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Told(flaw=str(error))
    at = read_time(event.create_time or None)
    read = _reader(event.event_type)
    if read is None:
        return _told(event, Told(fact=NoFact(at=at)))
    try:
        return _told(event, read(event, at))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _told(event, Told(fact=NoFact(reason="unreadable_object", at=at)))


def _told(event: _Event, read: Told) -> Told:
    return msgspec.structs.replace(read, event_id=event.id, event_type=event.event_type)


def _reader(event_type: str) -> Callable[[_Event, datetime | None], Told] | None:
    if event_type.startswith(_ORDERS):
        return _read_order
    if event_type.startswith(_DISPUTES):
        return _read_dispute
    if event_type.startswith(_REFUNDS) or event_type == "PAYMENT.CAPTURE.REFUNDED":
        return _read_refund
    return _read_payment if event_type in _PAYMENTS else None


def _read_order(event: _Event, at: datetime | None) -> Told:
    order = _decode_order(event.resource)
    intent_id, _ = names(order.unit.custom_id, order.unit.invoice_id)
    return Told(payment_id=intent_id, gateway_object=order.id, fact=_order_fact(event.event_type, order, at))


def _order_fact(event_type: str, order: Order, at: datetime | None) -> Fact:
    match event_type.removeprefix(_ORDERS):
        case "APPROVED":
            return NoFact(reason="approved", at=at)
        case "VOIDED":
            return NoFact(reason="voided", at=at)
        case "COMPLETED":
            state = state_of(order)
            return NoFact(reason="pending", at=at) if state is None else msgspec.structs.replace(state, at=at)
        case _:
            return NoFact(at=at)


def _read_payment(event: _Event, at: datetime | None) -> Told:
    payment = _decode_payment(event.resource)
    return _about(payment, _PAYMENTS[event.event_type](payment, at))


def _read_refund(event: _Event, at: datetime | None) -> Told:
    """PAYMENT.CAPTURE.REFUNDED carries the refund, as PAYMENT.REFUND.* do; a capture in its place says no refund's amount."""
    refund = _decode_payment(event.resource)
    if event.resource_type not in {"", "refund"}:
        return _about(refund, NoFact(reason="told_by_refund_event", at=at))
    fact = refund_fact(refund, refund.supplementary_data.related_ids.order_id)
    if fact is None:
        return _about(refund, NoFact(reason="unknown_refund_status", at=at))
    return _about(refund, msgspec.structs.replace(fact, at=at or fact.at))


def _read_dispute(event: _Event, at: datetime | None) -> Told:
    dispute = _decode_dispute(event.resource)
    intents = {names(one.custom, one.invoice_number)[0] for one in dispute.disputed_transactions}
    fact = dispute_fact(dispute, "")
    if fact is None:
        return Told(payment_id=next(iter(intents), None), fact=NoFact(reason="unknown_dispute_status", at=at))
    if len(intents) != 1:
        return Told(fact=NoFact(reason="dispute_of_several_payments" if intents else "dispute_of_no_payment", at=at))
    return Told(payment_id=intents.pop(), fact=msgspec.structs.replace(fact, at=at or fact.at))


def _about(payment: Payment, fact: Fact) -> Told:
    intent_id, _ = names(payment.custom_id, payment.invoice_id)
    return Told(payment_id=intent_id, gateway_object=payment.supplementary_data.related_ids.order_id, fact=fact)


def _captured(payment: Payment, at: datetime | None) -> Fact:
    order = payment.supplementary_data.related_ids.order_id
    return msgspec.structs.replace(captured(order, payment), at=at)


def _authorized(payment: Payment, at: datetime | None) -> Fact:
    order = payment.supplementary_data.related_ids.order_id
    if payment.status == "PENDING":
        return NoFact(reason="pending", at=at)
    return msgspec.structs.replace(told("AUTHORIZED", order, payment.amount), at=at)


def _voided(payment: Payment, at: datetime | None) -> Fact:
    order = payment.supplementary_data.related_ids.order_id
    return msgspec.structs.replace(canceled(order), at=at)


def _declined(_: Payment, at: datetime | None) -> Fact:
    return NoFact(reason="declined", at=at)


def _pending(_: Payment, at: datetime | None) -> Fact:
    return NoFact(reason="pending", at=at)


def _reversed(_: Payment, at: datetime | None) -> Fact:
    return NoFact(reason="reversed", at=at)


_PAYMENTS: Mapping[str, Callable[[Payment, datetime | None], Fact]] = {
    "PAYMENT.CAPTURE.COMPLETED": _captured,
    "PAYMENT.CAPTURE.DENIED": _declined,
    "PAYMENT.CAPTURE.DECLINED": _declined,
    "PAYMENT.CAPTURE.PENDING": _pending,
    "PAYMENT.CAPTURE.REVERSED": _reversed,
    "PAYMENT.AUTHORIZATION.CREATED": _authorized,
    "PAYMENT.AUTHORIZATION.VOIDED": _voided,
}
