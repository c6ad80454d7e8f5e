"""An order on a platform in a cluster, from the shelf to its confirmation, through the front door."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx2

CONFIRMED_S = 60.0
_PASSWORD = "correct horse battery staple"
_ADDRESS = {
    "type": "SHIPPING",
    "name": "A buyer",
    "line1": "Main street 1",
    "city": "Berlin",
    "postal_code": "10115",
    "country": "DE",
}


def confirmed_order(client: httpx2.Client) -> dict[str, Any]:
    """Sign up, fill a cart with what is in stock, check out, pay, and wait until the order is confirmed."""
    buyer = _signed_up(client)
    address = _asked(client, "/api/v1/users/me/addresses", buyer, _ADDRESS)["id"]
    cart = _asked(client, "/api/v1/cart/items", buyer, {"sku": sku_in_stock(client), "quantity": 2})["cart_id"]
    wanted = {"cart_id": cart, "shipping_address_id": address, "billing_address_id": address}
    checkout = _asked(client, "/api/v1/checkout/initiate", buyer, wanted)["checkout_id"]
    payment = {"payment_method": "CARD", "payment_token": "tok_ok", "idempotency_key": str(uuid.uuid4())}
    _asked(client, f"/api/v1/checkout/{checkout}/pay", buyer, payment)
    deadline = time.monotonic() + CONFIRMED_S
    while True:
        found: dict[str, Any] = client.get("/api/v1/orders", headers=buyer).raise_for_status().json()
        if found["orders"] and found["orders"][0]["status"] == "CONFIRMED":
            order: dict[str, Any] = found["orders"][0]
            return order
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def sku_in_stock(client: httpx2.Client) -> str:
    """Return a SKU of the demo shop of which a few can be had."""
    shown = client.get("/api/v1/products", params={"size": 1, "in_stock": "true"}).raise_for_status().json()
    product = client.get(f"/api/v1/products/{shown['products'][0]['id']}").raise_for_status().json()
    skus: list[str] = [one["sku"] for one in product["variants"]]
    return next(sku for sku in skus if client.get(f"/api/v1/inventory/{sku}").raise_for_status().json()["available"] > 1)


def _signed_up(client: httpx2.Client) -> dict[str, str]:
    who = {"email": f"buyer-{uuid.uuid4().hex}@example.org", "password": _PASSWORD}
    client.post("/api/v1/auth/signup", json=who).raise_for_status()
    tokens = client.post("/api/v1/auth/login", json=who).raise_for_status().json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def _asked(client: httpx2.Client, path: str, buyer: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body, headers=buyer)
    assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found
