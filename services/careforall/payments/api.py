"""HTTP of payments: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter

from careforall.kit.http.answers import RequiredKey, etag, finished, required_call, required_key
from careforall.kit.http.hot import HotRequest, HotResponse, HotRoute
from careforall.kit.http.identity import Principal, admin_only, headers_of, signed_in
from careforall.kit.http.lists import path_id
from careforall.kit.http.problem import MEDIA_TYPE
from careforall.kit.http.queries import ANY_QUERY
from careforall.kit.idempotency import Call, fingerprint
from careforall.payments.domain import GENERIC
from careforall.payments.errors import GatewayNotSetUp
from careforall.payments.intake import Answer
from careforall.payments.schemas import (
    IntentMade,
    IntentOrder,
    IntentWish,
    PaymentOut,
    PaymentStarted,
    PayOrder,
    RefundOrder,
    RefundOut,
    WebhookOut,
    made,
    payment_out,
    started,
)
from careforall.payments.service import PaymentsService

WEBHOOK = "/api/v1/payments/webhook"
ReceiptToken = Annotated[
    str | None, HeaderParameter(name="X-Receipt-Token", description="The receipt token of the gift: shows a guest their payment.")
]
_PROBLEM = b'{"type":'
_TOLD = {200: ResponseSpec(data_container=WebhookOut, generate_examples=False, description="What became of the event.")}


@post("/payments/intent", summary="Ask for a payment intent (internal)")
async def create_intent(service: PaymentsService, data: IntentOrder) -> IntentMade:
    """Return the open intent of a subject, making it where there is none."""
    return made(await service.create_intent(data))


@post("/payments/intent", guards=[signed_in], summary="Ask for a payment intent")
async def own_intent(service: PaymentsService, principal: Principal, data: IntentWish) -> IntentMade:
    """Return the open intent of a gift or order of one's own, or the paid one; asking again changes nothing.

    Errors: 404 `payment_not_found` or `order_not_found`, 409 `order_not_payable`, or `subject_mismatch` for another amount.
    """
    return made(await service.own_intent(data, principal))


@post("/payments/initiate", guards=[signed_in], summary="Pay an order")
async def initiate_payment(service: PaymentsService, principal: Principal, data: PayOrder) -> PaymentStarted:
    """Return where an order of one's own is paid; asking again changes nothing.

    Errors: 404 `order_not_found`, 409 `order_not_payable`.
    """
    return started(await service.initiate(data.order_id, principal))


@get("/payments/{id:str}", summary="Show a payment")
async def get_payment(
    service: PaymentsService, visitor: Principal | None, id: str, receipt_token: ReceiptToken = None
) -> Response[PaymentOut]:
    """Return a payment with attempts, refunds, disputes and transitions to its payer or staff; to others it does not exist."""
    found = await service.payment(path_id(id), visitor, receipt_token)
    return Response(payment_out(found), headers=etag(found.intent.version))


@post("/payments/{id:str}/refund", guards=[admin_only], summary="Send money back")
async def refund_payment(
    service: PaymentsService,
    principal: Principal,
    id: str,
    data: RefundOrder,
    request: Request[Any, Any, Any],
    idempotency_key: RequiredKey = None,
) -> Response[RefundOut]:
    """Refund all or a part, as often as money is left; 202 while the gateway has not answered.

    Errors: 400 without Idempotency-Key, 409 `not_refundable` or `refund_refused`, 422 `refund_exceeds_captured`.
    """
    call = await required_call(request, idempotency_key, "POST /payments/refund", principal)
    return finished(await service.refunding.refund(path_id(id), data, call=call, by=str(principal.user_id)))


@post("/payments/{id:str}/refund", summary="Send money back (internal)")
async def refund_for_service(
    service: PaymentsService, id: str, data: RefundOrder, request: Request[Any, Any, Any], idempotency_key: RequiredKey = None
) -> Response[RefundOut]:
    """Refund on the order of another service."""
    caller: str = request.scope["state"]["calling_service"]
    call = await _service_call(request, required_key(idempotency_key), caller)
    return finished(await service.refunding.refund(path_id(id), data, call=call, by=caller))


@post("/payments/{id:str}/capture", status_code=200, summary="Take authorised money (internal)")
async def capture_payment(service: PaymentsService, id: str, idempotency_key: RequiredKey = None) -> IntentMade:
    """Capture what is authorised; repeating it changes nothing."""
    required_key(idempotency_key)
    return made(await service.paying.capture(path_id(id)))


@post("/payments/{id:str}/void", status_code=200, summary="Release authorised money (internal)")
async def void_payment(service: PaymentsService, id: str, idempotency_key: RequiredKey = None) -> IntentMade:
    """Release what is authorised, or end what nobody has paid; repeating it changes nothing."""
    required_key(idempotency_key)
    return made(await service.paying.void(path_id(id)))


@post(
    "/payments/webhook",
    status_code=200,
    summary="Take a gateway's event (generic)",
    tags=["webhooks"],
    responses=_TOLD,
    opt=ANY_QUERY,
)
async def generic_webhook(service: PaymentsService, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take a signed event `{event_id?, payment_intent_id, status, timestamp?, amount?, currency?, reason?}`.

    Sign the raw body: `X-Signature: sha256=<hex HMAC>`, or the headers of Standard Webhooks. 200 `processed` or `ignored`, 400
    `rejected`, 401 wrong signature, 404 unknown payment (kept), 422 the key came with another body. Repeats get the same bytes.
    """
    return _response(await service.webhooks.receive(GENERIC, headers_of(request.scope), await request.body()))


@post(
    "/payments/webhook/{gateway:str}",
    status_code=200,
    summary="Take a gateway's event",
    tags=["webhooks"],
    responses=_TOLD,
    opt=ANY_QUERY,
)
async def gateway_webhook(service: PaymentsService, gateway: str, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take an event in the gateway's own form, signed by its own scheme; known outcomes are always 200.

    `simulator` and `stripe` sign by `<Name>-Signature: t=<seconds>,v1=<hex HMAC of "t.body">`, `paypal` by its own headers
    (`PAYPAL-TRANSMISSION-SIG` and its neighbours). 404 where it is not set up here.
    """
    if gateway == GENERIC:
        raise GatewayNotSetUp
    return _response(await service.webhooks.receive(gateway, headers_of(request.scope), await request.body()))


ROUTES = (own_intent, initiate_payment, get_payment, refund_payment, generic_webhook, gateway_webhook)
INTERNAL = (create_intent, refund_for_service, capture_payment, void_payment)


def hot_routes(service: PaymentsService) -> tuple[HotRoute, ...]:
    """Return the thin twins of the webhook routes."""

    def hot(gateway: str, path: str, template: str) -> HotRoute:
        async def take(request: HotRequest) -> HotResponse:
            return _hot(await service.webhooks.receive(gateway, request.headers, request.body))

        return HotRoute(method="POST", path=path, template=template, service="payments", handler=take, query=None)

    own = [
        hot(gateway, f"{WEBHOOK}/{gateway}", f"{WEBHOOK}/{{gateway}}")
        for gateway in service.webhooks.gateways
        if gateway != GENERIC
    ]
    return (hot(GENERIC, WEBHOOK, WEBHOOK), *own)


def _headers(answer: Answer) -> tuple[tuple[bytes, bytes], ...]:
    kind = ((b"content-type", MEDIA_TYPE.encode()),) if answer.body.startswith(_PROBLEM) else ()
    return (*kind, (b"idempotent-replayed", b"true")) if answer.replayed else kind


def _hot(answer: Answer) -> HotResponse:
    return HotResponse(status=answer.status, body=answer.body, headers=_headers(answer))


def _response(answer: Answer) -> Response[bytes]:
    extra = {name.decode(): value.decode() for name, value in _headers(answer)}
    kind = extra.pop("content-type", "application/json")
    return Response(answer.body, status_code=answer.status, media_type=kind, headers=extra)


async def _service_call(request: Request[Any, Any, Any], key: str, caller: str) -> Call:
    scope = f"POST /payments/refund|{caller}"
    mark = fingerprint(request.method, str(request.url.path), scope, await request.body())
    return Call(scope=scope, key=key, fingerprint=mark)
