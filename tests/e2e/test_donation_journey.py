"""A gift from the click to the receipt, over HTTP, with every service and the simulated gateway as real processes."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from careforall_testing.journey import Journey, running_platform
from careforall_testing.polling import eventually


@pytest.fixture(scope="module")
async def journey() -> AsyncIterator[Journey]:
    async with running_platform() as journey:
        yield journey


async def test_a_gift_travels_from_click_to_receipt(journey: Journey) -> None:
    campaign = await journey.campaign()
    gift = await journey.give(campaign, amount="25.00", donor_email="donor7@example.org", donor_name="Seventh Donor")
    await journey.simulate("success", gift["payment_intent"]["id"])

    done = await journey.donation_in(gift, "COMPLETED")
    assert (done["amount"], done["refunded_amount"], done["version"]) == ("25.00", "0.00", 2)
    totals = await journey.totals_when(campaign, total_donations=1)
    assert (totals["total_amount"], totals["net_amount"], totals["unique_donors"]) == ("25.00", "25.00", 1)
    subjects = ["Receipt: €25.00", "We have noted your gift of €25.00"]
    assert sorted(await journey.mailed("donor7@example.org", *subjects)) == subjects

    steps = (await journey.get(f"/api/v1/donations/{gift['id']}/audit", receipt=gift["receipt_token"]))["value"]
    assert [(step["from"], step["to"]) for step in steps] == [(None, "PENDING"), ("PENDING", "COMPLETED")]
    payment = await journey.as_admin(f"/api/v1/payments/{gift['payment_intent']['id']}")
    assert payment["status"] == "CAPTURED"
    assert [step["to"] for step in payment["transitions"]][-2:] == ["AUTHORIZED", "CAPTURED"]


async def test_every_step_is_in_the_audit_trail(journey: Journey) -> None:
    gift = await journey.completed_gift()

    async def types() -> set[str]:
        events = await journey.as_admin(f"/api/v1/audit/events?aggregate_id={gift['id']}")
        more = await journey.as_admin(f"/api/v1/audit/events?aggregate_id={gift['payment_intent']['id']}")
        return {event["event_type"] for event in [*events["items"], *more["items"]]}

    wanted = {"donations.created", "payments.intent_created", "payments.captured", "donations.completed"}

    async def all_there() -> bool:
        return wanted <= await types()

    await eventually(all_there, what="audit trail")


async def test_one_trace_shows_it_all(journey: Journey) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    campaign = await journey.campaign()
    gift = await journey.give(campaign, headers={"traceparent": traceparent})
    await journey.simulate("success", gift["payment_intent"]["id"])
    await journey.donation_in(gift, "COMPLETED")

    async def names() -> set[str]:
        answer = await journey.client.get("/api/v1/admin/traces/4bf92f3577b34da6a3ce929d0e0e4736", headers=journey.admin)
        return {span["name"] for span in answer.json()["spans"]} if answer.status_code == 200 else set()

    async def enough() -> bool:
        steps = {"transaction donations", "send donations.created", "process donations.created", "transaction payments"}
        return {"POST /api/v1/donations", *steps} <= await names()

    await eventually(enough, within_s=15, what="trace")


async def test_a_refund_lowers_the_net_and_ends_the_gift(journey: Journey) -> None:
    campaign = await journey.campaign()
    gift = await journey.completed_gift(campaign, amount="40.00")
    refund = f"/api/v1/payments/{gift['payment_intent']['id']}/refund"

    refused = await journey.client.post(refund, json={"reason": "asked for"}, headers=journey.admin)
    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_required")
    part = {"amount": "15.00", "reason": "asked for"}
    first = await journey.client.post(refund, json=part, headers=journey.admin | {"Idempotency-Key": "refund-1"})
    again = await journey.client.post(refund, json=part, headers=journey.admin | {"Idempotency-Key": "refund-1"})
    assert (first.status_code, again.content) == (first.status_code, first.content)
    assert first.status_code in {200, 201, 202}, first.text
    totals = await journey.totals_when(campaign, refunded_amount="15.00")
    assert (totals["total_amount"], totals["net_amount"]) == ("40.00", "25.00")

    rest = await journey.client.post(refund, json={"reason": "the rest"}, headers=journey.admin | {"Idempotency-Key": "refund-2"})
    assert rest.status_code == first.status_code, rest.text
    await journey.donation_in(gift, "REFUNDED")
    totals = await journey.totals_when(campaign, net_amount="0.00")
    assert (totals["total_amount"], totals["total_donations"], totals["unique_donors"]) == ("40.00", 1, 1)
    more = await journey.client.post(refund, json={"reason": "too much"}, headers=journey.admin | {"Idempotency-Key": "refund-3"})
    assert more.status_code in {409, 422}, more.text


@pytest.mark.parametrize(("outcome", "status", "net"), [("won", "WON", "25.00"), ("lost", "LOST", "0.00")])
async def test_a_dispute_lowers_the_net_until_it_is_won(journey: Journey, outcome: str, status: str, net: str) -> None:
    campaign = await journey.campaign()
    gift = await journey.completed_gift(campaign, amount="25.00")
    intent = gift["payment_intent"]["id"]
    await journey.simulate("dispute", intent)
    totals = await journey.totals_when(campaign, net_amount="0.00")
    assert (totals["total_amount"], totals["refunded_amount"], totals["total_donations"]) == ("25.00", "0.00", 1)
    shown = await journey.donation_in(gift, "COMPLETED")
    assert (shown["disputed_amount"], shown["refunded_amount"]) == ("25.00", "0.00")

    decided = await journey.client.post(f"/simulator/control/{intent}/dispute", json={"outcome": outcome})
    assert decided.is_success, decided.text
    payment = await _decided(journey, intent, status)
    assert (payment["status"], payment["disputed_amount"]) == ("CAPTURED", "0.00" if outcome == "won" else "25.00")
    await journey.settled()
    assert (await journey.totals_when(campaign, net_amount=net))["total_amount"] == "25.00"
    steps = (await journey.get(f"/api/v1/donations/{gift['id']}/audit", receipt=gift["receipt_token"]))["value"]
    assert [step["cause"] for step in steps][2:] == ["payments.disputed"] * 2


async def test_totals_export_and_ledger_say_the_same_of_a_campaign(journey: Journey) -> None:
    campaign = await journey.campaign()
    gifts = [await journey.completed_gift(campaign, amount=amount) for amount in ("40.00", "25.00", "10.00")]
    refund = f"/api/v1/payments/{gifts[0]['payment_intent']['id']}/refund"
    body = {"amount": "15.00", "reason": "asked for"}
    await journey.client.post(refund, json=body, headers=journey.admin | {"Idempotency-Key": f"refund-{campaign}"})
    await journey.simulate("dispute", gifts[1]["payment_intent"]["id"])
    totals = await journey.totals_when(campaign, net_amount="35.00")
    assert (totals["total_amount"], totals["refunded_amount"]) == ("75.00", "15.00")

    exported = await journey.client.get(f"/api/v1/donations/export?campaign_id={campaign}", headers=journey.admin)
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert sum(Decimal(row["net"]) for row in rows) == Decimal(totals["net_amount"])
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal(totals["total_amount"])
    ledger = await journey.as_admin(f"/api/v1/payments/ledger/balances?campaign_id={campaign}")
    balances = {one["account"]: one["balance"] for one in ledger["items"]}
    expected = {f"campaign:{campaign}": "-75.00", "refunds": "15.00", "disputes": "25.00", "gateway:simulator": "35.00"}
    assert balances == expected
    entries = await journey.as_admin(f"/api/v1/payments/ledger?account=campaign:{campaign}&limit=2")
    assert [entry["kind"] for entry in entries["items"]] == ["CAPTURE"] * 2
    assert len((await journey.as_admin(f"/api/v1/payments/ledger?cursor={entries['next_cursor']}&limit=100"))["items"]) >= 1
    stranger = await journey.sign_up("donor9@example.org")
    for path in ("ledger", "ledger/balances"):
        assert (await journey.client.get(f"/api/v1/payments/{path}", headers=stranger)).status_code == 403


async def test_a_failed_payment_fails_the_gift(journey: Journey) -> None:
    gift = await journey.give(await journey.campaign())
    await journey.simulate("failed", gift["payment_intent"]["id"])
    await journey.donation_in(gift, "FAILED")


async def test_a_decline_leaves_the_intent_payable(journey: Journey) -> None:
    gift = await journey.give(await journey.campaign())
    await journey.simulate("decline", gift["payment_intent"]["id"])
    assert (await journey.donation(gift))["status"] == "PENDING"
    await journey.simulate("success", gift["payment_intent"]["id"])
    await journey.donation_in(gift, "COMPLETED")


@pytest.mark.parametrize("verb", ["storm", "shuffle"])
async def test_duplicates_and_disorder_change_nothing(journey: Journey, verb: str) -> None:
    campaign = await journey.campaign()
    gift = await journey.completed_gift(campaign, amount="10.00")
    await journey.simulate(verb, gift["payment_intent"]["id"])
    await journey.settled()
    totals = await journey.totals(campaign)
    assert (totals["total_amount"], totals["total_donations"]) == ("10.00", 1)
    assert (await journey.donation(gift))["version"] == 2


async def test_live_totals_are_pushed(journey: Journey) -> None:
    campaign = await journey.campaign()
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async with journey.client.stream("GET", f"/api/v1/totals/campaigns/{campaign}/stream", timeout=30) as stream:
            async for line in stream.aiter_lines():
                await heard.put(line)

    listener = asyncio.create_task(listen())
    try:
        await journey.completed_gift(campaign, amount="12.00")

        async def told() -> bool:
            return "12.00" in await asyncio.wait_for(heard.get(), 20)

        await eventually(told, within_s=20, what="pushed totals")
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def test_the_same_key_gives_the_same_gift(journey: Journey) -> None:
    campaign = await journey.campaign()
    body = journey.gift_body(campaign)
    key = {"Idempotency-Key": "one-gift"}
    answers = await asyncio.gather(*(journey.client.post("/api/v1/donations", json=body, headers=key) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    later = await journey.client.post("/api/v1/donations", json=body, headers=key)
    assert later.headers["idempotent-replayed"] == "true"
    other = await journey.client.post("/api/v1/donations", json=body | {"amount": "11.00"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_others_see_nothing(journey: Journey) -> None:
    gift = await journey.completed_gift()
    stranger: dict[str, Any] = await journey.sign_up("donor9@example.org")
    for path in (f"/api/v1/donations/{gift['id']}", f"/api/v1/payments/{gift['payment_intent']['id']}"):
        assert (await journey.client.get(path, headers=stranger)).status_code == 404
    assert (await journey.client.get(f"/api/v1/donations/{gift['id']}")).status_code == 404
    assert (await journey.client.get("/api/v1/donations/export", headers=stranger)).status_code == 403


async def _decided(journey: Journey, intent: str, status: str) -> dict[str, Any]:
    """Wait until the payment's dispute is decided, and return the payment."""

    async def look() -> dict[str, Any] | None:
        payment: dict[str, Any] = await journey.as_admin(f"/api/v1/payments/{intent}")
        return payment if [dispute["status"] for dispute in payment["disputes"]] == [status] else None

    found: dict[str, Any] = await eventually(look, within_s=20, what=f"dispute {status}")
    return found


async def test_verify_finds_the_books_in_order(journey: Journey) -> None:
    await journey.completed_gift()
    await journey.settled()
    result = await journey.platform.cli("verify", "--full")
    assert result.status == 0, result.out + result.err


async def test_staff_of_a_long_drill_sign_in_anew_before_their_token_ends(journey: Journey) -> None:
    first = journey.admin
    assert await journey.staff() == first
    before, journey.fresh_s = journey.fresh_s, 0.0
    again = await journey.staff()
    journey.fresh_s = before
    assert again != first
    assert (await journey.client.get("/api/v1/donations/export", headers=again)).status_code == 200
