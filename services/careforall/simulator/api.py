"""The simulated company's API under /simulator/v1: payment intents, refunds, disputes; shaped like Stripe's, spoken in JSON."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK

from careforall.kit import idempotency, json, secrets
from careforall.kit.errors import IdempotencyKeyRequired
from careforall.kit.idempotency import Answer, Call
from careforall.simulator import objects
from careforall.simulator.domain import Draft
from careforall.simulator.errors import BadParameter, InvalidApiKey
from careforall.simulator.objects import IntentObject, List, RefundObject
from careforall.simulator.refusals import refusal
from careforall.simulator.repository import Window
from careforall.simulator.schemas import CancelIntent, CaptureIntent, ConfirmIntent, NewIntent, NewRefund
from careforall.simulator.service import Simulator

BASE = "/simulator/v1"
_SCOPE = "api"
_LAST_SECOND = 253_402_300_799

Key = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]
Since = Annotated[int | None, QueryParameter(name="created[gte]", ge=0, le=_LAST_SECOND)]
Until = Annotated[int | None, QueryParameter(name="created[lt]", ge=0, le=_LAST_SECOND)]
After = Annotated[str | None, QueryParameter(name="starting_after", max_length=100)]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=100)]


@post("/payment_intents", status_code=HTTP_200_OK)
async def create_intent(
    request: Request[Any, Any, Any], data: NewIntent, service: Simulator, idempotency_key: Key = None
) -> Response[bytes]:
    """Make a payment intent."""
    return _answered(await make(service, _call(request, idempotency_key, data), data))


@get("/payment_intents/{intent_id:str}")
async def retrieve_intent(intent_id: str, service: Simulator) -> IntentObject:
    """Return a payment intent."""
    return service.show(await service.intent(intent_id))


@get("/payment_intents")
async def list_intents(
    service: Simulator, since: Since = None, until: Until = None, starting_after: After = None, limit: Limit = 10
) -> List:
    """Return payment intents, newest first."""
    window = await _window(service.intent, Window(since=since, until=until, after=starting_after, limit=limit))
    found = [service.show(intent) for intent in await service.intents(window)]
    return List(data=found[:limit], has_more=len(found) > limit, url="/v1/payment_intents")


@post("/payment_intents/{intent_id:str}/confirm", status_code=HTTP_200_OK)
async def confirm_intent(
    request: Request[Any, Any, Any], intent_id: str, service: Simulator, data: ConfirmIntent, idempotency_key: Key = None
) -> Response[bytes]:
    """Pay by a token, without the hosted page; a decline is told by `last_payment_error`."""
    return _answered(await service.confirm(_call(request, idempotency_key, data), intent_id, data.payment_method))


@post("/payment_intents/{intent_id:str}/capture", status_code=HTTP_200_OK)
async def capture_intent(
    request: Request[Any, Any, Any],
    intent_id: str,
    service: Simulator,
    data: CaptureIntent | None = None,
    idempotency_key: Key = None,
) -> Response[bytes]:
    """Take held money."""
    wanted = data or CaptureIntent()
    return _answered(await service.capture(_call(request, idempotency_key, wanted), intent_id, wanted.amount_to_capture))


@post("/payment_intents/{intent_id:str}/cancel", status_code=HTTP_200_OK)
async def cancel_intent(
    request: Request[Any, Any, Any],
    intent_id: str,
    service: Simulator,
    data: CancelIntent | None = None,
    idempotency_key: Key = None,
) -> Response[bytes]:
    """End a payment intent without money."""
    wanted = data or CancelIntent()
    return _answered(await service.cancel(_call(request, idempotency_key, wanted), intent_id, wanted.cancellation_reason))


@post("/refunds", status_code=HTTP_200_OK)
async def create_refund(
    request: Request[Any, Any, Any], data: NewRefund, service: Simulator, idempotency_key: Key = None
) -> Response[bytes]:
    """Send money back."""
    call = _call(request, idempotency_key, data)
    return _answered(
        await service.refund(call, data.payment_intent, amount=data.amount, reason=data.reason, metadata=data.metadata)
    )


@get("/refunds/{refund_id:str}")
async def retrieve_refund(refund_id: str, service: Simulator) -> RefundObject:
    """Return a refund."""
    return objects.refund_object(await service.retrieve_refund(refund_id))


@get("/refunds")
async def list_refunds(
    service: Simulator,
    payment_intent: Annotated[str | None, QueryParameter(name="payment_intent", max_length=100)] = None,
    since: Since = None,
    until: Until = None,
    starting_after: After = None,
    limit: Limit = 10,
) -> List:
    """Return refunds, newest first."""
    asked = Window(since=since, until=until, after=starting_after, limit=limit, payment_intent=_plain(payment_intent))
    window = await _window(service.retrieve_refund, asked)
    found = [objects.refund_object(refund) for refund in await service.refunds(window)]
    return List(data=found[:limit], has_more=len(found) > limit, url="/v1/refunds")


@get("/disputes")
async def list_disputes(
    service: Simulator,
    payment_intent: Annotated[str | None, QueryParameter(name="payment_intent", max_length=100)] = None,
    since: Since = None,
    until: Until = None,
    starting_after: After = None,
    limit: Limit = 10,
) -> List:
    """Return disputes, newest first."""
    asked = Window(since=since, until=until, after=starting_after, limit=limit, payment_intent=_plain(payment_intent))
    window = await _window(service.dispute, asked)
    found = [objects.dispute_object(one.dispute, one.metadata) for one in await service.disputes(window)]
    return List(data=found[:limit], has_more=len(found) > limit, url="/v1/disputes")


def router(api_key: str) -> Router:
    """Mount the API behind its key."""

    async def known_caller(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        require_key(connection.headers.get("authorization", ""), api_key)

    return Router(
        BASE,
        route_handlers=[
            create_intent,
            retrieve_intent,
            list_intents,
            confirm_intent,
            capture_intent,
            cancel_intent,
            create_refund,
            retrieve_refund,
            list_refunds,
            list_disputes,
        ],
        guards=[known_caller],
        exception_handlers={Exception: refusal},
        include_in_schema=False,
    )


def require_key(authorization: str, api_key: str) -> None:
    """Refuse callers who do not bring the company's key.

    Raises:
        InvalidApiKey: If they do not.
    """
    scheme, key = authorization.partition(" ")[::2]
    if scheme.lower() != "bearer" or not secrets.same(key, api_key):
        raise InvalidApiKey


def call(path: str, raw_key: str | None, parameters: msgspec.Struct) -> Call:
    """Return the call of a request.

    Raises:
        IdempotencyKeyRequired: It brings no key.
    """
    key = idempotency.checked_key(raw_key)
    if key is None:
        raise IdempotencyKeyRequired
    return Call(scope=_SCOPE, key=key, fingerprint=idempotency.fingerprint(path, json.encode(parameters)))


async def make(service: Simulator, wanted: Call, data: NewIntent) -> Answer:
    """Make the intent that is asked for."""
    draft = Draft(
        amount=data.amount,
        currency=data.currency,
        capture_method=data.capture_method,
        metadata=data.metadata,
        return_url=data.return_url,
    )
    return await service.create_intent(wanted, draft)


def _call(request: Request[Any, Any, Any], raw_key: str | None, parameters: msgspec.Struct) -> Call:
    return call(request.scope["path"], raw_key, parameters)


def _answered(answer: Answer) -> Response[bytes]:
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else {}
    return Response(answer.body, status_code=answer.status, media_type="application/json", headers=headers)


async def _window(find: Callable[[str], Awaitable[object]], window: Window) -> Window:
    """Return the window once the object it starts after is known to exist."""
    if window.after is not None:
        await find(window.after)
    return window


def _plain(text: str | None) -> str | None:
    if text is not None and not (text.isascii() and text.isprintable()):
        raise BadParameter("payment_intent", "parameter_invalid", "This is no id.")
    return text
