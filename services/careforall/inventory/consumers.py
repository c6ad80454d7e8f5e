"""Messages in: which SKUs the catalog has. One service call."""

from collections.abc import Sequence
from typing import Any

from careforall.contracts.catalog import PRODUCT_EVENTS
from careforall.contracts.streams import CATALOG
from careforall.inventory.service import InventoryService
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message


def consumers(service: InventoryService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def products(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        skus = {variant.sku for message in messages for variant in message.event.variants}
        await service.know(connection, sorted(skus))

    return (Consumer(name="inventory-catalog", stream=CATALOG.name, events=PRODUCT_EVENTS, handler=products),)
