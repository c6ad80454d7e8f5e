"""HTTP of webhook endpoints: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import HeaderParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT

from careforall.kit import idempotency
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, wanted_version
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.idempotency import Answer
from careforall.sync.delivering import Delivering
from careforall.sync.domain_webhooks import Delivery, Endpoint
from careforall.sync.endpoints import Endpoints
from careforall.sync.schemas_webhooks import (
    DeliveryOut,
    EndpointOut,
    EndpointPatch,
    EndpointWithSecret,
    NewEndpoint,
    NewSecret,
    Replay,
    SecretOut,
    StatusQuery,
)

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
AnyRequest = Request[Any, Any, Any]
_PATH = "/webhook-endpoints"
_NO_STORE = {"Cache-Control": "no-store"}
_TAGS = ["webhooks"]


class _Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept as the answer of a replacement under its idempotency key: never the secret itself."""

    number: int
    old_seconds: int


@post(_PATH, guards=[admin_only], summary="Make a webhook endpoint", tags=_TAGS)
async def create_endpoint(
    endpoints: Endpoints, principal: Principal, data: NewEndpoint, request: AnyRequest, idempotency_key: IdempotencyKey = None
) -> Response[EndpointWithSecret]:
    """Make an endpoint that hears of events from now on. `secret` is shown in this answer and never again.

    Webhooks are signed as Standard Webhooks prescribes, come at least once and under the same `webhook-id`, and are repeated over
    three days until they are answered by 2xx; 410 disables the endpoint. Errors: 422 `forbidden_url`, `unknown_host`,
    `unknown_event`, 409 `too_many_webhook_endpoints`.
    """
    await endpoints.check(data)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, endpoint_out(await endpoints.create(connection, data, principal.user_id)))

    call = await idempotent_call(request, idempotency_key, f"POST {_PATH}", principal)
    answer = await idempotency.once(endpoints.database, call, work)
    made = msgspec.json.decode(answer.body, type=EndpointOut)
    shown = EndpointWithSecret(**msgspec.structs.asdict(made), secret=await endpoints.secret(made.id, 1))
    return finished(_with_body(answer, shown), _NO_STORE | etag(made.version))


@get(_PATH, guards=[admin_only], summary="List webhook endpoints", tags=_TAGS)
async def list_endpoints(endpoints: Endpoints, cursor: CursorQuery = None, limit: LimitQuery = 20) -> Page[EndpointOut]:
    """Return endpoints, newest first."""
    found = await endpoints.endpoints(read_cursor(cursor), limit)
    return page([endpoint_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@get(_PATH + "/{id:str}", guards=[admin_only], summary="Show a webhook endpoint", tags=_TAGS)
async def get_endpoint(endpoints: Endpoints, id: str) -> Response[EndpointOut]:
    """Return an endpoint, without its secret."""
    found = await endpoints.endpoint(path_id(id))
    return Response(endpoint_out(found), headers=etag(found.version))


@patch(_PATH + "/{id:str}", guards=[admin_only], summary="Change a webhook endpoint", tags=_TAGS)
async def patch_endpoint(
    endpoints: Endpoints, principal: Principal, id: str, data: EndpointPatch, if_match: IfMatch = None
) -> Response[EndpointOut]:
    """Change what is given; send the version you have read to be told of changes in between (409).

    Disabling ends what waits. Enabled again, the endpoint hears of events from then on; a replay brings what it has missed.
    """
    version = wanted_version(data.version, if_match)
    changed = await endpoints.change(path_id(id), data, version, principal.user_id)
    return Response(endpoint_out(changed), headers=etag(changed.version))


@delete(
    _PATH + "/{id:str}", guards=[admin_only], status_code=HTTP_204_NO_CONTENT, summary="Delete a webhook endpoint", tags=_TAGS
)
async def delete_endpoint(endpoints: Endpoints, principal: Principal, id: str, if_match: IfMatch = None) -> None:
    """Delete an endpoint; what waits for it is not sent any more."""
    await endpoints.delete(path_id(id), wanted_version(None, if_match), principal.user_id)


@post(
    _PATH + "/{id:str}/secret",
    guards=[admin_only],
    status_code=HTTP_200_OK,
    summary="Replace the secret of an endpoint",
    tags=_TAGS,
)
async def rotate_secret(
    endpoints: Endpoints,
    principal: Principal,
    id: str,
    request: AnyRequest,
    data: NewSecret | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[SecretOut]:
    """Make a new secret, shown in this answer and never again. The old ones sign too for a day, or for `old_seconds`."""
    endpoint_id, wanted = path_id(id), data or NewSecret()

    async def work(connection: Any) -> tuple[int, bytes]:
        number = await endpoints.rotate(connection, endpoint_id, wanted, principal.user_id)
        return encoded(200, _Numbered(number=number, old_seconds=wanted.old_seconds))

    call = await idempotent_call(request, idempotency_key, f"POST {_PATH}/secret", principal)
    answer = await idempotency.once(endpoints.database, call, work)
    made = msgspec.json.decode(answer.body, type=_Numbered)
    shown = SecretOut(secret=await endpoints.secret(endpoint_id, made.number), old_seconds=made.old_seconds)
    return finished(_with_body(answer, shown), _NO_STORE)


@post(_PATH + "/{id:str}/test", guards=[admin_only], status_code=HTTP_202_ACCEPTED, summary="Send a test event", tags=_TAGS)
async def test_endpoint(
    endpoints: Endpoints,
    delivering: Delivering,
    principal: Principal,
    id: str,
    request: AnyRequest,
    idempotency_key: IdempotencyKey = None,  # noqa: PT028 - no test, in spite of its name
) -> Response[DeliveryOut]:
    """Have an event of type `webhooks.test` delivered, whatever the endpoint wants; its deliveries tell what came of it."""
    endpoint_id = path_id(id)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(202, delivery_out(await delivering.test(connection, endpoint_id, principal.user_id)))

    call = await idempotent_call(request, idempotency_key, f"POST {_PATH}/test", principal)
    return finished(await idempotency.once(endpoints.database, call, work))


@get(_PATH + "/{id:str}/deliveries", guards=[admin_only], summary="List deliveries to an endpoint", tags=_TAGS)
async def list_deliveries(
    delivering: Delivering,
    id: str,
    status: Annotated[StatusQuery | None, QueryParameter(description="Only those in this state.")] = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[DeliveryOut]:
    """Return what was sent and is to be sent in the last 30 days, newest first."""
    found = await delivering.deliveries(path_id(id), status, read_cursor(cursor), limit)
    return page([delivery_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@post(
    _PATH + "/{id:str}/deliveries/{delivery_id:str}/retry",
    guards=[admin_only],
    status_code=HTTP_202_ACCEPTED,
    summary="Deliver again",
    tags=_TAGS,
)
async def retry_delivery(
    endpoints: Endpoints,
    delivering: Delivering,
    principal: Principal,
    id: str,
    delivery_id: str,
    request: AnyRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response[DeliveryOut]:
    """Post a delivery again, now and under the same `webhook-id`, whatever came of it so far; all pauses are before it again."""
    endpoint_id, wanted = path_id(id), path_id(delivery_id)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(202, delivery_out(await delivering.retry(connection, endpoint_id, wanted, principal.user_id)))

    call = await idempotent_call(request, idempotency_key, f"POST {_PATH}/retry", principal)
    return finished(await idempotency.once(endpoints.database, call, work))


@post(_PATH + "/{id:str}/replay", guards=[admin_only], status_code=HTTP_202_ACCEPTED, summary="Replay missed events", tags=_TAGS)
async def replay(
    endpoints: Endpoints,
    delivering: Delivering,
    principal: Principal,
    id: str,
    data: Replay,
    request: AnyRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response[EndpointOut]:
    """Deliver what was stored since a moment of the last 30 days and the endpoint has not taken: missed, given up on or ended.

    Events have the same `webhook-id` as ever; what was delivered is not sent again. `replaying` is true until all was looked at.
    """
    endpoint_id = path_id(id)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(202, endpoint_out(await delivering.replay(connection, endpoint_id, data.since, principal.user_id)))

    call = await idempotent_call(request, idempotency_key, f"POST {_PATH}/replay", principal)
    return finished(await idempotency.once(endpoints.database, call, work))


ROUTES = (
    create_endpoint,
    list_endpoints,
    get_endpoint,
    patch_endpoint,
    delete_endpoint,
    rotate_secret,
    test_endpoint,
    list_deliveries,
    retry_delivery,
    replay,
)


def endpoint_out(endpoint: Endpoint) -> EndpointOut:
    """Return an endpoint as the API shows it."""
    return EndpointOut(
        id=endpoint.id,
        url=endpoint.url,
        event_types=endpoint.event_types,
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        disabled_at=endpoint.disabled_at,
        replaying=endpoint.replay_after is not None,
        version=endpoint.version,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


def delivery_out(delivery: Delivery) -> DeliveryOut:
    """Return a delivery as the API shows it."""
    return DeliveryOut(
        id=delivery.id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        test=delivery.test,
        status=delivery.status,
        attempts=delivery.attempts,
        next_try_at=delivery.next_retry_at if delivery.status in {"PENDING", "FAILED"} else None,
        last_status_code=delivery.status_code,
        last_error=delivery.error_message,
        created_at=delivery.created_at,
        delivered_at=delivery.processed_at,
    )


def _with_body(answer: Answer, body: msgspec.Struct) -> Answer:
    return msgspec.structs.replace(answer, body=encoded(answer.status, body)[1])
