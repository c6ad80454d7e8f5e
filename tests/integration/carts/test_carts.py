"""Carts through two processes: guests and users, versions, crowds on one cart, merging, orders, and inventory's holds."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from careforall.contracts.accounts import SignedIn
from careforall.contracts.orders import OrderConfirmed, OrderLine
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats, Valkey
from careforall_testing.carts import CART, COUPONS, ITEMS, MERGE, CartHouse, guest, shelves
from careforall_testing.polling import eventually


def fresh(word: str = "cup") -> str:
    return f"{word}-{secrets.token_hex(4)}".upper()


def codes(cart: dict[str, Any]) -> list[str]:
    return [notice["code"] for notice in cart["notices"]]


def units(cart: dict[str, Any]) -> dict[str, int]:
    return {item["sku"]: item["quantity"] for item in cart["items"]}


async def test_a_guest_s_cart_lives_under_its_id_and_for_nobody_else(house: CartHouse) -> None:
    sku = fresh()
    await house.sell(sku, "12.50")
    await house.stock(sku, 7)
    answer = await house.client.post(ITEMS, json={"sku": sku, "quantity": 2})
    made = answer.json()
    assert (answer.status_code, answer.headers["x-cart-id"], answer.headers["etag"]) == (201, made["cart_id"], '"1"')
    assert (made["subtotal"], made["item_count"], made["currency"], made["notices"]) == ("25.00", 2, "EUR", [])
    [item] = made["items"]
    assert (item["price_at_addition"], item["price"], item["availability"], item["available"]) == (
        "12.50",
        "12.50",
        "IN_STOCK",
        7,
    )
    for client in (house.client, house.second):
        assert (await client.get(CART, headers=guest(made))).json() == made
    assert (await house.client.get(CART)).json()["cart_id"] is None
    for cart_id in (str(new_id()), "1", "%00", "x" * 36):
        foreign = await house.client.get(CART, headers={"X-Cart-Id": cart_id})
        assert (foreign.status_code, foreign.json()["code"]) == (404, "cart_not_found")


async def test_a_user_s_cart_is_found_by_the_user_alone(house: CartHouse) -> None:
    sku, user = fresh(), house.callers.user(user_id=new_id())
    await house.sell(sku)
    assert (await house.show(user))["items"] == []
    made = await house.add(sku, headers=user)
    assert (await house.show(user))["cart_id"] == made["cart_id"]
    stranger = await house.client.get(CART, headers=guest(made))
    assert (stranger.status_code, stranger.json()["code"]) == (404, "cart_not_found")
    other = await house.client.delete(f"{ITEMS}/{made['items'][0]['id']}", headers=house.callers.user(user_id=new_id()))
    assert other.status_code == 404


async def test_setting_and_taking_out_by_version(house: CartHouse) -> None:
    sku = fresh()
    await house.sell(sku)
    made = await house.add(sku, 2)
    path, headers = f"{ITEMS}/{made['items'][0]['id']}", guest(made)
    put = await house.client.put(path, json={"quantity": 5, "version": 1}, headers=headers)
    assert (put.status_code, put.json()["item_count"], put.headers["etag"]) == (200, 5, '"2"')
    stale = await house.client.put(path, json={"quantity": 9}, headers=headers | {"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (409, "version_conflict", 2)
    gone = await house.client.delete(path, headers=headers)
    assert (gone.status_code, gone.json()["items"], gone.json()["subtotal"]) == (200, [], "0.00")
    for method in ("PUT", "DELETE"):
        again = await house.client.request(method, path, json={"quantity": 1} if method == "PUT" else None, headers=headers)
        assert (again.status_code, again.json()["code"]) == (404, "item_not_found")


async def test_a_crowd_on_one_cart_loses_no_line_and_no_unit(house: CartHouse) -> None:
    skus = [fresh() for _ in range(8)]
    for sku in skus:
        await house.sell(sku, max_per_order=1000)
    headers = house.callers.user(user_id=new_id())
    doors = [house.client, house.second]
    answers = await asyncio.gather(
        *(doors[number % 2].post(ITEMS, json={"sku": skus[number % 8]}, headers=headers) for number in range(160))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 161)), "each change is a version of its own"
    assert units(await house.show(headers)) == dict.fromkeys(skus, 20)
    assert len({answer.json()["cart_id"] for answer in answers}) == 1


async def test_an_idempotency_key_is_scoped_by_cart(house: CartHouse) -> None:
    sku = fresh()
    await house.sell(sku)
    first, second = await house.add(sku), await house.add(sku)
    for cart in (first, second):
        headers = guest(cart) | {"Idempotency-Key": "same"}
        answers = await asyncio.gather(
            *(house.client.post(ITEMS, json={"sku": sku}, headers=headers) for _ in range(5)),
            *(house.second.post(ITEMS, json={"sku": sku}, headers=headers) for _ in range(5)),
        )
        assert {answer.status_code for answer in answers} == {201}
        assert {answer.json()["item_count"] for answer in answers} == {2}
        reused = await house.client.post(ITEMS, json={"sku": sku, "quantity": 3}, headers=headers)
        assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert first["cart_id"] != second["cart_id"]


@pytest.mark.parametrize("coupon", [False, True], ids=["goods", "coupon"])
async def test_a_repeat_of_a_guest_s_first_request_finds_its_cart(house: CartHouse, coupon: bool) -> None:
    name = fresh()
    path, body, another = (
        (COUPONS, {"code": name}, {"code": "OTHER"}) if coupon else (ITEMS, {"sku": name}, {"sku": name, "quantity": 2})
    )
    await (house.coupon(name) if coupon else house.sell(name))
    headers = {"Idempotency-Key": str(uuid4())}
    doors = [house.client, house.second]
    answers = await asyncio.gather(*(doors[number % 2].post(path, json=body, headers=headers) for number in range(10)))
    answers.append(await house.client.post(path, json=body, headers=headers))
    [cart_id] = {answer.json()["cart_id"] for answer in answers}
    assert {(answer.status_code, answer.headers["x-cart-id"]) for answer in answers} == {(201, cart_id)}
    assert len({answer.content for answer in answers}) == 1
    assert (await house.show({"X-Cart-Id": cart_id}))["version"] == 1
    other = await house.client.post(path, json=another, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_that_others_may_come_upon_never_gives_away_a_guest_s_cart(house: CartHouse) -> None:
    sku = fresh()
    await house.sell(sku)
    answers = [await house.client.post(ITEMS, json={"sku": sku}, headers={"Idempotency-Key": "first"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["cart_id"] for answer in answers}) == 2
    assert not any("idempotent-replayed" in answer.headers for answer in answers)


async def test_what_changed_since_is_a_notice_with_a_code(house: CartHouse) -> None:
    dear, gone, scarce, sold, much = (fresh(word) for word in ("dear", "gone", "scarce", "sold", "much"))
    ids = {sku: await house.sell(sku) for sku in (dear, gone, scarce, sold, much)}
    cart: dict[str, Any] = {}
    for sku in (dear, gone, scarce, sold):
        cart = await house.add(sku, 3, headers=guest(cart) if cart else None)
    cart = await house.add(much, 99, headers=guest(cart))
    assert codes(cart) == ["quantity_limited"]
    assert (units(cart)[much], cart["notices"][0]["now"]) == (10, "10")
    await house.sell(dear, "11.00", version=2, product_id=ids[dear])
    await house.sell(gone, version=2, product_id=ids[gone], status="INACTIVE")
    await house.stock(scarce, 2)
    await house.stock(sold, 0)
    await house.sell(much, version=2, product_id=ids[much], max_per_order=4)
    found = await eventually(lambda: _with_notices(house, cart, 6), within_s=20)
    told = {notice["sku"]: (notice["code"], notice["before"], notice["now"]) for notice in found["notices"][1:]}
    assert told == {
        dear: ("price_changed", "10.00", "11.00"),
        gone: ("product_removed", None, None),
        scarce: ("low_stock", "3", "2"),
        sold: ("sold_out", None, None),
        much: ("quantity_above_limit", "10", "4"),
    }
    assert found["subtotal"] == str(Decimal("11.00") * 3 + Decimal("10.00") * (3 + 3 + 10)), "what is removed does not count"


async def _with_notices(house: CartHouse, cart: dict[str, Any], count: int) -> dict[str, Any] | None:
    found = await house.show(guest(cart))
    return found if len(found["notices"]) == count else None


async def test_refusals_leave_no_cart_behind(house: CartHouse) -> None:
    closed, sold = fresh("closed"), fresh("sold")
    await house.sell(closed, status="INACTIVE")
    await house.sell(sold)
    await house.stock(sold, 0)
    async with house.running.database("carts") as database:
        before = await database.fetchval("SELECT count(*) FROM carts")
        for sku, expected in (
            (fresh(), (422, "unknown_sku")),
            (closed, (409, "product_inactive")),
            (sold, (409, "out_of_stock")),
        ):
            answer = await house.client.post(ITEMS, json={"sku": sku})
            assert (answer.status_code, answer.json()["code"]) == expected
        assert await database.fetchval("SELECT count(*) FROM carts") == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"sku": "x", "quantity": 0}, "/quantity"),
        ({"sku": "x", "quantity": -1}, "/quantity"),
        ({"sku": "x", "quantity": 10**9}, "/quantity"),
        ({"sku": "x", "quantity": 1.5}, "/quantity"),
        ({"sku": "x", "quantity": "1"}, "/quantity"),
        ({"sku": "x\0y"}, "/sku"),
        ({"sku": ""}, "/sku"),
        ({"quantity": 1}, "/sku"),
        ({"sku": "x", "price": "0.01"}, "/price"),
        ({"sku": "x", "user_id": str(new_id())}, "/user_id"),
    ],
)
async def test_bad_input_is_refused_by_field(house: CartHouse, body: dict[str, Any], pointer: str) -> None:
    answer = await house.client.post(ITEMS, json=body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_cart_holds_a_hundred_different_items_and_one_currency(house: CartHouse) -> None:
    sku, dollar = fresh(), fresh("dollar")
    await house.sell(sku)
    await house.sell(dollar, currency="USD")
    cart = await house.add(sku)
    other = await house.client.post(ITEMS, json={"sku": dollar}, headers=guest(cart))
    assert (other.status_code, other.json()["code"]) == (409, "cart_currency")
    item = (
        '{"id": "%s", "sku": "%s", "quantity": 1, "price_at_addition": 1, "currency": "EUR", "added_at": "2027-01-01T00:00:00Z"}'
    )
    full = ",".join(item % (new_id(), f"OTHER-{number}") for number in range(100))
    async with house.running.database("carts") as database:
        sql = "UPDATE carts SET items = $1::text::jsonb WHERE id = $2::text::uuid"
        await database.execute(sql, f"[{full}]", cart["cart_id"])
    answer = await house.client.post(ITEMS, json={"sku": sku}, headers=guest(cart))
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (409, "cart_full", 100)


async def test_coupons_on_the_cart(house: CartHouse) -> None:
    sku, good, ended = fresh(), fresh("good"), fresh("ended")
    await house.sell(sku)
    await house.coupon(good)
    await house.coupon(ended, active=False)
    headers = guest(await house.add(sku))
    for code, expected in ((fresh("none"), (422, "coupon_unknown")), (ended, (409, "coupon_inactive"))):
        answer = await house.client.post(COUPONS, json={"code": code}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == expected
    added = [await house.client.post(COUPONS, json={"code": good.lower()}, headers=headers) for _ in range(2)]
    assert [(answer.status_code, answer.json()["coupons"], answer.json()["version"]) for answer in added] == [
        (201, [good], 2)
    ] * 2
    gone = [await house.client.delete(f"{COUPONS}/{good.lower()}", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in gone] == [200, 404]
    assert gone[0].json()["coupons"] == []


async def test_merging_sums_caps_drops_and_tells_and_twice_changes_nothing(house: CartHouse) -> None:
    equal, capped, sold, own = (fresh(word) for word in ("equal", "capped", "sold", "own"))
    for sku in (equal, capped, sold, own):
        await house.sell(sku, max_per_order=5)
    cart: dict[str, Any] = {}
    for sku, quantity in ((equal, 2), (capped, 4), (sold, 1)):
        cart = await house.add(sku, quantity, headers=guest(cart) if cart else None)
    headers = house.callers.user(user_id=new_id())
    for sku, quantity in ((own, 1), (equal, 1), (capped, 3)):
        await house.add(sku, quantity, headers=headers)
    await house.stock(sold, 0)
    body = {"guest_cart_id": cart["cart_id"]}
    answer = await house.client.post(MERGE, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    merged = answer.json()
    assert units(merged) == {own: 1, equal: 3, capped: 5}
    assert [(notice["code"], notice["sku"]) for notice in merged["notices"]] == [
        ("quantity_limited", capped),
        ("dropped_sold_out", sold),
    ]
    again = await asyncio.gather(*(house.second.post(MERGE, json=body, headers=headers) for _ in range(5)))
    assert {(one.status_code, one.json()["version"]) for one in again} == {(200, merged["version"])}
    assert units(await house.show(headers)) == units(merged)
    thief = await house.client.post(MERGE, json=body, headers=house.callers.user(user_id=new_id()))
    assert (thief.status_code, thief.json()["code"]) == (404, "cart_not_found")
    late = await house.client.post(ITEMS, json={"sku": own}, headers=guest(cart))
    assert (late.status_code, late.json()["code"]) == (409, "cart_closed")
    assert (await house.client.post(MERGE, json=body)).status_code == 401


async def test_two_at_once_cannot_take_over_one_guest_s_cart(house: CartHouse) -> None:
    sku = fresh()
    await house.sell(sku)
    body = {"guest_cart_id": (await house.add(sku, 2))["cart_id"]}
    users = [house.callers.user(user_id=new_id()) for _ in range(6)]
    doors = (house.client, house.second)
    answers = await asyncio.gather(*(doors[number % 2].post(MERGE, json=body, headers=user) for number, user in enumerate(users)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404, 404, 404]


async def test_somebody_who_has_signed_in_and_still_sends_the_header_takes_the_cart_over(house: CartHouse) -> None:
    sku = fresh()
    await house.sell(sku)
    cart = await house.add(sku, 2)
    headers = house.callers.user(user_id=new_id())
    assert units(await house.show(headers | guest(cart))) == {sku: 2}
    assert units(await house.show(headers | guest(cart))) == {sku: 2}
    assert units(await house.show(headers)) == {sku: 2}


async def test_a_login_that_sends_the_header_takes_the_cart_over_once(house: CartHouse) -> None:
    sku, user = fresh(), new_id()
    await house.sell(sku)
    cart = await house.add(sku, 2)
    headers = house.callers.user(user_id=user)
    assert (await house.show(headers))["items"] == []
    event = SignedIn(user_id=user, guest_cart_id=UUID(cart["cart_id"]))
    for version in (1, 2):
        await house.publish(event, user, version)
    await eventually(lambda: _holds(house, headers, {sku: 2}))
    await house.publish(SignedIn(user_id=user, guest_cart_id=new_id()), user, 3)
    assert units(await house.show(headers)) == {sku: 2}


async def _holds(house: CartHouse, headers: dict[str, str], wanted: dict[str, int]) -> bool:
    return units(await house.show(headers)) == wanted


async def test_a_checkout_is_told_the_contents_and_the_order_closes_the_cart(house: CartHouse) -> None:
    sku, later, user = fresh(), fresh("later"), new_id()
    await house.sell(sku)
    await house.sell(later)
    headers = house.callers.user(user_id=user)
    made = await house.add(sku, 2, headers=headers)
    told = await house.contents(made["cart_id"], user)
    assert (told.state, [(line.sku, line.quantity, line.price_at_addition) for line in told.lines]) == (
        "ACTIVE",
        [(sku, 2, Decimal("10.000"))],
    )
    for stranger in (new_id(), None):
        assert (await house.contents(made["cart_id"], stranger)).state is None
    await house.add(later, 1, headers=headers)
    line = OrderLine(sku=sku, name=sku, quantity=2, unit_price=Decimal(10), total=Decimal(20), status="CONFIRMED")
    order = OrderConfirmed(
        order_id=new_id(),
        order_number="ORD-2027-AAAAAAAAAA",
        intent_id=new_id(),
        user_id=user,
        cart_id=UUID(made["cart_id"]),
        status="CONFIRMED",
        total=Decimal(20),
        currency="EUR",
        lines=(line,),
        confirmed_at=datetime.now(UTC),
    )
    for _ in range(2):
        await house.publish(order, order.order_id, 2)
    await eventually(lambda: _holds(house, headers, {later: 1}))
    assert (await house.contents(made["cart_id"], user)).state == "CONVERTED"
    assert (await house.show(headers))["cart_id"] != made["cart_id"]


async def test_goods_that_are_held_at_once_and_given_back_when_taken_out(house: CartHouse) -> None:
    sku = fresh("flash")
    await house.sell(sku, reservation_policy="AT_CART")
    async with shelves(house.running) as inventory:
        inventory.free[sku] = 5
        cart = await house.add(sku, 2)
        cart = await house.add(sku, 2, headers=guest(cart))
        assert (inventory.free[sku], units(cart)) == (1, {sku: 4})
        assert cart["items"][0]["reserved_until"] is not None
        short = await house.client.post(ITEMS, json={"sku": sku, "quantity": 2}, headers=guest(cart))
        assert (short.status_code, short.json()["code"], short.json()["skus"]) == (409, "out_of_stock", [sku])
        path = f"{ITEMS}/{cart['items'][0]['id']}"
        told = await house.contents(cart["cart_id"], None)
        assert set(told.lines[0].holders) == set(inventory.holders)
        await house.client.put(path, json={"quantity": 1}, headers=guest(cart))
        assert inventory.free[sku] == 3, "the part that is not needed at all is given back"
        await house.client.delete(path, headers=guest(cart))
        assert (inventory.free[sku], inventory.holders) == (5, {})
        stale = guest(cart) | {"X-Cart-Id": str(new_id())}
        assert (await house.client.post(ITEMS, json={"sku": sku}, headers=stale)).status_code == 404
        assert inventory.free[sku] == 5, "what was held for a refused change is given back"


async def test_with_nats_away_goods_held_at_once_are_503_and_others_go_on(house: CartHouse, carts_nats: Nats) -> None:
    flash, plain = fresh("flash"), fresh("plain")
    await house.sell(flash, reservation_policy="AT_CART")
    await house.sell(plain)
    headers = house.callers.user(user_id=new_id())
    await house.add(plain, headers=headers)
    carts_nats.stop()
    try:
        answer = await house.client.post(ITEMS, json={"sku": flash}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "inventory_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert units(await house.add(plain, headers=headers)) == {plain: 2}
        assert units(await house.show(headers)) == {plain: 2}
    finally:
        carts_nats.start()


async def test_rule_17_redis_killed_in_mid_use_costs_no_line_and_no_error(house: CartHouse, carts_redis: Valkey) -> None:
    skus = [fresh() for _ in range(5)]
    for sku in skus:
        await house.sell(sku, max_per_order=1000)
    headers = house.callers.user(user_id=new_id())

    async def shop(number: int) -> int:
        answer = await house.client.post(ITEMS, json={"sku": skus[number % 5]}, headers=headers)
        shown = await house.client.get(CART, headers=headers)
        assert (answer.status_code, shown.status_code) == (201, 200), answer.text
        assert shown.json()["item_count"] >= answer.json()["item_count"], "one's own changes are seen"
        return 1

    await shop(0)
    shoppers = [asyncio.ensure_future(shop(number)) for number in range(1, 30)]
    carts_redis.stop()
    shoppers += [asyncio.ensure_future(shop(number)) for number in range(30, 60)]
    assert sum(await asyncio.gather(*shoppers)) == 59
    carts_redis.start()
    assert sum(units(await house.show(headers)).values()) == 60
