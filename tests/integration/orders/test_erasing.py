"""Buyers who ask to be forgotten: what names them goes at once, where an open order is sent to goes when it has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from careforall.contracts.addresses import Address
from careforall.kit import json
from careforall.kit.ids import new_id
from careforall.orders import events, repository
from careforall.orders.erasing import Erasing
from careforall.orders.records import Card, Run
from careforall.orders.saga_words import CancelAsked, PayAsked, PaymentTold, Saga
from careforall.orders.store import Fenced
from careforall_testing.offline_shop import OfflineShop, offline_shop
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls
from careforall_testing.shop import Shop, running_shop

STREET = "Main Street 1"
DAYS = 30
HOME = Address(address_id=new_id(), name="Buyer", line1=STREET, line2="", city="Berlin", region="", postal_code="", country="DE")
SOLD = "UPDATE saga_state SET user_id = $2 WHERE id = (SELECT saga_id FROM orders WHERE id = $1)"


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Shop]:
    """A shop that looks for ended orders of erased buyers all the time."""
    async with running_shop(CAREFORALL_ERASURE_SECONDS="0.2") as opened:
        yield opened


@pytest.fixture
async def offline(servers: ServerUrls) -> AsyncIterator[OfflineShop]:
    """A shop whose sagas the test drives itself."""
    async with offline_shop(servers) as opened:
        await opened.stock("MUG", 50)
        yield opened


async def left(shop: Shop, buyer: UUID) -> str:
    """Everything that orders keeps of a buyer, but what is on its way to others."""
    kept = []
    async with shop.platform.database("orders") as connection:
        for table in ("orders", "saga_state", "order_returns"):
            whose = "order_id IN (SELECT id FROM orders WHERE user_id = $1)" if table == "order_returns" else "user_id = $1"
            kept += await connection.fetch(f"SELECT t::text FROM {table} AS t WHERE {whose}", buyer)
    return "\n".join(row["t"] for row in kept)


async def erased(shop: Shop, who: dict[str, str]) -> None:
    """Have somebody forgotten and wait until orders has heard of it."""
    user = await shop.user_of(who)
    answer = await shop.client.post("/api/v1/users/me/erase", headers=who)
    assert answer.status_code == 200, answer.text

    async def heard() -> bool:
        async with shop.platform.database("orders") as connection:
            return bool(await connection.fetchval("SELECT true FROM erased_buyers WHERE user_id = $1", user))

    await eventually(heard, within_s=30, what="orders hears of the erasure")


async def sold(shop: Shop, buyer: dict[str, str], sku: str) -> str:
    """Buy one piece by way of the till and return the order's id."""
    await shop.stock(sku, 5)
    begun = await shop.checkout(buyer, {sku: 1})
    paid = await shop.pay(buyer, begun["checkout_id"])
    assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text
    return str(paid.json()["order_id"])


async def row(shop: Shop, order_id: str) -> Any:
    async with shop.platform.database("orders") as connection:
        return await connection.fetchrow("SELECT * FROM orders WHERE id = $1", UUID(order_id))


async def staff_says(shop: Shop, order_id: str, status: str) -> None:
    answer = await shop.client.patch(f"/api/v1/orders/{order_id}/status", json={"status": status}, headers=shop.admin)
    assert answer.status_code == 200, answer.text


async def long_ago(shop: Shop, order_id: str) -> None:
    """Let an order have been delivered before the window of returns."""
    async with shop.platform.database("orders") as connection:
        await connection.execute(
            "UPDATE orders SET delivered_at = now() - $2::interval WHERE id = $1", UUID(order_id), timedelta(days=DAYS, minutes=1)
        )


async def test_ended_orders_are_emptied_at_once_and_found_by_their_number_only(shop: Shop) -> None:
    mail = f"leaving-{new_id().hex}@example.org"
    buyer = await shop.sign_up(mail)
    user = await shop.user_of(buyer)
    cancelled, delivered = await sold(shop, buyer, "END-1"), await sold(shop, buyer, "END-2")
    reason = {"reason": "I moved away from Main Street 1"}
    assert (await shop.client.post(f"/api/v1/orders/{cancelled}/cancel", json=reason, headers=buyer)).is_success
    await staff_says(shop, delivered, "SHIPPED")
    await staff_says(shop, delivered, "DELIVERED")
    wanted = {"reason": "DAMAGED", "note": "left at Main Street 1", "items": []}
    asked = await shop.client.post(f"/api/v1/orders/{delivered}/return", json=wanted, headers=buyer)
    rejected = await shop.client.post(f"/api/v1/admin/returns/{asked.json()['id']}/reject", json={"note": ""}, headers=shop.admin)
    assert rejected.status_code == 200, rejected.text
    await long_ago(shop, delivered)
    before = await left(shop, user)
    assert all(word in before for word in (mail, STREET))
    found = await shop.client.get("/api/v1/orders", params={"q": mail}, headers=shop.admin)
    assert found.json()["total"] == 2

    await erased(shop, buyer)

    after = await left(shop, user)
    assert not [word for word in (mail, STREET, '"Buyer"') if word in after]
    found = await shop.client.get("/api/v1/orders", params={"q": mail}, headers=shop.admin)
    assert found.json()["total"] == 0
    for order_id in (cancelled, delivered):
        kept = await row(shop, order_id)
        assert (kept["email"], kept["shipping_address"], kept["billing_address"], kept["reason"]) == ("", None, None, "")
        shown = (await shop.client.get("/api/v1/orders", params={"q": kept["order_number"]}, headers=shop.admin)).json()["orders"]
        assert [(one["shipping_address"], one["total"], one["erased_at"] is not None) for one in shown] == [(None, "20.00", True)]


async def test_an_open_order_keeps_where_it_goes_until_it_has_ended(shop: Shop) -> None:
    mail = f"leaving-{new_id().hex}@example.org"
    buyer = await shop.sign_up(mail)
    user = await shop.user_of(buyer)
    order_id = await sold(shop, buyer, "OPEN-1")

    await erased(shop, buyer)

    kept = await row(shop, order_id)
    assert (kept["email"], kept["billing_address"], kept["erased_at"]) == ("", None, None)
    assert mail not in await left(shop, user)
    assert (await shop.seen(shop.admin, order_id))["shipping_address"]["line1"] == STREET, "staff packs it"
    await staff_says(shop, order_id, "SHIPPED")
    await staff_says(shop, order_id, "DELIVERED")
    async with shop.platform.database("orders") as connection:
        told = await connection.fetch("SELECT payload FROM outbox WHERE event_type = 'orders.shipped'")
    assert told
    assert not [one for one in told if mail.encode() in one["payload"]]
    assert STREET in await left(shop, user), "it may come back"
    await long_ago(shop, order_id)

    async def emptied() -> bool:
        return (await row(shop, order_id))["erased_at"] is not None

    await eventually(emptied, within_s=30, what="the order is emptied")
    assert STREET not in await left(shop, user)
    mailed = (await shop.client.get("/mailbox/messages", params={"to": mail})).json()["items"]
    assert mailed == [], "nobody is written to, and nothing that was written is kept"


async def test_a_buyer_is_looked_at_until_nothing_is_left_and_a_day_is_over(shop: Shop) -> None:
    buyer = await shop.sign_up(f"leaving-{new_id().hex}@example.org")
    user = await shop.user_of(buyer)
    order_id = await sold(shop, buyer, "DAY-1")
    await erased(shop, buyer)
    settled = "SELECT settled_at IS NOT NULL FROM erased_buyers WHERE user_id = $1"
    async with shop.platform.database("orders") as connection:
        await connection.execute("UPDATE erased_buyers SET erased_at = now() - interval '2 days' WHERE user_id = $1", user)
    answer = await shop.client.post(f"/api/v1/orders/{order_id}/cancel", json={"reason": "a wish"}, headers=shop.admin)
    assert answer.is_success, answer.text

    async def done() -> bool:
        async with shop.platform.database("orders") as connection:
            return bool(await connection.fetchval(settled, user))

    await eventually(done, within_s=30, what="the buyer is settled")
    kept = await row(shop, order_id)
    assert (kept["shipping_address"], kept["reason"]) == (None, "")


@pytest.mark.parametrize("status", ["PENDING", "APPROVED"])
async def test_an_order_whose_return_is_not_decided_or_not_done_has_not_ended(offline: OfflineShop, status: str) -> None:
    order_id = await offline.order("SOLD", MUG=1)
    erasing = Erasing(offline.orders, return_days=DAYS)
    async with offline.orders.connection() as connection:
        user = await connection.fetchval("SELECT user_id FROM orders WHERE id = $1", order_id)
        await connection.execute("UPDATE orders SET status = 'SHIPPED' WHERE id = $1 AND status = 'PROCESSING'", order_id)
        await connection.execute(
            "UPDATE orders SET status = 'DELIVERED' WHERE id = $1 AND status IN ('SHIPPED', 'DELIVERED')", order_id
        )
        await connection.execute(
            "UPDATE orders SET shipping_address = $2, delivered_at = now() - interval '40 days' WHERE id = $1",
            order_id,
            json.encode(HOME).decode(),
        )
        assert await connection.fetchval("SELECT status FROM orders WHERE id = $1", order_id) == "DELIVERED"
        await connection.execute(
            """
            INSERT INTO order_returns (id, order_id, status, reason, note, condition_rule, label, lines, amount)
            VALUES ($2, $1, $3, 'DAMAGED', 'a crack', '', '', '[]', 1)
            """,
            order_id,
            new_id(),
            status,
        )
    await offline.orders.run(lambda connection: erasing.erase(connection, [user]))
    kept = "SELECT o.email, o.erased_at, r.note FROM orders o JOIN order_returns r ON r.order_id = o.id WHERE o.id = $1"
    async with offline.orders.connection() as connection:
        assert tuple(*await connection.fetch(kept, order_id)) == ("", None, "a crack")
        await connection.execute("UPDATE order_returns SET status = 'REFUNDED' WHERE order_id = $1", order_id)
    await erasing.go_on()
    async with offline.orders.connection() as connection:
        [(email, erased_at, note)] = await connection.fetch(kept, order_id)
    assert (email, erased_at is not None, note) == ("", True, "")


async def test_who_has_a_saga_in_mind_writes_nobody_back(offline: OfflineShop) -> None:
    run = await offline.checkout(address=HOME, MUG=1)
    user = run.sale.user_id
    await offline.orders.run(lambda connection: Erasing(offline.orders, return_days=DAYS).erase(connection, [user]))
    with pytest.raises(Fenced):
        await offline.driver.take(run, PayAsked(card=False))
    kept = await loaded(offline, run)
    assert (kept.sale.email, kept.sale.billing_address, kept.sale.shipping_address) == ("", None, HOME)
    card = Card(method="CARD", token="tok_later", key="one")
    asked = await offline.driver.take(kept, PayAsked(card=True), replace(kept.sale, card=card))
    waiting = await offline.driver.drive(asked, patient=True)
    assert waiting.saga.placed
    async with offline.orders.connection() as connection:
        order = await repository.order(connection, run.sale.order_id)
    assert order is not None
    assert (order.email, order.billing_address, order.shipping_address) == ("", None, HOME)


async def test_a_saga_that_ends_later_is_emptied_with_its_order(offline: OfflineShop) -> None:
    at_the_till, paying = await offline.checkout(address=HOME, MUG=1), await offline.checkout(address=HOME, MUG=1)
    users = sorted([at_the_till.sale.user_id, paying.sale.user_id])
    erasing = Erasing(offline.orders, return_days=DAYS)
    await offline.orders.run(lambda connection: erasing.erase(connection, users))
    paying = await loaded(offline, paying)
    paying = await offline.driver.take(paying, PayAsked(card=False))
    paying = await offline.driver.drive(paying, patient=True)
    assert paying.saga.stage == "payer"
    await erasing.go_on()
    assert (await loaded(offline, paying)).sale.shipping_address == HOME
    for run, event in ((at_the_till, CancelAsked(reason=f"not to {STREET}")), (paying, PaymentTold(status="ENDED"))):
        ended = await offline.driver.drive(await offline.driver.take(await loaded(offline, run), event), patient=True)
        assert ended.saga.ended
    await erasing.go_on()
    async with offline.orders.connection() as connection:
        kept = await connection.fetch("SELECT s::text FROM saga_state AS s UNION ALL SELECT o::text FROM orders AS o")
    assert len(kept) == 3
    assert not [one for one in kept if STREET in one[0] or "buyer1@example.org" in one[0]]


async def test_an_erased_buyer_buys_nothing_more_and_staff_still_gives_back(offline: OfflineShop) -> None:
    run = await offline.checkout(MUG=1)
    await offline.orders.run(lambda connection: Erasing(offline.orders, return_days=DAYS).erase(connection, [run.sale.user_id]))
    for kind in ("CHECKOUT", "DIRECT"):
        with pytest.raises(Fenced):
            await offline.driver.start(Saga(id=new_id(), type=kind), run.sale)
    assert (await offline.driver.start(Saga(id=new_id(), type="CANCEL"), run.sale)).version == 1


async def test_many_orders_are_emptied_in_bites_and_whoever_goes_on_finds_what_is_left(offline: OfflineShop) -> None:
    orders = [await offline.order("SOLD", MUG=1) for _ in range(5)]
    buyer = new_id()
    erasing = Erasing(offline.orders, return_days=0, bite=2)
    async with offline.orders.connection() as connection:
        for one in orders:
            await connection.execute(SOLD, one, buyer)
            await connection.execute("UPDATE orders SET user_id = $2 WHERE id = $1", one, buyer)
    await offline.orders.run(lambda connection: erasing.erase(connection, [buyer]))
    count = """
    SELECT (SELECT count(*) FROM orders WHERE email <> ''), (SELECT count(*) FROM saga_state WHERE payload->'sale' ? 'email')
    """
    async with offline.orders.connection() as connection:
        assert tuple(*await connection.fetch(count)) == (3, 3)
    await erasing.go_on()
    async with offline.orders.connection() as connection:
        assert tuple(*await connection.fetch(count)) == (0, 0)
        told = [events.snapshot(order) for order in await repository.orders_after(connection, None, 10)]
    assert len(told) == 5
    assert not [one for one in told if b"buyer1@" in one.payload], "who begins anew hears of nobody"


async def test_a_look_reads_the_sagas_of_erased_buyers_only(offline: OfflineShop) -> None:
    run = await offline.checkout(address=HOME, MUG=1)
    more = """
    INSERT INTO saga_state (id, type, status, current_step, payload, code_version, user_id, lease_until, turn)
    SELECT gen_random_uuid(), type, status, current_step, payload, code_version, gen_random_uuid(), lease_until, gen_random_uuid()
    FROM saga_state, generate_series(1, 500)
    """
    read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'saga_state_of_user'"
    erasing = Erasing(offline.orders, return_days=DAYS)
    async with offline.orders.connection() as connection:
        await connection.execute(more)
        await connection.execute("ANALYZE saga_state")
    await offline.orders.run(lambda connection: erasing.erase(connection, [run.sale.user_id]))
    await erasing.go_on()
    async with offline.orders.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        assert 0 < await connection.fetchval(read) < 10


async def loaded(shop: OfflineShop, run: Run) -> Run:
    """A saga as it is kept now."""
    found = await shop.till.store.load(run.saga.id)
    assert found is not None
    return found
