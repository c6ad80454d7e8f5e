"""One whole purchase over HTTP: cart, till, card, mail, shelf, shipping, and what the books say afterwards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from careforall_testing.platform import Served, client_of
from careforall_testing.polling import eventually
from careforall_testing.shop import SERVICES, Shop, running_shop

pytestmark = pytest.mark.timeout(300)


async def test_a_buyer_fills_a_cart_pays_and_is_sent_the_goods(tmp_path: Path) -> None:
    async with running_shop((*SERVICES, "carts", "audit")) as shop:
        buyer = await shop.sign_up("buyer1@example.org")
        await shop.stock("KETTLE", 3, price="30.00")
        cart_id = await eventually(lambda: _filled(shop, buyer), within_s=30, what="a cart with goods")
        checkout = await shop.begin_checkout(buyer, cart_id)
        assert (checkout.status_code, checkout.json()["total"]) == (201, "60.00"), checkout.text
        paid = await shop.pay(buyer, checkout.json()["checkout_id"])
        assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text
        order = await shop.seen(buyer, paid.json()["order_id"])
        await shop.shelf_is("KETTLE", 1, 0)
        emptied = await shop.client.get("/api/v1/cart", headers=buyer)
        assert (emptied.json()["cart_id"], emptied.json()["items"]) == (None, []), "the cart is empty as soon as it is paid"
        path = f"/api/v1/orders/{order['id']}/ship"
        shipped = await shop.client.post(path, json={"carrier": "Post", "tracking": "T-1"}, headers=shop.admin)
        assert (shipped.status_code, shipped.json()["status"]) == (200, "SHIPPED"), shipped.text
        number = order["order_number"]
        subjects = [f"Confirmed: {number}", f"On its way: {number}", f"Your order {number}"]
        mailed = await shop.mailed("buyer1@example.org", "Please confirm your mail address", *subjects)
        assert sorted(subject for subject in mailed if number in subject) == subjects
        page = tmp_path / "story.json"
        story = await shop.platform.cli("explain", order["id"], "--json", str(page))
        assert story.status == 0, story.err
        told = {entry["what"] for entry in json.loads(page.read_text())["entries"]}
        assert {"order PENDING to CONFIRMED", "saga capture COMPLETED", "intent AUTHORIZED to CAPTURED"} <= told
        by_number = await shop.platform.cli("explain", number)
        assert (by_number.status, "order PENDING to CONFIRMED" in by_number.out) == (0, True), by_number.out
        verified = await shop.platform.cli("verify")
        assert verified.status == 0, verified.out


async def test_who_shops_on_before_carts_has_heard_of_the_order_buys_nothing_twice() -> None:
    async with running_shop(databases_of=("carts",)) as shop, deaf_carts(shop) as carts:
        buyer = await shop.sign_up("buyer2@example.org")
        first = await carts.filled(buyer, "KETTLE")
        paid = await _bought(shop, buyer, first)
        await carts.filled(buyer, "TEAPOT")
        shown = (await carts.client.get("/api/v1/cart", headers=buyer)).json()
        assert [item["sku"] for item in shown["items"]] == ["TEAPOT"], "what was bought has left the cart before the buyer knew"
        again = await _bought(shop, buyer, shown["cart_id"])
        assert (paid["total"], again["total"]) == ("30.00", "20.00")


async def test_a_cart_that_was_bought_while_carts_was_away_is_not_bought_again() -> None:
    async with running_shop(databases_of=("carts",)) as shop, deaf_carts(shop) as carts:
        buyer = await shop.sign_up("buyer3@example.org")
        cart_id = await carts.filled(buyer, "KETTLE")
        begun = await shop.begin_checkout(buyer, cart_id)
        assert begun.status_code == 201, begun.text
        carts.process.kill()
        paid = await shop.pay(buyer, begun.json()["checkout_id"])
        assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text
        await carts.process.restart()
        assert await carts.filled(buyer, "TEAPOT") == cart_id, "carts knows of no order yet"
        refused = await shop.begin_checkout(buyer, cart_id)
        assert (refused.status_code, refused.json()["code"], refused.json()["state"]) == (409, "cart_not_active", "CONVERTED")
        shown = (await carts.client.get("/api/v1/cart", headers=buyer)).json()
        assert [item["sku"] for item in shown["items"]] == ["TEAPOT"]
        assert (await _bought(shop, buyer, shown["cart_id"]))["total"] == "20.00"
        assert (await shop.shelf("KETTLE"), await shop.shelf("TEAPOT")) == ((2, 0), (2, 0))


class DeafCarts:
    """Carts that answers, and has heard of the goods, but hears of no order."""

    def __init__(self, process: Served, client: httpx2.AsyncClient) -> None:
        self.process = process
        self.client = client

    async def filled(self, buyer: dict[str, str], sku: str) -> str:
        """Put one piece into the buyer's cart."""
        answer = await self.client.post("/api/v1/cart/items", json={"sku": sku}, headers=buyer)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["cart_id"])


@asynccontextmanager
async def deaf_carts(shop: Shop) -> AsyncIterator[DeafCarts]:
    """Serve carts in two processes, and end the one that hears as soon as the goods are known."""
    answering = await shop.platform.serve(["carts"], role="api")
    hearing = await shop.platform.serve(["carts"], role="consumers")
    await shop.stock("KETTLE", 3, price="30.00")
    await shop.stock("TEAPOT", 3, price="20.00")
    async with client_of(answering.url) as client:
        for sku in ("KETTLE", "TEAPOT"):
            await eventually(partial(_sold, client, sku), within_s=30, what=f"{sku} in carts")
        hearing.kill()
        yield DeafCarts(answering, client)


async def _sold(client: httpx2.AsyncClient, sku: str) -> bool:
    return (await client.post("/api/v1/cart/items", json={"sku": sku})).status_code == 201


async def _bought(shop: Shop, buyer: dict[str, str], cart_id: str) -> dict[str, Any]:
    begun = await shop.begin_checkout(buyer, cart_id)
    assert begun.status_code == 201, begun.text
    paid = await shop.pay(buyer, begun.json()["checkout_id"])
    assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text
    found: dict[str, Any] = paid.json()
    return found


async def _filled(shop: Shop, buyer: dict[str, str]) -> str | None:
    answer = await shop.client.post("/api/v1/cart/items", json={"sku": "KETTLE", "quantity": 2}, headers=buyer)
    return str(answer.json()["cart_id"]) if answer.status_code == 201 else None
