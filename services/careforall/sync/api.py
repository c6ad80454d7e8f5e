"""HTTP of customers and of what targets tell: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT

from careforall.kit import idempotency
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, wanted_version
from careforall.kit.http.identity import Principal, admin_or_key, headers_of
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.http.queries import ANY_QUERY
from careforall.sync.domain import Customer
from careforall.sync.inbound import Inbound
from careforall.sync.schemas import CustomerOut, CustomerPatch, InboundOut, NewCustomer
from careforall.sync.service import SyncService

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
_TOLD = {HTTP_200_OK: ResponseSpec(data_container=InboundOut, generate_examples=False, description="What became of the event.")}


@post("/customers", guards=[admin_or_key], summary="Make a customer")
async def create_customer(
    service: SyncService,
    principal: Principal,
    data: NewCustomer,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[CustomerOut]:
    """Make a customer and have them mirrored. Errors: 409 `duplicate_entry` where the mail is taken, 422 with the fields."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, shown(await service.create(connection, data)))

    call = await idempotent_call(request, idempotency_key, "POST /customers", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get("/customers", guards=[admin_or_key], summary="List customers")
async def list_customers(
    service: SyncService,
    email: Annotated[str | None, QueryParameter(max_length=254, description="The customer of this mail alone.")] = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[CustomerOut]:
    """Return customers, newest first."""
    found = await service.customers(email, read_cursor(cursor), limit)
    return page([shown(customer) for customer in found], limit=limit, last=found[-1].id if found else None)


@get("/customers/{id:str}", guards=[admin_or_key], summary="Show a customer")
async def get_customer(service: SyncService, id: str) -> Response[CustomerOut]:
    """Return a customer with the names of their mirror images."""
    found = await service.customer(path_id(id))
    return Response(shown(found), headers=etag(found.version))


@patch("/customers/{id:str}", guards=[admin_or_key], summary="Change a customer")
async def patch_customer(service: SyncService, id: str, data: CustomerPatch, if_match: IfMatch = None) -> Response[CustomerOut]:
    """Change what is given; send the version you have read to be told of changes in between (409)."""
    changed = await service.change(path_id(id), data, wanted_version(data.version, if_match))
    return Response(shown(changed), headers=etag(changed.version))


@delete("/customers/{id:str}", guards=[admin_or_key], status_code=HTTP_204_NO_CONTENT, summary="Delete a customer")
async def delete_customer(service: SyncService, id: str, if_match: IfMatch = None) -> None:
    """Delete a customer, here at once and wherever they are mirrored as soon as may be."""
    await service.delete(path_id(id), wanted_version(None, if_match))


@post(
    "/sync/webhook/{target:str}",
    status_code=HTTP_200_OK,
    summary="Take a target's event",
    tags=["webhooks"],
    responses=_TOLD,
    opt=ANY_QUERY,
)
async def target_webhook(inbound: Inbound, target: str, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take an event in the target's own form, signed by its own scheme; each is judged once, a repeat gets the same answer.

    `stripe` signs by `Stripe-Signature`; `customer.updated` and `customer.deleted` are applied. 404 where it is not set up here,
    503 while a call of ours about the same customer is under way: it is to be told again.
    """
    return finished(await inbound.receive(target, headers_of(request.scope), await request.body()))


ROUTES = (create_customer, list_customers, get_customer, patch_customer, delete_customer, target_webhook)


def shown(customer: Customer) -> CustomerOut:
    """Return a customer as the API shows them."""
    return CustomerOut(
        id=customer.id,
        email=customer.email,
        name=customer.name,
        metadata=customer.metadata,
        external_ids=customer.external_ids,
        version=customer.version,
        created_at=customer.created_at,
        updated_at=customer.updated_at,
    )
