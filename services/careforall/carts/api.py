"""HTTP of carts: parse by signature, one service call, return the whole cart."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import HeaderParameter
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED

from careforall.carts import view
from careforall.carts.changing import Done, Owner, new_guest
from careforall.carts.errors import CartNotFound, CouponNotInCart, ItemNotFound
from careforall.carts.schemas import CartOut, ItemPut, MergeIn, NewCartCoupon, NewItem
from careforall.carts.service import CartsService
from careforall.kit.http.answers import IdempotencyKey, etag, finished, idempotent_call, wanted_version
from careforall.kit.http.description import example
from careforall.kit.http.identity import Principal
from careforall.kit.idempotency import Call
from careforall.kit.ids import parse_id

AnyRequest = Request[Any, Any, Any]
CART_HEADER = "X-Cart-Id"
_NO_CART = "no cart yet"
_SECRET_KEY = 20
"""Characters from which on a key counts as one that nobody guesses, such as a UUID."""
_NO_STORE = {"Cache-Control": "no-store"}
ItemBody = Annotated[NewItem, example({"sku": "DEMO-0001-S", "quantity": 1})]


class _Named(msgspec.Struct):
    cart_id: UUID


_decode_named = msgspec.json.Decoder(_Named).decode
CartId = Annotated[str | None, HeaderParameter(name=CART_HEADER, description="A guest's cart, as `cart_id` said.")]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version of the cart read, such as "3".')]


@get("/cart", summary="Show the cart")
async def get_cart(service: CartsService, visitor: Principal | None, cart_id: CartId = None) -> Response[CartOut]:
    """Return the caller's cart with prices at addition, present prices and stock; what changed is among `notices`."""
    owner = await _owner(service, visitor, cart_id)
    shown = view.nothing() if owner.fresh else await service.show(owner)
    return Response(shown, headers={**etag(shown.version), **_NO_STORE})


@post("/cart/items", status_code=HTTP_201_CREATED, summary="Put goods into the cart")
async def add_item(
    service: CartsService,
    visitor: Principal | None,
    data: ItemBody,
    request: AnyRequest,
    cart_id: CartId = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[CartOut]:
    """Put goods in; a guest without a cart gets one, to be sent as X-Cart-Id from then on.

    A repeat of a guest's first request finds its cart again where its Idempotency-Key is a random one of 20 characters or more.

    Errors: 404 `cart_not_found`, 409 `out_of_stock`, `product_inactive`, `cart_full`, 422 `unknown_sku`; for goods that are
    held at once 503 `inventory_unavailable`.
    """
    owner = await _owner(service, visitor, cart_id)
    call = await _call(request, idempotency_key, "POST /cart/items", visitor, owner)
    return _answered(await service.add(owner, data.sku, data.quantity, call))


@put("/cart/items/{id:str}", summary="Set how many")
async def put_item(
    service: CartsService,
    visitor: Principal | None,
    id: str,
    data: ItemPut,
    cart_id: CartId = None,
    if_match: IfMatch = None,
) -> Response[CartOut]:
    """Set how many of an item there are; above its limit per order it is the limit, with a notice."""
    owner = await _present(service, visitor, cart_id)
    version = wanted_version(data.version, if_match)
    return _answered(await service.set_quantity(owner, _item_id(id), data.quantity, version))


@delete("/cart/items/{id:str}", status_code=HTTP_200_OK, summary="Take goods out")
async def delete_item(
    service: CartsService, visitor: Principal | None, id: str, cart_id: CartId = None, if_match: IfMatch = None
) -> Response[CartOut]:
    """Take an item out and return the cart."""
    owner = await _present(service, visitor, cart_id)
    return _answered(await service.remove(owner, _item_id(id), wanted_version(None, if_match)))


@post("/cart/coupons", status_code=HTTP_201_CREATED, summary="Put a coupon on the cart")
async def add_coupon(
    service: CartsService,
    visitor: Principal | None,
    data: NewCartCoupon,
    request: AnyRequest,
    cart_id: CartId = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[CartOut]:
    """Put a coupon on; whether it counts is told with the price. Errors: 409 `coupon_inactive`, 422 `coupon_unknown`."""
    owner = await _owner(service, visitor, cart_id)
    call = await _call(request, idempotency_key, "POST /cart/coupons", visitor, owner)
    return _answered(await service.add_coupon(owner, data.code, call))


@delete("/cart/coupons/{code:str}", status_code=HTTP_200_OK, summary="Take a coupon off the cart")
async def delete_coupon(service: CartsService, visitor: Principal | None, code: str, cart_id: CartId = None) -> Response[CartOut]:
    """Take a coupon off and return the cart."""
    owner = await _present(service, visitor, cart_id)
    if not code.isprintable():
        raise CouponNotInCart
    return _answered(await service.remove_coupon(owner, code))


@post("/cart/merge", status_code=HTTP_200_OK, summary="Take a guest's cart over")
async def merge_cart(service: CartsService, principal: Principal, data: MergeIn) -> Response[CartOut]:
    """Take the goods of a guest's cart over after signing in; doing it twice changes nothing.

    Equal goods are summed and capped at their limit; what is sold out or not sold any more is dropped, with a notice.
    """
    return _answered(await service.merge(principal.user_id, data.guest_cart_id))


ROUTES = (get_cart, add_item, put_item, delete_item, add_coupon, delete_coupon, merge_cart)


async def _owner(service: CartsService, visitor: Principal | None, cart_id: str | None) -> Owner:
    """Return whose cart is meant; a guest's cart that comes with somebody who has signed in is taken over first."""
    guest = _cart_id(cart_id) if cart_id is not None else None
    if visitor is None:
        return Owner(cart_id=guest) if guest is not None else new_guest()
    if guest is not None:
        await service.merge_if_guest(visitor.user_id, guest)
    return Owner(user_id=visitor.user_id)


async def _present(service: CartsService, visitor: Principal | None, cart_id: str | None) -> Owner:
    """Return the owner of a cart that must be there already."""
    owner = await _owner(service, visitor, cart_id)
    if owner.fresh:
        raise CartNotFound
    return owner


async def _call(request: AnyRequest, key: str | None, route: str, visitor: Principal | None, owner: Owner) -> Call | None:
    """Return the idempotency call; a guest's keys are scoped by cart (rule 20).

    Before there is one, the key alone stands for the cart: only one that nobody else can come upon counts.
    """
    if not owner.fresh:
        return await idempotent_call(request, key, route, visitor, guest=owner.key)
    call = await idempotent_call(request, key, route, visitor, guest=_NO_CART)
    return call if call is not None and len(call.key) >= _SECRET_KEY else None


def _cart_id(text: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise CartNotFound
    return found


def _item_id(text: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise ItemNotFound
    return found


def _answered(done: Done) -> Response[CartOut]:
    extra = dict(_NO_STORE)
    if done.cart is not None:
        extra |= etag(done.cart.version) | {CART_HEADER: str(done.cart.id)}
    elif done.answer.replayed:
        extra |= {CART_HEADER: str(_decode_named(done.answer.body).cart_id)}
    return finished(done.answer, extra)
