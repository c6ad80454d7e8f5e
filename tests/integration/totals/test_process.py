"""The service as a real process: events through the broker, HTTP and live streams out of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.contracts.donations import CampaignCreated, DonationCompleted, DonationRefunded, DonationSnapshot
from careforall.kit import secrets
from careforall.kit.bus import Bus
from careforall.kit.envelope import Event, Posted, seal
from careforall.kit.http.identity import ServiceTokens
from careforall.kit.ids import new_id
from careforall.kit.publishing import Ack
from careforall.launch.servers import Nats
from careforall_testing.callers import signing_in
from careforall_testing.platform import Platform, platform
from careforall_testing.servers import ServerUrls

PATH = "/api/v1/totals/campaigns"
SOON = 20.0
FORGE = "UPDATE campaign_totals SET total_donations = total_donations + $2 WHERE campaign_id = $1"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + SOON
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
async def serving(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Platform]:
    async with platform(msgspec.structs.replace(servers, nats=own_nats.url), ["totals"]) as running:
        yield running


@pytest.fixture(scope="module")
async def bus(serving: Platform, own_nats: Nats) -> AsyncIterator[Bus]:
    assert serving.first.alive  # it declares the streams
    opened = Bus(own_nats.url, name="donations-stand-in")
    await opened.open()
    yield opened
    await opened.close()


class Donation:
    """Tells what the donations service tells of one gift."""

    def __init__(self, campaign: UUID, donor: str, amount: str) -> None:
        self.id = new_id()
        self.facts: dict[str, Any] = {
            "donation_id": self.id,
            "campaign_id": campaign,
            "intent_id": new_id(),
            "amount": Decimal(amount),
            "currency": "EUR",
            "donor_key": donor,
        }

    def completed(self) -> Posted:
        event = DonationCompleted(
            **self.facts, status="COMPLETED", donor_email="donor1@example.org", completed_at=datetime.now(UTC)
        )
        return sealed(event, self.id, 2)

    def refunded(self, amount: str) -> Posted:
        event = DonationRefunded(
            **self.facts,
            status="COMPLETED",
            donor_email="donor1@example.org",
            refunded_amount=Decimal(amount),
            refunded_at=datetime.now(UTC),
        )
        return sealed(event, self.id, 3)

    def snapshot(self, status: Any, version: int) -> Posted:
        return sealed(DonationSnapshot(**self.facts, status=status), self.id, version)


def sealed(event: Event, aggregate: UUID, version: int) -> Posted:
    identifier = new_id()
    payload = seal(
        event,
        subject=event.SUBJECT,
        event_id=identifier,
        aggregate_id=aggregate,
        aggregate_version=version,
        source="donations",
        correlation_id="",
    )
    return Posted(event.SUBJECT, str(identifier), payload)


async def publish(bus: Bus, *messages: Posted) -> None:
    answers = await bus.publish_window(messages)
    assert all(isinstance(answer, Ack) for answer in answers), answers


async def totals(serving: Platform, campaign: UUID, query: str = "") -> Any:
    answer = await serving.client.get(f"{PATH}/{campaign}{query}")
    assert answer.status_code == 200
    return answer.json()


async def test_events_become_totals_once(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    first, second = Donation(campaign, "donor-1", "25.00"), Donation(campaign, "donor-2", "10.00")
    refund, completed = first.refunded("5.00"), first.completed()
    doubled = completed._replace(message_id=str(new_id()))  # past the broker's own memory, to the inbox
    await publish(bus, refund, completed, doubled, second.completed(), second.completed())

    async def counted() -> bool:
        return bool((await totals(serving, campaign, "?realtime=true"))["total_donations"] == 2)

    await until(counted)
    found = await totals(serving, campaign, "?realtime=true")
    assert (found["total_amount"], found["refunded_amount"], found["net_amount"]) == ("35.00", "5.00", "30.00")

    async def cached() -> bool:
        found = await totals(serving, campaign)
        return (found["cache_level"], found["total_amount"]) == ("redis", "35.00")

    await until(cached)


async def test_only_captured_money_of_a_snapshot_counts(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    pledge, failed, gift = (Donation(campaign, f"donor-{number}", "10.00") for number in range(3))
    await publish(bus, pledge.snapshot("PENDING", 1), failed.snapshot("FAILED", 2), gift.snapshot("COMPLETED", 2))

    async def counted() -> bool:
        return bool((await totals(serving, campaign, "?realtime=true"))["total_donations"] == 1)

    await until(counted)
    await publish(bus, pledge.completed())

    async def counted_both() -> bool:
        return bool((await totals(serving, campaign, "?realtime=true"))["total_donations"] == 2)

    await until(counted_both)


async def test_a_poisoned_event_is_put_apart(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    good, bad = Donation(campaign, "donor-1", "10.00"), Donation(campaign, "donor-2", "10.00")
    bad.facts["currency"] = "USD"
    await publish(bus, good.completed())
    await until(lambda: _has(serving, campaign, 1))
    await publish(bus, bad.completed(), Donation(campaign, "donor-3", "1.00").completed())
    await until(lambda: _has(serving, campaign, 2))
    async with serving.database("totals") as connection:

        async def buried() -> bool:
            reason = await connection.fetchval("SELECT reason FROM dead_letters WHERE aggregate_id = $1", bad.id)
            return "CurrencyMismatch" in (reason or "")

        await until(buried)


async def test_zeros_of_a_known_campaign(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    created = CampaignCreated(campaign_id=campaign, title="Wells", goal=Decimal(1000), currency="JPY", status="LIVE")
    await publish(bus, sealed(created, campaign, 1))

    async def known() -> bool:
        found = await totals(serving, campaign)
        return (found["currency"], found["total_amount"]) == ("JPY", "0")

    await until(known)


async def test_a_live_stream_over_the_wire(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    async with asyncio.timeout(SOON), serving.client.stream("GET", f"{PATH}/{campaign}/stream") as answer:
        data = (line.removeprefix("data: ") async for line in answer.aiter_lines() if line.startswith("data: "))
        assert msgspec.json.decode(await anext(data))["total_amount"] == "0.00"
        await publish(bus, Donation(campaign, "donor-1", "10.00").completed())
        assert msgspec.json.decode(await anext(data))["total_amount"] == "10.00"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # the name of the algorithm, not the algorithm
async def test_the_internal_refresh_needs_a_service_token(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    await publish(bus, Donation(campaign, "donor-1", "10.00").completed())
    await until(lambda: _has(serving, campaign, 1))
    url = f"{serving.first.internal_url}/api/v1/totals/refresh"
    assert (await serving.client.post(url)).status_code == 401
    seed = secrets.derive(serving.environment["CAREFORALL_SECRET_KEY"], "service tokens")
    headers = {"Authorization": f"Bearer {ServiceTokens(seed, 'donations').issue('totals')}"}
    for body in (None, {}, {"campaign_id": str(campaign)}):
        answer = await serving.client.post(url, headers=headers, json=body)
        assert (answer.status_code, answer.json()["refreshed"]) == (200, str(campaign) if body else "campaign_totals")
    async with serving.database("totals") as connection:
        assert await connection.fetchval("SELECT total_donations FROM campaign_totals_mv WHERE campaign_id = $1", campaign) == 1
    assert (await serving.client.post(url, headers=headers, json={"campaign": "x"})).status_code == 422


async def test_staff_alone_refresh_from_outside(serving: Platform) -> None:
    assert (await serving.client.post("/api/v1/totals/refresh")).status_code == 401


async def test_staff_compare_at_any_time_and_the_metric_follows(serving: Platform, bus: Bus) -> None:
    campaign = new_id()
    await publish(bus, Donation(campaign, "donor-1", "10.00").completed())
    await until(lambda: _has(serving, campaign, 1))
    async with signing_in(serving) as callers:
        for change, sources in ((1, ["base_table", "materialized_view"]), (-1, [])):
            async with serving.database("totals") as connection:
                await connection.execute(FORGE, campaign, change)
            answer = await serving.client.post("/api/v1/totals/compare", headers=callers.admin())
            assert answer.json() | {"campaigns": 1} == {
                "campaigns": 1,
                "differences": len(sources),
                "differing": [{"campaign_id": str(campaign), "source": source} for source in sources],
            }
            metrics = (await serving.client.get("/metrics")).text
            for source in ("base_table", "materialized_view"):
                assert f'careforall_totals_drift{{source="{source}"}} {float(source in sources)}' in metrics


async def test_cache_reads_are_counted_by_level(serving: Platform) -> None:
    campaign = new_id()
    for _ in range(3):
        await totals(serving, campaign)
    metrics = (await serving.client.get("/metrics")).text
    for level in ("process", "redis", "materialized_view", "base_table"):
        for name in ("cache_hits_total", "cache_misses_total", "cache_hit_ratio"):
            assert f'{name}{{cache_type="{level}",service="totals"}}' in metrics


async def _has(serving: Platform, campaign: UUID, donations: int) -> bool:
    return bool((await totals(serving, campaign, "?realtime=true"))["total_donations"] == donations)
