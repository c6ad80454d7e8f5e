"""Every crash point of batch, relay and consumer: the process kills itself there, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
import nats
import pytest

from careforall.contracts.payments import PaymentCaptured
from careforall.kit import crash
from careforall.kit.envelope import seal
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import signing_in
from careforall_testing.giving import DONATIONS, GivingHouse, gift
from careforall_testing.platform import Served, StartFailed, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

POINTS = sorted(point for point in crash.POINTS if point.split(".")[0] in {"batch", "relay"})
CONSUMER_POINTS = sorted(point for point in crash.POINTS if point.startswith("consumer."))


@pytest.fixture(scope="module")
async def house(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[GivingHouse]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with (
        platform(urls, ["donations"]) as running,
        signing_in(running) as callers,
        client_of(running.first.internal_url) as inner,
    ):
        yield GivingHouse(running=running, callers=callers, hot=running.client, cold=running.client, internal=inner)


@pytest.mark.timeout(120)
async def test_a_process_that_kills_itself_at_any_point_loses_and_doubles_nothing(house: GivingHouse) -> None:
    campaign = await house.campaign()
    served = house.running.first
    accepted: dict[str, bytes] = {}
    keys: list[str] = []
    for point in POINTS:
        await _started_or_dead(served, point)
        keys += (fresh := [str(new_id()) for _ in range(10)])
        accepted |= await _give_until_dead(house, campaign, fresh)
        assert await served.wait_dead() == -9, f"{point} was never reached"
    await served.restart(CAREFORALL_CRASH_AT="")
    for key in keys:
        answer = await house.hot.post(DONATIONS, json=gift(campaign), headers={"Idempotency-Key": key})
        assert answer.status_code == 201
        assert accepted.get(key, answer.content) == answer.content, "an acknowledged gift is the same gift for ever"
    async with house.running.database("donations") as database:
        assert await database.fetchval("SELECT count(*) FROM donations") == len(keys)
        assert await database.fetchval("SELECT count(*) FROM donation_history") == len(keys)
        assert await database.fetchval("SELECT count(*) FROM outbox WHERE event_type = 'donations.created'") == len(keys)
        unpublished = "SELECT count(*) FROM outbox WHERE status <> 'PROCESSED'"
        await eventually(lambda: _is_zero(database, unpublished), within_s=60, what="an empty outbox")


@pytest.mark.timeout(120)
async def test_a_consumer_that_kills_itself_at_any_point_applies_each_fact_once(house: GivingHouse) -> None:
    served, client = house.running.first, await nats.connect(house.running.environment["CAREFORALL_NATS_URL"])
    if not served.alive:
        await served.restart(CAREFORALL_CRASH_AT="")
    campaign = await house.campaign()
    ids: list[UUID] = []
    for point in CONSUMER_POINTS:
        gifts = [await house.give(campaign) for _ in range(5)]
        ids += [UUID(given["id"]) for given in gifts]
        await served.stop()
        for given in gifts:
            await client.jetstream().publish("payments.captured", _captured(given))
        served.launch(CAREFORALL_CRASH_AT=point)
        assert await served.wait_dead() == -9, f"{point} was never reached"
        await client.jetstream().delete_consumer("PAYMENTS", "donations-payments")  # so that everything is delivered again
        await served.restart(CAREFORALL_CRASH_AT="")
    await client.close()
    async with house.running.database("donations") as database:
        open_gifts = "SELECT count(*) FROM donations WHERE id = ANY($1) AND status <> 'COMPLETED'"
        await eventually(lambda: _is_zero(database, open_gifts, ids), within_s=30, what="all facts applied")
        assert await database.fetchval("SELECT count(*) FROM donation_history WHERE donation_id = ANY($1)", ids) == 2 * len(ids)
        told = "SELECT count(*) FROM outbox WHERE event_type = 'donations.completed' AND aggregate_id = ANY($1)"
        assert await database.fetchval(told, ids) == len(ids)


async def _started_or_dead(served: Served, point: str) -> None:
    """Start a process that may meet its crash point at once: rows of the round before wait for its relay."""
    await served.stop()
    served.launch(CAREFORALL_CRASH_AT=point)
    with suppress(StartFailed):
        await served.wait_ready()


def _captured(given: dict[str, Any]) -> bytes:
    intent = UUID(given["payment_intent"]["id"])
    event = PaymentCaptured(
        intent_id=intent,
        subject_type="DONATION",
        subject_id=UUID(given["id"]),
        amount=Decimal(given["amount"]),
        currency="EUR",
        gateway="simulator",
        captured_at=datetime.now(UTC),
    )
    return seal(
        event,
        subject=event.SUBJECT,
        event_id=new_id(),
        aggregate_id=intent,
        aggregate_version=2,
        source="payments",
        correlation_id="",
    )


async def _give_until_dead(house: GivingHouse, campaign: dict[str, Any], keys: list[str]) -> dict[str, bytes]:
    """Send gifts to a process that will die; the answers that were 201."""

    async def one(key: str) -> tuple[str, bytes] | None:
        try:
            answer = await house.hot.post(DONATIONS, json=gift(campaign), headers={"Idempotency-Key": key})
        except httpx2.HTTPError:
            return None
        return (key, answer.content) if answer.status_code == 201 else None

    return dict(found for found in await asyncio.gather(*(one(key) for key in keys)) if found)


async def _is_zero(database: Any, query: str, *arguments: Any) -> bool:
    return bool(await database.fetchval(query, *arguments) == 0)
