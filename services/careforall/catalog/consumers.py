"""Messages in: what inventory says is available, who bought what, and who is to be forgotten. One service call each."""

from collections.abc import Iterator, Sequence
from typing import Any

from careforall.catalog.repository_reviews import Purchase
from careforall.catalog.service import CatalogService
from careforall.contracts.accounts import UserErased
from careforall.contracts.inventory import StockChanged, StockSnapshot
from careforall.contracts.orders import OrderCancelled, OrderConfirmed, OrderDelivered, OrderSnapshot
from careforall.contracts.streams import ACCOUNTS, INVENTORY, ORDERS
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message

_STOCK = (StockChanged, StockSnapshot)
_ORDERS = (OrderConfirmed, OrderDelivered, OrderCancelled, OrderSnapshot)
_NOT_BOUGHT = frozenset({"PENDING", "FAILED", "CANCELLED"})


def consumers(service: CatalogService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def stock(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        facts = [(message.event.sku, message.event.available, message.aggregate_version) for message in messages]
        await service.keep_stock(connection, facts)

    async def orders(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        purchases = [purchase for message in messages for purchase in _purchases(message)]
        await service.reviewing.keep_purchases(connection, purchases)

    async def accounts(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.reviewing.erase(connection, sorted({message.event.user_id for message in messages}))

    return (
        Consumer(name="catalog-inventory", stream=INVENTORY.name, events=_STOCK, handler=stock),
        Consumer(name="catalog-orders", stream=ORDERS.name, events=_ORDERS, handler=orders),
        Consumer(name="catalog-accounts", stream=ACCOUNTS.name, events=(UserErased,), handler=accounts),
    )


def _purchases(message: Message[Any]) -> Iterator[Purchase]:
    """Yield what an order says of each of its lines."""
    order = message.event
    for line in order.lines:
        yield Purchase(
            order_id=order.order_id,
            user_id=order.user_id,
            product_id=line.product_id,
            sku=line.sku,
            bought=order.status not in _NOT_BOUGHT and line.status not in _NOT_BOUGHT,
            version=message.aggregate_version,
        )
