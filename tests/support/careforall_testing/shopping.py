"""What tests of the catalog and of search share: processes, products to offer, stock that inventory speaks of."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import httpx2
import msgspec
from msgspec import Struct

from careforall.contracts.inventory import StockChanged
from careforall.kit.bus import Bus
from careforall.kit.envelope import Event, Posted, seal
from careforall.kit.ids import new_id
from careforall.kit.publishing import Ack
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

PRODUCTS = "/api/v1/products"
ADMIN_PRODUCTS = "/api/v1/admin/products"
ADMIN_CATEGORIES = "/api/v1/admin/categories"
CATEGORIES = "/api/v1/categories"


class ShopHouse(Struct, kw_only=True):
    """Services of the shop as one process, with staff, and a stand-in for inventory and orders."""

    running: Platform
    callers: Callers
    bus: Bus
    told: int = 0

    @property
    def client(self) -> httpx2.AsyncClient:
        """A visitor."""
        return self.running.client

    async def staff(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        """Ask as staff."""
        return await self.client.request(method, path, headers=self.callers.admin() | (headers or {}), **more)

    async def product(self, **changes: Any) -> dict[str, Any]:
        """Create a product."""
        answer = await self.staff("POST", ADMIN_PRODUCTS, json=product(**changes))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def category(self, name: str, parent: str | None = None) -> dict[str, Any]:
        """Create a category with a slug nobody has."""
        slug = f"{name.lower()}-{secrets.token_hex(4)}"
        answer = await self.staff("POST", ADMIN_CATEGORIES, json={"name": name, "slug": slug, "parent": parent})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def events_of(self, aggregate_id: str) -> list[tuple[str, dict[str, Any]]]:
        """The events of a product, in the order of their versions: type and envelope."""
        async with self.running.database("catalog") as database:
            rows = await database.fetch(_EVENTS, aggregate_id)
        found = [(row["event_type"], msgspec.json.decode(row["payload"])) for row in rows]
        return sorted(found, key=lambda event: event[1]["aggregate_version"])

    async def say(self, event: Event, aggregate_id: Any, version: int, *, source: str) -> None:
        """Say something as another service."""
        event_id = new_id()
        data = seal(
            event,
            subject=event.SUBJECT,
            event_id=event_id,
            aggregate_id=aggregate_id,
            aggregate_version=version,
            source=source,
            correlation_id="test",
        )
        [answer] = await self.bus.publish_window([Posted(event.SUBJECT, str(event_id), data)])
        assert isinstance(answer, Ack), answer

    async def stock(self, sku: str, available: int) -> None:
        """Let inventory say what is available, and wait until the catalog knows."""
        self.told += 1
        event = StockChanged(sku=sku, on_hand=available, reserved=0, available=available)
        await self.say(event, uuid5(NAMESPACE_OID, sku), self.told, source="inventory")
        version = self.told

        async def known() -> bool:
            async with self.running.database("catalog") as database:
                return bool(await database.fetchval("SELECT version >= $2 FROM stock WHERE sku = $1", sku, version))

        await eventually(known)


def sku(prefix: str = "SKU") -> str:
    """A SKU nobody has."""
    return f"{prefix}-{secrets.token_hex(6)}"


def product(**changes: Any) -> dict[str, Any]:
    """The body of a product; a change to None leaves the field out."""
    body = {"name": "Mug", "base_price": "12.50", "currency": "EUR", "status": "ACTIVE", "variants": [{"sku": sku()}]}
    return {name: value for name, value in (body | changes).items() if value is not None}


@asynccontextmanager
async def shop_house(urls: ServerUrls, services: Sequence[str], *, known: Sequence[str] = ()) -> AsyncIterator[ShopHouse]:
    """Start the services and somebody who signs tokens; `known` are services that only have a database."""
    async with platform(urls, databases_of=[*services, *known]) as running, signing_in(running) as callers:
        await running.serve(services)
        bus = Bus(urls.nats, name="shop-stand-in")
        await bus.open(wait=10)
        try:
            yield ShopHouse(running=running, callers=callers, bus=bus)
        finally:
            await bus.close()


_EVENTS = "SELECT event_type, payload FROM outbox WHERE aggregate_id = $1::uuid"
