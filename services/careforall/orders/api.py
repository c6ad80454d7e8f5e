"""HTTP of checkouts, orders and returns: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any

from litestar import Request, Response, get, patch, post
from litestar.params import HeaderParameter, QueryParameter

from careforall.kit import idempotency, json
from careforall.kit.errors import InvalidInput
from careforall.kit.http.answers import (
    REPLAYED,
    IdempotencyKey,
    RequiredKey,
    encoded,
    etag,
    finished,
    idempotent_call,
    required_key,
    wanted_version,
)
from careforall.kit.http.description import SOME_ID, example
from careforall.kit.http.identity import Principal, admin_only, signed_in
from careforall.kit.http.limits import Limit, Limiter
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, cursor_of, page, path_id, read_cursor
from careforall.kit.idempotency import checked_key, fingerprint
from careforall.orders.aftercare import refuse_others
from careforall.orders.domain import Order, ReturnLine, ReturnStatus
from careforall.orders.records import Wanted
from careforall.orders.schemas import (
    Cancelling,
    CheckoutOut,
    Decision,
    NewCheckout,
    NewOrder,
    NewReturn,
    OrderMade,
    OrderOut,
    OrdersOut,
    PaidOut,
    PayCheckout,
    ReturnOut,
    Shipping,
    StatusIn,
    StatusPatch,
    checkout_out,
    order_made,
    order_out,
    paid_out,
    plain_status,
    return_out,
)
from careforall.orders.service import OrdersService

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
PageQuery = Annotated[int, QueryParameter(name="page", ge=1, le=100_000, description="Pages count from 1.")]
StatusQuery = Annotated[
    StatusIn | None, QueryParameter(name="status", description="Orders in this state only; PAID is CONFIRMED.")
]
Search = Annotated[str, QueryParameter(name="q", max_length=254, description="A whole order number, SKU or mail.")]
ACCEPTED, CREATED, DONE = 202, 201, 200
CheckoutBody = Annotated[
    NewCheckout,
    example({"cart_id": SOME_ID, "shipping_address_id": SOME_ID}),
]
PayBody = Annotated[PayCheckout, example({"payment_method": "CARD", "payment_token": "tok_ok", "idempotency_key": "pay-1"})]


class OrderLimit:
    """How often one user may order directly."""

    def __init__(self, limiter: Limiter, per_minute: int) -> None:
        self._limiter = limiter
        self._limit = Limit("orders", per_minute)

    async def hit(self, buyer: Principal) -> None:
        """Count one order.

        Raises:
            TooManyRequests: The limit is used up.
        """
        await self._limiter.hit(self._limit, str(buyer.user_id))


@post("/checkout/initiate", guards=[signed_in], summary="Go to the till")
async def initiate_checkout(
    service: OrdersService,
    principal: Principal,
    data: CheckoutBody,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[CheckoutOut]:
    """Reserve the stock of a cart (`GET /cart`), for an address (`GET /users/me/addresses`), and keep its price for 15 minutes.

    Errors: 404 `cart_not_found`, 409 `cart_not_active`, `out_of_stock` or `product_unavailable`, 422 `cart_empty`,
    `unknown_address` or `quantity_limit`, 503 `inventory_unavailable` or `pricing_unavailable`.
    """
    call = await idempotent_call(request, idempotency_key, "POST /checkout/initiate", principal)
    run, replayed = await service.checkouts.initiate(principal, data, call)
    return Response(checkout_out(run), status_code=CREATED, headers=_marked(replayed=replayed))


@post("/checkout/{id:str}/pay", guards=[signed_in], summary="Pay a checkout")
async def pay_checkout(service: OrdersService, principal: Principal, id: str, data: PayBody) -> Response[PaidOut]:
    """Pay with a token of the gateway, or without one on its own page: then 202 with `pay_url`.

    Errors: 402 `payment_declined`, 409 `price_changed` (with both prices), `product_unavailable`, `out_of_stock`,
    `checkout_expired` or `checkout_ended`, 503 `inventory_unavailable` or `pricing_unavailable`: nothing was charged.
    """
    run, replayed = await service.checkouts.pay(path_id(id), principal, data)
    paid = paid_out(run)
    if paid.status == "CONFIRMED":
        return Response(paid, status_code=DONE, headers=_marked(replayed=replayed))
    return Response(
        paid, status_code=ACCEPTED, headers={"Location": paid.status_url, "Retry-After": "1", **_marked(replayed=replayed)}
    )


@get("/checkout/{id:str}", guards=[signed_in], summary="How a checkout stands")
async def get_checkout(service: OrdersService, principal: Principal, id: str) -> CheckoutOut:
    """Return a checkout of one's own."""
    return checkout_out(await service.checkouts.checkout(path_id(id), principal))


@post("/checkout/{id:str}/cancel", guards=[signed_in], status_code=DONE, summary="Give a checkout up")
async def cancel_checkout(service: OrdersService, principal: Principal, id: str) -> CheckoutOut:
    """Free what is held for a checkout."""
    return checkout_out(await service.checkouts.cancel(path_id(id), principal))


@post("/orders", guards=[signed_in], summary="Order directly")
async def create_order(
    service: OrdersService,
    principal: Principal,
    data: NewOrder,
    order_limit: OrderLimit,
    idempotency_key: IdempotencyKey = None,
) -> Response[OrderMade]:
    """Reserve stock and place an order, which then waits for `POST /payments/initiate`; lines of one SKU are added up.

    202 where inventory cannot be asked now: the order is PENDING, and reserved later or FAILED uncharged.
    Errors: 409 `out_of_stock` (with the SKUs) or `product_unavailable`, 422 `unknown_sku`, `quantity_limit` or
    `idempotency_key_reused`, 429 after ten orders in a minute.
    """
    await order_limit.hit(principal)
    token = data.client_token if data.client_token is not None else checked_key(idempotency_key)
    items = [Wanted(sku=item.sku, quantity=item.qty) for item in data.items]
    placed = await service.direct.place(principal, items, token, fingerprint(json.encode(items)))
    headers = {**etag(placed.order.version), **_marked(replayed=placed.replayed)}
    status = ACCEPTED if placed.waits_for_stock else CREATED
    return Response(order_made(placed.order), status_code=status, headers=headers)


@get("/orders", guards=[signed_in], summary="Orders")
async def list_orders(
    service: OrdersService,
    principal: Principal,
    status: StatusQuery = None,
    search: Search = "",
    page_number: PageQuery = 1,
    limit: LimitQuery = 20,
    cursor: CursorQuery = None,
) -> OrdersOut:
    """Return one's own orders, newest first; staff sees all.

    Go on by `cursor` where orders may change meanwhile: a page by number misses some when those before it leave the list.
    """
    before = read_cursor(cursor)
    if before is not None and page_number > 1:
        raise InvalidInput.field("/page", "invalid_value", "give page or cursor, not both")
    wanted = plain_status(status) if status else None
    found, total = await service.orders(principal, status=wanted, search=search, before=before, page=page_number, limit=limit)
    return OrdersOut(
        orders=[order_out(order) for order in found],
        total=total,
        page=page_number,
        limit=limit,
        pages=-(-total // limit),
        next_cursor=cursor_of(found[-1].id) if len(found) == limit else None,
    )


@get("/orders/{id:str}", guards=[signed_in], summary="Show an order")
async def get_order(service: OrdersService, principal: Principal, id: str) -> Response[OrderOut]:
    """Return an order with its transitions; to others it does not exist."""
    found = await service.order(path_id(id), principal)
    return Response(found, headers=etag(found.version))


@patch("/orders/{id:str}/status", guards=[admin_only], summary="Move an order on")
async def patch_order_status(
    service: OrdersService, principal: Principal, id: str, data: StatusPatch, if_match: IfMatch = None
) -> Response[OrderOut]:
    """Take one step of an order; PAID confirms one that was paid in another way.

    Errors: 409 `version_conflict` with the current version, 409 `illegal_transition`.
    """
    version = wanted_version(data.version, if_match)
    changed = await service.aftercare.set_status(path_id(id), plain_status(data.status), version, principal)
    return await _whole(service, changed)


@post("/orders/{id:str}/cancel", guards=[signed_in], summary="Call an order off")
async def cancel_order(service: OrdersService, principal: Principal, id: str, data: Cancelling) -> Response[OrderOut]:
    """Cancel before it is shipped: 200 when done, 202 while money is on its way back. Errors: 409 `illegal_transition`."""
    order, done = await service.aftercare.cancel(path_id(id), data.reason, principal)
    return await _whole(service, order, DONE if done else ACCEPTED)


@post("/orders/{id:str}/ship", guards=[signed_in], status_code=DONE, summary="Ship an order")
async def ship_order(service: OrdersService, principal: Principal, id: str, data: Shipping) -> Response[OrderOut]:
    """Note that it left the house; a seller ships the own lines, and the order follows once all are on their way."""
    refuse_others(principal)
    return await _whole(service, await service.aftercare.ship(path_id(id), data.carrier, data.tracking, principal))


@post("/orders/{id:str}/return", guards=[signed_in], summary="Send something back")
async def return_order(
    service: OrdersService,
    principal: Principal,
    id: str,
    data: NewReturn,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[ReturnOut]:
    """Ask to return all or a part, within the window after delivery; staff decides. Errors: 409 `not_returnable`."""
    order_id = path_id(id)
    lines = [ReturnLine(sku=item.sku, quantity=item.quantity) for item in data.items]

    async def work(connection: Any) -> tuple[int, bytes]:
        order, made = await service.aftercare.ask_return(
            connection, order_id, principal, reason=data.reason, lines=lines, note=data.note
        )
        return encoded(CREATED, return_out(made, order.currency))

    call = await idempotent_call(request, idempotency_key, "POST /orders/return", principal)
    return finished(await idempotency.once(service.database, call, work))


@get("/admin/returns", guards=[admin_only], summary="Returns")
async def list_returns(
    service: OrdersService, status: ReturnStatus | None = None, cursor: CursorQuery = None, limit: LimitQuery = 20
) -> Page[ReturnOut]:
    """Return returns, newest first."""
    found = await service.returns(status, read_cursor(cursor), limit)
    shown = [return_out(one, currency) for one, currency in found]
    return page(shown, limit=limit, last=found[-1][0].id if found else None)


@post("/admin/returns/{id:str}/approve", guards=[admin_only], status_code=DONE, summary="Approve a return")
async def approve_return(
    service: OrdersService, principal: Principal, id: str, data: Decision, idempotency_key: RequiredKey = None
) -> ReturnOut:
    """Put the goods back on the shelf and refund them, once however often this is sent."""
    required_key(idempotency_key)
    order, found = await service.aftercare.decide(path_id(id), principal, data.note, approve=True)
    return return_out(found, order.currency)


@post("/admin/returns/{id:str}/reject", guards=[admin_only], status_code=DONE, summary="Reject a return")
async def reject_return(service: OrdersService, principal: Principal, id: str, data: Decision) -> ReturnOut:
    """Say no to a return, and why."""
    order, found = await service.aftercare.decide(path_id(id), principal, data.note, approve=False)
    return return_out(found, order.currency)


def _marked(*, replayed: bool) -> dict[str, str]:
    return {REPLAYED: "true"} if replayed else {}


async def _whole(service: OrdersService, changed: Order, status_code: int = DONE) -> Response[OrderOut]:
    """Answer with an order that took a step, and with all of its steps."""
    found = await service.read(changed.id)
    return Response(found, status_code=status_code, headers=etag(found.version))


ROUTES = (
    initiate_checkout,
    pay_checkout,
    get_checkout,
    cancel_checkout,
    create_order,
    list_orders,
    get_order,
    patch_order_status,
    cancel_order,
    ship_order,
    return_order,
    list_returns,
    approve_return,
    reject_return,
)
