"""Messages in: what catalog, inventory and orders say of goods. One service call each."""

from collections.abc import Sequence
from typing import Any

from careforall.contracts.catalog import PRODUCT_EVENTS
from careforall.contracts.inventory import StockChanged, StockSnapshot
from careforall.contracts.orders import OrderConfirmed
from careforall.contracts.streams import CATALOG, INVENTORY, ORDERS
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.pricing.domain import StockLevel
from careforall.pricing.service import PricingService


def consumers(service: PricingService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def products(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.projection.products(connection, [(one.event, one.aggregate_version) for one in messages])

    async def stock(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        levels = [StockLevel(sku=one.event.sku, available=one.event.available, version=one.aggregate_version) for one in messages]
        await service.projection.stock(connection, levels)

    async def orders(connection: Connection, messages: Sequence[Message[OrderConfirmed]]) -> None:
        sold = [(line.sku, one.event.confirmed_at, line.quantity) for one in messages for line in one.event.lines]
        await service.projection.sales(connection, sold)

    return (
        Consumer(name="pricing-products", stream=CATALOG.name, events=PRODUCT_EVENTS, handler=products),
        Consumer(name="pricing-stock", stream=INVENTORY.name, events=(StockChanged, StockSnapshot), handler=stock),
        Consumer(name="pricing-orders", stream=ORDERS.name, events=(OrderConfirmed,), handler=orders),
    )
