"""A shop in this process, whose sagas are driven by the test itself: orders, stock, prices and payments, without listeners.

async with offline_shop(servers) as shop:
    await shop.stock("MUG", 5)
    order_id = await shop.order("SOLD", MUG=2)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from careforall.cli.demo_orders import House, opened_houses, take_along, till_of
from careforall.cli.demo_story import Plan, Story
from careforall.contracts.addresses import Address
from careforall.inventory.schemas import StockPut
from careforall.inventory.service import InventoryService
from careforall.kit.ids import new_id
from careforall.orders import pricing_of, repository_items
from careforall.orders.domain import Item
from careforall.orders.driver import Driver
from careforall.orders.records import Run, Sale, Wanted
from careforall.orders.saga_words import Saga
from careforall.pricing.service import PricingService
from careforall_testing.platform import environment_of, fresh_database
from careforall_testing.pricing import product
from careforall_testing.servers import ServerUrls

SERVICES = ("inventory", "pricing", "payments", "orders")


class OfflineShop:
    """The services and what drives their sagas."""

    def __init__(self, houses: Mapping[str, House]) -> None:
        self.houses = houses
        self.till = till_of(houses, new_id())
        self.driver = Driver(self.till.database, self.till.asks, self.till.store, self.till.settings)
        self.orders = houses["orders"].database
        self._items: dict[str, Item] = {}

    @property
    def inventory(self) -> InventoryService:
        """Who keeps the stock."""
        return cast("InventoryService", self.houses["inventory"].parts.service)

    async def stock(self, sku: str, on_hand: int, price: str = "10.00") -> None:
        """Put a product of one SKU on the shelf and let everybody know of it."""
        item = self._items[sku] = _item(sku, price)
        await self.orders.run(lambda connection: repository_items.put(connection, [(item.product_id, 1)], [item]))
        pricing = cast("PricingService", self.houses["pricing"].parts.service)
        told = [(product(sku, price, name=item.name, product_id=item.product_id), 1)]
        await self.houses["pricing"].database.run(lambda connection: pricing.projection.products(connection, told))
        await self.inventory.count(StockPut(sku=sku, on_hand=on_hand), None)

    async def shelf(self, sku: str) -> tuple[int, int]:
        """What is on hand and reserved of a SKU."""
        found = await self.inventory.stock(sku)
        return found.on_hand, found.reserved

    async def order(self, outcome: str, **wanted: int) -> UUID:
        """Take an order to what becomes of it in half a month, and return its id."""
        plan = Plan(saga_id=new_id(), at=datetime.now(UTC) - timedelta(days=15), sale=self._sale(wanted), outcome=outcome)
        await take_along(self.houses, [Story(plan, self.till)])
        return plan.sale.order_id

    async def checkout(self, *, address: Address | None = None, **wanted: int) -> Run:
        """Go to the till, which holds stock and price, and leave it at that."""
        return await self._checkout(self._sale(wanted, shipping_address=address, billing_address=address))

    async def _checkout(self, sale: Sale) -> Run:
        run = await self.driver.start(Saga(id=new_id(), type="CHECKOUT"), sale)
        return await self.driver.drive(run, patient=True)

    def _sale(self, wanted: Mapping[str, int], **more: Any) -> Sale:
        chosen = tuple(Wanted(sku=sku, quantity=quantity) for sku, quantity in wanted.items())
        lines, _ = pricing_of.listed(chosen, self._items)
        return Sale(
            order_id=new_id(),
            intent_id=new_id(),
            user_id=new_id(),
            email="buyer1@example.org",
            cart_id=new_id(),
            wanted=chosen,
            lines=lines,
            **more,
        )


def _item(sku: str, price: str) -> Item:
    return Item(
        sku=sku,
        product_id=new_id(),
        seller_id=None,
        name=sku.title(),
        price=Decimal(price),
        currency="EUR",
        active=True,
        sold_out=False,
        shippable=True,
        max_per_order=10,
        reservation_policy="AT_CHECKOUT",
        version=1,
    )


@asynccontextmanager
async def shop_databases(urls: ServerUrls) -> AsyncIterator[dict[str, str]]:
    """Fresh databases for the services of a shop."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(fresh_database(urls.postgres, name)) for name in SERVICES}


@asynccontextmanager
async def opened_shop(urls: ServerUrls, databases: Mapping[str, str]) -> AsyncIterator[OfflineShop]:
    """Build the services of a shop on given databases."""
    async with opened_houses(SERVICES, environment_of(urls, databases)) as houses:
        shop = OfflineShop(houses)
        yield shop
        await shop.till.store.drain()


@asynccontextmanager
async def offline_shop(urls: ServerUrls) -> AsyncIterator[OfflineShop]:
    """Build the services of a shop on fresh databases."""
    async with shop_databases(urls) as databases, opened_shop(urls, databases) as shop:
        yield shop
