"""Direct orders on a real platform: placed, paid by webhook, confirmed; and all that is refused, with nothing half done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall_testing.polling import eventually
from careforall_testing.shop import Shop


async def test_an_order_is_paid_by_a_signed_webhook_and_confirmed(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-1", 5, price="12.50")
    placed = await shop.placed(buyer, {"MUG-1": 2})
    assert (placed["status"], placed["total"], placed["currency"]) == ("PENDING", "25.00", "EUR")
    assert placed["order_number"].startswith("ORD-")
    assert await shop.shelf("MUG-1") == (5, 2)
    started = await shop.initiate(buyer, placed["id"])
    assert started.status_code == 201, started.text
    wish = {"subject_type": "ORDER", "subject_id": placed["id"], "amount": "25.00", "currency": "EUR"}
    asked = await shop.client.post("/api/v1/payments/intent", json=wish, headers=buyer)
    assert (asked.status_code, asked.json()["id"], asked.json()["status"]) == (201, started.json()["payment_id"], "INITIATED")
    assert (started.json()["amount_cents"], started.json()["order_id"]) == (2500, placed["id"])
    told = await shop.tell(started.json()["payment_id"], amount="25.00", currency="EUR")
    assert told.json()["status"] == "processed"
    order = await shop.order_in(buyer, placed["id"], "CONFIRMED")
    assert [step["to"] for step in order["transitions"]] == ["PENDING", "CONFIRMED"]
    await shop.shelf_is("MUG-1", 3, 0)
    [sales] = [one for one in (await shop.as_admin("/api/v1/payments/ledger/balances"))["items"] if one["account"] == "sales"]
    assert sales["balance"] == "-25.00"


async def test_a_repeat_of_a_token_is_the_same_order(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-2", 5)
    answers = await asyncio.gather(*(shop.order(buyer, {"MUG-2": 1}, token="one") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await shop.shelf("MUG-2") == (5, 1)
    other = await shop.order(buyer, {"MUG-2": 2}, token="one")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_too_little_stock_names_the_skus_and_holds_nothing(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-3", 1)
    await shop.stock("MUG-4", 9)
    answer = await shop.order(buyer, {"MUG-3": 2, "MUG-4": 1}, token="two")
    assert (answer.status_code, answer.json()["code"], answer.json()["skus"]) == (409, "out_of_stock", ["MUG-3"])
    again = await shop.order(buyer, {"MUG-3": 2, "MUG-4": 1}, token="two")
    assert (again.status_code, again.json()["code"]) == (409, "out_of_stock")
    assert [await shop.shelf(sku) for sku in ("MUG-3", "MUG-4")] == [(1, 0), (9, 0)]
    assert (await shop.client.get("/api/v1/orders", headers=buyer)).json()["total"] == 0


async def test_a_flood_for_what_is_sold_out_is_refused_without_a_saga_and_what_comes_back_is_sold(
    shop: Shop, buyer: dict[str, str]
) -> None:
    await shop.stock("MUG-9", 1)
    last = await shop.placed(buyer, {"MUG-9": 1})

    async def refused_unwritten() -> bool:
        before = len(await shop.sagas())
        answer = await shop.order(await shop.sign_up(f"late-{new_id().hex}@example.org"), {"MUG-9": 1})
        assert (answer.status_code, answer.json()["code"], answer.json()["skus"]) == (409, "out_of_stock", ["MUG-9"])
        return len(await shop.sagas()) == before

    await eventually(refused_unwritten, within_s=30, what="somebody is refused without a saga")
    assert (await shop.client.post(f"/api/v1/orders/{last['id']}/cancel", json={"reason": "not mine"}, headers=buyer)).is_success
    await shop.shelf_is("MUG-9", 1, 0)
    other = await shop.sign_up(f"next-{new_id().hex}@example.org")

    async def bought() -> bool:
        return (await shop.order(other, {"MUG-9": 1}, token="again")).status_code == 201

    await eventually(bought, within_s=30, what="what came back is sold, under the same token too")


@pytest.mark.parametrize(
    ("items", "status", "code"),
    [
        ([{"sku": "MUG-5", "qty": 0}], 422, "invalid_value"),
        ([{"sku": "MUG-5", "qty": -1}], 422, "invalid_value"),
        ([{"sku": "MUG-5", "qty": 10**9}], 422, "quantity_limit"),
        ([{"sku": "MUG-5", "qty": 10**30}], 422, "invalid_value"),
        ([{"sku": "MUG-5", "qty": 1.5}], 422, "invalid_value"),
        ([{"sku": "MUG-5", "qty": 6}, {"sku": "MUG-5", "qty": 5}], 422, "quantity_limit"),
        ([{"sku": "NO-SUCH", "qty": 1}], 422, "unknown_sku"),
        ([{"sku": "CLOSED-1", "qty": 1}], 409, "product_unavailable"),
        ([{"sku": "SOLD-OUT-1", "qty": 1}], 409, "out_of_stock"),
        ([{"sku": "SOLD-OUT-1", "qty": 1}, {"sku": "CLOSED-1", "qty": 1}], 409, "product_unavailable"),
        ([{"sku": "", "qty": 1}], 422, "invalid_value"),
        ([{"sku": "MUG-5", "qty": 1, "price": "0.01"}], 422, "unknown_field"),
        ([], 422, "invalid_value"),
    ],
)
async def test_what_cannot_be_ordered_is_refused_with_nothing_done(
    shop: Shop, buyer: dict[str, str], items: list[dict[str, Any]], status: int, code: str
) -> None:
    await shop.stock("MUG-5", 100)
    await shop.stock("CLOSED-1", 100, active=False)
    await shop.stock("SOLD-OUT-1", 100, sold_out=True)
    answer = await shop.client.post("/api/v1/orders", json={"items": items, "client_token": str(new_id())}, headers=buyer)
    assert answer.status_code == status, answer.text
    codes = {answer.json()["code"], *(error["code"] for error in answer.json().get("errors", []))}
    assert code in codes
    assert await shop.shelf("MUG-5") == (100, 0)
    assert (await shop.client.get("/api/v1/orders", headers=buyer)).json()["total"] == 0


async def test_what_costs_more_than_is_kept_is_refused_before_anything_is_held(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("YACHT-1", 2000, price="999999999999.99", limit=1000)
    answers = [await shop.till(buyer, {"YACHT-1": 1000}), await shop.order(buyer, {"YACHT-1": 1000})]
    for answer in answers:
        assert (answer.status_code, [error["code"] for error in answer.json()["errors"]]) == (422, ["too_large"]), answer.text
    await shop.shelf_is("YACHT-1", 2000, 0)
    assert (await shop.client.get("/api/v1/orders", headers=buyer)).json()["total"] == 0


async def test_equal_skus_are_added_up(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-6", 5, price="1.00")
    items = [{"sku": "MUG-6", "qty": 2}, {"sku": "MUG-6", "qty": 1}]
    answer = await shop.client.post("/api/v1/orders", json={"items": items}, headers=buyer)
    assert (answer.status_code, answer.json()["total"]) == (201, "3.00")
    order = await shop.seen(buyer, answer.json()["id"])
    assert [(item["sku"], item["qty"]) for item in order["items"]] == [("MUG-6", 3)]


async def test_a_foreign_order_does_not_exist(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-7", 5)
    order = await shop.placed(buyer, {"MUG-7": 1})
    other = await shop.sign_up(f"other-{new_id().hex}@example.org")
    path = f"/api/v1/orders/{order['id']}"
    answers = [
        await shop.client.get(path, headers=other),
        await shop.client.post(f"{path}/cancel", json={"reason": "mine now"}, headers=other),
        await shop.client.post(f"{path}/return", json={"reason": "OTHER"}, headers=other),
        await shop.initiate(other, order["id"]),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "order_not_found")] * 4
    assert (await shop.client.get(path)).status_code == 401
    patched = await shop.client.patch(f"{path}/status", json={"status": "SHIPPED", "version": 1}, headers=buyer)
    assert patched.status_code == 403
    assert (await shop.seen(buyer, order["id"]))["status"] == "PENDING"


async def test_an_unpaid_order_ends_with_its_intent_and_frees_the_stock(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-8", 5)
    order = await shop.placed(buyer, {"MUG-8": 3})
    started = (await shop.initiate(buyer, order["id"])).json()
    await shop.hurry()
    failed = await shop.order_in(buyer, order["id"], "FAILED")
    assert failed["reason"] == "expired"
    await shop.shelf_is("MUG-8", 5, 0)
    assert (await shop.payment(started["payment_id"]))["status"] == "FAILED"
    late = await shop.initiate(buyer, order["id"])
    assert (late.status_code, late.json()["code"]) == (409, "order_not_payable")


async def test_what_follows_of_an_order_carries_the_id_of_its_request(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("MUG-18", 5)
    bought = await shop.placed({**buyer, "X-Request-ID": "order-bought"}, {sku: 1})
    started = await shop.initiate(buyer, bought["id"])
    await shop.tell(started.json()["payment_id"])
    await shop.order_in(buyer, bought["id"], "CONFIRMED")
    left = await shop.placed({**buyer, "X-Request-ID": "order-left"}, {sku: 1})
    await shop.hurry()
    await shop.order_in(buyer, left["id"], "FAILED")
    await shop.shelf_is(sku, 4, 0)
    async with shop.platform.database("inventory") as connection:
        rows = await connection.fetch("SELECT event_type, payload FROM outbox ORDER BY id")
    told = [(row["event_type"], json.loads(row["payload"])["correlation_id"]) for row in rows if sku.encode() in row["payload"]]
    assert [one for one in told if one[0] != "inventory.stock_changed"] == [
        *(("inventory.reserved", "order-bought"), ("inventory.confirmed", "order-bought")),
        *(("inventory.reserved", "order-left"), ("inventory.released", "order-left")),
    ]


async def test_cancelling_an_unpaid_order_frees_the_stock(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-9", 5)
    order = await shop.placed(buyer, {"MUG-9": 3})
    await shop.initiate(buyer, order["id"])
    answer = await shop.client.post(f"/api/v1/orders/{order['id']}/cancel", json={"reason": "too dear"}, headers=buyer)
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED"), answer.text
    await shop.shelf_is("MUG-9", 5, 0)
    assert (await shop.payment(order["payment_intent_id"]))["status"] == "FAILED"


async def test_cancelling_a_paid_order_refunds_and_restocks(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-10", 5)
    order = await shop.bought(buyer, {"MUG-10": 3})
    answer = await shop.client.post(f"/api/v1/orders/{order['id']}/cancel", json={"reason": "too late"}, headers=buyer)
    assert answer.status_code in {200, 202}, answer.text
    assert answer.json()["status"] == "CANCELLED"
    await shop.shelf_is("MUG-10", 5, 0)
    payment = await shop.payment(order["payment"]["intent_id"])
    assert (payment["status"], payment["refunded_amount"]) == ("REFUNDED", "60.00")
    assert (await shop.seen(buyer, order["id"]))["refunded_amount"] == "60.00"
    again = await shop.client.post(f"/api/v1/orders/{order['id']}/cancel", json={"reason": "too late"}, headers=buyer)
    assert (again.status_code, again.json()["status"]) == (200, "CANCELLED")


async def test_staff_moves_an_order_on_by_versions(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-11", 5)
    order = await shop.bought(buyer, {"MUG-11": 1})
    path = f"/api/v1/orders/{order['id']}"
    stale = await shop.client.patch(f"{path}/status", json={"status": "PROCESSING", "version": 1}, headers=shop.admin)
    assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (
        409,
        "version_conflict",
        order["version"],
    )
    moved = await shop.client.patch(
        f"{path}/status", json={"status": "PROCESSING"}, headers={**shop.admin, "If-Match": f'"{order["version"]}"'}
    )
    assert moved.status_code == 200, moved.text
    shipped = await shop.client.post(f"{path}/ship", json={"carrier": "Post", "tracking": "T-1"}, headers=shop.admin)
    assert (shipped.status_code, shipped.json()["status"]) == (200, "SHIPPED"), shipped.text
    late = await shop.client.post(f"{path}/cancel", json={"reason": "no"}, headers=buyer)
    assert (late.status_code, late.json()["code"]) == (409, "illegal_transition")
    version = shipped.json()["version"]
    done = await shop.client.patch(f"{path}/status", json={"status": "DELIVERED", "version": version}, headers=shop.admin)
    assert (done.status_code, done.json()["items"][0]["status"]) == (200, "DELIVERED")
    assert [len(answer.json()["transitions"]) for answer in (moved, shipped, done)] == [3, 4, 5]
    assert done.json() == await shop.seen(buyer, order["id"])


async def test_states_are_named_by_known_words(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-17", 5)
    order = await shop.bought(buyer, {"MUG-17": 1})
    path = f"/api/v1/orders/{order['id']}/status"
    unknown = await shop.client.patch(path, json={"status": "SENT", "version": order["version"]}, headers=shop.admin)
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/status")
    found = [await shop.front.get("/api/v1/orders", params={"status": word}, headers=buyer) for word in ("PAID", "CONFIRMED")]
    assert [[one["id"] for one in answer.json()["orders"]] for answer in found] == [[order["id"]]] * 2


@pytest.mark.parametrize(("name", "value"), [("page", "0"), ("q", "x" * 255), ("status", "SENT")])
async def test_a_refused_parameter_is_named_as_the_caller_named_it(
    shop: Shop, buyer: dict[str, str], name: str, value: str
) -> None:
    answer = await shop.front.get("/api/v1/orders", params={name: value}, headers=buyer)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{name}")


async def test_paid_by_hand_confirms_with_stock_and_closes_the_payment(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-12", 5)
    order = await shop.placed(buyer, {"MUG-12": 1})
    path = f"/api/v1/orders/{order['id']}/status"
    asked = {"status": "PAID", "version": order["version"]}
    paid = await shop.when_free(lambda: shop.client.patch(path, json=asked, headers=shop.admin))
    assert (paid.status_code, paid.json()["status"], paid.json()["payment"]["paid_by"]) == (200, "CONFIRMED", "HAND"), paid.text
    await shop.shelf_is("MUG-12", 4, 0)
    assert (await shop.payment(order["payment_intent_id"]))["status"] == "FAILED"


async def test_a_return_restocks_and_refunds_its_part(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-13", 5, price="10.00")
    order = await shop.bought(buyer, {"MUG-13": 3})
    path = f"/api/v1/orders/{order['id']}"
    early = await shop.client.post(f"{path}/return", json={"reason": "DAMAGED"}, headers=buyer)
    assert (early.status_code, early.json()["code"]) == (409, "not_returnable")
    await shop.client.post(f"{path}/ship", json={"carrier": "Post", "tracking": "T-2"}, headers=shop.admin)
    part, once = {"reason": "DAMAGED", "items": [{"sku": "MUG-13", "quantity": 1}]}, {**buyer, "Idempotency-Key": "return-1"}
    asked, again = [await shop.client.post(f"{path}/return", json=part, headers=once) for _ in range(2)]
    assert asked.status_code == 201, asked.text
    assert (asked.json()["amount"], asked.json()["status"]) == ("10.00", "PENDING")
    assert (again.content, again.headers["idempotent-replayed"]) == (asked.content, "true")
    [listed] = [one for one in (await shop.as_admin("/api/v1/admin/returns"))["items"] if one["id"] == asked.json()["id"]]
    assert listed == asked.json()
    much = await shop.client.post(
        f"{path}/return", json={"reason": "DAMAGED", "items": [{"sku": "MUG-13", "quantity": 3}]}, headers=buyer
    )
    assert (much.status_code, much.json()["left"]) == (409, 2)
    approve = f"/api/v1/admin/returns/{asked.json()['id']}/approve"
    without = await shop.client.post(approve, json={}, headers=shop.admin)
    assert (without.status_code, without.json()["code"]) == (400, "idempotency_key_required")
    key = {**shop.admin, "Idempotency-Key": "approve-1"}
    approved = [await shop.client.post(approve, json={}, headers=key) for _ in range(2)]
    assert [answer.json()["status"] for answer in approved] == ["REFUNDED", "REFUNDED"], approved[0].text
    await shop.shelf_is("MUG-13", 3, 0)
    after = await shop.seen(buyer, order["id"])
    assert (after["refunded_amount"], after["status"], after["items"][0]["returned"]) == ("10.00", "SHIPPED", 1)
    rest = await shop.client.post(f"{path}/return", json={"reason": "CHANGED_MIND"}, headers=buyer)
    whole = await shop.client.post(f"/api/v1/admin/returns/{rest.json()['id']}/approve", json={}, headers=key)
    assert whole.json()["status"] == "REFUNDED", whole.text
    assert (await shop.seen(buyer, order["id"]))["status"] == "REFUNDED"
    assert (await shop.payment(order["payment"]["intent_id"]))["status"] == "REFUNDED"


async def test_returns_that_wait_side_by_side_add_up_to_the_order(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("MUG-14", 5)
    coupon = {"code": "MUG-14", "amount": "40.00", "currency": "EUR"}
    await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
    order = await _sent(shop, buyer, sku, 3, coupons=["MUG-14"])
    asked = [await _ask_back(shop, buyer, order, sku, 1) for _ in range(3)]
    assert [one["amount"] for one in asked] == ["6.67", "6.66", "6.67"]
    for one in reversed(asked):
        await _approved(shop, one)
    after = await shop.seen(buyer, order)
    assert (after["status"], after["refunded_amount"], after["total"]) == ("REFUNDED", "20.00", "20.00")


async def test_goods_that_are_worth_nothing_come_back_too(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("MUG-17", 5)
    coupon = {"code": "MUG-17", "amount": "59.99", "currency": "EUR"}
    await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
    order = await _sent(shop, buyer, sku, 3, coupons=["MUG-17"])
    asked = [await _ask_back(shop, buyer, order, sku, 1) for _ in range(3)]
    assert [one["amount"] for one in asked] == ["0.00", "0.01", "0.00"]
    more = await shop.client.post(f"/api/v1/orders/{order}/return", json={"reason": "OTHER"}, headers=buyer)
    assert (more.status_code, more.json()["code"]) == (409, "not_returnable"), more.text
    seen = []
    for one in asked:
        await _approved(shop, one)
        after = await shop.seen(buyer, order)
        seen.append((after["status"], after["refunded_amount"], after["items"][0]["returned"]))
    assert seen == [("SHIPPED", "0.00", 1), ("SHIPPED", "0.01", 2), ("REFUNDED", "0.01", 3)]
    await shop.shelf_is(sku, 5, 0)


async def test_shipping_and_its_tax_go_back_with_what_comes_back_last(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("MUG-15", 5)
    rate = {"name": "Post", "country": "DE", "currency": "EUR", "amount": "5.00"}
    tax = {"country": "DE", "category": "shipping", "percent": "20"}
    made = [
        await shop.client.post(f"/api/v1/admin/{path}", json=body, headers=shop.admin)
        for path, body in (("shipping-rates", rate), ("tax-rates", tax))
    ]
    order = await _sent(shop, buyer, sku, 2)
    for rule, path in zip(made, ("shipping-rates", "tax-rates"), strict=True):
        await shop.client.delete(f"/api/v1/admin/{path}/{rule.json()['id']}", headers=shop.admin)
    asked = [await _ask_back(shop, buyer, order, sku, 1) for _ in range(2)]
    assert [one["amount"] for one in asked] == ["20.00", "26.00"]
    for one in asked:
        await _approved(shop, one)
    after = await shop.seen(buyer, order)
    assert (after["status"], after["refunded_amount"], after["total"]) == ("REFUNDED", "46.00", "46.00")


async def test_what_staff_has_sent_back_already_does_not_hold_up_the_rest(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("MUG-16", 5)
    order = await _sent(shop, buyer, sku, 1)
    asked = await _ask_back(shop, buyer, order, sku, 1)
    intent = (await shop.seen(buyer, order))["payment"]["intent_id"]
    part, key = {"amount": "5.00", "reason": "sorry"}, {**shop.admin, "Idempotency-Key": "sorry-1"}
    assert (await shop.client.post(f"/api/v1/payments/{intent}/refund", json=part, headers=key)).status_code == 201
    assert (await _approved(shop, asked))["amount"] == "15.00"
    assert (await shop.payment(intent))["refunded_amount"] == "20.00"


async def _sent(shop: Shop, buyer: dict[str, str], sku: str, quantity: int, *, coupons: Sequence[str] = ()) -> str:
    checkout = await shop.checkout(buyer, {sku: quantity}, coupons=coupons)
    paid = await shop.pay(buyer, checkout["checkout_id"])
    assert paid.status_code == 200, paid.text
    order = str(paid.json()["order_id"])
    path = f"/api/v1/orders/{order}/ship"
    sent = await shop.client.post(path, json={"carrier": "Post", "tracking": "T-9"}, headers=shop.admin)
    assert sent.status_code == 200, sent.text
    return order


async def _ask_back(shop: Shop, buyer: dict[str, str], order: str, sku: str, quantity: int) -> dict[str, Any]:
    body = {"reason": "OTHER", "items": [{"sku": sku, "quantity": quantity}]}
    answer = await shop.client.post(f"/api/v1/orders/{order}/return", json=body, headers=buyer)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _approved(shop: Shop, asked: dict[str, Any]) -> dict[str, Any]:
    path, key = f"/api/v1/admin/returns/{asked['id']}/approve", {**shop.admin, "Idempotency-Key": asked["id"]}
    answer = await shop.client.post(path, json={}, headers=key)
    assert (answer.status_code, answer.json()["status"]) == (200, "REFUNDED"), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_order_is_never_shown_as_it_was(shop: Shop, buyer: dict[str, str]) -> None:
    """Staff who reads an order after money went back by another way sees it, and may act on what was read."""
    await shop.stock("MUG-SEEN", 3, price="20.00")
    order = await shop.bought(buyer, {"MUG-SEEN": 1})
    intent = order["payment"]["intent_id"]
    key = {"Idempotency-Key": str(new_id())}
    body = {"amount": "5.00", "reason": "goodwill"}
    back = await shop.client.post(f"/api/v1/payments/{intent}/refund", json=body, headers={**shop.admin, **key})
    assert back.status_code == 201, back.text

    async def look() -> dict[str, Any] | None:
        seen = await shop.seen(buyer, order["id"])
        return seen if seen["refunded_amount"] == "5.00" else None

    seen = await eventually(look, within_s=15, what="the refund at the order")
    step = {"status": "PROCESSING", "version": seen["version"]}
    moved = await shop.front.patch(f"/api/v1/orders/{order['id']}/status", json=step, headers=shop.admin)
    assert moved.status_code == 200, moved.text


async def test_goods_come_back_also_where_all_of_their_money_has(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("MUG-PAID-BACK", 3, price="20.00")
    order = await shop.bought(buyer, {"MUG-PAID-BACK": 2})
    path = f"/api/v1/orders/{order['id']}"
    assert (
        await shop.front.post(f"{path}/ship", json={"carrier": "DHL", "tracking": "1"}, headers=shop.admin)
    ).status_code == 200
    body = {"reason": "DAMAGED", "items": [{"sku": "MUG-PAID-BACK", "quantity": 1}]}
    asked = await shop.front.post(f"{path}/return", json=body, headers=buyer)
    assert asked.status_code == 201, asked.text
    key = {"Idempotency-Key": str(new_id())}
    refund = f"/api/v1/payments/{order['payment']['intent_id']}/refund"
    assert (await shop.client.post(refund, json={"reason": "sorry"}, headers={**shop.admin, **key})).status_code == 201

    async def heard() -> bool:
        seen = await shop.seen(buyer, order["id"])
        return bool(seen["refunded_amount"] == "40.00")

    await eventually(heard, within_s=45, what="the refund at the order")
    approve = f"/api/v1/admin/returns/{asked.json()['id']}/approve"
    approved = await shop.front.post(approve, json={}, headers={**shop.admin, **key})
    told = approved.json()
    assert (approved.status_code, told["status"], told["amount"]) == (200, "REFUNDED", "0.00"), approved.text
    await shop.shelf_is("MUG-PAID-BACK", 2, 0)
    assert (await shop.seen(buyer, order["id"]))["refunded_amount"] == "40.00"


async def test_orders_that_move_on_while_staff_reads_hide_none(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-PAGES", 10)
    made = [(await shop.order(buyer, {sku: 1})).json()["id"] for _ in range(3)]
    first = (await shop.client.get("/api/v1/orders", params={"q": sku, "limit": 2}, headers=buyer)).json()
    assert [order["id"] for order in first["orders"]] == made[:0:-1]
    called_off = await shop.client.post(f"/api/v1/orders/{made[2]}/cancel", json={"reason": "no"}, headers=buyer)
    assert called_off.is_success, called_off.text
    wanted = {"q": sku, "limit": 2, "cursor": first["next_cursor"]}
    rest = (await shop.client.get("/api/v1/orders", params=wanted, headers=buyer)).json()
    assert ([order["id"] for order in rest["orders"]], rest["next_cursor"]) == (made[:1], None)
    both = await shop.client.get("/api/v1/orders", params=wanted | {"page": 2}, headers=buyer)
    assert (both.status_code, both.json()["errors"][0]["pointer"]) == (422, "/page")
