"""Messages in: what the catalog and inventory say. One service call each."""

from collections.abc import Sequence
from typing import Any

import msgspec

from careforall.contracts.catalog import PRODUCT_EVENTS, ProductSnapshot
from careforall.contracts.inventory import StockChanged, StockSnapshot
from careforall.contracts.streams import CATALOG, INVENTORY
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.search.index import Known
from careforall.search.service import Facts, SearchService


def consumers(service: SearchService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def told(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.keep(connection, facts_of(messages))

    stock = (StockChanged, StockSnapshot)
    return (
        Consumer(name="search-catalog", stream=CATALOG.name, events=PRODUCT_EVENTS, handler=told),
        Consumer(name="search-inventory", stream=INVENTORY.name, events=stock, handler=told),
    )


def facts_of(messages: Sequence[Message[Any]]) -> Facts:
    """Return what messages say of products and of stock."""
    products = [_known(message) for message in messages if not isinstance(message.event, StockChanged | StockSnapshot)]
    stock = [
        (message.event.sku, message.event.available, message.aggregate_version)
        for message in messages
        if isinstance(message.event, StockChanged | StockSnapshot)
    ]
    return products, stock


def _known(message: Message[Any]) -> Known:
    product = msgspec.convert(msgspec.structs.asdict(message.event), ProductSnapshot)
    return Known(product_id=product.product_id, version=message.aggregate_version, product=product)
