"""Checkouts on a real platform: one saga over inventory, pricing and payments, and each way in which it may end."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from careforall.kit.ids import new_id
from careforall_testing.polling import eventually
from careforall_testing.shop import Shop
from careforall_testing.sizes import sizes

SIZES = sizes()


async def test_a_cart_is_bought_with_a_card(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-1", 10, price="20.00")
    checkout = await shop.checkout(buyer, {"TEA-1": 2})
    assert (checkout["state"], checkout["total"], checkout["currency"]) == ("RESERVED", "40.00", "EUR")
    assert checkout["expires_at"]
    assert checkout["available_payment_methods"] == ["CARD", "PAYPAL", "UPI", "WALLET"]
    assert await shop.shelf("TEA-1") == (10, 2)
    paid = await shop.pay(buyer, checkout["checkout_id"])
    assert paid.status_code == 200, paid.text
    assert (paid.json()["status"], paid.json()["payment_status"], paid.json()["total"]) == ("CONFIRMED", "CAPTURED", "40.00")
    order = await shop.seen(buyer, paid.json()["order_id"])
    assert (order["status"], order["order_number"], order["shipping_address"]["city"]) == (
        "CONFIRMED",
        paid.json()["order_number"],
        "Berlin",
    )
    await shop.shelf_is("TEA-1", 8, 0)
    again = await shop.pay(buyer, checkout["checkout_id"])
    assert (again.status_code, again.json()) == (200, paid.json())
    number = order["order_number"]
    subjects = [f"Confirmed: {number}", f"Your order {number}"]
    mailed = await shop.mailed((await shop.me(buyer))["email"], *subjects)
    assert sorted(subject for subject in mailed if number in subject) == subjects


async def test_what_the_cart_holds_is_what_its_checkout_buys(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-LAST", 1)
    body = {"holder_id": str(new_id()), "lines": [{"sku": sku, "quantity": 1}]}
    held = await shop.shelves.post("/api/v1/inventory/reservations", json=body, headers=shop.admin)
    assert held.status_code == 201, held.text
    short = await shop.till(buyer, {sku: 1})
    assert (short.status_code, short.json()["code"]) == (409, "out_of_stock")
    begun = await shop.till(buyer, {sku: 1}, holders=[UUID(held.json()["holder_id"])])
    assert begun.status_code == 201, begun.text
    assert await shop.shelf(sku) == (1, 1)
    assert (await shop.pay(buyer, begun.json()["checkout_id"])).json()["status"] == "CONFIRMED"
    await shop.shelf_is(sku, 0, 0)


async def test_two_checkouts_of_one_cart_are_paid_once(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-TABS", 10)
    cart_id = await shop.cart(buyer, {sku: 2})
    first = await shop.begin_checkout(buyer, cart_id)
    waits = await shop.pay(buyer, first.json()["checkout_id"], "")
    second = await shop.begin_checkout(buyer, cart_id)
    assert (first.status_code, second.status_code, await shop.shelf(sku)) == (201, 201, (10, 4))
    assert (await shop.pay(buyer, second.json()["checkout_id"])).json()["status"] == "CONFIRMED"
    for _ in range(2):
        refused = await shop.pay(buyer, first.json()["checkout_id"])
        assert (refused.status_code, refused.json()["code"], refused.json()["reason"]) == (409, "checkout_ended", "cart_bought")
    await shop.order_in(buyer, waits.json()["order_id"], "CANCELLED")
    await shop.shelf_is(sku, 8, 0)


@pytest.mark.parametrize("token", ["", "tok_declined"])
async def test_who_goes_to_the_till_again_is_not_locked_out_by_what_was_held_before(
    shop: Shop, buyer: dict[str, str], token: str
) -> None:
    sku = await shop.stock(f"TEA-LAST{token}", 1)
    cart_id = await shop.cart(buyer, {sku: 1})
    first = await shop.begin_checkout(buyer, cart_id)
    if token:
        assert (await shop.pay(buyer, first.json()["checkout_id"], token)).status_code == 402
    second = await shop.begin_checkout(buyer, cart_id)
    assert second.status_code == 201, second.text
    refused = await shop.pay(buyer, first.json()["checkout_id"])
    assert (refused.status_code, refused.json()["reason"]) == (409, "replaced")
    assert (await shop.pay(buyer, second.json()["checkout_id"])).json()["status"] == "CONFIRMED"
    await shop.shelf_is(sku, 0, 0)


async def test_goods_at_payment_go_to_who_pays_first_and_nobody_else_is_charged(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-AMPLE", 1, policy="AT_PAYMENT")
    rival = await shop.sign_up(f"rival-{new_id().hex}@example.org")
    mine, theirs = [await shop.checkout(one, {sku: 1}) for one in (buyer, rival)]
    assert await shop.shelf(sku) == (1, 0), "the till holds nothing"
    answers = await asyncio.gather(
        shop.pay(buyer, mine["checkout_id"]), shop.pay(rival, theirs["checkout_id"]), shop.pay(buyer, mine["checkout_id"])
    )
    told = sorted((answer.status_code, answer.json().get("code", "")) for answer in (answers[0], answers[1]))
    assert told == [(200, ""), (409, "out_of_stock")], [answer.text for answer in answers]
    await shop.shelf_is(sku, 0, 0)
    loser, checkout = (rival, theirs) if answers[0].status_code == 200 else (buyer, mine)
    ended = await shop.checkout_in(loser, checkout["checkout_id"], "FAILED")
    assert (ended["order_id"], ended["pay_url"]) == (None, None), "there was nothing to pay"
    late = await shop.till(loser, {sku: 1})
    assert (late.status_code, late.json()["code"], late.json()["skus"]) == (409, "out_of_stock", [sku])


async def test_a_late_checkout_steps_into_the_place_of_the_one_before(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-LATE", 1, policy="AT_PAYMENT")
    coupon = {"code": "TEA-LATE", "percent": "10", "total_limit": 1}
    await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
    cart_id = await shop.cart(buyer, {sku: 1}, coupons=["TEA-LATE"])
    first = await shop.begin_checkout(buyer, cart_id)
    assert (await shop.pay(buyer, first.json()["checkout_id"], "tok_declined")).status_code == 402
    assert await shop.shelf(sku) == (1, 1)
    second = await shop.begin_checkout(buyer, cart_id)
    assert (second.status_code, second.json()["total"], second.json()["notices"]) == (201, "18.00", []), second.text
    paid = await shop.pay(buyer, second.json()["checkout_id"])
    assert (paid.status_code, paid.json()["total"]) == (200, "18.00"), paid.text
    await shop.shelf_is(sku, 0, 0)


async def test_a_late_checkout_is_paid_on_its_page_or_left(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-PAGE", 2, policy="AT_PAYMENT")
    left = await shop.checkout(buyer, {sku: 1})
    paged = await shop.checkout(buyer, {sku: 1})
    waits = await shop.pay(buyer, paged["checkout_id"], "")
    assert (waits.status_code, await shop.shelf(sku)) == (202, (2, 1))
    await shop.hurry()
    for checkout in (left, paged):
        await shop.checkout_in(buyer, checkout["checkout_id"], "TIMEOUT")
    await shop.shelf_is(sku, 2, 0)


async def test_who_reloads_the_till_in_a_rush_keeps_the_last_piece(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-RUSH", 1)
    rival = await shop.sign_up(f"rival-{new_id().hex}@example.org")
    cart_id, theirs = await shop.cart(buyer, {sku: 1}), await shop.cart(rival, {sku: 1})
    assert (await shop.begin_checkout(buyer, cart_id)).status_code == 201
    over = asyncio.Event()

    async def rush() -> list[int]:
        told: list[int] = []
        while not over.is_set():
            told.append((await shop.begin_checkout(rival, theirs)).status_code)
        return told

    rivals = asyncio.gather(*(rush() for _ in range(4)))
    answers = [await shop.begin_checkout(buyer, cart_id) for _ in range(10)]
    over.set()
    assert [answer.status_code for answer in answers] == [201] * 10
    assert {status for told in await rivals for status in told} == {409}
    assert (await shop.pay(buyer, answers[-1].json()["checkout_id"])).json()["status"] == "CONFIRMED"
    await shop.shelf_is(sku, 0, 0)


async def test_a_repeat_that_comes_late_does_not_end_its_own_checkout(
    shop: Shop, buyer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sku = await shop.stock("TEA-TWIN", 5)
    cart, address = await shop.cart(buyer, {sku: 1}), await shop.address(buyer)
    asked = [asyncio.Event(), asyncio.Event()]
    answered = asyncio.Event()

    async def side_by_side() -> None:
        late = asked[0].is_set()
        asked[late].set()
        await (answered if late else asked[1]).wait()

    monkeypatch.setattr(shop, "before_carts", side_by_side)
    headers, body = {**buyer, "Idempotency-Key": "till-twin"}, {"cart_id": str(cart), "shipping_address_id": address}
    twins = [asyncio.ensure_future(shop.client.post("/api/v1/checkout/initiate", json=body, headers=headers)) for _ in range(2)]
    await asyncio.wait(twins, return_when=asyncio.FIRST_COMPLETED)
    answered.set()
    answers = [await one for one in twins]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text + answers[1].text
    assert len({answer.json()["checkout_id"] for answer in answers}) == 1
    assert (await shop.pay(buyer, answers[0].json()["checkout_id"])).json()["status"] == "CONFIRMED"


async def test_the_pay_page_of_a_cart_that_was_bought_meanwhile_sells_nothing(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-TABS-3", 10)
    cart_id = await shop.cart(buyer, {sku: 2})
    first = await shop.begin_checkout(buyer, cart_id)
    waits = await shop.pay(buyer, first.json()["checkout_id"], "")
    intent = waits.json()["pay_url"].rpartition("/")[2]
    second = await shop.begin_checkout(buyer, cart_id)
    assert (await shop.pay(buyer, second.json()["checkout_id"])).json()["status"] == "CONFIRMED"
    assert (await shop.tell_when_known(intent)).status_code == 200
    await shop.order_in(buyer, waits.json()["order_id"], "CANCELLED")
    await shop.shelf_is(sku, 8, 0)
    payment = await shop.payment(intent)
    assert payment["captured_amount"] == payment["refunded_amount"]


async def test_a_price_in_another_currency_is_no_drop(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-YEN", 5, price="3000", currency="JPY")
    checkout = await shop.checkout(buyer, {sku: 1})
    await shop.sell(sku, price="25.00", currency="EUR")
    paid = (await shop.pay(buyer, checkout["checkout_id"])).json()
    assert (paid["total"], paid["currency"]) == ("3000", "JPY"), "the locked price is charged"


async def test_what_a_coupon_pays_whole_is_refused_with_nothing_held(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-FREE", 5)
    coupon = {"code": "TEA-FREE", "percent": "100", "total_limit": 1}
    made = await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
    refused = await shop.till(buyer, {sku: 1}, coupons=["TEA-FREE"])
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_pay"), refused.text
    await shop.shelf_is(sku, 5, 0)
    left = (await shop.client.get(f"/api/v1/admin/coupons/{made.json()['id']}", headers=shop.admin)).json()
    assert (left["used"], left["held"]) == (0, 0)


async def test_the_coupon_of_an_order_that_is_called_off_can_be_used_again(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-AGAIN", 5)
    coupon = {"code": "TEA-AGAIN", "percent": "10", "per_user_limit": 1}
    await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
    for _ in range(2):
        checkout = await shop.checkout(buyer, {sku: 1}, coupons=["TEA-AGAIN"])
        assert checkout["total"] == "18.00", checkout
        paid = await shop.pay(buyer, checkout["checkout_id"])
        path = f"/api/v1/orders/{paid.json()['order_id']}/cancel"
        gone = await shop.client.post(path, json={"reason": "oops"}, headers=buyer)
        assert gone.status_code in {200, 202}, gone.text
        await shop.shelf_is(sku, 5, 0)


async def test_a_declined_card_keeps_the_goods_for_another(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-2", 10)
    checkout = await shop.checkout(buyer, {"TEA-2": 2})
    declined = await shop.pay(buyer, checkout["checkout_id"], "tok_declined", key="first")
    assert (declined.status_code, declined.json()["code"]) == (402, "payment_declined"), declined.text
    assert declined.json()["decline_code"] == "generic_decline"
    repeated = await shop.pay(buyer, checkout["checkout_id"], "tok_declined", key="first")
    assert (repeated.status_code, repeated.json()["code"]) == (402, "payment_declined")
    assert await shop.shelf("TEA-2") == (10, 2)
    paid = await shop.pay(buyer, checkout["checkout_id"], key="second")
    assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text
    await shop.shelf_is("TEA-2", 8, 0)


async def test_a_token_nobody_knows_is_a_decline_and_a_card_number_is_refused(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-3", 10)
    checkout = await shop.checkout(buyer, {"TEA-3": 1})
    number = await shop.pay(buyer, checkout["checkout_id"], "4242424242424242")
    assert (number.status_code, number.json()["errors"][0]["code"]) == (422, "card_number")
    unknown = await shop.pay(buyer, checkout["checkout_id"], "tok_unknown")
    assert (unknown.status_code, unknown.json()["code"]) == (402, "payment_declined")
    assert (await shop.shelf("TEA-3")) == (10, 1)


async def test_without_a_token_the_payer_goes_to_the_page(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-4", 10)
    checkout = await shop.checkout(buyer, {"TEA-4": 1})
    waits = await shop.pay(buyer, checkout["checkout_id"], "")
    assert waits.status_code == 202, waits.text
    assert waits.headers["location"] == f"/api/v1/checkout/{checkout['checkout_id']}"
    intent = waits.json()["pay_url"].rpartition("/")[2]
    await shop.simulate("success", intent)
    done = await shop.checkout_in(buyer, checkout["checkout_id"], "CONFIRMED")
    assert done["order_number"] == waits.json()["order_number"]
    await shop.shelf_is("TEA-4", 9, 0)
    assert (await shop.payment(intent))["status"] == "CAPTURED"


async def test_everything_about_carts_and_addresses_that_is_wrong_is_refused(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-5", 3)
    address = await shop.address(buyer)
    other = await shop.sign_up(f"other-{new_id().hex}@example.org")
    foreign_cart, foreign_address = await shop.cart(other, {"TEA-5": 1}), await shop.address(other)
    own, empty, much = (
        await shop.cart(buyer, {"TEA-5": 1}),
        await shop.cart(buyer, {}),
        await shop.cart(buyer, {"TEA-5": 11}),
    )

    async def tried(cart: object, where: str) -> tuple[int, str]:
        body = {"cart_id": str(cart), "shipping_address_id": where}
        answer = await shop.client.post("/api/v1/checkout/initiate", json=body, headers=buyer)
        errors = answer.json().get("errors") or [answer.json()]
        return answer.status_code, errors[0]["code"]

    assert await tried(foreign_cart, address) == (404, "cart_not_found")
    assert await tried(new_id(), address) == (404, "cart_not_found")
    assert await tried(empty, address) == (422, "cart_empty")
    assert await tried(own, foreign_address) == (422, "unknown_address")
    assert await tried(much, address) == (422, "quantity_limit")
    assert await shop.shelf("TEA-5") == (3, 0)
    foreign = await shop.checkout(other, {"TEA-5": 1})
    answers = [
        await shop.client.get(f"/api/v1/checkout/{foreign['checkout_id']}", headers=buyer),
        await shop.pay(buyer, foreign["checkout_id"]),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "checkout_not_found")] * 2


async def test_too_little_stock_holds_nothing(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-6", 1)
    answer = await shop.till(buyer, {"TEA-6": 2})
    assert (answer.status_code, answer.json()["code"], answer.json()["skus"]) == (409, "out_of_stock", ["TEA-6"])
    assert await shop.shelf("TEA-6") == (1, 0)


async def test_a_repeat_of_going_to_the_till_is_one_checkout(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-7", 5)
    cart, address = await shop.cart(buyer, {"TEA-7": 1}), await shop.address(buyer)
    headers, body = {**buyer, "Idempotency-Key": "till-1"}, {"cart_id": str(cart), "shipping_address_id": address}
    answers = await asyncio.gather(*(shop.client.post("/api/v1/checkout/initiate", json=body, headers=headers) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}, answers[0].text
    assert len({answer.json()["checkout_id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count("true") == 3
    assert await shop.shelf("TEA-7") == (5, 1)


async def test_a_repeated_payment_says_that_it_is_one(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-AGAIN", 5)
    checkout = await shop.checkout(buyer, {sku: 1})
    paid, again, other = [await shop.pay(buyer, checkout["checkout_id"], key=key) for key in ("one", "one", "two")]
    assert paid.json() == again.json() == other.json()
    assert [answer.headers.get("idempotent-replayed") for answer in (paid, again, other)] == [None, "true", None]


async def test_prices_that_change_under_way(shop: Shop, buyer: dict[str, str]) -> None:
    """While the lock lives its price is charged, and a drop is given; after it a small rise goes through, a larger asks."""
    await shop.stock("TEA-8", 50, price="10.00")
    kept, dropped, small, large = [await shop.checkout(buyer, {"TEA-8": 1}) for _ in range(4)]
    await shop.sell("TEA-8", price="10.10")
    assert (await shop.pay(buyer, kept["checkout_id"])).json()["total"] == "10.00"
    await _unlock(shop, small["checkout_id"], large["checkout_id"])
    risen = await shop.pay(buyer, small["checkout_id"])
    assert (risen.status_code, risen.json()["total"]) == (200, "10.10"), risen.text
    assert "price_rose" in {notice["code"] for notice in risen.json()["notices"]}
    await shop.sell("TEA-8", price="13.00")
    asked = await shop.pay(buyer, large["checkout_id"])
    assert (asked.status_code, asked.json()["code"]) == (409, "price_changed"), asked.text
    assert (asked.json()["old_total"], asked.json()["new_total"]) == ("10.00", "13.00")
    agreed = await shop.pay(buyer, large["checkout_id"])
    assert (agreed.status_code, agreed.json()["total"]) == (200, "13.00"), agreed.text
    await shop.sell("TEA-8", price="8.00")
    given = await shop.pay(buyer, dropped["checkout_id"])
    assert (given.status_code, given.json()["total"]) == (200, "8.00"), given.text


async def test_a_price_that_rises_while_it_is_kept_anew_is_asked_about(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-RISES", 5, price="10.00")
    checkout = await shop.checkout(buyer, {sku: 1})
    await shop.sell(sku, price="9.00")
    async with shop.platform.database("pricing") as connection, asyncio.TaskGroup() as group, connection.transaction():
        await connection.execute("SELECT FROM locked_prices WHERE holder_id = $1 FOR UPDATE", UUID(checkout["checkout_id"]))
        paying = group.create_task(shop.pay(buyer, checkout["checkout_id"]))
        await eventually(lambda: _waits_for_lock(shop), within_s=3, what="the lock that is being paid for")
        await shop.sell(sku, price="30.00")
    asked = await paying
    assert (asked.status_code, asked.json()["code"]) == (409, "price_changed"), asked.text
    assert (asked.json()["old_total"], asked.json()["new_total"]) == ("10.00", "30.00")
    agreed = await shop.pay(buyer, checkout["checkout_id"])
    assert (agreed.status_code, agreed.json()["total"]) == (200, "30.00"), agreed.text
    assert "price_dropped" not in {notice["code"] for notice in agreed.json()["notices"]}


async def test_the_promised_price_holds_where_goods_no_longer_share_a_currency(shop: Shop, buyer: dict[str, str]) -> None:
    skus = [await shop.stock(f"TEA-EUR-{number}", 5, price="10.00") for number in range(2)]
    checkout = await shop.checkout(buyer, dict.fromkeys(skus, 1))
    await shop.sell(skus[0], price="10.00", currency="USD")
    paid = await shop.pay(buyer, checkout["checkout_id"])
    assert (paid.status_code, paid.json()["total"], paid.json()["currency"]) == (200, "20.00", "EUR"), paid.text


async def test_a_closed_product_is_not_charged(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-9", 5)
    checkout = await shop.checkout(buyer, {"TEA-9": 1})
    await shop.sell("TEA-9", active=False)
    answer = await shop.pay(buyer, checkout["checkout_id"])
    assert (answer.status_code, answer.json()["code"], answer.json()["skus"]) == (409, "product_unavailable", ["TEA-9"])
    assert (await shop.till(buyer, {"TEA-9": 1})).json()["code"] == "product_unavailable"


async def test_what_staff_calls_sold_out_is_not_called_gone(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-SOLD-OUT", 5)
    held = await shop.checkout(buyer, {"TEA-SOLD-OUT": 1})
    await shop.sell("TEA-SOLD-OUT", sold_out=True)
    refused = await shop.till(buyer, {"TEA-SOLD-OUT": 1})
    assert (refused.status_code, refused.json()["code"], refused.json()["skus"]) == (409, "out_of_stock", ["TEA-SOLD-OUT"])
    assert (await shop.pay(buyer, held["checkout_id"])).json()["status"] == "CONFIRMED"
    await shop.shelf_is("TEA-SOLD-OUT", 4, 0)
    await shop.sell("TEA-SOLD-OUT")
    await shop.checkout(buyer, {"TEA-SOLD-OUT": 1})


async def test_a_hold_that_ran_out_is_taken_anew_or_refused(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-10", 1)
    checkout = await shop.checkout(buyer, {"TEA-10": 1})
    async with shop.platform.database("inventory") as connection:
        await connection.execute(_EXPIRE, "TEA-10")
    await shop.shelf_is("TEA-10", 1, 0)
    again = await shop.checkout(buyer, {"TEA-10": 1})
    gone = await shop.pay(buyer, checkout["checkout_id"])
    assert (gone.status_code, gone.json()["code"]) == (409, "out_of_stock"), gone.text
    assert (await shop.pay(buyer, again["checkout_id"])).status_code == 200
    await shop.shelf_is("TEA-10", 0, 0)


async def test_a_checkout_that_took_too_long_has_ended(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-11", 2)
    checkout = await shop.checkout(buyer, {"TEA-11": 1})
    await shop.hurry()
    await shop.checkout_in(buyer, checkout["checkout_id"], "TIMEOUT")
    answer = await shop.pay(buyer, checkout["checkout_id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "checkout_expired")
    await shop.shelf_is("TEA-11", 2, 0)


async def test_the_last_coupon_is_used_once(shop: Shop, buyer: dict[str, str]) -> None:
    await shop.stock("TEA-12", 50, price="20.00")
    coupon = {"code": "LASTONE", "percent": "50", "total_limit": 1}
    made = await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
    assert made.status_code == 201, made.text
    first = await shop.checkout(buyer, {"TEA-12": 1}, coupons=["LASTONE"])
    assert first["total"] == "10.00"
    second = await shop.checkout(buyer, {"TEA-12": 1}, coupons=["LASTONE"])
    assert (second["total"], [(notice["code"], notice["message"]) for notice in second["notices"]]) == (
        "20.00",
        [("coupon_exhausted", "The coupon LASTONE does not count: it was used as often as it may be.")],
    )
    assert (await shop.pay(buyer, first["checkout_id"])).json()["total"] == "10.00"
    assert (await shop.pay(buyer, second["checkout_id"])).json()["total"] == "20.00"
    third = await shop.checkout(buyer, {"TEA-12": 1}, coupons=["LASTONE"])
    assert third["total"] == "20.00"


async def test_members_pay_what_they_were_quoted(shop: Shop, buyer: dict[str, str]) -> None:
    sku = await shop.stock("TEA-MEMBER", 10, price="20.00")
    rule = {"name": "Members", "type": "MEMBER", "percent": "-10", "conditions": {"skus": [sku]}}
    made = await shop.client.post("/api/v1/admin/promotions", json=rule, headers=shop.admin)
    assert made.status_code == 201, made.text
    basket = {"items": [{"sku": sku, "quantity": 2}], "country": "DE"}
    quoted = await shop.client.post("/api/v1/pricing/quote", json=basket, headers=buyer)
    checkout = await shop.checkout(buyer, {sku: 2})
    assert (quoted.json()["total"], checkout["total"], checkout["discount"]) == ("36.00", "36.00", "4.00")
    await _unlock(shop, checkout["checkout_id"])
    assert (await shop.pay(buyer, checkout["checkout_id"])).json()["total"] == "36.00"


async def test_a_coupon_at_its_limit_counts_for_the_checkout_that_holds_it(shop: Shop, buyer: dict[str, str]) -> None:
    """Whatever the price rules ask again while it is paid: the checkout's own hold does not stand in its way."""
    await shop.stock("TEA-14", 50, price="20.00")
    for code, limit in (("ONLYONE", {"total_limit": 1}), ("ONCEEACH", {"per_user_limit": 1})):
        coupon = {"code": code, "percent": "50", **limit}
        made = await shop.client.post("/api/v1/admin/coupons", json=coupon, headers=shop.admin)
        assert made.status_code == 201, made.text
        held = await shop.checkout(buyer, {"TEA-14": 1}, coupons=[code])
        other = await shop.checkout(buyer, {"TEA-14": 1}, coupons=[code])
        assert (held["total"], other["total"]) == ("10.00", "20.00")
        await _unlock(shop, held["checkout_id"])
        paid = await shop.pay(buyer, held["checkout_id"])
        assert (paid.status_code, paid.json().get("total")) == (200, "10.00"), paid.text
        assert not {notice["code"] for notice in paid.json()["notices"]} & {"price_rose", "coupon_exhausted", "coupon_used_up"}


@pytest.mark.timeout(1800)
async def test_browser_and_webhook_together_make_one_order(shop: Shop, buyer: dict[str, str]) -> None:
    """The buyer's call and the gateway's word race: one order, both told the same number."""
    races = SIZES.races
    await shop.stock("TEA-13", races, limit=10)
    await shop.address(buyer)
    gate = asyncio.Semaphore(8)

    async def race() -> None:
        async with gate:
            checkout = await shop.checkout(buyer, {"TEA-13": 1})
            started = await shop.pay(buyer, checkout["checkout_id"], "")
            assert started.status_code == 202, started.text
            intent = started.json()["pay_url"].rpartition("/")[2]
            paid, told = await asyncio.gather(shop.pay(buyer, checkout["checkout_id"]), shop.tell_when_known(intent))
            assert told.status_code in {200, 400}, told.text
            done = await shop.checkout_in(buyer, checkout["checkout_id"], "CONFIRMED")
            assert done["order_number"] == started.json()["order_number"]
            assert paid.json().get("order_number", done["order_number"]) == done["order_number"], paid.text

    async with asyncio.TaskGroup() as group:
        for _ in range(races):
            group.create_task(race())
    await shop.shelf_is("TEA-13", 0, 0)
    async with shop.platform.database("orders") as connection:
        numbers = await connection.fetch(_NUMBERS, "TEA-13")
    assert (len(numbers), len({row["order_number"] for row in numbers})) == (races, races)


async def _waits_for_lock(shop: Shop) -> bool:
    async with shop.platform.database("pricing") as connection:
        return bool(await connection.fetchval(_WAITS_FOR_LOCK))


_WAITS_FOR_LOCK = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO locked_prices%'
)
"""


async def _unlock(shop: Shop, *checkouts: str) -> None:
    """Let the price locks of checkouts run out."""
    async with shop.platform.database("orders") as connection:
        await connection.execute(_UNLOCK, list(checkouts))


_UNLOCK = """
UPDATE saga_state SET payload = jsonb_set(payload, '{sale,locked_until}', '"2020-01-01T00:00:00Z"')
WHERE id = ANY($1::text[]::uuid[])
"""
_EXPIRE = "UPDATE reservations SET expires_at = clock_timestamp() - interval '1 second' WHERE sku = $1 AND status = 'PENDING'"
_NUMBERS = """
SELECT o.order_number FROM orders o JOIN order_lines l ON l.order_id = o.id WHERE l.sku = $1 AND o.status = 'CONFIRMED'
"""
