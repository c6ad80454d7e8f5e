"""What tests of carts share: the service as processes, goods to put in, and an inventory that is asked over the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import nats
from msgspec import Struct
from nats.aio.msg import Msg

from careforall.contracts import inventory
from careforall.contracts.carts import CONTENTS, Contents, ContentsAsked
from careforall.contracts.inventory import StockChanged
from careforall.contracts.pricing import CouponChanged
from careforall.kit import json
from careforall.kit.envelope import Event
from careforall.kit.ids import new_id
from careforall_testing.announcing import publish
from careforall_testing.callers import Callers
from careforall_testing.platform import Platform
from careforall_testing.polling import eventually
from careforall_testing.pricing import product

CART = "/api/v1/cart"
ITEMS = f"{CART}/items"
COUPONS = f"{CART}/coupons"
MERGE = f"{CART}/merge"
Cart = dict[str, Any]


class CartHouse(Struct, frozen=True, kw_only=True):
    """The carts service as two processes on one database."""

    running: Platform
    callers: Callers
    second: httpx2.AsyncClient

    @property
    def client(self) -> httpx2.AsyncClient:
        """A client of the first process."""
        return self.running.client

    async def publish(self, event: Event, aggregate_id: UUID, version: int) -> None:
        """Publish an event as its owner does."""
        await publish(self.running.environment["CAREFORALL_NATS_URL"], event, aggregate_id, version)

    async def sell(self, sku: str, price: str = "10.00", *, version: int = 1, **changes: Any) -> UUID:
        """Publish a product with one variant and wait until carts knows it."""
        found = product(sku, price, **changes)
        await self.publish(found, found.product_id, version)
        await self.known("SELECT version FROM products WHERE product_id = $1", found.product_id, version)
        return found.product_id

    async def stock(self, sku: str, available: int, version: int = 1) -> None:
        """Publish how much is available and wait until carts knows it."""
        await self.publish(StockChanged(sku=sku, on_hand=available, reserved=0, available=available), new_id(), version)
        await self.known("SELECT version FROM stock_levels WHERE sku = $1", sku, version)

    async def coupon(self, code: str, *, active: bool = True, version: int = 1) -> None:
        """Publish a coupon and wait until carts knows it."""
        await self.publish(CouponChanged(coupon_id=new_id(), code=code, active=active), new_id(), version)
        await self.known("SELECT version FROM coupons WHERE code = $1", code, version)

    async def known(self, sql: str, key: object, version: int) -> None:
        """Wait until a row of the projection has a version, and until what was read before it is out of the cache."""
        async with self.running.database("carts") as database:

            async def there() -> bool:
                return bool(await database.fetchval(sql, key) == version)

            await eventually(there, within_s=20)

    async def add(self, sku: str, quantity: int = 1, *, headers: dict[str, str] | None = None) -> Cart:
        """Put goods in and return the cart."""
        answer = await self.client.post(ITEMS, json={"sku": sku, "quantity": quantity}, headers=headers or {})
        assert answer.status_code == 201, answer.text
        found: Cart = answer.json()
        return found

    async def show(self, headers: dict[str, str]) -> Cart:
        """The cart now."""
        answer = await self.client.get(CART, headers=headers)
        assert answer.status_code == 200, answer.text
        found: Cart = answer.json()
        return found

    async def contents(self, cart_id: str, user_id: UUID | None) -> Contents:
        """What a checkout is told."""
        client = await nats.connect(self.running.environment["CAREFORALL_NATS_URL"])
        try:
            asked = ContentsAsked(cart_id=UUID(cart_id), user_id=user_id)
            answer = await client.request(f"{CONTENTS}.{self.running.instance}", json.encode(asked), timeout=5)
            return msgspec.json.decode(answer.data, type=Contents)
        finally:
            await client.close()


def guest(cart: Cart) -> dict[str, str]:
    """The header of a guest."""
    return {"X-Cart-Id": cart["cart_id"]}


class Shelves:
    """An inventory reduced to its contract: so many of each SKU, and who holds them."""

    def __init__(self) -> None:
        self.free: dict[str, int] = {}
        self.holders: dict[UUID, inventory.Line] = {}

    def reserve(self, data: bytes) -> bytes:
        """Answer `ask.inventory.reserve`."""
        asked = msgspec.json.decode(data, type=inventory.Reserve)
        [line] = asked.lines
        if self.free.get(line.sku, 0) < line.quantity:
            return json.encode(inventory.Reserved(outcome="OUT_OF_STOCK", short=[line.sku]))
        self.free[line.sku] -= line.quantity
        self.holders[asked.holder_id] = line
        until = datetime.now(UTC) + timedelta(seconds=asked.seconds)
        return json.encode(inventory.Reserved(outcome="RESERVED", expires_at=until))

    def release(self, data: bytes) -> bytes:
        """Answer `ask.inventory.release`."""
        line = self.holders.pop(msgspec.json.decode(data, type=inventory.Settle).holder_id)
        self.free[line.sku] += line.quantity
        return json.encode(inventory.Settled(outcome="DONE"))


@asynccontextmanager
async def shelves(running: Platform) -> AsyncIterator[Shelves]:
    """Answer for inventory over a platform's broker, while the context is open."""
    found = Shelves()
    client = await nats.connect(running.environment["CAREFORALL_NATS_URL"])
    for subject, answer in ((inventory.RESERVE, found.reserve), (inventory.RELEASE, found.release)):

        async def reply(message: Msg, answer: Any = answer) -> None:
            await message.respond(answer(message.data))

        await client.subscribe(f"{subject}.{running.instance}", cb=reply)
    await client.flush()
    try:
        yield found
    finally:
        await client.close()
