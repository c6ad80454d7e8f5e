"""Messages in: goods, stock, coupons, orders and logins. One service call each."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from careforall.carts.service import CartsService
from careforall.contracts.accounts import SignedIn
from careforall.contracts.carts import Clear
from careforall.contracts.catalog import PRODUCT_EVENTS
from careforall.contracts.inventory import StockChanged, StockSnapshot
from careforall.contracts.orders import OrderConfirmed
from careforall.contracts.pricing import CouponChanged
from careforall.contracts.streams import ACCOUNTS, CATALOG, INVENTORY, ORDERS, PRICING
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message


def consumers(service: CartsService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def products(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.projection.products(connection, [(one.event, one.aggregate_version) for one in messages])

    async def stock(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        told = [(one.event.sku, one.event.available, one.aggregate_version) for one in messages]
        await service.projection.stock(connection, told)

    async def coupons(connection: Connection, messages: Sequence[Message[CouponChanged]]) -> None:
        told = [(one.event.code, one.event.coupon_id, one.event.active, one.aggregate_version) for one in messages]
        await service.projection.coupons(connection, told)

    async def orders(connection: Connection, messages: Sequence[Message[OrderConfirmed]]) -> None:
        told = [one.event for one in messages]
        asked = [Clear(cart_id=one.cart_id, units=_units(one)) for one in told if one.cart_id is not None]
        if asked:
            await service.clearing.write(connection, asked)

    async def logins(connection: Connection, messages: Sequence[Message[SignedIn]]) -> None:
        for one in sorted(messages, key=lambda one: one.event.guest_cart_id):
            await service.merge_at_login(connection, one.event.user_id, one.event.guest_cart_id)

    return (
        Consumer(name="carts-products", stream=CATALOG.name, events=PRODUCT_EVENTS, handler=products),
        Consumer(name="carts-stock", stream=INVENTORY.name, events=(StockChanged, StockSnapshot), handler=stock),
        Consumer(name="carts-coupons", stream=PRICING.name, events=(CouponChanged,), handler=coupons),
        Consumer(name="carts-orders", stream=ORDERS.name, events=(OrderConfirmed,), handler=orders),
        Consumer(name="carts-logins", stream=ACCOUNTS.name, events=(SignedIn,), handler=logins, batch=50),
    )


def _units(order: OrderConfirmed) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in order.lines:
        units[line.sku] += line.quantity
    return units
