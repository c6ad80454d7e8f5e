"""The simulator: a gateway of ours for development, shaped like Stripe on the wire."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import httpx2
import msgspec
from typing_extensions import override

from careforall.contracts.payments import PaymentStatus
from careforall.kit import money
from careforall.kit.ids import new_id, parse_id
from careforall.payments.domain import (
    DeclineFact,
    DisputeFact,
    DisputeStatus,
    Fact,
    Intent,
    NoFact,
    RefundFact,
    RefundStatus,
    StateFact,
)
from careforall.payments.gateways.base import (
    Gateway,
    GatewayObject,
    GatewayPage,
    GatewayRefund,
    GatewayRefused,
    GatewayUnknown,
    Told,
    plain,
)

T = TypeVar("T")

_SERVER_ERROR = 500
_PAGE = 100
_BUSY = frozenset({409, 429})
_STATES: Mapping[str, PaymentStatus] = {"requires_capture": "AUTHORIZED", "succeeded": "CAPTURED", "canceled": "FAILED"}
_EVENTS: Mapping[str, PaymentStatus] = {
    "payment_intent.amount_capturable_updated": "AUTHORIZED",
    "payment_intent.succeeded": "CAPTURED",
    "payment_intent.canceled": "FAILED",
}
_REFUND_STATES: Mapping[str, RefundStatus] = {
    "pending": "PENDING",
    "requires_action": "PENDING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "canceled": "FAILED",
}
_DISPUTE_STATES: Mapping[str, DisputeStatus] = {"needs_response": "OPEN", "under_review": "OPEN", "won": "WON", "lost": "LOST"}


class _Decline(msgspec.Struct, frozen=True):
    code: str = ""
    decline_code: str = ""
    message: str = ""


class _Object(msgspec.Struct, frozen=True):
    """The fields we read of any of the gateway's objects."""

    id: str
    object: str = ""
    status: str = ""
    amount: int = 0
    amount_received: int = 0
    currency: str = ""
    metadata: Mapping[str, str] = {}
    hosted_url: str = ""
    payment_intent: str = ""
    reason: str | None = None
    cancellation_reason: str | None = None
    last_payment_error: _Decline | None = None
    created: int = 0


class _List(msgspec.Struct, frozen=True):
    data: list[_Object]
    has_more: bool = False


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: _Data
    created: Any = None
    livemode: bool = False


class _Error(msgspec.Struct, frozen=True):
    type: str = ""
    code: str = ""
    message: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_object = msgspec.json.Decoder(_Object).decode
_decode_list = msgspec.json.Decoder(_List).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


class Simulator(Gateway):
    """Talks to the simulator over HTTP.

    Args:
        base: Its base URL.
        key: Bearer key.
        seconds: Deadline of one call.
    """

    name = "simulator"
    livemode = False

    def __init__(self, base: str, key: str, *, seconds: float) -> None:
        self._client = httpx2.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(seconds, connect=min(seconds, 1.0)),
            trust_env=False,
        )

    @override
    async def open(self, intent: Intent, *, key: str, return_url: str) -> GatewayObject:
        body = {
            "amount": money.cents(intent.amount, intent.currency),
            "currency": intent.currency.lower(),
            "metadata": {"intent_id": str(intent.id)},
            "return_url": return_url,
        }
        if intent.subject_type == "ORDER":
            body["capture_method"] = "manual"
        return _shown(await self._post("/v1/payment_intents", body, key))

    @override
    async def show(self, gateway_object: str) -> GatewayObject:
        return _shown(await self._call("GET", f"/v1/payment_intents/{gateway_object}", _decode_object))

    @override
    async def capture(self, gateway_object: str, *, key: str) -> GatewayObject:
        return _shown(await self._post(f"/v1/payment_intents/{gateway_object}/capture", {}, key))

    @override
    async def cancel(self, gateway_object: str, *, key: str) -> GatewayObject:
        return _shown(await self._post(f"/v1/payment_intents/{gateway_object}/cancel", {}, key))

    @override
    async def refund(self, intent: Intent, amount: Decimal, *, refund_id: UUID, reason: str) -> GatewayRefund:
        body = {
            "payment_intent": intent.gateway_object,
            "amount": money.cents(amount, intent.currency),
            "reason": "requested_by_customer",
            "metadata": {"refund_id": str(refund_id), "intent_id": str(intent.id)},
        }
        return _shown_refund(await self._post("/v1/refunds", body, str(refund_id)))

    @override
    async def show_refund(self, gateway_refund_id: str) -> GatewayRefund:
        return _shown_refund(await self._call("GET", f"/v1/refunds/{gateway_refund_id}", _decode_object))

    @override
    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        query: dict[str, str | int] = {
            "created[gte]": int(since.timestamp()),
            "created[lt]": int(until.timestamp()),
            "limit": _PAGE,
        }
        if after:
            query["starting_after"] = after
        page = await self._call("GET", "/v1/payment_intents", _decode_list, params=query)
        more = page.data[-1].id if page.has_more and page.data else ""
        return GatewayPage(objects=tuple(_shown(one) for one in page.data), next=more)

    @override
    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, path: str, body: Mapping[str, object], key: str) -> _Object:
        return await self._call("POST", path, _decode_object, json=body, headers={"Idempotency-Key": key})

    async def _call(self, method: str, path: str, decode: Callable[[bytes], T], **request: Any) -> T:
        try:
            response = await self._client.request(method, path, **request)
        except httpx2.HTTPError as error:
            raise GatewayUnknown(f"{type(error).__name__} on {method} {path}") from error
        if response.status_code >= _SERVER_ERROR or response.status_code in _BUSY:
            raise GatewayUnknown(f"{response.status_code} on {method} {path}")
        try:
            if response.is_success:
                return decode(response.content)
            refusal = _decode_refusal(response.content).error
        except msgspec.MsgspecError as error:
            raise GatewayUnknown(f"unreadable answer on {method} {path}") from error
        raise GatewayRefused(refusal.code or refusal.type, refusal.message)


def read_event(body: bytes) -> Told:
    """Translate a Stripe-shaped event."""
    try:
        event = _decode_event(body)
    except msgspec.ValidationError as error:
        return Told(flaw=str(error), pointer="validation")
    except msgspec.DecodeError as error:
        return Told(flaw=str(error))
    at = _time(event.created)
    try:
        subject = _decode_object(event.data.object)
    except msgspec.MsgspecError:
        return Told(event_id=event.id, event_type=event.type, fact=NoFact(reason="unreadable_object", at=at))
    return Told(
        event_id=event.id,
        event_type=event.type,
        payment_id=parse_id(subject.metadata.get("intent_id", "")),
        gateway_object=plain(subject.payment_intent or subject.id),
        fact=NoFact(reason="foreign_mode", at=at) if event.livemode else _fact(event.type, subject, at),
    )


def _fact(event_type: str, subject: _Object, at: datetime | None) -> Fact:
    if event_type in _EVENTS:
        return _state_fact(_EVENTS[event_type], subject, at)
    if event_type == "payment_intent.payment_failed":
        error = subject.last_payment_error or _Decline()
        return DeclineFact(
            at=at,
            reason=plain(error.message),
            code=plain(error.decline_code or error.code, 80),
            gateway_object=plain(subject.id),
        )
    if event_type in {"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"}:
        return _refund_fact(subject, at)
    if event_type in {"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"}:
        return _dispute_fact(subject, at)
    if event_type == "charge.refunded":
        return NoFact(reason="told_by_refund_event", at=at)
    return NoFact(at=at)


def _state_fact(target: PaymentStatus, subject: _Object, at: datetime | None) -> StateFact:
    """Compare what was really received where money is captured, what was asked for elsewhere."""
    amount, currency = _amount(subject.amount_received if target == "CAPTURED" else subject.amount, subject.currency)
    reason = plain(subject.cancellation_reason or "canceled") if target == "FAILED" else ""
    return StateFact(
        target=target,
        at=at,
        amount=amount,
        currency=currency,
        reason=plain(reason),
        gateway_object=plain(subject.id),
        method="CARD",
    )


def _refund_fact(subject: _Object, at: datetime | None) -> Fact:
    amount, currency = _amount(subject.amount, subject.currency)
    status = _REFUND_STATES.get(subject.status)
    if status is None:
        return NoFact(reason="unknown_refund_status", at=at)
    return RefundFact(
        gateway_refund_id=plain(subject.id),
        refund_id=parse_id(subject.metadata.get("refund_id", "")) or new_id(),
        amount=amount,
        currency=currency,
        status=status,
        at=at,
        gateway_object=plain(subject.payment_intent),
    )


def _dispute_fact(subject: _Object, at: datetime | None) -> Fact:
    amount, currency = _amount(subject.amount, subject.currency)
    status = _DISPUTE_STATES.get(subject.status)
    if status is None:
        return NoFact(reason="unknown_dispute_status", at=at)
    return DisputeFact(
        gateway_dispute_id=plain(subject.id),
        amount=amount,
        currency=currency,
        status=status,
        at=at,
        reason=plain(subject.reason or ""),
        gateway_object=plain(subject.payment_intent),
    )


def _amount(minor: int, currency: str) -> tuple[Decimal, str]:
    """Return the amount as a decimal; of a currency unknown to us the bare number, which then differs from ours."""
    upper = currency.upper()
    try:
        return money.from_cents(minor, upper), upper
    except money.MoneyError:
        return Decimal(minor), upper


def _shown(found: _Object) -> GatewayObject:
    target = _STATES.get(found.status)
    return GatewayObject(
        id=found.id,
        redirect_url=found.hosted_url,
        facts=(_state_fact(target, found, None),) if target is not None else (),
        intent_id=parse_id(found.metadata.get("intent_id", "")),
        created_at=_time(found.created),
    )


def _shown_refund(found: _Object) -> GatewayRefund:
    status = _REFUND_STATES.get(found.status)
    if status is None:
        raise GatewayUnknown(f"refund is {found.status}")
    return GatewayRefund(id=found.id, status=status)


def _time(raw: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(raw, tz=UTC) if isinstance(raw, int) else None
    except (ValueError, OverflowError, OSError):
        return None
