"""Webhooks: signed, at least once, obeying the switches; and the control that sends storms of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

MANY = 300
AT_ONCE = 8  # as many as the service has connections: more at once may be told to come again


async def told(gateway: Any, reference: str) -> list[dict[str, Any]]:
    """What the gateway knows of an intent's webhooks."""
    answer = await gateway.client.get(f"/simulator/control/{reference}")
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def settled(gateway: Any, reference: str) -> list[dict[str, Any]]:
    """The intent's webhooks once none is waiting any more."""
    async with asyncio.timeout(15):
        while True:
            events = await told(gateway, reference)
            if all(event["state"] != "PENDING" for event in events):
                return events
            await asyncio.sleep(0.02)


async def test_a_payment_is_told_signed_and_once(gateway: Any, shop: Any) -> None:
    paid = await gateway.paid()
    [event] = await settled(gateway, paid["id"])
    assert (event["type"], event["state"], event["attempts"], event["last_outcome"]) == (
        "payment_intent.succeeded",
        "DELIVERED",
        1,
        "200",
    )
    assert shop.ids(paid["id"]) == {event["id"]: 1}
    [body] = [taken for taken in shop.taken if taken["id"] == event["id"]]
    assert body["data"]["object"] == paid


async def test_a_whole_story_is_told_in_order(gateway: Any, shop: Any) -> None:
    made = await gateway.create(capture_method="manual")
    ours = made["metadata"]["intent_id"]
    await gateway.control(ours, "decline")
    await gateway.control(ours, "success")
    await gateway.post(f"/payment_intents/{made['id']}/capture", {})
    await gateway.control(ours, "refund", amount=500)
    await gateway.control(ours, "dispute")
    await gateway.control(ours, "dispute", outcome="lost")
    events = await settled(gateway, ours)
    types = [event["type"] for event in events]
    assert types == [
        "payment_intent.payment_failed",
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.closed",
    ]
    assert sorted(shop.of(made["id"])) == sorted(types)


async def test_a_webhook_is_sent_until_it_is_taken(gateway: Any, shop: Any) -> None:
    shop.answers.extend([503, 404])
    paid = await gateway.paid()
    [event] = await settled(gateway, paid["id"])
    assert (event["attempts"], event["state"]) == (3, "DELIVERED")
    assert shop.ids(paid["id"]) == {event["id"]: 1}


async def test_duplicates_come_at_once(gateway: Any, shop: Any) -> None:
    await gateway.turn(duplicate=1)
    paid = await gateway.paid()
    [event] = await settled(gateway, paid["id"])
    assert shop.ids(paid["id"]) == {event["id"]: 2}


async def test_a_dropped_webhook_never_comes(gateway: Any, shop: Any) -> None:
    await gateway.turn(drop=1)
    paid = await gateway.paid()
    [event] = await told(gateway, paid["id"])
    assert event["state"] == "DROPPED"
    await gateway.turn()
    other = await gateway.paid()
    await settled(gateway, other["id"])
    assert shop.of(paid["id"]) == []


async def test_a_bad_signature_is_followed_by_a_good_one(gateway: Any, shop: Any) -> None:
    await gateway.turn(bad_signature=1.0)
    refused = shop.refused
    paid = await gateway.paid()
    [event] = await settled(gateway, paid["id"])
    assert (event["attempts"], shop.refused - refused) == (2, 1)
    assert shop.of(paid["id"]) == ["payment_intent.succeeded"]


async def test_delayed_webhooks_are_overtaken(gateway: Any, shop: Any) -> None:
    made = await gateway.create()
    await gateway.turn(delay_ms=1500)
    await gateway.control(made["id"], "decline")
    await gateway.turn()
    await gateway.control(made["id"], "success")
    await settled(gateway, made["id"])
    assert shop.of(made["id"]) == ["payment_intent.succeeded", "payment_intent.payment_failed"]


async def test_a_disputing_bank_disputes_at_once(gateway: Any) -> None:
    await gateway.turn(dispute=1.0)
    paid = await gateway.paid()
    types = [event["type"] for event in await settled(gateway, paid["id"])]
    assert types == ["payment_intent.succeeded", "charge.dispute.created"]
    refused = await gateway.post("/refunds", {"payment_intent": paid["id"]})
    assert refused.json()["error"]["code"] == "charge_disputed"


async def test_declines_are_drawn_from_the_seed(gateway: Any) -> None:
    async def run() -> list[str]:
        await gateway.turn(decline_rate=0.5, seed=7)
        statuses = []
        for _ in range(12):
            made = await gateway.create()
            await gateway.client.post(f"/simulator/pay/{made['id']}/pay")
            statuses.append((await gateway.get(f"/payment_intents/{made['id']}")).json()["status"])
        return statuses

    first = await run()
    assert set(first) == {"succeeded", "requires_payment_method"}
    assert await run() == first


async def test_a_storm_sends_every_event_many_times(gateway: Any, shop: Any) -> None:
    made = await gateway.create()
    await gateway.control(made["id"], "decline")
    await gateway.control(made["id"], "success")
    await settled(gateway, made["id"])
    sent = await gateway.control(made["id"], "storm", times=50)
    assert sent == {"sent": 100, "answers": {"200": 100}}
    assert sorted(shop.ids(made["id"]).values()) == [51, 51]


async def test_a_shuffle_is_repeated_by_its_seed(gateway: Any, shop: Any) -> None:
    paid = await gateway.paid()
    for _ in range(3):
        await gateway.control(paid["id"], "refund", amount=100)
    await settled(gateway, paid["id"])

    async def run(seed: int) -> list[str]:
        before = len(shop.taken)
        await gateway.control(paid["id"], "shuffle", times=3, seed=seed)
        return [event["id"] for event in shop.taken[before:]]

    first = await run(1)
    assert len(first) == 21
    assert await run(1) == first
    assert await run(2) != first


@pytest.mark.parametrize("switches", [{"drop": 1.5}, {"drop": -0.1}, {"delay_ms": -1}, {"unknown": 1}, {"seed": "x"}])
async def test_impossible_switches_are_refused(gateway: Any, switches: dict[str, Any]) -> None:
    answer = await gateway.client.post("/simulator/control/switches", json=switches)
    assert answer.status_code == 400
    assert (await gateway.client.get("/simulator/control/switches")).json()["drop"] == 0


async def test_switches_are_kept_and_switched_off_together(gateway: Any) -> None:
    await gateway.turn(drop=0.25, seed=3)
    found = (await gateway.client.get("/simulator/control/switches")).json()
    assert (found["drop"], found["seed"]) == (0.25, 3)
    await gateway.turn(seed=4)
    assert (await gateway.client.get("/simulator/control/switches")).json()["drop"] == 0


async def test_many_webhooks_are_all_taken_once(gateway: Any, shop: Any) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def pay() -> dict[str, Any]:
        async with turn:
            intent: dict[str, Any] = await gateway.create()
            await gateway.control(intent["id"], "success")
            return intent

    made = await asyncio.gather(*(pay() for _ in range(MANY)))
    for intent in made:
        await settled(gateway, intent["id"])
    assert [shop.of(intent["id"]) for intent in made] == [["payment_intent.succeeded"]] * MANY
