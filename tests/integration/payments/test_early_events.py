"""Events that overtake their intent are kept and applied in the transaction that makes it; nothing falls between."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from careforall.kit.ids import new_id

PROCESSED = {"status": "processed", "old_status": "INITIATED", "new_status": "CAPTURED", "version": 3}


async def test_an_early_event_is_kept_and_applied_when_its_intent_arrives(till: Any) -> None:
    intent = new_id()
    event = till.success(intent)
    for _ in range(3):
        early = await till.tell(event)
        assert (early.status_code, early.json()["code"]) == (404, "payment_not_found")
    await till.pledge(identifier=intent)
    assert (await till.row(intent))["status"] == "CAPTURED"
    assert await till.told(intent) == ["payments.intent_created", "payments.authorized", "payments.captured"]
    repeat = await till.tell(event)
    assert (repeat.status_code, repeat.json()) == (200, PROCESSED)
    assert len(await till.told(intent)) == 3


async def test_an_early_event_under_several_keys_is_applied_once(till: Any) -> None:
    intent = new_id()
    event = till.success(intent)
    for key in ("", f"one-{intent}", f"two-{intent}"):
        assert (await till.tell(event, key=key)).status_code == 404
    await till.pledge(identifier=intent)
    answers = [await till.tell(event, key=key) for key in ("", f"one-{intent}", f"two-{intent}")]
    assert [answer.json() for answer in answers] == [PROCESSED] * 3
    assert len(await till.told(intent)) == 3


async def test_early_events_are_applied_in_the_order_they_came(till: Any) -> None:
    intent = new_id()
    for status in ("AUTHORIZED", "CAPTURED", "REFUNDED"):
        await till.tell(till.success(intent, status=status))
    await till.pledge(identifier=intent)
    assert [step[1] for step in await till.steps(intent)] == ["AUTHORIZED", "CAPTURED", "REFUNDED"]


async def test_an_early_event_with_another_amount_is_not_applied(till: Any) -> None:
    intent = new_id()
    event = till.success(intent, amount="1.00")
    assert (await till.tell(event)).status_code == 404
    await till.pledge(identifier=intent)
    assert (await till.row(intent))["status"] == "INITIATED"
    answer = await till.tell(event)
    assert (answer.status_code, answer.json()["reason"]) == (400, "amount_mismatch")


async def test_the_simulators_early_event_is_no_reason_to_retry(till: Any) -> None:
    intent = new_id()
    event = till.simulated("payment_intent.succeeded", intent)
    early = await till.tell_simulator(event)
    assert (early.status_code, early.json()["reason"]) == (200, "unknown_payment")
    await till.pledge(identifier=intent)
    assert (await till.row(intent))["status"] == "CAPTURED"
    assert (await till.tell_simulator(event)).json() == PROCESSED


async def test_events_and_intents_that_race_always_meet(till: Any) -> None:
    """Whichever commits first: an event is never kept for an intent that is already there."""
    for _ in range(15):
        intents = [new_id() for _ in range(20)]
        events = [till.success(intent) for intent in intents]
        random.shuffle(events)
        await asyncio.gather(till.pledges(intents), *(till.tell(event) for event in events))
        left = await till.count("payment_intents", "id = ANY($1) AND status <> 'CAPTURED'", intents)
        assert left == 0
        assert await till.count("outbox", "aggregate_id = ANY($1)", intents) == 60
