"""The books of a healthy shop balance, and every way of unbalancing orders, sagas and payments is found and named."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from careforall.audit.verification import sales, shelves
from careforall.audit.verification.balances import Span
from careforall.audit.verification.books import Books, Platform, opened
from careforall.audit.verification.explain import explain
from careforall.audit.verification.orders import SHOP_ORDERS
from careforall.audit.verification.report import Invariant, Violation
from careforall.audit.verification.run import broken
from careforall.kit.ids import NIL
from careforall_testing.databases import Databases, connection
from careforall_testing.offline_shop import opened_shop, shop_databases
from careforall_testing.servers import ServerUrls

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
SERVICES = ("orders", "payments", "inventory", "pricing")
SOLD = "(SELECT id FROM orders WHERE status = 'DELIVERED')"
SAGA = "(SELECT saga_id FROM orders WHERE status = 'DELIVERED')"
CONFIRMED, CAPTURED = MONEY = ("money.captured_orders_are_confirmed", "money.confirmed_orders_are_captured")
SHELF = "stock.confirmed_orders_left_the_shelf"
HISTORY = "orders.history_without_holes"
TODAY = "UPDATE order_status_history SET at = now()"
LONG_HELD = "updated_at = now() - interval '6 minutes'"
AN_HOUR_AGO = "UPDATE payment_intents SET updated_at = now() - interval '61 minutes'"


@pytest.fixture(scope="module")
async def sold(servers: ServerUrls) -> AsyncIterator[Mapping[str, str]]:
    """Balanced books: an order that was delivered, one called off and refunded, one declined, and somebody at the till."""
    async with shop_databases(servers) as databases:
        async with opened_shop(servers, databases) as shop:
            await shop.stock("MUG", 10)
            await shop.stock("CUP", 10, price="7.50")
            await shop.order("SOLD", MUG=2, CUP=1)
            await shop.order("CANCELLED", MUG=1)
            await shop.order("DECLINED", CUP=1)
            await shop.checkout(CUP=1)
        yield {name: urlsplit(databases[name]).path[1:] for name in SERVICES}


async def test_the_books_of_a_healthy_shop_balance(databases: Databases, sold: Mapping[str, str]) -> None:
    async with _books(databases, sold) as books:
        assert await _violations(books) == {}
    async with _books(databases, sold, payments=AN_HOUR_AGO) as books:
        assert await _violations(books) == {}


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (
            f"UPDATE saga_state SET status = 'IN_PROGRESS', lease_until = now() - interval '6 minutes' WHERE id = {SAGA}",
            "sagas.runnable_make_progress",
        ),
        (
            "UPDATE saga_state SET lease_until = now() - interval '6 minutes' WHERE current_step = 'ready'",
            "sagas.runnable_make_progress",
        ),
        *(
            (
                f"UPDATE saga_state SET completed_steps = completed_steps || '{{{step}}}' WHERE status = 'COMPENSATED'",
                "sagas.ended_hold_nothing",
            )
            for step in ("reserve", "pin", "confirm", "lock")
        ),
        (f"UPDATE orders SET total = total + 1 WHERE id = {SOLD}", "orders.lines_add_up"),
        (f"UPDATE orders SET shipping = 1 WHERE id = {SOLD}", "orders.lines_add_up"),
        (f"UPDATE order_lines SET total = total - 0.01 WHERE number = 0 AND order_id = {SOLD}", "orders.lines_add_up"),
        (f"UPDATE order_lines SET unit_price = unit_price + 1 WHERE number = 1 AND order_id = {SOLD}", "orders.lines_add_up"),
        (f"DELETE FROM order_lines WHERE number = 1 AND order_id = {SOLD}", "orders.lines_add_up"),
        (f"UPDATE orders SET status = 'SHIPPED' WHERE id = {SOLD}", "orders.history_leads_to_state"),
        (f"UPDATE orders SET version = version + 1 WHERE id = {SOLD}", "orders.history_leads_to_state"),
        (f"DELETE FROM order_status_history WHERE order_id = {SOLD}", "orders.history_leads_to_state"),
        (f"DELETE FROM order_status_history WHERE order_id = {SOLD} AND version = 2", HISTORY),
        (f"DELETE FROM saga_state WHERE id = {SAGA}", "orders.confirmed_are_paid_and_in_stock"),
        (
            f"UPDATE orders SET status = 'PENDING', confirmed_at = NULL WHERE id = {SOLD}",
            "orders.open_ones_have_somebody_who_ends_them",
        ),
        (
            "UPDATE orders SET status = 'PENDING', saga_id = gen_random_uuid() WHERE status = 'FAILED'",
            "orders.open_ones_have_somebody_who_ends_them",
        ),
        (f"DELETE FROM orders WHERE id = {SOLD}", "sagas.completed_made_an_order"),
        (
            f"{TODAY}; DELETE FROM outbox WHERE event_type = 'orders.confirmed' AND aggregate_id = {SOLD}",
            "orders.one_event_for_each_step",
        ),
        (
            f"""
            {TODAY};
            INSERT INTO outbox (id, event_type, aggregate_id, payload)
            SELECT gen_random_uuid(), event_type, aggregate_id, payload FROM outbox
            WHERE event_type = 'orders.shipped' AND aggregate_id = {SOLD}
            """,
            "orders.one_event_for_each_step",
        ),
        *(
            (
                f"UPDATE saga_state SET completed_steps = array_remove(completed_steps, '{step}') WHERE id = {SAGA}",
                "orders.confirmed_are_paid_and_in_stock",
            )
            for step in ("confirm", "capture")
        ),
    ],
)
async def test_every_way_of_unbalancing_orders_is_found(
    databases: Databases, sold: Mapping[str, str], damage: str, name: str
) -> None:
    async with _books(databases, sold, orders=damage) as books:
        found = await _violations(books)

    assert len(found[name]) == 1
    assert found.keys() <= {name, *MONEY, SHELF, HISTORY, "orders.history_leads_to_state"}


@pytest.mark.parametrize(
    ("orders", "payments", "found"),
    [
        (f"DELETE FROM orders WHERE id = {SOLD}", "", {CONFIRMED: "captured for an order that does not exist"}),
        (
            f"UPDATE orders SET status = 'PENDING', confirmed_at = NULL WHERE id = {SOLD}",
            AN_HOUR_AGO,
            {CONFIRMED: "captured, but order ORD is PENDING"},
        ),
        (f"UPDATE orders SET status = 'PENDING', confirmed_at = NULL WHERE id = {SOLD}", "", {}),
        (
            f"UPDATE orders SET status = 'FAILED', confirmed_at = NULL WHERE id = {SOLD}",
            AN_HOUR_AGO,
            {CONFIRMED: "captured, but order ORD is FAILED"},
        ),
        (f"UPDATE orders SET status = 'FAILED', confirmed_at = NULL WHERE id = {SOLD}", "", {}),
        (
            "",
            f"{AN_HOUR_AGO}; UPDATE payment_intents SET refunded_amount = 1 WHERE status = 'REFUNDED'",
            {CONFIRMED: "captured, but order ORD is CANCELLED", CAPTURED: "refunded 10.000 here, 1.000 there"},
        ),
        (
            "",
            "UPDATE payment_intents SET amount = 1 WHERE status = 'CAPTURED'",
            {CONFIRMED: "captured 1.000 EUR, order of 27.500 EUR", CAPTURED: "order of 27.500 EUR, captured 1.000 EUR"},
        ),
        (
            f"UPDATE orders SET currency = 'USD' WHERE id = {SOLD}",
            "",
            {CONFIRMED: "captured 27.500 EUR, order of 27.500 USD", CAPTURED: "order of 27.500 USD, captured 27.500 EUR"},
        ),
        (
            "",
            "UPDATE payment_intents SET refunded_amount = 5 WHERE status = 'CAPTURED'",
            {CONFIRMED: "refunded 5.000, order ORD knows of 0.000", CAPTURED: "refunded 0.000 here, 5.000 there"},
        ),
        (
            f"UPDATE orders SET refunded_amount = 5 WHERE id = {SOLD}",
            "",
            {CAPTURED: "refunded 5.000 here, 0.000 there"},
        ),
        ("", "DELETE FROM payment_intents WHERE status = 'CAPTURED'", {CAPTURED: "confirmed, but not captured"}),
        (
            "",
            "UPDATE payment_intents SET captured_amount = 0 WHERE status = 'CAPTURED'",
            {CAPTURED: "confirmed, but not captured"},
        ),
    ],
)
async def test_every_way_of_paying_for_nothing_or_buying_for_nothing_is_found(
    databases: Databases, sold: Mapping[str, str], orders: str, payments: str, found: dict[str, str]
) -> None:
    async with _books(databases, sold, orders=orders, payments=payments) as books:
        violations = await _violations(books, invariants=())

    told = {name: [re.sub("ORD-[^ ]+", "ORD", one.detail) for one in several] for name, several in violations.items()}
    assert told == {name: [detail] for name, detail in found.items()}


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            {"inventory": "DELETE FROM reservations WHERE sku = 'CUP' AND status = 'CONFIRMED'"},
            {SHELF: "1 of CUP ordered, 0 sold"},
        ),
        (
            {"inventory": "UPDATE reservations SET status = 'RELEASED' WHERE sku = 'CUP' AND status = 'CONFIRMED'"},
            {SHELF: "1 of CUP ordered, 0 sold"},
        ),
        (
            {"inventory": "UPDATE reservations SET quantity = 3 WHERE quantity = 2"},
            {SHELF: "2 of MUG ordered, 3 sold"},
        ),
        (
            {"orders": f"UPDATE order_lines SET sku = 'HAT' WHERE sku = 'CUP' AND order_id = {SOLD}"},
            {SHELF: "0 of CUP ordered, 1 sold; 1 of HAT ordered, 0 sold"},
        ),
        (
            {"inventory": f"UPDATE reservations SET pinned = true, {LONG_HELD} WHERE status = 'PENDING'"},
            {},
        ),
        (
            {
                "inventory": f"UPDATE reservations SET pinned = true, {LONG_HELD} WHERE status = 'PENDING'",
                "orders": "DELETE FROM saga_state WHERE current_step = 'ready'",
            },
            {"stock.pinned_is_of_open_checkouts": "held since T, and no checkout of it goes on"},
        ),
        (
            {
                "pricing": """
                INSERT INTO coupon_holds (holder_id, coupon_id, state, expires_at, pinned, updated_at)
                VALUES (gen_random_uuid(), gen_random_uuid(), 'HELD', now(), true, now() - interval '6 minutes')
                """
            },
            {"pricing.pinned_is_of_open_checkouts": "held since T, and no checkout of it goes on"},
        ),
    ],
)
async def test_what_left_the_shelf_or_is_kept_for_nobody_is_found(
    databases: Databases, sold: Mapping[str, str], damage: dict[str, str], found: dict[str, str]
) -> None:
    async with _books(databases, sold, **damage) as books:
        violations = await _violations(books, invariants=())

    told = {name: [re.sub("since [^,]+", "since T", one.detail) for one in several] for name, several in violations.items()}
    assert told == {name: [detail] for name, detail in found.items()}


async def test_money_that_did_not_come_back_within_its_hour_is_found_by_who_looked_before(
    databases: Databases, sold: Mapping[str, str]
) -> None:
    kept = f"{AN_HOUR_AGO}; UPDATE payment_intents SET refunded_amount = 1 WHERE status = 'REFUNDED'"
    async with _books(databases, sold, payments=kept) as books:
        violations = await _violations(books, invariants=(), since=datetime.now(UTC) - timedelta(minutes=2))
    assert list(violations) == [CONFIRMED, CAPTURED]


@pytest.mark.parametrize(
    ("service", "sql"),
    [
        ("orders", "SELECT id FROM orders WHERE status = 'CANCELLED'"),
        ("orders", "SELECT saga_id FROM orders WHERE status = 'CANCELLED'"),
        ("payments", "SELECT id FROM refunds"),
        ("payments", "SELECT id FROM webhook_events WHERE payment_id = (SELECT intent_id FROM refunds)"),
        ("payments", "SELECT id FROM ledger_entries WHERE kind = 'REFUND'"),
        ("inventory", "SELECT id FROM reservations WHERE returned > 0"),
    ],
)
async def test_the_story_of_an_order_is_told_by_every_service_from_each_of_its_ids(
    databases: Databases, sold: Mapping[str, str], service: str, sql: str
) -> None:
    async with _books(databases, sold) as books:
        identifier = str(await books.value(service, sql))
        story = await explain(books.platform, identifier)

    told = {f"{entry.service}: {entry.what}" for entry in story.entries}
    assert {
        "orders: order CONFIRMED to CANCELLED",
        "payments: refund SUCCEEDED",
        "inventory: hold CONFIRMED 1 MUG main",
        "inventory: stock reserve",
        "inventory: stock ship",
        "inventory: stock return",
        "pricing: locked price",
    } <= told


@asynccontextmanager
async def _books(databases: Databases, sold: Mapping[str, str], **damage: str) -> AsyncIterator[Books]:
    """Open a copy of the books in which some rows were changed behind the services' back."""
    async with AsyncExitStack() as stack:
        dsns = {name: await stack.enter_async_context(databases.clone(template)) for name, template in sold.items()}
        for name, sql in damage.items():
            async with connection(dsns[name]) as tampering:
                await tampering.execute(f"{_NO_CHECKS}; {sql}")
        yield await stack.enter_async_context(opened(Platform(dsns=dsns, streams={}, subscriptions=())))


async def _violations(
    books: Books, invariants: Sequence[Invariant] = SHOP_ORDERS, *, since: datetime = LONG_AGO
) -> dict[str, list[Violation]]:
    span = Span(since=since, since_id=NIL, cut_off=datetime.now(UTC) + timedelta(minutes=1))
    outcomes = [await broken(books, one, LONG_AGO) for one in invariants]
    outcomes += [await compare(books, span) for _, compare in (*sales.COMPARISONS, *shelves.COMPARISONS)]
    return {one.name: one.violations for one in outcomes if one.violations}


_NO_CHECKS = """
SET session_replication_role = replica;
DO $$
DECLARE found record;
BEGIN
    FOR found IN
        SELECT conrelid::regclass AS owner, conname FROM pg_constraint
        WHERE contype = 'c' AND conrelid IN (to_regclass('orders'), to_regclass('payment_intents'))
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.owner, found.conname);
    END LOOP;
END
$$
"""
"""What the services and the database would refuse has to be possible for once."""
