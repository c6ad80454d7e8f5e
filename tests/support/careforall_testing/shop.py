"""A shop as buyers and staff use it: products on the shelf, orders, payments; on a real platform."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from careforall.contracts.carts import CONTENTS, CartLine, Contents, ContentsAsked
from careforall.contracts.catalog import ProductUpdated, ReservationPolicy, Variant
from careforall.kit import json
from careforall.kit.envelope import seal
from careforall.kit.ids import new_id
from careforall_testing.journey import ADMIN, PASSWORD, Journey
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerSet, own_servers

SERVICES = ("accounts", "payments", "simulator", "notifications", "inventory", "pricing", "orders")


class Shop(Journey):
    """One running platform with goods on its shelves."""

    def __init__(self, running: Platform, servers: ServerSet, broker: Client) -> None:
        super().__init__(running, servers)
        self._broker = broker
        self.front: httpx2.AsyncClient = running.client
        """Where orders and checkouts are answered."""
        self.shelves: httpx2.AsyncClient = running.client
        """Where inventory is answered."""
        self._addresses: dict[str, str] = {}
        self._products: dict[str, tuple[UUID, int]] = {}
        self.carts: dict[UUID, tuple[UUID | None, Contents]] = {}
        """What the till is told of carts, with their owners."""
        self.before_carts: Callable[[], Awaitable[None]] | None = None
        """Awaited before the till is told."""
        self._telling: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Answer what is asked of carts."""
        if "carts" not in self.platform.databases:
            await self._broker.subscribe(f"{CONTENTS}.{self.platform.instance}", cb=self._on_cart)

    async def stock(self, sku: str, on_hand: int, **product: Any) -> str:
        """Put a product of one SKU on the shelf: catalog tells of it, and it is counted."""
        await self.sell(sku, **product)
        answer = await self.shelves.put("/api/v1/admin/inventory", json={"sku": sku, "on_hand": on_hand}, headers=self.admin)
        assert answer.status_code in {200, 201}, answer.text
        return sku

    async def sell(
        self,
        sku: str,
        *,
        price: str = "20.00",
        limit: int = 10,
        active: bool = True,
        sold_out: bool = False,
        currency: str = "EUR",
        policy: ReservationPolicy = "AT_CHECKOUT",
    ) -> None:
        """Tell of a product of one SKU, or of a change of it, and wait until it is known."""
        product_id, version = self._products.get(sku, (new_id(), 0))
        self._products[sku] = product_id, version + 1
        event = ProductUpdated(
            product_id=product_id,
            slug=sku.lower(),
            name=f"Product {sku}",
            status="OUT_OF_STOCK" if sold_out else "ACTIVE" if active else "INACTIVE",
            base_price=Decimal(price),
            currency=currency,
            variants=(Variant(variant_id=new_id(), sku=sku),),
            reservation_policy=policy,
            max_per_order=limit,
            created_at=datetime.now(UTC),
        )
        body = seal(
            event,
            subject=event.SUBJECT,
            event_id=new_id(),
            aggregate_id=product_id,
            aggregate_version=version + 1,
            source="catalog",
            correlation_id="",
        )
        await self._broker.jetstream().publish(event.SUBJECT, body)
        await eventually(lambda: self._knows(product_id, version + 1), within_s=30, what=f"{sku} is known")

    async def _knows(self, product_id: UUID, version: int) -> bool:
        known = []
        async with self.platform.database("orders") as connection:
            known.append(await connection.fetchval("SELECT max(version) FROM sold_items WHERE product_id = $1", product_id))
        if "pricing" in self.platform.databases:
            async with self.platform.database("pricing") as connection:
                known.append(await connection.fetchval("SELECT version FROM products WHERE product_id = $1", product_id))
        return all(one == version for one in known)

    async def cart(
        self, buyer: dict[str, str], items: Mapping[str, int], *, coupons: Sequence[str] = (), holders: Sequence[UUID] = ()
    ) -> UUID:
        """Fill a cart of somebody, for which `holders` hold goods already."""
        cart_id = new_id()
        lines = [
            CartLine(sku=sku, quantity=quantity, price_at_addition=Decimal("20.00"), holders=list(holders))
            for sku, quantity in items.items()
        ]
        found = Contents(state="ACTIVE", version=1, lines=lines, coupons=list(coupons))
        self.carts[cart_id] = await self.user_of(buyer), found
        return cart_id

    async def user_of(self, who: dict[str, str]) -> UUID:
        """Who somebody is."""
        return UUID((await self.me(who))["id"])

    async def me(self, who: dict[str, str]) -> dict[str, Any]:
        """The profile of somebody."""
        found: dict[str, Any] = (await self.client.get("/api/v1/users/me", headers=who)).json()
        return found

    async def address(self, buyer: dict[str, str]) -> str:
        """Give somebody an address, once."""
        if (known := self._addresses.get(buyer["Authorization"])) is not None:
            return known
        body = {"type": "SHIPPING", "name": "Buyer", "line1": "Main Street 1", "city": "Berlin", "country": "DE"}
        answer = await self.client.post("/api/v1/users/me/addresses", json=body, headers=buyer)
        assert answer.status_code == 201, answer.text
        return self._addresses.setdefault(buyer["Authorization"], str(answer.json()["id"]))

    async def till(
        self, buyer: dict[str, str], items: Mapping[str, int], *, coupons: Sequence[str] = (), holders: Sequence[UUID] = ()
    ) -> httpx2.Response:
        """Go to the till with a new cart."""
        return await self.begin_checkout(buyer, await self.cart(buyer, items, coupons=coupons, holders=holders))

    async def begin_checkout(self, buyer: dict[str, str], cart_id: UUID | str) -> httpx2.Response:
        """Go to the till with a cart."""
        body = {"cart_id": str(cart_id), "shipping_address_id": await self.address(buyer)}
        return await self.front.post("/api/v1/checkout/initiate", json=body, headers=buyer)

    async def checkout(self, buyer: dict[str, str], items: Mapping[str, int], *, coupons: Sequence[str] = ()) -> dict[str, Any]:
        """Go to the till and return the checkout."""
        answer = await self.till(buyer, items, coupons=coupons)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def pay(self, buyer: dict[str, str], checkout_id: str, token: str = "tok_ok", key: str = "") -> httpx2.Response:
        """Pay a checkout by a token."""
        body = {"payment_method": "CARD", "payment_token": token, "idempotency_key": key or str(new_id())}
        return await self.front.post(f"/api/v1/checkout/{checkout_id}/pay", json=body, headers=buyer)

    async def checkout_in(self, buyer: dict[str, str], checkout_id: str, *states: str) -> dict[str, Any]:
        """Wait until a checkout is in one of some states."""

        async def look() -> dict[str, Any] | None:
            answer = await self.front.get(f"/api/v1/checkout/{checkout_id}", headers=buyer)
            found: dict[str, Any] = answer.json()
            return found if answer.status_code == 200 and found["state"] in states else None

        return await eventually(look, within_s=30, what=f"checkout {states}")

    async def _on_cart(self, message: Msg) -> None:
        """Answer side by side: the broker's client hands over one question at a time."""
        task = asyncio.ensure_future(self._tell_of_cart(message))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_of_cart(self, message: Msg) -> None:
        if self.before_carts is not None:
            await self.before_carts()
        asked = msgspec.json.decode(message.data, type=ContentsAsked)
        owner, found = self.carts.get(asked.cart_id, (None, Contents()))
        await message.respond(json.encode(found if owner == asked.user_id else Contents()))

    async def order(self, buyer: dict[str, str], items: Mapping[str, int], *, token: str | None = None) -> httpx2.Response:
        """Order directly."""
        body: dict[str, Any] = {"items": [{"sku": sku, "qty": quantity} for sku, quantity in items.items()]}
        if token is not None:
            body["client_token"] = token
        return await self.front.post("/api/v1/orders", json=body, headers=buyer)

    async def placed(self, buyer: dict[str, str], items: Mapping[str, int]) -> dict[str, Any]:
        """Order directly and return the order."""
        answer = await self.order(buyer, items, token=str(new_id()))
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

    async def tell_when_known(self, payment_id: str) -> httpx2.Response:
        """Send a signed event, again until the payment is known."""

        async def told() -> httpx2.Response | None:
            answer = await self.tell(payment_id)
            return answer if answer.status_code != 404 else None

        return await eventually(told, within_s=30, what="a payment that is known")

    async def seen(self, who: dict[str, str], order_id: str) -> dict[str, Any]:
        """An order as somebody sees it."""
        answer = await self.front.get(f"/api/v1/orders/{order_id}", headers=who)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def when_free(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """Ask, and again while the order is just changing, as the answer says."""

        async def answered() -> httpx2.Response | None:
            answer = await ask()
            return None if answer.status_code == 409 and answer.json()["code"] == "order_busy" else answer

        return await eventually(answered, within_s=30, what="an order that does not change just now")

    async def order_in(self, who: dict[str, str], order_id: str, *status: str) -> dict[str, Any]:
        """Wait until an order is in one of some states."""

        async def look() -> dict[str, Any] | None:
            found = await self.seen(who, order_id)
            return found if found["status"] in status else None

        return await eventually(look, within_s=30, what=f"order {status}")

    async def bought(self, buyer: dict[str, str], items: Mapping[str, int]) -> dict[str, Any]:
        """Order, pay, and wait until the order is confirmed."""
        order = await self.placed(buyer, items)
        started = await self.initiate(buyer, order["id"])
        assert started.status_code == 201, started.text
        assert (await self.tell(started.json()["payment_id"])).status_code == 200
        return await self.order_in(buyer, order["id"], "CONFIRMED")

    async def shelf(self, sku: str) -> tuple[int, int]:
        """What is on hand and reserved of a SKU."""
        answer = await self.shelves.get(f"/api/v1/inventory/{sku}", headers=self.admin)
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

    async def known(self, payment_id: str) -> None:
        """Wait until payments has heard of an order's intent."""

        async def look() -> bool:
            return (await self.client.get(f"/api/v1/payments/{payment_id}", headers=self.admin)).status_code == 200

        await eventually(look, within_s=30, what="a payment that is known")

    async def sagas(self) -> Sequence[Any]:
        """All sagas, oldest first."""
        async with self.platform.database("orders") as connection:
            return list(await connection.fetch("SELECT * FROM saga_state ORDER BY created_at"))

    async def hurry(self) -> None:
        """Let the time of all waiting sagas be over."""
        async with self.platform.database("orders") as connection:
            await connection.execute("UPDATE saga_state SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")


@asynccontextmanager
async def running_shop(
    services: Sequence[str] = SERVICES, *, databases_of: Sequence[str] = (), **variables: str
) -> AsyncIterator[Shop]:
    """Run the services of a shop in one process against servers of its own, with databases for further ones."""
    wanted = {"CAREFORALL_ORDERS_PER_MINUTE": "1000000", **variables}
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(own_servers())
        running = await stack.enter_async_context(platform(servers.urls, services, databases_of=databases_of, **wanted))
        shop = Shop(running, servers, await broker(stack, servers.urls.nats))
        await shop.open()
        made = await running.cli("admin", "create", "--email", ADMIN, "--password", PASSWORD)
        assert made.status == 0, made.err
        await shop.employ(ADMIN, PASSWORD)
        yield shop


async def broker(stack: AsyncExitStack, url: str) -> Client:
    """A connection to the broker."""
    client = await nats.connect(url)
    stack.push_async_callback(client.close)
    return client
