"""Disputes as the simulator tells them: rows with ids of their own, a net that falls and recovers, no poisoned webhook."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from careforall.contracts.payments import PaymentDisputed
from careforall.kit.envelope import decode_envelope
from careforall.kit.http.identity import Principal
from careforall.kit.idempotency import Call
from careforall.kit.ids import new_id
from careforall.payments.errors import RefundTooLarge
from careforall.payments.schemas import RefundOrder, payment_out
from careforall_testing.databases import connection

STAFF = Principal(user_id=new_id(), role="ADMIN", email="admin@example.org", email_verified=True)


async def captured(till: Any) -> UUID:
    intent: UUID = await till.pledge()
    await till.tell_simulator(till.simulated("payment_intent.succeeded", intent))
    return intent


async def disputes(till: Any, intent: UUID) -> list[tuple[str, Decimal, bool, bool]]:
    rows = await till.database.fetch("SELECT * FROM disputes WHERE intent_id = $1 ORDER BY id", intent)
    return [(row["status"], row["amount"], row["parked"], row["settled_at"] is not None) for row in rows]


async def told(till: Any, intent: UUID) -> list[tuple[int, Decimal, str]]:
    rows = await till.database.fetch(
        "SELECT payload FROM outbox WHERE aggregate_id = $1 AND event_type = 'payments.disputed' ORDER BY id", intent
    )
    found: list[tuple[int, Decimal, str]] = []
    for row in rows:
        envelope = decode_envelope(row["payload"])
        event = msgspec.json.decode(envelope.payload, type=PaymentDisputed)
        found.append((envelope.aggregate_version, event.disputed_amount, event.status))
    return found


@pytest.mark.parametrize(("outcome", "held"), [("won", Decimal(0)), ("lost", Decimal(25))])
async def test_a_dispute_is_opened_and_decided(till: Any, outcome: str, held: Decimal) -> None:
    intent = await captured(till)
    opened = await till.tell_simulator(till.disputed(intent, 2500))
    assert (opened.json()["status"], opened.json()["new_status"], opened.json()["version"]) == ("processed", "CAPTURED", 4)
    assert (await till.row(intent))["disputed_amount"] == Decimal(25)
    closed = await till.tell_simulator(till.disputed(intent, 2500, outcome))
    assert (closed.json()["status"], closed.json()["version"]) == ("processed", 5)
    late = await till.tell_simulator(till.disputed(intent, 2500))
    assert late.json()["reason"] == "out_of_order"
    row = await till.row(intent)
    assert (row["status"], row["disputed_amount"], row["refunded_amount"]) == ("CAPTURED", held, Decimal(0))
    assert await disputes(till, intent) == [(outcome.upper(), Decimal(25), False, True)]
    assert await told(till, intent) == [(4, Decimal(25), "OPEN"), (5, held, outcome.upper())]


async def test_one_dispute_told_by_many_events_counts_once(till: Any) -> None:
    intent = await captured(till)
    answers = await asyncio.gather(*(till.tell_simulator(till.disputed(intent, 1000)) for _ in range(6)))
    assert sorted(answer.json()["status"] for answer in answers) == ["ignored"] * 5 + ["processed"]
    assert (await till.row(intent))["disputed_amount"] == Decimal(10)
    assert len(await told(till, intent)) == 1


async def test_a_dispute_proves_the_capture(till: Any) -> None:
    intent = await till.pledge()
    answer = await till.tell_simulator(till.disputed(intent, 1000))
    assert (answer.json()["new_status"], answer.json()["version"]) == ("CAPTURED", 4)
    assert await till.told(intent) == ["payments.intent_created", "payments.authorized", "payments.captured", "payments.disputed"]


async def test_a_dispute_above_what_is_there_is_parked_and_alarmed(till: Any) -> None:
    intent = await captured(till)
    await till.tell_simulator(till.refunded(intent, 2000))
    over = await till.tell_simulator(till.disputed(intent, 1000))
    assert (over.status_code, over.json()["reason"]) == (200, "dispute_exceeds_captured")
    assert (await till.row(intent))["disputed_amount"] == Decimal(0)
    assert await disputes(till, intent) == [("OPEN", Decimal(10), True, False)]
    assert await till.count("payment_alarms", "payment_id = $1 AND kind = 'dispute_exceeds_captured'", intent) == 1


async def test_a_decided_dispute_that_is_reversed_is_alarmed_and_stays(till: Any) -> None:
    intent = await captured(till)
    await till.tell_simulator(till.disputed(intent, 1000, "lost"))
    reversed_ = await till.tell_simulator(till.disputed(intent, 1000, "won"))
    assert (reversed_.status_code, reversed_.json()["reason"]) == (200, "dispute_reversed")
    assert await disputes(till, intent) == [("LOST", Decimal(10), False, True)]
    assert await till.count("payment_alarms", "payment_id = $1 AND kind = 'dispute_reversed'", intent) == 1


async def test_a_dispute_that_comes_before_its_intent_is_applied_with_it(till: Any) -> None:
    intent = new_id()
    for event in (till.disputed(intent, 1000), till.disputed(intent, 1000, "won")):
        assert (await till.tell_simulator(event)).json()["reason"] == "unknown_payment"
    await till.pledge(identifier=intent)
    row = await till.row(intent)
    assert (row["status"], row["disputed_amount"], row["version"]) == ("CAPTURED", Decimal(0), 5)


async def test_what_is_disputed_cannot_be_refunded(till: Any) -> None:
    intent = await captured(till)
    await till.tell_simulator(till.disputed(intent, 2000))
    with pytest.raises(RefundTooLarge, match=r"at most 5\.00 EUR"):
        await _refund(till, intent, "5.01")
    await till.tell_simulator(till.disputed(intent, 500, id=f"dp_2_{intent}"))
    with pytest.raises(RefundTooLarge, match=r"at most 0\.00 EUR"):
        await _refund(till, intent, None)


async def test_a_payment_shows_its_disputes(till: Any) -> None:
    intent = await captured(till)
    await till.tell_simulator(till.disputed(intent, 1000, reason="fraudulent"))
    shown = payment_out(await till.service.payment(intent, STAFF, None))
    assert shown.disputed_amount == "10.00"
    [entry] = shown.disputes
    assert (entry.amount, entry.status, entry.reason, entry.parked) == ("10.00", "OPEN", "fraudulent", False)


@pytest.mark.parametrize(
    "change", ["status = 'WON', settled_at = now()", "status = 'OPEN', settled_at = NULL", "amount = amount + 1"]
)
async def test_the_database_itself_keeps_decided_disputes(till: Any, change: str) -> None:
    intent = await captured(till)
    await till.tell_simulator(till.disputed(intent, 1000, "lost"))
    async with connection(till.database.dsn) as opened:
        with pytest.raises(asyncpg.CheckViolationError):
            await opened.execute(f"UPDATE disputes SET {change} WHERE intent_id = $1", intent)


async def _refund(till: Any, intent: UUID, amount: str | None) -> None:
    order = RefundOrder(reason="asked for", amount=Decimal(amount) if amount else None)
    call = Call(scope="refund|staff-1", key=str(new_id()), fingerprint=b"f")
    await till.service.refunding.refund(intent, order, call=call, by="staff-1")
