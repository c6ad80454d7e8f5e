"""The generic channel: any company that signs our plain webhook body. It can tell us things; it cannot be asked.

Money captured through it goes back through it by hand, so an ordered refund counts as settled when it is ordered.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

import msgspec
from typing_extensions import override

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import parse_id
from careforall.payments.domain import GENERIC, Intent, StateFact
from careforall.payments.gateways.base import Gateway, GatewayObject, GatewayPage, GatewayRefund, GatewayRefused, Told, plain

_TARGETS: dict[str, PaymentStatus] = {**{status: status for status in get_args(PaymentStatus)}, "SUCCESS": "CAPTURED"}
_MILLISECONDS = 1e11
"""Numbers above are milliseconds: as seconds they would lie beyond the year 5000."""


class _Body(msgspec.Struct, frozen=True):
    """The documented fields; others are kept with the raw event and ignored."""

    status: str
    event_id: str | int | None = None
    event_type: str | None = None
    payment_intent_id: str | None = None
    payment_id: str | None = None
    timestamp: Any = None
    amount: Decimal | None = None
    currency: str | None = None
    reason: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


class Generic(Gateway):
    """Refunds and releases of money that some company captured for us."""

    name = GENERIC
    livemode = False

    @override
    async def open(self, intent: Intent, *, key: str, return_url: str) -> GatewayObject:
        raise GatewayRefused("not_payable_here", "This channel has no pay page.")

    @override
    async def show(self, gateway_object: str) -> GatewayObject:
        return GatewayObject(id=gateway_object)

    @override
    async def capture(self, gateway_object: str, *, key: str) -> GatewayObject:
        return GatewayObject(id=gateway_object, facts=(StateFact(target="CAPTURED"),))

    @override
    async def cancel(self, gateway_object: str, *, key: str) -> GatewayObject:
        return GatewayObject(id=gateway_object, facts=(StateFact(target="FAILED", reason="canceled"),))

    @override
    async def refund(self, intent: Intent, amount: Decimal, *, refund_id: UUID, reason: str) -> GatewayRefund:
        return GatewayRefund(id=f"generic_{refund_id}", status="SUCCEEDED")

    @override
    async def show_refund(self, gateway_refund_id: str) -> GatewayRefund:
        return GatewayRefund(id=gateway_refund_id, status="SUCCEEDED")

    @override
    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        return GatewayPage(objects=())

    @override
    async def close(self) -> None:
        return


def read_event(body: bytes) -> Told:
    """Translate the body of the generic endpoint."""
    try:
        told = _decode(body)
    except msgspec.ValidationError as error:
        return Told(flaw=str(error), pointer="validation")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Told(flaw=str(error))
    named = told.payment_intent_id or told.payment_id
    event_id = "" if told.event_id is None else str(told.event_id)
    event_type = told.event_type or told.status
    target = _TARGETS.get(told.status.upper())
    if target is None:
        return Told(event_id=event_id, event_type=event_type, flaw="status is none of ours", pointer="/status")
    if not named:
        return Told(event_id=event_id, event_type=event_type, flaw="name the payment", pointer="/payment_intent_id")
    fact = StateFact(
        target=target,
        at=read_time(told.timestamp),
        amount=told.amount,
        currency=told.currency.upper() if told.currency else None,
        reason=plain(told.reason or "") or ("failed" if target == "FAILED" else ""),
    )
    return Told(event_id=event_id, event_type=event_type, payment_id=parse_id(named), fact=fact)


def read_time(raw: object) -> datetime | None:
    """Return the time a sender wrote, or None where it cannot be read: a timestamp chooses words, never effects."""
    try:
        if isinstance(raw, str):
            at = datetime.fromisoformat(raw)
            return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            return datetime.fromtimestamp(raw / 1000 if abs(raw) > _MILLISECONDS else raw, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
