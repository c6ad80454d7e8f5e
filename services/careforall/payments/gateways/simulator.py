"""The simulator: a gateway of ours for development, shaped like Stripe on the wire."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import httpx2
import msgspec
from typing_extensions import override

from careforall.kit import money
from careforall.kit.ids import parse_id
from careforall.payments.domain import Intent
from careforall.payments.gateways.base import (
    Gateway,
    GatewayObject,
    GatewayPage,
    GatewayRefund,
    GatewayRefused,
    GatewayUnknown,
)
from careforall.payments.gateways.stripe_facts import REFUND_STATES, StripeFacts, made_at
from careforall.payments.gateways.stripe_shapes import Thing, decode_thing, decode_things

T = TypeVar("T")

_SERVER_ERROR = 500
_PAGE = 100
_BUSY = frozenset({409, 429})


class _Error(msgspec.Struct, frozen=True):
    type: str = ""
    code: str = ""
    message: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_facts = StripeFacts(livemode=False, places=money.exponent)

read_event = _facts.read_event
"""Translates an event of the simulator."""


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
        return _shown(await self._call("GET", f"/v1/payment_intents/{gateway_object}", decode_thing))

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
        return _shown_refund(await self._call("GET", f"/v1/refunds/{gateway_refund_id}", decode_thing))

    @override
    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        query: dict[str, str | int] = {
            "created[gte]": int(since.timestamp()),
            "created[lt]": int(until.timestamp()),
            "limit": _PAGE,
        }
        if after:
            query["starting_after"] = after
        page = await self._call("GET", "/v1/payment_intents", decode_things, params=query)
        more = page.data[-1].id if page.has_more and page.data else ""
        return GatewayPage(objects=tuple(_shown(one) for one in page.data), next=more)

    @override
    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, path: str, body: Mapping[str, object], key: str) -> Thing:
        return await self._call("POST", path, decode_thing, json=body, headers={"Idempotency-Key": key})

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


def _shown(found: Thing) -> GatewayObject:
    state = _facts.state(found)
    return GatewayObject(
        id=found.id,
        redirect_url=found.hosted_url or "",
        facts=(state,) if state is not None else (),
        intent_id=parse_id(found.noted("intent_id")),
        created_at=made_at(found),
    )


def _shown_refund(found: Thing) -> GatewayRefund:
    status = REFUND_STATES.get(found.status or "")
    if status is None:
        raise GatewayUnknown(f"refund is {found.status}")
    return GatewayRefund(id=found.id, status=status)
