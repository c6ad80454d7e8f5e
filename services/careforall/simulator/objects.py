"""The company's objects as it shows them, in answers and in events alike, and the signature under an event."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from careforall.kit import json
from careforall.simulator.domain import CaptureMethod, Change, Dispute, DisputeStatus, EventType, Intent, IntentStatus, Refund

SIGNATURE_HEADER = "Simulator-Signature"
_POINTS = 10_000
"""Hundredths of a percent in a whole."""


class PaymentError(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last try failed."""

    type: Literal["card_error"] = "card_error"
    code: str = "card_declined"
    decline_code: str
    message: str = "The card was declined."


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a charge brings after the company's fee."""

    id: str
    object: Literal["balance_transaction"] = "balance_transaction"
    amount: int
    currency: str
    fee: int
    net: int


class SettledCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as it is shown within its intent, where there is a fee to tell of."""

    id: str
    object: Literal["charge"] = "charge"
    balance_transaction: Settlement


class IntentObject(msgspec.Struct, frozen=True, kw_only=True):
    """A payment intent."""

    id: str
    object: Literal["payment_intent"] = "payment_intent"
    amount: int
    amount_capturable: int
    amount_received: int
    amount_refunded: int
    cancellation_reason: str | None
    capture_method: CaptureMethod
    created: int
    currency: str
    hosted_url: str
    last_payment_error: PaymentError | None
    latest_charge: str | SettledCharge | None
    livemode: bool = False
    metadata: Mapping[str, str]
    status: IntentStatus


class RefundObject(msgspec.Struct, frozen=True, kw_only=True):
    """A refund."""

    id: str
    object: Literal["refund"] = "refund"
    amount: int
    charge: str
    created: int
    currency: str
    metadata: Mapping[str, str]
    payment_intent: str
    reason: str | None
    status: Literal["pending", "succeeded", "failed"]


class ChargeObject(msgspec.Struct, frozen=True, kw_only=True):
    """A charge, made up from its intent."""

    id: str
    object: Literal["charge"] = "charge"
    amount: int
    amount_captured: int
    amount_refunded: int
    currency: str
    livemode: bool = False
    metadata: Mapping[str, str]
    payment_intent: str
    refunded: bool
    status: Literal["succeeded"] = "succeeded"


class DisputeObject(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute."""

    id: str
    object: Literal["dispute"] = "dispute"
    amount: int
    charge: str
    created: int
    currency: str
    livemode: bool = False
    metadata: Mapping[str, str]
    payment_intent: str
    reason: str = "fraudulent"
    status: DisputeStatus


class List(msgspec.Struct, frozen=True, kw_only=True):
    """One page of objects, newest first."""

    object: Literal["list"] = "list"
    data: list[Any]
    has_more: bool
    url: str


def intent_object(intent: Intent, base: str, *, fee_points: int = 0) -> IntentObject:
    """Show an intent; `base` is where the company's pages are, `fee_points` its fee in hundredths of a percent."""
    refused = PaymentError(decline_code=intent.decline_code) if intent.decline_code else None
    return IntentObject(
        id=intent.id,
        amount=intent.amount,
        amount_capturable=intent.amount_capturable,
        amount_received=intent.amount_received,
        amount_refunded=intent.amount_refunded,
        cancellation_reason=intent.cancellation_reason,
        capture_method=intent.capture_method,
        created=_seconds(intent.created),
        currency=intent.currency,
        hosted_url=f"{base}/pay/{intent.id}",
        last_payment_error=refused,
        latest_charge=_settled(intent, fee_points) or intent.latest_charge,
        metadata=intent.metadata,
        status=intent.status,
    )


def _settled(intent: Intent, fee_points: int) -> SettledCharge | None:
    if not fee_points or not intent.amount_received or intent.latest_charge is None:
        return None
    fee = (intent.amount_received * fee_points + _POINTS // 2) // _POINTS
    settlement = Settlement(
        id=f"txn_{intent.id.removeprefix('pi_')}",
        amount=intent.amount_received,
        currency=intent.currency,
        fee=fee,
        net=intent.amount_received - fee,
    )
    return SettledCharge(id=intent.latest_charge, balance_transaction=settlement)


def refund_object(refund: Refund) -> RefundObject:
    """Show a refund."""
    return RefundObject(
        id=refund.id,
        amount=refund.amount,
        charge=refund.charge,
        created=_seconds(refund.created),
        currency=refund.currency,
        metadata=refund.metadata,
        payment_intent=refund.payment_intent,
        reason=refund.reason,
        status=refund.status,
    )


def event_body(event_id: str, event_type: EventType, change: Change, *, base: str, now: datetime, fee_points: int = 0) -> bytes:
    """Return an event as it is sent, byte for byte on every delivery."""
    return json.encode(
        {
            "id": event_id,
            "object": "event",
            "type": event_type,
            "created": _seconds(now),
            "livemode": False,
            "data": {"object": _subject(event_type, change, base, fee_points)},
        }
    )


def signature(secret: str, body: bytes, now: int) -> str:
    """Return the header that proves an event to be the company's: HMAC-SHA256 of "time.body" under the secret."""
    signed = hmac.digest(secret.encode(), b"%d.%s" % (now, body), hashlib.sha256).hex()
    return f"t={now},v1={signed}"


def _subject(event_type: EventType, change: Change, base: str, fee_points: int) -> object:
    if event_type == "refund.created" and change.refund is not None:
        return refund_object(change.refund)
    if event_type.startswith("charge.dispute.") and change.dispute is not None:
        return dispute_object(change.dispute, change.intent.metadata)
    if event_type == "charge.refunded":
        return _charge_object(change.intent)
    return intent_object(change.intent, base, fee_points=fee_points)


def _charge_object(intent: Intent) -> ChargeObject:
    return ChargeObject(
        id=intent.latest_charge or "",
        amount=intent.amount,
        amount_captured=intent.amount_received,
        amount_refunded=intent.amount_refunded,
        currency=intent.currency,
        metadata=intent.metadata,
        payment_intent=intent.id,
        refunded=intent.amount_refunded == intent.amount_received,
    )


def dispute_object(dispute: Dispute, metadata: Mapping[str, str]) -> DisputeObject:
    """Show a dispute with what was noted at its intent."""
    return DisputeObject(
        id=dispute.id,
        amount=dispute.amount,
        charge=dispute.charge,
        created=_seconds(dispute.created),
        currency=dispute.currency,
        metadata=metadata,
        payment_intent=dispute.payment_intent,
        status=dispute.status,
    )


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
