"""The thin twins of the calls a purchase makes: create, confirm and capture, each behind the company's key and in its shape."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from careforall.kit.errors import Malformed
from careforall.kit.http.hot import HotRequest, HotResponse, HotRoute
from careforall.kit.idempotency import Answer, Call
from careforall.simulator import api
from careforall.simulator.refusals import refused
from careforall.simulator.schemas import CaptureIntent, ConfirmIntent, NewIntent
from careforall.simulator.service import Simulator

T = TypeVar("T", bound=msgspec.Struct)

_INTENTS = f"{api.BASE}/payment_intents"
_REPLAYED = ((b"idempotent-replayed", b"true"),)
_new_intent = msgspec.json.Decoder(NewIntent).decode
_confirm = msgspec.json.Decoder(ConfirmIntent).decode
_capture = msgspec.json.Decoder(CaptureIntent | None).decode


def hot_routes(service: Simulator, api_key: str) -> tuple[HotRoute, ...]:
    """Return the routes of a company that is opened by a key."""

    async def create(request: HotRequest) -> Answer:
        data = _new_intent(_sent(request.body))
        return await api.make(service, _call(request, data), data)

    async def confirm(request: HotRequest) -> Answer:
        data = _confirm(_sent(request.body))
        return await service.confirm(_call(request, data), confirming.segment(request.path), data.payment_method)

    async def capture(request: HotRequest) -> Answer:
        data = (_capture(request.body) if request.body else None) or CaptureIntent()
        return await service.capture(_call(request, data), capturing.segment(request.path), data.amount_to_capture)

    confirming = _on_one("confirm", _behind(api_key, confirm))
    capturing = _on_one("capture", _behind(api_key, capture))
    creating = HotRoute(method="POST", path=_INTENTS, template=_INTENTS, service="simulator", handler=_behind(api_key, create))
    return (creating, confirming, capturing)


def _on_one(verb: str, handler: Callable[[HotRequest], Awaitable[HotResponse]]) -> HotRoute:
    return HotRoute(
        method="POST",
        path=f"{_INTENTS}/",
        template=f"{_INTENTS}/{{intent_id}}/{verb}",
        service="simulator",
        handler=handler,
        prefix=True,
        suffix=f"/{verb}",
    )


def _behind(api_key: str, work: Callable[[HotRequest], Awaitable[Answer]]) -> Callable[[HotRequest], Awaitable[HotResponse]]:
    """Answer callers who know the key, and refuse in the company's own shape."""

    async def handler(request: HotRequest) -> HotResponse:
        try:
            api.require_key(request.headers.get(b"authorization", b"").decode("latin-1"), api_key)
            answer = await work(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the company says it in its own shape
            found = refused(error)
            headers = tuple((name.lower().encode(), value.encode()) for name, value in found.headers.items())
            return HotResponse(status=found.status, body=found.body, headers=headers)
        return HotResponse(status=answer.status, body=answer.body, headers=_REPLAYED if answer.replayed else ())

    return handler


def _call(request: HotRequest, parameters: msgspec.Struct) -> Call:
    return api.call(request.path, request.idempotency_key, parameters)


def _sent(body: bytes) -> bytes:
    if not body:
        raise Malformed("The body is empty.")
    return body
