"""One whole purchase over HTTP: cart, till, card, mail, shelf, shipping, and what the books say afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from careforall_testing.polling import eventually
from careforall_testing.shop import SERVICES, Shop, running_shop

pytestmark = pytest.mark.timeout(300)


async def test_a_buyer_fills_a_cart_pays_and_is_sent_the_goods(tmp_path: Path) -> None:
    async with running_shop((*SERVICES, "carts", "audit")) as shop:
        buyer = await shop.sign_up("buyer1@example.org")
        await shop.stock("KETTLE", 3, price="30.00")
        cart_id = await eventually(lambda: _filled(shop, buyer), within_s=30, what="a cart with goods")
        body = {"cart_id": cart_id, "shipping_address_id": await shop.address(buyer)}
        checkout = await shop.client.post("/api/v1/checkout/initiate", json=body, headers=buyer)
        assert (checkout.status_code, checkout.json()["total"]) == (201, "60.00"), checkout.text
        paid = await shop.pay(buyer, checkout.json()["checkout_id"])
        assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text
        order = await shop.seen(buyer, paid.json()["order_id"])
        await shop.shelf_is("KETTLE", 1, 0)
        await eventually(lambda: _emptied(shop, buyer, cart_id), within_s=30, what="a new cart")
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
        verified = await shop.platform.cli("verify")
        assert verified.status == 0, verified.out


async def _filled(shop: Shop, buyer: dict[str, str]) -> str | None:
    answer = await shop.client.post("/api/v1/cart/items", json={"sku": "KETTLE", "quantity": 2}, headers=buyer)
    return str(answer.json()["cart_id"]) if answer.status_code == 201 else None


async def _emptied(shop: Shop, buyer: dict[str, str], cart_id: str) -> bool:
    answer = await shop.client.get("/api/v1/cart", headers=buyer)
    return answer.status_code == 404 or answer.json().get("cart_id") != cart_id
