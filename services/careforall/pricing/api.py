"""HTTP of pricing: quotes for everybody, coupons and rules for staff."""

from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.params import HeaderParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED

from careforall.contracts.pricing import Quote, QuoteAsked, QuotedLine
from careforall.kit import idempotency, money
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, wanted_version
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.pricing.administration import find
from careforall.pricing.domain import Coupon, Promotion, ShippingRate, TaxRate
from careforall.pricing.errors import PromotionNotFound, ShippingRateNotFound, TaxRateNotFound
from careforall.pricing.schemas import (
    CouponOut,
    CouponPatch,
    NewCoupon,
    PromotionIn,
    PromotionOut,
    QuoteIn,
    QuoteOut,
    ShippingRateIn,
    ShippingRateOut,
    TaxRateIn,
    TaxRateOut,
)
from careforall.pricing.service import PricingService

AnyRequest = Request[Any, Any, Any]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
CouponStatus = Literal["ACTIVE", "ENDED"]
O = TypeVar("O", CouponOut, PromotionOut, TaxRateOut, ShippingRateOut)  # noqa: E741 - what goes out


@post("/pricing/quote", status_code=HTTP_200_OK, summary="Price a basket")
async def quote(service: PricingService, visitor: Principal | None, data: QuoteIn, request: AnyRequest) -> QuoteOut:
    """Return what a basket costs and why; nothing is reserved. Whoever is signed in gets members' prices.

    With a SKU among `refused` there is no price; a refused coupon only does not count.
    """
    await service.count_quote(request.scope["state"]["client_address"])
    return quote_out(await service.quoting.quote(_asked(data, visitor)))


@post("/admin/coupons", guards=[admin_only], summary="Make a coupon")
async def create_coupon(
    service: PricingService, principal: Principal, data: NewCoupon, request: AnyRequest, idempotency_key: IdempotencyKey = None
) -> Response[CouponOut]:
    """Make a coupon. Errors: 409 `coupon_code_taken`, 422 with the fields at fault."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(HTTP_201_CREATED, coupon_out(await service.coupons.create(connection, data)))

    call = await idempotent_call(request, idempotency_key, "POST /admin/coupons", principal)
    return finished(await idempotency.once(service.database, call, work))


@get("/admin/coupons", guards=[admin_only], summary="List coupons")
async def list_coupons(
    service: PricingService,
    code: Annotated[str, QueryParameter(max_length=40, description="Exactly this code.")] = "",
    status: CouponStatus | None = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[CouponOut]:
    """Return coupons, newest first."""
    found = await service.coupons.some(code, read_cursor(cursor), limit, active=None if status is None else status == "ACTIVE")
    return page([coupon_out(coupon) for coupon in found], limit=limit, last=found[-1].id if found else None)


@get("/admin/coupons/{id:str}", guards=[admin_only], summary="Show a coupon")
async def get_coupon(service: PricingService, id: str) -> Response[CouponOut]:
    """Return a coupon with how often it is used and held."""
    return _versioned(coupon_out(await service.coupons.one(path_id(id))))


@patch("/admin/coupons/{id:str}", guards=[admin_only], summary="Change a coupon")
async def patch_coupon(service: PricingService, id: str, data: CouponPatch, if_match: IfMatch = None) -> Response[CouponOut]:
    """Change what is given. Errors: 409 `limit_below_use`, 409 `version_conflict`."""
    changed = await service.coupons.change(path_id(id), data, wanted_version(data.version, if_match))
    return _versioned(coupon_out(changed))


@delete("/admin/coupons/{id:str}", guards=[admin_only], summary="End a coupon")
async def delete_coupon(service: PricingService, id: str, if_match: IfMatch = None) -> None:
    """End a coupon: nobody can hold it any more, who holds it may still use it. Its record stays."""
    await service.coupons.end(path_id(id), wanted_version(None, if_match))


@post("/admin/promotions", guards=[admin_only], summary="Make a promotion")
async def create_promotion(
    service: PricingService, principal: Principal, data: PromotionIn, request: AnyRequest, idempotency_key: IdempotencyKey = None
) -> Response[PromotionOut]:
    """Make a dynamic rule, a sale or a members' discount."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(HTTP_201_CREATED, promotion_out(await service.rules.put_promotion(connection, data)))

    call = await idempotent_call(request, idempotency_key, "POST /admin/promotions", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get("/admin/promotions", guards=[admin_only], summary="List promotions")
async def list_promotions(service: PricingService) -> Page[PromotionOut]:
    """Return all promotions, in the order in which they count."""
    return Page(items=[promotion_out(rule) for rule in (await service.rules.all()).promotions])


@get("/admin/promotions/{id:str}", guards=[admin_only], summary="Show a promotion")
async def get_promotion(service: PricingService, id: str) -> Response[PromotionOut]:
    """Return a promotion."""
    return _versioned(promotion_out(find((await service.rules.all()).promotions, path_id(id), PromotionNotFound)))


@put("/admin/promotions/{id:str}", guards=[admin_only], summary="Replace a promotion")
async def put_promotion(service: PricingService, id: str, data: PromotionIn, if_match: IfMatch = None) -> Response[PromotionOut]:
    """Replace a promotion; what is absent goes back to its default."""
    version = wanted_version(data.version, if_match)
    rule_id = path_id(id)
    put = await service.database.run(lambda connection: service.rules.put_promotion(connection, data, rule_id, version))
    return _versioned(promotion_out(put))


@delete("/admin/promotions/{id:str}", guards=[admin_only], summary="Delete a promotion")
async def delete_promotion(service: PricingService, id: str, if_match: IfMatch = None) -> None:
    """Delete a promotion; prices that are locked stay as they are."""
    version = wanted_version(None, if_match)
    await service.rules.drop(path_id(id), version, lambda book: book.promotions, PromotionNotFound)


@post("/admin/tax-rates", guards=[admin_only], summary="Make a tax rate")
async def create_tax_rate(
    service: PricingService, principal: Principal, data: TaxRateIn, request: AnyRequest, idempotency_key: IdempotencyKey = None
) -> Response[TaxRateOut]:
    """Make a tax rate. Errors: 409 `rate_place_taken`, 409 `tax_mode_conflict`."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(HTTP_201_CREATED, tax_rate_out(await service.rules.put_tax_rate(connection, data)))

    call = await idempotent_call(request, idempotency_key, "POST /admin/tax-rates", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get("/admin/tax-rates", guards=[admin_only], summary="List tax rates")
async def list_tax_rates(service: PricingService) -> Page[TaxRateOut]:
    """Return all tax rates."""
    return Page(items=[tax_rate_out(rate) for rate in (await service.rules.all()).tax_rates])


@get("/admin/tax-rates/{id:str}", guards=[admin_only], summary="Show a tax rate")
async def get_tax_rate(service: PricingService, id: str) -> Response[TaxRateOut]:
    """Return a tax rate."""
    return _versioned(tax_rate_out(find((await service.rules.all()).tax_rates, path_id(id), TaxRateNotFound)))


@put("/admin/tax-rates/{id:str}", guards=[admin_only], summary="Replace a tax rate")
async def put_tax_rate(service: PricingService, id: str, data: TaxRateIn, if_match: IfMatch = None) -> Response[TaxRateOut]:
    """Replace a tax rate; what is absent goes back to its default."""
    version = wanted_version(data.version, if_match)
    rule_id = path_id(id)
    put = await service.database.run(lambda connection: service.rules.put_tax_rate(connection, data, rule_id, version))
    return _versioned(tax_rate_out(put))


@delete("/admin/tax-rates/{id:str}", guards=[admin_only], summary="Delete a tax rate")
async def delete_tax_rate(service: PricingService, id: str, if_match: IfMatch = None) -> None:
    """Delete a tax rate."""
    version = wanted_version(None, if_match)
    await service.rules.drop(path_id(id), version, lambda book: book.tax_rates, TaxRateNotFound)


@post("/admin/shipping-rates", guards=[admin_only], summary="Make a shipping rate")
async def create_shipping_rate(
    service: PricingService,
    principal: Principal,
    data: ShippingRateIn,
    request: AnyRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response[ShippingRateOut]:
    """Make a shipping rate. Errors: 409 `rate_place_taken`."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(HTTP_201_CREATED, shipping_rate_out(await service.rules.put_shipping_rate(connection, data)))

    call = await idempotent_call(request, idempotency_key, "POST /admin/shipping-rates", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get("/admin/shipping-rates", guards=[admin_only], summary="List shipping rates")
async def list_shipping_rates(service: PricingService) -> Page[ShippingRateOut]:
    """Return all shipping rates. Without any, sending is free; with some, goods are sent only where one fits."""
    return Page(items=[shipping_rate_out(rate) for rate in (await service.rules.all()).shipping_rates])


@get("/admin/shipping-rates/{id:str}", guards=[admin_only], summary="Show a shipping rate")
async def get_shipping_rate(service: PricingService, id: str) -> Response[ShippingRateOut]:
    """Return a shipping rate."""
    found = find((await service.rules.all()).shipping_rates, path_id(id), ShippingRateNotFound)
    return _versioned(shipping_rate_out(found))


@put("/admin/shipping-rates/{id:str}", guards=[admin_only], summary="Replace a shipping rate")
async def put_shipping_rate(
    service: PricingService, id: str, data: ShippingRateIn, if_match: IfMatch = None
) -> Response[ShippingRateOut]:
    """Replace a shipping rate; what is absent goes back to its default."""
    version = wanted_version(data.version, if_match)
    rule_id = path_id(id)
    put = await service.database.run(lambda connection: service.rules.put_shipping_rate(connection, data, rule_id, version))
    return _versioned(shipping_rate_out(put))


@delete("/admin/shipping-rates/{id:str}", guards=[admin_only], summary="Delete a shipping rate")
async def delete_shipping_rate(service: PricingService, id: str, if_match: IfMatch = None) -> None:
    """Delete a shipping rate."""
    version = wanted_version(None, if_match)
    await service.rules.drop(path_id(id), version, lambda book: book.shipping_rates, ShippingRateNotFound)


ROUTES = (
    quote,
    create_coupon,
    list_coupons,
    get_coupon,
    patch_coupon,
    delete_coupon,
    create_promotion,
    list_promotions,
    get_promotion,
    put_promotion,
    delete_promotion,
    create_tax_rate,
    list_tax_rates,
    get_tax_rate,
    put_tax_rate,
    delete_tax_rate,
    create_shipping_rate,
    list_shipping_rates,
    get_shipping_rate,
    put_shipping_rate,
    delete_shipping_rate,
)


def coupon_out(coupon: Coupon) -> CouponOut:
    """Return a coupon as staff see it."""
    return _shown(coupon, CouponOut, coupon.currency, "amount", "minimum")


def promotion_out(rule: Promotion) -> PromotionOut:
    """Return a promotion as staff see it."""
    return _shown(rule, PromotionOut, rule.currency, "amount")


def tax_rate_out(rate: TaxRate) -> TaxRateOut:
    """Return a tax rate as staff see it."""
    return _shown(rate, TaxRateOut, None)


def shipping_rate_out(rate: ShippingRate) -> ShippingRateOut:
    """Return a shipping rate as staff see it."""
    fields = msgspec.to_builtins(rate)
    fields["steps"] = [
        {"from_value": money.show(step.from_value, rate.currency), "amount": money.show(step.amount, rate.currency)}
        for step in rate.steps
    ]
    if rate.free_above is not None:
        fields["free_above"] = money.show(rate.free_above, rate.currency)
    return msgspec.convert(fields, ShippingRateOut)


def quote_out(found: Quote) -> QuoteOut:
    """Return a quote as the API shows it."""
    fields = _in_places(msgspec.to_builtins(found, builtin_types=(Decimal,)), found.currency)
    return msgspec.convert(fields | {"items": fields["lines"]}, QuoteOut)


def _in_places(value: Any, currency: str) -> Any:
    """Return it with its amounts as texts with the currency's places; where nothing has a price there is no currency."""
    match value:
        case Decimal():
            return money.show(value, currency) if currency else str(value)
        case dict():
            return {name: _in_places(one, currency) for name, one in value.items()}
        case list():
            return [_in_places(one, currency) for one in value]
        case _:
            return value


def _shown(thing: Coupon | Promotion | TaxRate, kind: type[O], currency: str | None, *amounts: str) -> O:
    """Return a stored thing in its shape for the API: amounts with their places, percentages without needless zeros."""
    fields = msgspec.to_builtins(thing)
    for name in amounts:
        if (amount := getattr(thing, name)) is not None and currency is not None:
            fields[name] = money.show(amount, currency)
    if thing.percent is not None:
        fields["percent"] = f"{thing.percent.normalize():f}"
    return msgspec.convert(fields, kind)


def _asked(data: QuoteIn, visitor: Principal | None) -> QuoteAsked:
    return QuoteAsked(
        lines=[QuotedLine(sku=item.sku, quantity=item.quantity) for item in data.items],
        coupons=data.coupons,
        user_id=visitor.user_id if visitor else None,
        member=visitor is not None,
        country=data.country or "",
        region=data.region,
        postal_code=data.postal_code,
    )


def _versioned(body: O) -> Response[O]:
    return Response(body, headers=etag(body.version))
