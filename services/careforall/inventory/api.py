"""HTTP of stock, reservations and warehouses: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.params import HeaderParameter, QueryParameter

from careforall.contracts.inventory import Reserved
from careforall.inventory.domain import Warehouse
from careforall.inventory.errors import OutOfStock, SkuNotFound
from careforall.inventory.keeping import STATUS
from careforall.inventory.schemas import (
    Adjustment,
    MovementOut,
    NewReservation,
    NewWarehouse,
    ReservationOut,
    StockOut,
    StockPut,
    StockRow,
    WarehousePatch,
)
from careforall.inventory.service import InventoryService
from careforall.kit import context, idempotency
from careforall.kit.errors import Forbidden, InvalidInput, Unauthorized
from careforall.kit.http import problem
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, scope_of, wanted_version
from careforall.kit.http.hot import HotRequest, HotResponse, HotRoute
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, cursor_of, page, path_id, read_cursor
from careforall.kit.idempotency import Answer, Call, checked_key, fingerprint

_RESERVE = "/api/v1/inventory/reservations"
_MOST_SKUS = 100
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]


@get("/inventory/{sku:str}", summary="Stock of a SKU")
async def get_stock(service: InventoryService, sku: str) -> Response[StockOut]:
    """Return what is on hand, reserved and available, summed and by warehouse."""
    found = await service.stock(sku)
    return Response(found, headers=etag(found.version))


@get("/inventory", summary="Stock of several SKUs")
async def list_stock(
    service: InventoryService,
    skus: Annotated[str, QueryParameter(max_length=7000, description="Up to 100 SKUs, separated by commas.")],
) -> Page[StockOut]:
    """Return the stock of those that are known, by SKU; the others are left out."""
    wanted = [sku for sku in skus.split(",") if sku]
    if not 1 <= len(wanted) <= _MOST_SKUS:
        raise InvalidInput.field("/skus", "wrong_number_of_skus", f"name 1 to {_MOST_SKUS} SKUs")
    return Page(items=await service.stocks(wanted))


@put("/admin/inventory", guards=[admin_only], summary="Set stock")
async def put_stock(service: InventoryService, data: StockPut, if_match: IfMatch = None) -> Response[StockRow]:
    """Set what is on hand of a SKU in a warehouse; a SKU nobody knew becomes known.

    Errors: 409 `version_conflict` with the current version, 409 `below_reserved`, 404 `warehouse_not_found`, 422.
    """
    return _row(await service.count(data, wanted_version(data.expected_version, if_match)))


@post("/admin/inventory/adjustments", guards=[admin_only], status_code=200, summary="Adjust stock")
async def adjust_stock(
    service: InventoryService,
    principal: Principal,
    data: Adjustment,
    request: Request[Any, Any, Any],
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[StockRow]:
    """Change what is on hand by a difference, with its reason.

    Errors: 409 `version_conflict` with the current version, 409 `below_reserved`, 404 `sku_not_found`, 422.
    """
    call = await idempotent_call(request, idempotency_key, "POST /admin/inventory/adjustments", principal)
    return _row(await service.adjust(data, call, wanted_version(data.expected_version, if_match)))


@get("/admin/inventory/low-stock", guards=[admin_only], summary="What runs low")
async def low_stock(service: InventoryService, cursor: CursorQuery = None, limit: LimitQuery = 20) -> Page[StockRow]:
    """Return the stock rows at or below their threshold."""
    found = await service.low_stock(read_cursor(cursor), limit)
    following = cursor_of(found[-1][0]) if len(found) >= limit else None
    return Page(items=[row for _, row in found], next_cursor=following)


@get("/admin/inventory/movements", guards=[admin_only], summary="Why stock is what it is")
async def list_movements(
    service: InventoryService,
    sku: Annotated[str, QueryParameter(max_length=200)],
    warehouse: Annotated[str | None, QueryParameter(max_length=64)] = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[MovementOut]:
    """Return every change of a SKU's stock, newest first; together they are what is there."""
    found = await service.movements(sku, warehouse, read_cursor(cursor), limit)
    return page(found, limit=limit, last=found[-1].id if found else None)


@get("/admin/warehouses", guards=[admin_only], summary="List warehouses")
async def list_warehouses(service: InventoryService) -> Page[Warehouse]:
    """Return all warehouses, by code."""
    return Page(items=await service.warehouses())


@post("/admin/warehouses", guards=[admin_only], summary="Open a warehouse")
async def open_warehouse(
    service: InventoryService,
    principal: Principal,
    data: NewWarehouse,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[Warehouse]:
    """Open a warehouse; its code is its name for ever."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, await service.open_warehouse(connection, data))

    call = await idempotent_call(request, idempotency_key, "POST /admin/warehouses", principal)
    return finished(await idempotency.once(service.database, call, work))


@patch("/admin/warehouses/{code:str}", guards=[admin_only], summary="Change a warehouse")
async def patch_warehouse(
    service: InventoryService, code: str, data: WarehousePatch, if_match: IfMatch = None
) -> Response[Warehouse]:
    """Change what is given; send the version you have read to be told of changes in between (409)."""
    changed = await service.change_warehouse(code, data, wanted_version(data.version, if_match))
    return Response(changed, headers=etag(changed.version))


@post("/inventory/reservations", guards=[admin_only], summary="Hold stock")
async def reserve(
    service: InventoryService,
    principal: Principal,
    data: NewReservation,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[Reserved]:
    """Hold all lines for a while, or none; equal SKUs are summed.

    Errors: 409 `out_of_stock` with the SKUs, 404 `sku_not_found`, 409 `already_sold`, 422 with the lines at fault.
    """
    call = _call(idempotency_key, str(principal.user_id), await request.body())
    return finished(_held(await service.reserve(data, call, context.current())))


@post("/inventory/reservations", summary="Hold stock (internal)")
async def reserve_for_service(
    service: InventoryService, data: NewReservation, request: Request[Any, Any, Any], idempotency_key: IdempotencyKey = None
) -> Response[Reserved]:
    """Hold stock for another service; the keys of each service are its own."""
    caller: str = request.scope["state"]["calling_service"]
    call = _call(idempotency_key, caller, await request.body())
    return finished(_held(await service.reserve(data, call, context.current())))


@get("/inventory/reservations/{holder_id:str}", guards=[admin_only], summary="Show what is held")
async def get_reservation(service: InventoryService, holder_id: str) -> Response[ReservationOut]:
    """Return all that a holder holds or held."""
    return _shown(await service.reservation(path_id(holder_id)))


@delete("/inventory/reservations/{holder_id:str}", guards=[admin_only], status_code=200, summary="Give back what is held")
async def release(service: InventoryService, holder_id: str) -> Response[ReservationOut]:
    """Release all that a holder holds; again, it changes nothing. What is sold is not given back by this (409 `not_held`)."""
    return _shown(await service.release(path_id(holder_id)))


@post("/inventory/reservations/{holder_id:str}/confirm", guards=[admin_only], status_code=200, summary="Sell what is held")
async def confirm(service: InventoryService, holder_id: str) -> Response[ReservationOut]:
    """Sell all that a holder holds, whatever the clock says, as long as it is held; else 409 `not_held`."""
    return _shown(await service.confirm(path_id(holder_id)))


@get("/inventory/reservations/{holder_id:str}", summary="Show what is held (internal)")
async def get_for_service(service: InventoryService, holder_id: str) -> Response[ReservationOut]:
    """Return all that a holder holds or held."""
    return _shown(await service.reservation(path_id(holder_id)))


@delete("/inventory/reservations/{holder_id:str}", status_code=200, summary="Give back what is held (internal)")
async def release_for_service(service: InventoryService, holder_id: str) -> Response[ReservationOut]:
    """Release all that a holder holds."""
    return _shown(await service.release(path_id(holder_id)))


@post("/inventory/reservations/{holder_id:str}/confirm", status_code=200, summary="Sell what is held (internal)")
async def confirm_for_service(service: InventoryService, holder_id: str) -> Response[ReservationOut]:
    """Sell all that a holder holds."""
    return _shown(await service.confirm(path_id(holder_id)))


ROUTES = (
    *(get_stock, list_stock, put_stock, adjust_stock, low_stock, list_movements),
    *(list_warehouses, open_warehouse, patch_warehouse),
    *(reserve, get_reservation, release, confirm),
)
INTERNAL = (reserve_for_service, get_for_service, release_for_service, confirm_for_service)


def hot_routes(service: InventoryService) -> tuple[HotRoute, ...]:
    """Return the thin twin of `reserve`."""

    async def hold(request: HotRequest) -> HotResponse:
        principal = _staff(await request.principal())
        try:
            new = _decode(request.body)
        except msgspec.ValidationError as error:
            raise problem.from_validation(error) from error
        call = _call(request.idempotency_key, str(principal.user_id), request.body)
        answer = _held(await service.reserve(new, call, request.cause))
        replayed = ((b"idempotent-replayed", b"true"),) if answer.replayed else ()
        return HotResponse(status=answer.status, body=answer.body, headers=replayed)

    return (HotRoute(method="POST", path=_RESERVE, template=_RESERVE, service="inventory", handler=hold),)


_decode = msgspec.json.Decoder(NewReservation).decode


def _staff(principal: Principal | None) -> Principal:
    if principal is None:
        raise Unauthorized
    if not principal.is_admin:
        raise Forbidden("This needs the role ADMIN.")
    return principal


def _call(key: str | None, caller: str, body: bytes) -> Call | None:
    checked = checked_key(key)
    if checked is None:
        return None
    scope = f"{scope_of('POST /inventory/reservations', None, caller)}"
    return Call(scope=scope, key=checked, fingerprint=fingerprint("POST", _RESERVE, scope, body))


def _held(answer: Answer) -> Answer:
    """Return the answer of a reservation that holds, and refuse for any other.

    Raises:
        OutOfStock: Naming the SKUs that lack.
        SkuNotFound: Naming the SKUs that nobody knows.
    """
    if answer.status == STATUS["RESERVED"]:
        return answer
    short = msgspec.json.decode(answer.body, type=Reserved).short
    if answer.status == STATUS["UNKNOWN_SKU"]:
        raise SkuNotFound(f"Nobody knows {', '.join(short)}.", skus=short)
    raise OutOfStock(f"Not enough of {', '.join(short)}: ask for less, or later.", skus=short)


def _row(answer: Answer) -> Response[StockRow]:
    version = msgspec.json.decode(answer.body, type=StockRow).version
    return finished(answer, etag(version))


def _shown(found: ReservationOut) -> Response[ReservationOut]:
    return Response(found, headers=etag(found.version))
