"""A shop as buyers and staff use it: products on the shelf, orders, payments; on a real platform."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2

from careforall.kit import json
from careforall.kit.ids import new_id
from careforall_testing.journey import ADMIN, PASSWORD, Journey
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerSet, own_servers

SERVICES = ("accounts", "payments", "simulator", "notifications", "inventory", "orders")


class Shop(Journey):
    """One running platform with goods on its shelves."""

    def __init__(self, running: Platform, servers: ServerSet) -> None:
        super().__init__(running, servers)
        self.sellers: dict[str, UUID] = {}

    async def stock(self, sku: str, on_hand: int, *, price: str = "20.00", limit: int = 10, active: bool = True) -> str:
        """Put a product of one SKU on the shelf, as catalog and inventory would know it."""
        answer = await self.client.put("/api/v1/admin/inventory", json={"sku": sku, "on_hand": on_hand}, headers=self.admin)
        assert answer.status_code in {200, 201}, answer.text
        async with self.platform.database("orders") as connection:
            await connection.execute(_SELL, sku, new_id(), f"Product {sku}", Decimal(price), active, limit)
        return sku

    async def order(self, buyer: dict[str, str], *, token: str | None = None, **items: int) -> httpx2.Response:
        """Order directly."""
        body: dict[str, Any] = {"items": [{"sku": sku, "qty": quantity} for sku, quantity in items.items()]}
        if token is not None:
            body["client_token"] = token
        return await self.client.post("/api/v1/orders", json=body, headers=buyer)

    async def placed(self, buyer: dict[str, str], **items: int) -> dict[str, Any]:
        """Order directly and return the order."""
        answer = await self.order(buyer, token=str(new_id()), **items)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def initiate(self, buyer: dict[str, str], order_id: str) -> httpx2.Response:
        """Go to pay an order."""
        return await self.client.post("/api/v1/payments/initiate", json={"order_id": order_id}, headers=buyer)

    async def tell(self, payment_id: str, status: str = "SUCCESS", **more: Any) -> httpx2.Response:
        """Send a signed event of some gateway."""
        body = json.encode({"event_id": f"evt_{new_id()}", "payment_intent_id": payment_id, "status": status, **more})
        secret = self.platform.environment["CAREFORALL_WEBHOOK_SECRETS"]
        signed = {"X-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
        return await self.client.post("/api/v1/payments/webhook", content=body, headers=signed)

    async def seen(self, who: dict[str, str], order_id: str) -> dict[str, Any]:
        """An order as somebody sees it."""
        answer = await self.client.get(f"/api/v1/orders/{order_id}", headers=who)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def order_in(self, who: dict[str, str], order_id: str, *status: str) -> dict[str, Any]:
        """Wait until an order is in one of some states."""

        async def look() -> dict[str, Any] | None:
            found = await self.seen(who, order_id)
            return found if found["status"] in status else None

        return await eventually(look, within_s=30, what=f"order {status}")

    async def bought(self, buyer: dict[str, str], **items: int) -> dict[str, Any]:
        """Order, pay, and wait until the order is confirmed."""
        order = await self.placed(buyer, **items)
        started = await self.initiate(buyer, order["id"])
        assert started.status_code == 201, started.text
        assert (await self.tell(started.json()["payment_id"])).status_code == 200
        return await self.order_in(buyer, order["id"], "CONFIRMED")

    async def shelf(self, sku: str) -> tuple[int, int]:
        """What is on hand and reserved of a SKU."""
        answer = await self.client.get(f"/api/v1/inventory/{sku}", headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()["on_hand"], answer.json()["reserved"]

    async def shelf_is(self, sku: str, on_hand: int, reserved: int) -> None:
        """Wait until the shelf says so."""

        async def look() -> bool:
            return await self.shelf(sku) == (on_hand, reserved)

        await eventually(look, within_s=20, what=f"{sku}: {on_hand} on hand, {reserved} reserved")

    async def payment(self, payment_id: str) -> dict[str, Any]:
        """A payment as staff sees it."""
        found: dict[str, Any] = await self.as_admin(f"/api/v1/payments/{payment_id}")
        return found

    async def sagas(self) -> Sequence[Any]:
        """All sagas, oldest first."""
        async with self.platform.database("orders") as connection:
            return list(await connection.fetch("SELECT * FROM saga_state ORDER BY created_at"))

    async def hurry(self) -> None:
        """Let the time of all waiting sagas be over."""
        async with self.platform.database("orders") as connection:
            await connection.execute("UPDATE saga_state SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")


@asynccontextmanager
async def running_shop(services: Sequence[str] = SERVICES, *, apart: Sequence[str] = (), **variables: str) -> AsyncIterator[Shop]:
    """Run the services of a shop against servers of its own; those named by `apart` in a second process."""
    with own_servers() as servers:
        async with platform(
            servers.urls, databases_of=services, **{"CAREFORALL_ORDERS_PER_MINUTE": "1000000", **variables}
        ) as running:
            await running.serve([name for name in services if name not in apart])
            if apart:
                await running.serve(apart)
            shop = Shop(running, servers)
            made = await running.cli("admin", "create", "--email", ADMIN, "--password", PASSWORD)
            assert made.status == 0, made.err
            shop.admin = await shop.sign_in(ADMIN)
            yield shop
            await asyncio.sleep(0)


_SELL = """
INSERT INTO sold_items (
    sku, product_id, name, price, currency, active, shippable, max_per_order, reservation_policy, version
)
VALUES ($1, $2, $3, $4, 'EUR', $5, true, $6, 'AT_CHECKOUT', 1)
ON CONFLICT (sku) DO UPDATE SET price = excluded.price, active = excluded.active, max_per_order = excluded.max_per_order
"""
