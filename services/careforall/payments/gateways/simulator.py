"""The simulator: a gateway of ours for development, shaped like Stripe on the wire."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
from typing_extensions import override

from careforall.kit import json, money
from careforall.kit.http.lines import LineError, Lines
from careforall.kit.ids import parse_id
from careforall.payments.domain import Intent, StateFact
from careforall.payments.gateways.base import (
    Gateway,
    GatewayDeclined,
    GatewayObject,
    GatewayPage,
    GatewayRefund,
    GatewayRefused,
    GatewayUnknown,
    plain,
)
from careforall.payments.gateways.stripe_facts import REFUND_STATES, StripeFacts, changed, made_at
from careforall.payments.gateways.stripe_shapes import Thing, Things, decode_thing, decode_things

T = TypeVar("T")

_SERVER_ERROR = 500
_OK = range(200, 300)
_PAGE = 100
_BUSY = frozenset({409, 429})
_LINES = 100
"""More than anybody sets the bulkhead to, which is what limits the calls."""
_SENT = {"Content-Type": "application/json"}


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
        self._lines = Lines(base, most=_LINES, seconds=seconds, headers={"Authorization": f"Bearer {key}"})

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
        """Ask for the state, and of money that was taken for each refund and dispute too."""
        found = await self._call("GET", _intent(gateway_object), decode_thing)
        shown = _shown(found)
        if not any(isinstance(fact, StateFact) and fact.target == "CAPTURED" for fact in shown.facts):
            return shown
        refunds = [_facts.refund(one) for one in await self._all("/v1/refunds", found.id)]
        disputes = [_facts.dispute(one) for one in await self._all("/v1/disputes", found.id)]
        return msgspec.structs.replace(shown, facts=(*shown.facts, *refunds, *disputes))

    @override
    async def pay(self, gateway_object: str, token: str, *, key: str) -> GatewayObject:
        found = await self._post(f"{_intent(gateway_object)}/confirm", {"payment_method": token}, key)
        shown = _shown(found)
        if not shown.facts and (why := found.last_payment_error) is not None:
            raise GatewayDeclined(plain(why.decline_code or why.code or "declined", 80), plain(why.message or "declined"))
        return shown

    @override
    async def capture(self, gateway_object: str, *, key: str) -> GatewayObject:
        return _shown(await self._post(f"{_intent(gateway_object)}/capture", {}, key))

    @override
    async def cancel(self, gateway_object: str, *, key: str) -> GatewayObject:
        return _shown(await self._post(f"{_intent(gateway_object)}/cancel", {}, key))

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
        return _shown_refund(await self._call("GET", f"/v1/refunds/{quote(gateway_refund_id, safe='')}", decode_thing))

    @override
    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        page = await self._page("/v1/payment_intents", _made(since, until), after)
        return GatewayPage(objects=tuple(_shown(one) for one in page.data), next=_rest(page))

    @override
    async def list_changed(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        """List refunds, then disputes; `next` names the list it goes on with."""
        kind, _, last = after.partition(" ")
        disputes = kind == "disputes"
        page = await self._page("/v1/disputes" if disputes else "/v1/refunds", _made(since, until), last)
        tell = _facts.dispute if disputes else _facts.refund
        objects = tuple(changed(one, tell(one)) for one in page.data)
        rest = f"{kind or 'refunds'} {_rest(page)}" if _rest(page) else "" if disputes else "disputes "
        return GatewayPage(objects=objects, next=rest)

    @override
    async def close(self) -> None:
        await self._lines.close()

    async def _page(self, path: str, wanted: Mapping[str, str | int], after: str) -> Things:
        query = {**wanted, "limit": _PAGE, **({"starting_after": after} if after else {})}
        return await self._call("GET", f"{path}?{urlencode(query)}", decode_things)

    async def _all(self, path: str, intent: str) -> list[Thing]:
        """Return everything that hangs on an intent, oldest first."""
        found: list[Thing] = []
        after = ""
        while True:
            page = await self._page(path, {"payment_intent": intent}, after)
            found += page.data
            after = _rest(page)
            if not after:
                return found[::-1]

    async def _post(self, path: str, body: Mapping[str, object], key: str) -> Thing:
        return await self._call("POST", path, decode_thing, body=json.encode(body), headers={**_SENT, "Idempotency-Key": key})

    async def _call(
        self, method: str, target: str, decode: Callable[[bytes], T], *, body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> T:
        try:
            reply = await self._lines.ask(method, target, body, headers)
        except LineError as error:
            raise GatewayUnknown(f"{type(error).__name__} on {method} {target}") from error
        if reply.status >= _SERVER_ERROR or reply.status in _BUSY:
            raise GatewayUnknown(f"{reply.status} on {method} {target}")
        try:
            if reply.status in _OK:
                return decode(reply.body)
            refusal = _decode_refusal(reply.body).error
        except msgspec.MsgspecError as error:
            raise GatewayUnknown(f"unreadable answer on {method} {target}") from error
        raise GatewayRefused(refusal.code or refusal.type, refusal.message)


def _intent(gateway_object: str) -> str:
    return f"/v1/payment_intents/{quote(gateway_object, safe='')}"


def _made(since: datetime, until: datetime) -> Mapping[str, str | int]:
    return {"created[gte]": int(since.timestamp()), "created[lt]": int(until.timestamp())}


def _rest(page: Things) -> str:
    return page.data[-1].id if page.has_more and page.data else ""


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
