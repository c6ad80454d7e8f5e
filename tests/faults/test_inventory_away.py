"""Inventory out of reach: checkouts are told so, nothing is charged; direct orders are accepted, and reserved or failed later."""

from __future__ import annotations

import pytest

from careforall.kit.ids import new_id
from careforall_testing.platform import client_of
from careforall_testing.polling import eventually
from careforall_testing.shop import SERVICES, Shop, running_shop

OTHERS = tuple(name for name in SERVICES if name != "inventory")

pytestmark = pytest.mark.timeout(300)


async def test_orders_wait_for_inventory_and_checkouts_do_not() -> None:
    async with running_shop(OTHERS, databases_of=SERVICES, CAREFORALL_SAGA_LEASE_SECONDS="4") as shop:
        inventory = await shop.platform.serve(["inventory"])
        async with client_of(inventory.url) as shelves:
            shop.shelves = shelves
            buyer = await shop.sign_up(f"buyer-{new_id().hex}@example.org")
            await shop.stock("LAMP-1", 5)
            await shop.stock("LAMP-2", 1)
            checkout = await shop.checkout(buyer, {"LAMP-1": 1})
            inventory.kill()
            await _refused(shop, buyer, checkout["checkout_id"])
            waiting = await shop.order(buyer, {"LAMP-1": 2}, token="later")
            short = await shop.order(buyer, {"LAMP-2": 2}, token="too much")
            for answer in (waiting, short):
                assert (answer.status_code, answer.json()["status"], answer.json()["expires_at"]) == (202, "PENDING", None)
            early = await shop.initiate(buyer, waiting.json()["id"])
            assert (early.status_code, early.json()["code"]) == (409, "order_not_payable")
            again = await shop.order(buyer, {"LAMP-1": 2}, token="later")
            assert (again.status_code, again.json()["id"]) == (202, waiting.json()["id"])
            await inventory.restart()
            failed = await shop.order_in(buyer, short.json()["id"], "FAILED")
            assert failed["reason"] == "out_of_stock"
            await eventually(lambda: _payable(shop, buyer, waiting.json()["id"]), within_s=40, what="a reserved order")
            paid = await shop.pay(buyer, checkout["checkout_id"])
            assert paid.status_code == 200, paid.text
            await shop.shelf_is("LAMP-1", 4, 2)
            await shop.shelf_is("LAMP-2", 1, 0)


async def _refused(shop: Shop, buyer: dict[str, str], checkout_id: str) -> None:
    till, paid = await shop.till(buyer, {"LAMP-1": 1}), await shop.pay(buyer, checkout_id)
    for answer in (till, paid):
        assert (answer.status_code, answer.json()["code"]) == (503, "inventory_unavailable"), answer.text
        assert answer.headers["retry-after"]
    assert (await shop.client.get("/api/v1/orders", headers=buyer)).json()["total"] == 0


async def _payable(shop: Shop, buyer: dict[str, str], order_id: str) -> bool:
    return (await shop.seen(buyer, order_id))["expires_at"] is not None
