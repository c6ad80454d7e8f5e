"""Messages in: what inventory says is available. One service call."""

from collections.abc import Sequence
from typing import Any

from careforall.catalog.service import CatalogService
from careforall.contracts.inventory import StockChanged, StockSnapshot
from careforall.contracts.streams import INVENTORY
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message


def consumers(service: CatalogService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def stock(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        facts = [(message.event.sku, message.event.available, message.aggregate_version) for message in messages]
        await service.keep_stock(connection, facts)

    events = (StockChanged, StockSnapshot)
    return (Consumer(name="catalog-inventory", stream=INVENTORY.name, events=events, handler=stock),)
