"""Captured payments of which the gift was never told: announced again until it is completed, else told to a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.contracts.donations import GiftStates, GiftStatesAsked
from careforall.kit import json
from careforall.kit.bus import BrokerUnavailable
from careforall.kit.ids import id_at, new_id
from careforall.payments.completing import Completing
from careforall_testing.callers import signing_in
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls
from careforall_testing.signing import GENERIC, sign_generic

_LOSE = "UPDATE outbox SET status = 'PROCESSED' WHERE status = 'PENDING'"


def an_hour_ago(number: int) -> UUID:
    """An id as it was made an hour ago."""
    return id_at(datetime.now(UTC) - timedelta(hours=1), number)


@pytest.fixture
async def running(servers: ServerUrls, own_nats: Any) -> AsyncIterator[Platform]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    options = {"CAREFORALL_COMPLETION_SECONDS": "10", "CAREFORALL_INTENT_HOURS": "0.02"}
    async with platform(urls, databases_of=["donations", "payments"], **options) as running:
        await running.serve(["donations", "payments"], role="api")
        await running.serve(["donations", "payments"], role="worker")
        yield running


async def test_a_gift_that_never_heard_of_its_payment_is_completed(running: Platform) -> None:
    """The event of the capture is lost on its way; the payment is announced again, and the gift completed once."""
    async with signing_in(running) as callers:
        body = {"title": "Water", "story": "Wells.", "goal": "100.00", "currency": "EUR", "status": "LIVE"}
        campaign = (await running.client.post("/api/v1/campaigns", json=body, headers=callers.admin())).json()["id"]
    gift_body = {"campaign_id": campaign, "donor_email": "donor1@example.org", "amount": "25.00", "currency": "EUR"}
    gift = (await running.client.post("/api/v1/donations", json=gift_body)).json()
    intent = gift["payment_intent"]["id"]
    async with running.database("payments") as payments:

        async def known() -> bool:
            return bool(await payments.fetchval("SELECT count(*) FROM payment_intents WHERE id = $1", intent))

        await eventually(known, within_s=20, what="the intent")
        await running.processes[1].stop()
        event = json.encode({"event_id": str(new_id()), "payment_intent_id": intent, "status": "SUCCESS"})
        secret = running.environment["CAREFORALL_WEBHOOK_SECRETS"].partition(",")[0]
        told = await running.client.post(GENERIC, content=event, headers=sign_generic(secret, event))
        assert told.json()["status"] == "processed"
        await payments.execute(_LOSE)
        running.processes[1].launch()
        await running.processes[1].wait_ready()

        async def completed() -> bool:
            answer = await running.client.get(
                f"/api/v1/donations/{gift['id']}", headers={"X-Receipt-Token": gift["receipt_token"]}
            )
            return bool(answer.json()["status"] == "COMPLETED")

        await eventually(completed, within_s=60, what="the gift is completed")
        assert await payments.fetchval("SELECT count(*) FROM payment_alarms") == 0


async def test_a_payment_whose_gift_stays_behind_is_told_to_a_person(arena: Any, servers: ServerUrls) -> None:
    asked: list[GiftStatesAsked] = []

    async with arena.open(servers) as till:
        done, waiting, unknown, unpaid = [await till.pledge(identifier=an_hour_ago(number)) for number in range(4)]

        async def answer(_subject: str, payload: bytes) -> bytes:
            asked.append(msgspec.json.decode(payload, type=GiftStatesAsked))
            return json.encode(GiftStates(states={done: "COMPLETED", waiting: "PENDING"}))

        completing = Completing(till.database, till.service.reconciling, till.service.refunding, answer, soon=60, late=600)
        for intent in (done, waiting, unknown):
            await till.tell(till.success(intent))
        async with till.database.connection() as connection:
            await connection.execute("UPDATE outbox SET status = 'PROCESSED'")
        assert await completing.complete() == 4
        assert await till.count("payment_alarms") == 0, "who was just announced again has until the next pass"
        assert await completing.complete() == 2
        assert await completing.complete() == 0
        assert {intent for one in asked for intent in one.intent_ids} == {done, waiting, unknown}
        rows = await till.database.fetch("SELECT aggregate_id, event_type FROM outbox WHERE status = 'PENDING'")
        assert {(row["aggregate_id"], row["event_type"]) for row in rows} == {
            (waiting, "payments.snapshot"),
            (unknown, "payments.snapshot"),
        }
        alarms = await till.database.fetch("SELECT payment_id FROM payment_alarms WHERE kind = 'captured_without_gift'")
        assert {row["payment_id"] for row in alarms} == {waiting, unknown}
        assert unpaid not in {row["aggregate_id"] for row in rows}


async def test_while_the_owner_of_the_gifts_is_away_nothing_is_passed_over(arena: Any, servers: ServerUrls) -> None:
    async with arena.open(servers) as till:
        await till.tell(till.success(await till.pledge(identifier=an_hour_ago(1))))
        with pytest.raises(BrokerUnavailable):
            await till.service.completing.complete()
        assert await till.count("completion_marks") == 0
