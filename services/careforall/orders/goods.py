"""What is sold, as orders knows it: a copy of the catalog's products, newer versions only (rule 5)."""

from collections.abc import Collection, Sequence

from careforall.contracts.catalog import ProductEvent
from careforall.contracts.products import Versioned, learning, newest
from careforall.kit.db import Connection, Database
from careforall.kit.reads import SharedRead
from careforall.kit.service import Ask
from careforall.orders import repository_items
from careforall.orders.domain import Item


class Goods:
    """Reads and keeps the copy.

    Args:
        database: The service's own.
        ask: Asks another service now.
    """

    def __init__(self, database: Database, ask: Ask) -> None:
        self._items: SharedRead[Collection[str], dict[str, Item]] = SharedRead(database, _known)
        self._learning = learning(database, ask, present=self._items.ask, keep=self.keep)

    async def items(self, skus: Collection[str]) -> dict[str, Item]:
        """Return what is sold under some SKUs as soon as the catalog shows it; an unknown one is left out."""
        await self._learning.ensure(skus)
        return await self._items.ask(skus)

    async def keep(self, connection: Connection, told: Sequence[Versioned]) -> None:
        """Keep products (state, version) where they are newer."""
        latest = newest(told)
        items = [item for event, version in latest.values() for item in _items(event, version)]
        await repository_items.put(connection, [(key, version) for key, (_, version) in latest.items()], items)


async def _known(connection: Connection, questions: Sequence[Collection[str]]) -> list[dict[str, Item]]:
    found = await repository_items.items(connection, list({sku for skus in questions for sku in skus}))
    return [{sku: found[sku] for sku in skus if sku in found} for skus in questions]


def _items(event: ProductEvent, version: int) -> list[Item]:
    price = event.sale_price if event.sale_price is not None else event.base_price
    return [
        Item(
            sku=variant.sku,
            product_id=event.product_id,
            seller_id=event.seller_id,
            name=event.name,
            price=price + variant.price_difference,
            currency=event.currency,
            active=event.status == "ACTIVE" and variant.active,
            sold_out=event.status == "OUT_OF_STOCK" and variant.active,
            shippable=event.shippable,
            max_per_order=event.max_per_order,
            reservation_policy=event.reservation_policy,
            version=version,
        )
        for variant in event.variants
    ]
