"""What the database refuses, whatever the code believes; and what a held row does to its neighbours."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from typing import Any, get_args

import asyncpg
import pytest

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments.domain import REACHABLE, STEPS
from careforall_testing.databases import connection

STATUSES: tuple[PaymentStatus, ...] = get_args(PaymentStatus)
MAKE = """
INSERT INTO payment_intents (id, subject_type, subject_id, amount, currency, gateway, status, captured_amount, expires_at)
VALUES ($1, 'ORDER', $1, 25, 'EUR', 'simulator', $2, CASE WHEN $2 IN ('CAPTURED', 'REFUNDED') THEN 25 ELSE 0 END, now())
"""
MOVE = """
UPDATE payment_intents
SET status = $2, captured_amount = CASE WHEN $2 = 'CAPTURED' THEN 25 ELSE captured_amount END
WHERE id = $1
"""
RECORD = "INSERT INTO payment_transitions (payment_id, from_status, to_status, version, cause) VALUES ($1, $2, $3, 2, 'test')"


@pytest.mark.parametrize(("start", "end"), [pair for pair in itertools.product(STATUSES, STATUSES) if pair[0] != pair[1]])
async def test_the_database_takes_the_same_steps_as_the_code(till: Any, start: PaymentStatus, end: PaymentStatus) -> None:
    async with connection(till.database.dsn) as opened:
        intent = new_id()
        await opened.execute(MAKE, intent, start)
        if (start, end) in REACHABLE:
            await opened.execute(MOVE, intent, end)
        else:
            with pytest.raises(asyncpg.CheckViolationError):
                await opened.execute(MOVE, intent, end)
        if end in STEPS[start]:
            await opened.execute(RECORD, intent, start, end)
        else:
            with pytest.raises(asyncpg.CheckViolationError):
                await opened.execute(RECORD, intent, start, end)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payment_transitions SET cause = 'rewritten'",
        "DELETE FROM payment_transitions",
        "TRUNCATE payment_transitions",
    ],
)
async def test_history_is_written_once(till: Any, statement: str) -> None:
    intent = await till.pledge()
    await till.tell(till.success(intent))
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.RestrictViolationError):
            await opened.execute(statement)
    assert len(await till.steps(intent)) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO payment_transitions VALUES (gen_random_uuid(), 'INITIATED', 'AUTHORIZED', 2, 'test')",
        "INSERT INTO payment_attempts (intent_id, number, gateway, status) VALUES (gen_random_uuid(), 1, 'simulator', 'OPEN')",
        """
        INSERT INTO ledger_entries (id, payment_id, kind, cause_key, livemode, occurred_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), 'CAPTURE', 'CAPTURED', false, now())
        """,
        "UPDATE payment_attempts SET intent_id = gen_random_uuid()",
        "UPDATE payment_intents SET id = gen_random_uuid()",
        "DELETE FROM payment_intents",
        "TRUNCATE payment_intents CASCADE",
    ],
)
async def test_whatever_names_a_payment_has_it(till: Any, statement: str) -> None:
    await till.tell(till.success(await till.pledge()))
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await opened.execute(statement)


async def test_a_payment_enters_a_state_once(till: Any) -> None:
    intent = await till.pledge()
    await till.tell(till.success(intent))
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.UniqueViolationError):
            await opened.execute(RECORD, intent, "INITIATED", "AUTHORIZED")


@pytest.mark.parametrize(
    ("change", "constraint"),
    [("refunded_amount = 25.01", "refunds_within_captured"), ("captured_amount = 26", "captured_in_full")],
)
async def test_no_more_goes_back_than_came_in(till: Any, change: str, constraint: str) -> None:
    intent = await till.pledge()
    await till.tell(till.success(intent))
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await opened.execute(f"UPDATE payment_intents SET {change} WHERE id = $1", intent)
    assert refused.value.constraint_name == constraint


async def test_a_held_payment_delays_nobody_else(till: Any) -> None:
    held, free = await till.pledges([new_id(), new_id()])
    async with connection(till.database.dsn) as opened, opened.transaction():
        await opened.execute("SELECT FROM payment_intents WHERE id = $1 FOR UPDATE", held)
        waiting = asyncio.ensure_future(till.tell(till.success(held)))
        assert (await asyncio.wait_for(till.tell(till.success(free)), 3)).json()["status"] == "processed"
        assert not waiting.done()
    assert (await asyncio.wait_for(waiting, 5)).json()["status"] == "processed"


async def test_a_payment_held_too_long_is_told_to_come_again(till: Any) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    async with connection(till.database.dsn) as opened, opened.transaction():
        await opened.execute("SELECT FROM payment_intents WHERE id = $1 FOR UPDATE", intent)
        busy = await till.tell(event)
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert (await till.tell(event)).json()["status"] == "processed"


async def test_many_events_of_one_payment_in_one_batch_apply_in_order(till: Any) -> None:
    intent = await till.pledge()
    statuses = ("AUTHORIZED", "CAPTURED", "REFUNDED")
    answers = await asyncio.gather(*(till.tell(till.success(intent, status=status)) for status in statuses))
    assert [answer.json().get("new_status") for answer in answers] == list(statuses)
    assert (await till.row(intent))["refunded_amount"] == Decimal(25)
