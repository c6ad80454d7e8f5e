"""The ledger on a real database: nothing unbalanced commits, nothing is changed, each effect is booked once, sums stay true."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from careforall.kit import migrate
from careforall.kit.ids import new_id
from careforall.payments import repository
from careforall.payments.domain import StateFact
from careforall.payments.effects import Effects, Source
from careforall.payments.repository_ledger import LedgerFilter
from careforall_testing.databases import Databases, connection

Balances = dict[str, Decimal]
ENTRY = """
INSERT INTO ledger_entries (id, payment_id, kind, cause_key, livemode, occurred_at) VALUES ($1, $2, $3, $4, false, now())
"""
LINE = "INSERT INTO ledger_lines (entry_id, account, amount, currency) VALUES ($1, $2, $3, $4)"


async def captured(till: Any, intent: UUID | None = None) -> UUID:
    made: UUID = await till.pledge(identifier=intent)
    await till.tell_simulator(till.simulated("payment_intent.succeeded", made))
    return made


async def booked(till: Any, payment: UUID) -> list[tuple[str, Balances]]:
    """The entries of a payment, oldest first."""
    found = await till.service.bookkeeping.entries(LedgerFilter(payment_id=payment), None, 100)
    return [(entry.kind, {line.account: line.amount for line in entry.lines}) for entry in reversed(found)]


async def balances(till: Any, **wanted: Any) -> Balances:
    """The balances that are not zero."""
    found = await till.service.bookkeeping.balances(LedgerFilter(**wanted))
    return {one.account: one.amount for one in found if one.amount}


async def campaign_of(till: Any, payment: UUID) -> UUID:
    found: UUID = (await till.row(payment))["campaign_id"]
    return found


async def test_each_movement_is_booked_where_it_belongs(till: Any) -> None:
    intent = await captured(till)
    campaign = await campaign_of(till, intent)
    for event in (
        till.refunded(intent, 1000),
        till.disputed(intent, 1500),
        till.disputed(intent, 1500, "won"),
        till.disputed(intent, 500, "lost", id=f"dp_2_{intent}"),
    ):
        answer = await till.tell_simulator(event)
        assert answer.json()["status"] == "processed", answer.text
    clearing = "gateway:simulator"
    assert await booked(till, intent) == [
        ("CAPTURE", {clearing: Decimal(25), f"campaign:{campaign}": Decimal(-25)}),
        ("REFUND", {"refunds": Decimal(10), clearing: Decimal(-10)}),
        ("DISPUTE", {"disputes": Decimal(15), clearing: Decimal(-15)}),
        ("DISPUTE_WON", {clearing: Decimal(15), "disputes": Decimal(-15)}),
        ("DISPUTE", {"disputes": Decimal(5), clearing: Decimal(-5)}),
    ]
    expected = {clearing: Decimal(10), f"campaign:{campaign}": Decimal(-25), "refunds": Decimal(10), "disputes": Decimal(5)}
    assert await balances(till, campaign_id=campaign) == expected


async def test_a_fee_is_booked_once_and_of_the_object_that_paid(till: Any) -> None:
    intent = await till.pledge()
    settled = {"id": "txn_1", "object": "balance_transaction", "fee": 63, "currency": "eur"}
    with_fee = {"latest_charge": {"id": "ch_1", "object": "charge", "balance_transaction": settled}}
    events = [
        till.simulated("payment_intent.succeeded", intent),
        till.simulated("payment_intent.succeeded", intent, **with_fee, id=f"pi_2_{intent}"),
        *(till.simulated("payment_intent.succeeded", intent, **with_fee) for _ in range(2)),
        till.refunded(intent, 1000),
    ]
    for event in events:
        assert (await till.tell_simulator(event)).is_success
    clearing, campaign = "gateway:simulator", f"campaign:{await campaign_of(till, intent)}"
    assert await booked(till, intent) == [
        ("CAPTURE", {clearing: Decimal(25), campaign: Decimal(-25)}),
        ("FEE", {"fees": Decimal("0.63"), clearing: Decimal("-0.63")}),
        ("REFUND", {"refunds": Decimal(10), clearing: Decimal(-10)}),
    ]


async def test_an_effect_is_booked_once_however_often_and_at_once_it_is_told(till: Any, arena: Any, servers: Any) -> None:
    intent = await till.pledge()
    campaign = await campaign_of(till, intent)
    events = [
        *(till.simulated("payment_intent.succeeded", intent) for _ in range(6)),
        *(till.refunded(intent, 1000, id=f"re_{intent}") for _ in range(6)),
        *(till.disputed(intent, 1500) for _ in range(6)),
    ]
    async with arena.open(servers, database=till.database.dsn) as other:
        both = [(till, other)[number % 2] for number in range(len(events))]
        answers = await asyncio.gather(*(one.tell_simulator(event) for one, event in zip(both, events, strict=True)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(kind for kind, _ in await booked(till, intent)) == ["CAPTURE", "DISPUTE", "REFUND"]
    assert await balances(till, campaign_id=campaign, account="gateway:simulator") == {}


@pytest.mark.parametrize("count", [1, 12])
async def test_captures_are_booked_without_a_further_round_trip(till: Any, count: int) -> None:
    held = await _statements(till, StateFact(target="AUTHORIZED"), count)
    captured_ = await _statements(till, StateFact(target="CAPTURED"), count)
    assert captured_ == held
    assert len(captured_) == 2
    assert sum("ledger_entries" in query for query in captured_) == 1


async def _statements(till: Any, fact: StateFact, count: int) -> list[str]:
    """Apply a fact to so many new payments in one transaction, and return what writing it took."""
    intents = await till.pledges([new_id() for _ in range(count)])
    seen: list[str] = []

    def note(record: Any) -> None:
        seen.append(record.query)

    async def work(opened: Any) -> None:
        effects = Effects(attempts={}, refunds=(), disputes=(), fees=(), max_attempts=3)
        source = Source(via="simulator", cause="test", event_id=None, received_at=datetime.now(UTC))
        for intent in (await repository.lock_intents(opened, intents)).values():
            effects.apply(intent, fact, source)
        opened.add_query_logger(note)
        await repository.write(opened, effects.changes)
        await asyncio.sleep(0.01)
        opened.remove_query_logger(note)

    await till.database.run(work)
    return [query for query in seen if "pg_catalog" not in query]


@pytest.mark.parametrize(
    "lines",
    [
        [("sales", "25.00", "EUR")],
        [("sales", "-25.00", "EUR"), ("refunds", "24.99", "EUR")],
        [("sales", "-25.00", "EUR"), ("refunds", "25.00", "USD")],
    ],
    ids=["one-sided", "a cent short", "two currencies"],
)
async def test_an_unbalanced_entry_is_refused_when_it_is_to_commit(till: Any, lines: list[tuple[str, str, str]]) -> None:
    intent, entry = await captured(till), new_id()
    async with connection(till.database.dsn) as opened:
        transaction = opened.transaction()
        await transaction.start()
        await opened.execute(ENTRY, entry, intent, "REFUND", "forged")
        for account, amount, currency in lines:
            await opened.execute(LINE, entry, account, Decimal(amount), currency)
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await transaction.commit()
    assert refused.value.constraint_name == "ledger_adds_up"
    assert [kind for kind, _ in await booked(till, intent)] == ["CAPTURE"]


async def test_a_line_cannot_be_added_to_a_balanced_entry_later(till: Any) -> None:
    intent = await captured(till)
    async with connection(till.database.dsn) as opened:
        entry = await opened.fetchval("SELECT id FROM ledger_entries WHERE payment_id = $1", intent)
        with pytest.raises(asyncpg.CheckViolationError):
            await opened.execute(LINE, entry, "fees", Decimal("0.01"), "EUR")


@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
@pytest.mark.parametrize(("table", "column"), [("ledger_entries", "kind"), ("ledger_lines", "amount")])
async def test_the_ledger_is_append_only(till: Any, statement: str, table: str, column: str) -> None:
    await captured(till)
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.RestrictViolationError):
            await opened.execute(statement.format(table, column))


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("INSERT INTO ledger_lines VALUES ($1, 'cash', 1, 'EUR')", asyncpg.CheckViolationError),
        ("INSERT INTO ledger_lines VALUES ($1, 'gateway:', 1, 'EUR')", asyncpg.CheckViolationError),
        ("INSERT INTO ledger_lines VALUES ($1, 'campaign:1', 1, 'EUR')", asyncpg.CheckViolationError),
        ("INSERT INTO ledger_lines VALUES ($1, 'sales', 0, 'EUR')", asyncpg.CheckViolationError),
        ("INSERT INTO ledger_lines VALUES (gen_random_uuid(), 'sales', 1, 'EUR')", asyncpg.ForeignKeyViolationError),
    ],
)
async def test_lines_are_of_known_accounts_and_entries(till: Any, sql: str, error: type[Exception]) -> None:
    intent = await captured(till)
    async with connection(till.database.dsn) as opened:
        entry = await opened.fetchval("SELECT id FROM ledger_entries WHERE payment_id = $1", intent)
        with pytest.raises(error):
            await opened.execute(sql, *([entry] if "$1" in sql else []))


async def test_a_cause_is_booked_once_for_ever(till: Any) -> None:
    intent = await captured(till)
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await opened.execute(ENTRY, new_id(), intent, "CAPTURE", "CAPTURED")
    assert refused.value.constraint_name == "ledger_books_once"


async def test_rule_10_a_capture_after_the_end_is_held_apart_and_sent_back(till: Any) -> None:
    intent = await till.pledge()
    await till.tell(till.success(intent, status="FAILED"))
    for _ in range(3):
        late = await till.tell(till.success(intent))
        assert (late.status_code, late.json()["reason"]) == (400, "invalid_transition")
    campaign = await campaign_of(till, intent)
    assert await balances(till, campaign_id=campaign) == {"gateway:generic": Decimal(25), "unapplied": Decimal(-25)}
    for _ in range(2):
        await till.service.refunding.settle_refunds()
    assert [kind for kind, _ in await booked(till, intent)] == ["UNAPPLIED", "UNAPPLIED_REFUND"]
    assert await balances(till, campaign_id=campaign) == {}
    row = await till.row(intent)
    assert (row["status"], row["captured_amount"], row["refunded_amount"]) == ("FAILED", Decimal(0), Decimal(0))
    assert await till.count("refunds", "intent_id = $1 AND unapplied AND status = 'SUCCEEDED' AND NOT parked", intent) == 1
    assert await till.told(intent) == ["payments.intent_created", "payments.failed"]


async def test_rule_10_late_captures_told_at_once_order_one_refund(till: Any, arena: Any, servers: Any) -> None:
    intent = await till.pledge()
    await till.tell_simulator(till.simulated("payment_intent.canceled", intent))
    events = [till.simulated("payment_intent.succeeded", intent) for _ in range(8)]
    async with arena.open(servers, database=till.database.dsn) as other:
        await asyncio.gather(*((till, other)[index % 2].tell_simulator(event) for index, event in enumerate(events)))
    assert [kind for kind, _ in await booked(till, intent)] == ["UNAPPLIED"]
    assert await till.count("refunds", "intent_id = $1 AND gateway_object = $2", intent, f"pi_{intent}") == 1
    await till.service.refunding.settle_refunds()
    assert await till.count("refunds", "intent_id = $1 AND status = 'PENDING'", intent) == 1, "the gateway is away: asked again"


async def test_balances_are_the_same_before_between_and_after_roll_ups(arena: Any, servers: Any) -> None:
    async with arena.open(servers) as till:
        kept = await captured(till)
        campaign = await campaign_of(till, kept)
        before = await balances(till)
        assert await till.count("ledger_balances") == 0
        await till.service.bookkeeping.roll_up()
        assert await till.count("ledger_balances") == 2
        assert await balances(till) == before
        await till.tell_simulator(till.refunded(kept, 1000))
        await captured(till)
        now = await balances(till)
        assert now["gateway:simulator"] == Decimal(40)
        for _ in range(2):
            await till.service.bookkeeping.roll_up()
            assert await balances(till) == now
        assert (await balances(till, campaign_id=campaign))["gateway:simulator"] == Decimal(15)
        today = datetime.now(UTC).date()
        assert await balances(till, since=today, until=today) == now
        assert (
            await balances(till, until=today - timedelta(days=1)) == await balances(till, since=today + timedelta(days=1)) == {}
        )


async def test_roll_ups_beside_captures_lose_and_double_nothing(arena: Any, servers: Any) -> None:
    async with arena.open(servers) as till, arena.open(servers, database=till.database.dsn) as other:
        intents = await till.pledges([new_id() for _ in range(60)])
        rolling = True

        async def roll(service: Any) -> None:
            while rolling:
                await service.bookkeeping.roll_up()
                await asyncio.sleep(0.005)

        rollers = [asyncio.ensure_future(roll(one.service)) for one in (till, other)]
        for start in range(0, 60, 6):
            events = [till.simulated("payment_intent.succeeded", intent) for intent in intents[start : start + 6]]
            await asyncio.gather(*(till.tell_simulator(event) for event in events))
        rolling = False
        await asyncio.gather(*rollers)
        assert (await balances(till))["gateway:simulator"] == Decimal(25 * 60)
        await till.service.bookkeeping.roll_up()
        assert await till.count("ledger_entries", "booked_at >= (SELECT reached FROM ledger_rollup)") == 0
        assert (await balances(till))["gateway:simulator"] == Decimal(25 * 60)


async def test_a_roll_up_waits_for_nobody_who_books_for_long(till: Any) -> None:
    intent = await captured(till)
    async with connection(till.database.dsn) as opened, opened.transaction():
        entry = new_id()
        await opened.execute(ENTRY, entry, intent, "REFUND", "slow")
        await opened.execute(LINE, entry, "refunds", Decimal(1), "EUR")
        await opened.execute(LINE, entry, "gateway:simulator", Decimal(-1), "EUR")
        await asyncio.wait_for(till.service.bookkeeping.roll_up(), 3)
        assert await till.count("ledger_rollup", "reached > '2000-01-01'") == 0
    await till.service.bookkeeping.roll_up()
    assert await till.count("ledger_rollup", "reached > '2000-01-01'") == 1


async def test_lists_are_filtered_and_paged(arena: Any, servers: Any) -> None:
    async with arena.open(servers) as till:
        intents = [await captured(till) for _ in range(5)]
        await till.tell_simulator(till.refunded(intents[0], 1000))
        reading = till.service.bookkeeping.entries
        first = await reading(LedgerFilter(), None, 4)
        rest = await reading(LedgerFilter(), first[-1].id, 4)
        assert [entry.id for entry in first + rest] == sorted((entry.id for entry in first + rest), reverse=True)
        assert (len(first), len(rest)) == (4, 2)
        assert [entry.kind for entry in await reading(LedgerFilter(account="refunds"), None, 9)] == ["REFUND"]
        assert len(await reading(LedgerFilter(payment_id=intents[0]), None, 9)) == 2
        today = datetime.now(UTC).date()
        assert len(await reading(LedgerFilter(since=today, until=today), None, 9)) == 6
        assert await reading(LedgerFilter(until=today - timedelta(days=1)), None, 9) == []


async def test_what_moved_before_there_was_a_ledger_is_booked_by_its_migration(databases: Databases) -> None:
    migrations = migrate.load("careforall.payments")
    early = [one for one in migrations if one.name < "payments/0003"]

    async def prepare(url: str) -> None:
        await migrate.migrate(url, early)

    async with databases.clone(await databases.template("payments_before_ledger", prepare)) as url:
        gift, order, failed = new_id(), new_id(), new_id()
        async with connection(url) as opened:
            await opened.execute(_OLD_INTENTS, gift, order, failed)
            for payment in (gift, order):
                await opened.execute(_OLD_STEP, payment)
            for name, status, parked in (("re_1", "SUCCEEDED", False), ("re_2", "PENDING", False), ("re_3", "SUCCEEDED", True)):
                await opened.execute(_OLD_REFUND, new_id(), gift, name, status, parked)
        await migrate.migrate(url, migrations)
        async with connection(url) as opened:
            rows = await opened.fetch(
                "SELECT payment_id, kind, account, amount FROM ledger_entries JOIN ledger_lines ON entry_id = id"
            )
            clearing = await opened.fetch("SELECT sum(amount) FROM ledger_lines WHERE account LIKE 'gateway:%'")
    assert {(row["payment_id"], row["kind"], row["account"]): row["amount"] for row in rows} == {
        (gift, "CAPTURE", "gateway:generic"): Decimal(25),
        (gift, "CAPTURE", "donations"): Decimal(-25),
        (gift, "REFUND", "refunds"): Decimal(10),
        (gift, "REFUND", "gateway:generic"): Decimal(-10),
        (order, "CAPTURE", "gateway:simulator"): Decimal(25),
        (order, "CAPTURE", "sales"): Decimal(-25),
    }
    assert clearing[0][0] == Decimal(40)


_OLD_INTENTS = """
INSERT INTO payment_intents
    (id, subject_type, subject_id, amount, currency, gateway, status, captured_amount, refunded_amount, captured_via, expires_at)
VALUES ($1, 'DONATION', $1, 25, 'EUR', 'simulator', 'CAPTURED', 25, 10, 'generic', now()),
       ($2, 'ORDER', $2, 25, 'EUR', 'simulator', 'CAPTURED', 25, 0, '', now()),
       ($3, 'DONATION', $3, 25, 'EUR', 'simulator', 'FAILED', 0, 0, '', now())
"""
_OLD_STEP = """
INSERT INTO payment_transitions (payment_id, from_status, to_status, version, cause)
VALUES ($1, 'AUTHORIZED', 'CAPTURED', 3, 'test')
"""
_OLD_REFUND = """
INSERT INTO refunds (id, intent_id, gateway, gateway_refund_id, amount, status, parked)
VALUES ($1, $2, 'generic', $3, 10, $4, $5)
"""
