"""The orders of the demo: half a year of them, from one fixed seed, each the way of a real one through the saga.

The id of an order's saga follows from its number, so that a second load finds it and makes nothing twice.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast
from uuid import UUID, uuid5

from careforall.cli.demo_messages import Webhooks, hear, told
from careforall.cli.demo_people import Buyer, People
from careforall.cli.demo_story import Plan, Story, Till
from careforall.cli.registry import definition, with_settings
from careforall.contracts.catalog import ProductCreated
from careforall.contracts.orders import OrderCreated
from careforall.inventory.service import InventoryService
from careforall.kit.consumer import Consumer
from careforall.kit.db import Database
from careforall.kit.envelope import Event
from careforall.kit.errors import Unavailable
from careforall.kit.http.identity import Principal
from careforall.kit.ids import id_at, new_id
from careforall.kit.runtime import offline_parts
from careforall.kit.service import Parts
from careforall.kit.settings import Settings
from careforall.orders import pricing_of, repository_items
from careforall.orders.asking import Asks
from careforall.orders.domain import Item
from careforall.orders.records import Sale, Wanted
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Store

_SEED = 20_260_103
_DAYS = 180
_BATCH = 50
_NAMES = UUID("6f6f2c80-6a9e-5d0e-9d53-0f6f8f0a51c7")
_PATIENCE_SECONDS = 30.0
_PLENTY = 20
"""Units a SKU must have to be among what is bought: the demo sells nothing out."""
_OUTCOMES = ("SOLD",) * 80 + ("CANCELLED",) * 5 + ("RETURNED",) * 6 + ("DECLINED",) * 5 + ("EXPIRED",) * 4
_LINES = (1, 1, 1, 2, 2, 3)
_QUANTITIES = (1, 1, 1, 1, 2, 2, 3)


class House(NamedTuple):
    """A service that is built, but does not serve."""

    parts: Parts
    database: Database
    settings: Settings


@asynccontextmanager
async def opened_houses(names: Iterable[str], environment: Mapping[str, str]) -> AsyncIterator[dict[str, House]]:
    """Build services on their databases, to be used without serving."""
    async with AsyncExitStack() as stack:
        houses: dict[str, House] = {}
        for found, settings in with_settings(map(definition, names), environment):
            parts, database = await stack.enter_async_context(offline_parts(found, settings))
            houses[found.name] = House(parts, database, settings)
        yield houses


async def load_orders(houses: Mapping[str, House], people: People, count: int, skus: Sequence[str]) -> str:
    """Make those of the demo's orders that are not there yet; return what was done in a sentence."""
    numbered = {number: uuid5(_NAMES, f"order {number}") for number in range(count)}
    known = await houses["orders"].database.fetch(_KNOWN, list(numbered.values()))
    if len(known) == count:
        return "demo orders are there already"
    await _tell_of_products(houses)
    items = await _plentiful(houses, skus)
    plans = _plans(numbered, await people.buyers(), items)
    missing = [plan for plan in plans if plan.saga_id not in {row["id"] for row in known}]
    till = till_of(houses, await people.staff())
    for start in range(0, len(missing), _BATCH):
        await take_along(houses, [Story(plan, till) for plan in missing[start : start + _BATCH]])
    await till.store.drain()
    return f"demo orders: {len(missing)} of the last {_DAYS} days"


async def take_along(houses: Mapping[str, House], stories: Sequence[Story]) -> None:
    """Take orders from step to step side by side, so that they share transactions."""
    await asyncio.gather(*(story.place() for story in stories))
    await make_intents(houses, [story.order_id for story in stories])
    await asyncio.gather(*(story.pay() for story in stories))
    await asyncio.gather(*(story.go_on() for story in stories))


async def make_intents(houses: Mapping[str, House], order_ids: Sequence[UUID]) -> None:
    """Let payments know of orders that are to be paid."""
    intents = _hearing(houses["payments"], OrderCreated)
    placed = await told(houses["orders"].database, intents, order_ids)
    await hear(houses["payments"].database, intents, placed)


async def _tell_of_products(houses: Mapping[str, House]) -> None:
    """Let orders and pricing know what is sold."""
    for name in ("orders", "pricing"):
        products = _hearing(houses[name], ProductCreated)
        await hear(houses[name].database, products, await told(houses["catalog"].database, products))


def _hearing(house: House, event: type[Event]) -> Consumer:
    return next(one for one in house.parts.consumers if event in one.events)


async def _plentiful(houses: Mapping[str, House], skus: Sequence[str]) -> list[Item]:
    """Return what is sold, in euros, and there is plenty of."""
    stock = cast("InventoryService", houses["inventory"].parts.service)
    available = await stock.available(skus)
    async with houses["orders"].database.connection() as connection:
        found = await repository_items.items(connection, [sku for sku in skus if available.get(sku, 0) >= _PLENTY])
    return [found[sku] for sku in sorted(found) if found[sku].active and found[sku].currency == "EUR"]


def till_of(houses: Mapping[str, House], staff: UUID) -> Till:
    """Return what orders are driven with: the saga's own code, asking the services of this process."""
    queries = {subject: answer for house in houses.values() for subject, answer in house.parts.queries.items()}

    async def ask(subject: str, payload: bytes) -> bytes:
        if subject not in queries:
            raise Unavailable(f"Nobody here answers {subject}.")
        return await queries[subject](payload)

    orders, payments = houses["orders"], houses["payments"]
    settings = cast("OrdersSettings", orders.settings)
    return Till(
        database=orders.database,
        asks=Asks(ask, settings, seconds=_PATIENCE_SECONDS),
        store=Store(orders.database, max_batch=settings.batch_size, flights=settings.batch_flights),
        settings=settings,
        webhooks=Webhooks(payments.parts, payments.settings),
        staff=Principal(user_id=staff, email="", role="ADMIN"),
    )


def _plans(numbered: Mapping[int, UUID], buyers: Sequence[Buyer], items: Sequence[Item]) -> list[Plan]:
    pick = random.Random(_SEED)  # noqa: S311 - made-up data from a fixed seed
    now = datetime.now(UTC)
    return [_plan(pick, saga_id, buyers[number % len(buyers)], items, now) for number, saga_id in numbered.items()]


def _plan(pick: random.Random, saga_id: UUID, buyer: Buyer, items: Sequence[Item], now: datetime) -> Plan:
    at = now - timedelta(days=_DAYS * pick.random() ** 1.7, minutes=pick.randrange(20, 600))
    bought = pick.sample(items, pick.choice(_LINES))
    wanted = tuple(Wanted(sku=item.sku, quantity=min(item.max_per_order, pick.choice(_QUANTITIES))) for item in bought)
    lines, _ = pricing_of.listed(wanted, {item.sku: item for item in bought})
    sale = Sale(
        order_id=id_at(at, pick.getrandbits(74)),
        intent_id=new_id(),
        user_id=buyer.user_id,
        email=buyer.email,
        cart_id=new_id(),
        wanted=wanted,
        shipping_address=buyer.address,
        billing_address=buyer.address,
        lines=lines,
        correlation_id="demo",
    )
    return Plan(saga_id=saga_id, at=at, sale=sale, outcome=pick.choice(_OUTCOMES))


_KNOWN = "SELECT id FROM saga_state WHERE id = ANY($1::uuid[])"
