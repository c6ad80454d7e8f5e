"""The commands people run against a platform at work, each as its own process."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from careforall.launch.ports import LOOPBACK, free_port
from careforall.launch.processes import end_group, spawn
from careforall_testing.journey import Journey
from careforall_testing.platform import client_of
from careforall_testing.polling import eventually

pytestmark = pytest.mark.timeout(180)


async def said(journey: Journey, *words: str, status: int = 0) -> str:
    """Run a command that must end with a status, and return what it printed."""
    found = await journey.platform.cli(*words, timeout_s=120)
    assert found.status == status, found.out + found.err
    assert "Traceback" not in found.err
    return found.out + found.err


async def test_simulate_pays_refunds_and_tells_each_step(journey: Journey) -> None:
    gift = await journey.give(await journey.campaign(), amount="30.00")
    intent = gift["payment_intent"]["id"]
    told = await said(journey, "simulate", "success", intent)
    assert intent in told
    assert "succeeded" in told
    await journey.donation_in(gift, "COMPLETED")
    assert "refunded 10.00 EUR" in await said(journey, "simulate", "refund", intent, "--amount", "10.00")

    async def refunded() -> bool:
        return bool((await journey.donation(gift))["refunded_amount"] == "10.00")

    await eventually(refunded, within_s=20, what="the refund on the donation")
    assert "does not lead to the simulated gateway" in await said(journey, "simulate", "decline", intent, status=1)


@pytest.mark.parametrize(
    "words", [("success", "nonsense"), ("success", "00000000-0000-0000-0000-000000000000"), ("decline", "x", "--amount", "1")]
)
async def test_simulate_refuses_what_makes_no_sense(journey: Journey, words: tuple[str, ...]) -> None:
    await said(journey, "simulate", *words, status=2)


async def test_verify_proves_the_books_and_writes_its_report(journey: Journey, tmp_path: Path) -> None:
    await journey.completed_gift()
    await journey.settled()
    file = tmp_path / "report.json"
    await said(journey, "verify", "--full", "--json", str(file))
    report: dict[str, Any] = json.loads(file.read_bytes())
    assert report["ok"] is True
    await said(journey, "verify")


async def test_verify_notices_a_cent_that_is_missing(journey: Journey) -> None:
    gift = await journey.completed_gift()
    await journey.settled()
    await _shift(journey, gift, "- 0.01")
    try:
        told = await said(journey, "verify", "--full", status=1)
        assert "totals" in told
    finally:
        await _shift(journey, gift, "+ 0.01")
    await said(journey, "verify", "--full")


async def _shift(journey: Journey, gift: dict[str, Any], change: str) -> None:
    """Falsify the totals of a gift's campaign behind everybody's back."""
    async with journey.platform.database("totals") as totals:
        sql = f"UPDATE campaign_totals SET total_amount = total_amount {change} WHERE campaign_id = $1"
        assert await totals.execute(sql, UUID(gift["campaign_id"])) == "UPDATE 1"


async def test_explain_tells_the_story_of_every_kind_of_id(journey: Journey, tmp_path: Path) -> None:
    gift = await journey.completed_gift()
    await journey.settled()
    for identifier in (gift["id"], gift["payment_intent"]["id"]):
        told = await said(journey, "explain", identifier)
        assert "donations.created" in told
        assert "payments.captured" in told
    file = tmp_path / "story.json"
    await said(journey, "explain", gift["id"], "--json", str(file))
    services = {entry["service"] for entry in json.loads(file.read_bytes())["entries"]}
    assert {"donations", "payments", "totals", "notifications", "audit"} <= services
    await said(journey, "explain", "01900000-0000-7000-8000-000000000000", status=1)


async def test_events_sent_again_change_nothing(journey: Journey) -> None:
    campaign = await journey.campaign()
    gift = await journey.completed_gift(campaign)
    await journey.settled()
    before = await journey.totals(campaign)
    told = await said(journey, "relay", "replay", "all")
    assert "donations: " in told
    assert "will be sent again" in told
    for service in journey.platform.databases:
        async with journey.platform.database(service) as database:
            await database.execute("UPDATE outbox SET next_retry_at = NULL WHERE status = 'PENDING'")
    await journey.settled()
    assert (await journey.totals(campaign))["total_amount"] == before["total_amount"]
    assert (await journey.donation(gift))["version"] == 2
    await said(journey, "verify", "--full")


async def test_a_snapshot_sends_the_present_state(journey: Journey) -> None:
    campaign = await journey.campaign()
    await journey.completed_gift(campaign)
    await journey.settled()
    told = await said(journey, "relay", "snapshot", "donations")
    assert "donations: done" in told
    await journey.settled()
    totals = await journey.totals(campaign)
    assert (totals["total_amount"], totals["total_donations"]) == ("10.00", 1)


async def test_a_view_is_refreshed_and_an_unknown_one_is_not(journey: Journey) -> None:
    assert "campaign_totals: refreshed" in await said(journey, "refresh-view", "campaign_totals")
    assert "known: campaign_totals" in await said(journey, "refresh-view", "nonsense", status=2)


async def test_caches_are_filled_ahead(journey: Journey) -> None:
    campaign = await journey.campaign()
    await journey.completed_gift(campaign)
    await journey.totals_when(campaign, total_donations=1)
    async with redis.asyncio.Redis.from_url(journey.servers.redis.url) as valkey:
        await valkey.flushall()
        assert "totals: warm" in await said(journey, "prewarm")
        assert [key async for key in valkey.scan_iter(f"*{campaign}*")]


async def test_the_openapi_document_is_the_live_one(journey: Journey) -> None:
    printed = json.loads(await said(journey, "openapi"))
    live = (await journey.client.get("/openapi.json")).json()
    assert printed["paths"] == live["paths"]


async def test_status_tells_that_no_instance_of_this_clone_runs(journey: Journey, tmp_path: Path) -> None:
    journey.platform.environment["CAREFORALL_STATE_DIR"] = str(tmp_path)
    try:
        told = await said(journey, "status", "--instance", "nobody", status=1)
    finally:
        del journey.platform.environment["CAREFORALL_STATE_DIR"]
    assert "nobody" in told


async def test_a_port_that_somebody_shares_is_not_joined(journey: Journey) -> None:
    with socket.create_server((LOOPBACK, 0), reuse_port=True) as sharing:
        port = sharing.getsockname()[1]
        told = await said(journey, "serve", "donations", "--port", str(port), status=1)
    assert f"Port {port} of 127.0.0.1 is taken by another program: stop that, or choose another port." in told


async def test_the_workers_of_one_command_share_its_port(journey: Journey, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "careforall", "serve", "donations", "--role", "api", "--port", str(port), "--workers", "2"]
    process = spawn(command, log=tmp_path / "log", env=journey.platform.environment, death_signal=signal.SIGKILL)

    async def both() -> bool:
        return (tmp_path / "log").read_text().count('"ready"') == 2

    try:
        await eventually(both, within_s=30, what="both workers")
        async with client_of(f"http://{LOOPBACK}:{port}") as client:
            assert (await client.get("/readyz")).status_code == 200
    finally:
        end_group(process.pid)
        process.wait()
