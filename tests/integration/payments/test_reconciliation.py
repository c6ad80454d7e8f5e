"""Reconciliation with a real gateway over HTTP: whichever webhooks were lost, we end in its state, or a person is told."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from careforall.kit import secrets
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.comparisons import first_comparisons
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

PATH = "/api/v1/payments/reconciliation"
ALARMS = "/api/v1/payments/alarms"
ENDED = {"FINISHED", "STOPPED"}


class Desk(Struct, frozen=True, kw_only=True):
    """Payments and the simulated gateway in one process; its webhooks are lost for good."""

    running: Platform
    callers: Callers
    inside: httpx2.AsyncClient

    async def intent(self, subject_type: str = "DONATION") -> str:
        body = {
            "subject_type": subject_type,
            "subject_id": str(new_id()),
            "amount": "25.00",
            "currency": "EUR",
            "title": "A well",
        }
        headers = {**self.callers.service("orders", "payments"), "Idempotency-Key": str(new_id())}
        answer = await self.inside.post("/api/v1/payments/intent", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def opened(self, *deeds: str, subject_type: str = "DONATION") -> str:
        """An intent whose payer was at the gateway, and what happened there."""
        intent = await self.intent(subject_type)
        answer = await self.running.client.post(f"/pay/{intent}")
        assert "/simulator/pay/" in answer.headers["location"]
        for deed in deeds:
            await self.does(intent, deed)
        return intent

    async def does(self, reference: str, verb: str, **body: Any) -> None:
        """Have the gateway do something to its object."""
        answer = await self.running.client.post(f"/simulator/control/{reference}/{verb}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text

    async def turn(self, **switches: Any) -> None:
        answer = await self.running.client.post("/simulator/control/switches", json=switches)
        assert answer.status_code == 200, answer.text

    async def shown(self, intent: str) -> dict[str, Any]:
        answer = await self.running.client.get(f"/api/v1/payments/{intent}", headers=self.callers.admin())
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def foreign(self, **body: Any) -> str:
        """An object that somebody made at the gateway without us, and that was paid."""
        key = secrets.derive(self.running.environment["CAREFORALL_SECRET_KEY"], "simulator api key").hex()
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": str(new_id())}
        wanted = {"amount": 2500, "currency": "eur", "metadata": {}, "return_url": "", **body}
        answer = await self.running.client.post("/simulator/v1/payment_intents", json=wanted, headers=headers)
        assert answer.status_code == 200, answer.text
        await self.does(answer.json()["id"], "success")
        return str(answer.json()["id"])

    async def order(self, by: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        """Order a run; `by` is who orders, under a key."""
        headers = by or {**self.callers.admin(), "Idempotency-Key": str(new_id())}
        return await self.running.client.post(f"{PATH}/run", json=body, headers=headers)

    async def got(self, path: str) -> Any:
        answer = await self.running.client.get(f"{PATH}{path}", headers=self.callers.admin())
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, run_id: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            run = await self.got(f"/{run_id}")
            return run if run["status"] in ENDED else None

        return dict(await eventually(look, within_s=60, what="the run ends") or {})

    async def compared(self, **body: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Run a comparison; return it, and its findings by payment or object."""
        answer = await self.order(gateway="simulator", **body)
        assert answer.status_code == 202, answer.text
        run = await self.ended(answer.json()["items"][0]["id"])
        assert (run["status"], run["reason"]) == ("FINISHED", "")
        findings = (await self.got(f"/{run['id']}/findings?limit=100"))["items"]
        return run, {found["payment_id"] or found["gateway_object"]: found for found in findings}


@pytest.fixture(scope="module")
async def desk(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Desk]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    options = {
        "CAREFORALL_GATEWAY_SECONDS": "2.0",
        "CAREFORALL_PAYS_PER_MINUTE": "100000",
        "CAREFORALL_RECONCILE_CALLS_PER_SECOND": "100",
    }
    async with (
        platform(urls, ["payments", "simulator"], **options) as running,
        signing_in(running) as callers,
        client_of(running.first.internal_url) as inside,
    ):
        await first_comparisons(running, callers, "simulator")
        yield Desk(running=running, callers=callers, inside=inside)


@pytest.fixture(autouse=True)
async def _deaf(desk: Desk) -> None:
    """Every webhook is lost."""
    await desk.turn(drop=1.0)


async def test_without_any_webhook_everything_ends_in_the_gateways_state(desk: Desk) -> None:
    paid, ended = await desk.opened("success"), await desk.opened("failed")
    held = await desk.opened("success", subject_type="ORDER")
    waiting, declined = await desk.opened(), await desk.opened("decline")
    run, found = await desk.compared()
    wanted = {paid: "CAPTURED", ended: "FAILED", held: "AUTHORIZED", waiting: "INITIATED", declined: "INITIATED"}
    assert {intent: (await desk.shown(intent))["status"] for intent in wanted} == wanted
    assert {one: (found[one]["bucket"], found[one]["action"]) for one in (paid, ended, held)} == dict.fromkeys(
        (paid, ended, held), ("theirs_only", "applied")
    )
    assert (found[paid]["ours"], found[paid]["theirs"]) == ("INITIATED 25.000 EUR", "CAPTURED 25.00 EUR")
    assert not {waiting, declined} & found.keys()
    again, none = await desk.compared()
    assert not {paid, ended, held} & none.keys()
    [matched] = [one for one in again["counts"] if one["bucket"] == "matched"]
    assert matched["objects"] >= 2
    assert run["left"] == 0


async def test_refunds_made_in_the_gateways_own_dashboard_are_found(desk: Desk) -> None:
    part, whole = await desk.opened("success"), await desk.opened("success")
    await desk.compared()
    await desk.does(part, "refund", amount=1000)
    await desk.does(whole, "refund")
    _, dry = await desk.compared(dry_run=True)
    assert {dry[one]["action"] for one in (part, whole)} == {"none"}
    assert (await desk.shown(part))["refunded_amount"] == "0.00"
    _, found = await desk.compared()
    assert {found[one]["action"] for one in (part, whole)} == {"applied"}
    assert [(await desk.shown(one))[name] for one in (part, whole) for name in ("status", "refunded_amount")] == [
        *("CAPTURED", "10.00"),
        *("REFUNDED", "25.00"),
    ]
    _, none = await desk.compared()
    assert not {part, whole} & none.keys()


async def test_disputes_are_found_when_they_are_made_and_when_they_are_decided(desk: Desk) -> None:
    lost, won = await desk.opened("success"), await desk.opened("success")
    await desk.compared()
    for intent in (lost, won):
        await desk.does(intent, "dispute")
    _, dry = await desk.compared(dry_run=True)
    assert {dry[one]["action"] for one in (lost, won)} == {"none"}
    _, found = await desk.compared()
    assert {(found[one]["bucket"], found[one]["action"]) for one in (lost, won)} == {("theirs_only", "applied")}
    assert [[one["status"] for one in (await desk.shown(intent))["disputes"]] for intent in (lost, won)] == [["OPEN"], ["OPEN"]]
    await desk.does(lost, "dispute", outcome="lost")
    await desk.does(won, "dispute", outcome="won")
    await desk.compared(since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z")
    assert [[one["status"] for one in (await desk.shown(intent))["disputes"]] for intent in (lost, won)] == [["LOST"], ["WON"]]


async def test_money_that_came_too_late_goes_back_and_is_settled(desk: Desk) -> None:
    late = await desk.opened()
    async with desk.running.database("payments") as payments:
        await payments.execute("UPDATE payment_intents SET status = 'FAILED' WHERE id = $1", late)
        await payments.execute("UPDATE payment_attempts SET status = 'FAILED' WHERE intent_id = $1", late)
    await desk.does(late, "success")
    _, found = await desk.compared()
    assert (found[late]["bucket"], found[late]["action"]) == ("theirs_only", "applied")

    async def returned() -> bool:
        return [one["status"] for one in (await desk.shown(late))["refunds"]] == ["SUCCEEDED"]

    await eventually(returned, within_s=20, what="the money goes back")
    _, none = await desk.compared()
    assert late not in none


async def test_a_dry_run_changes_nothing(desk: Desk) -> None:
    paid, foreign = await desk.opened("success"), await desk.foreign()
    run, found = await desk.compared(dry_run=True)
    assert [(found[one]["bucket"], found[one]["action"]) for one in (paid, foreign)] == [("theirs_only", "none")] * 2
    assert run["left"] >= 2
    assert (await desk.shown(paid))["status"] == "INITIATED"
    async with desk.running.database("payments") as payments:
        assert await payments.fetchval("SELECT count(*) FROM payment_alarms WHERE subject_key = $1", foreign) == 0


async def test_what_cannot_be_settled_is_told_to_a_person_once(desk: Desk) -> None:
    intent = await desk.opened()
    foreign = await desk.foreign()
    other = await desk.foreign(amount=2600, metadata={"intent_id": intent})
    lost = await desk.opened("success")
    await desk.compared()
    async with desk.running.database("payments") as payments:
        await payments.execute("UPDATE payment_intents SET gateway_object = 'pi_lost' WHERE id = $1", lost)
        await payments.execute("UPDATE payment_attempts SET gateway_object = 'pi_lost' WHERE intent_id = $1", lost)
        await payments.execute("UPDATE payment_intents SET status_at = status_at WHERE id = $1", lost)
    async with desk.running.database("simulator") as simulator:
        await simulator.execute("UPDATE payment_intents SET created = created - interval '9 days' WHERE intent_id = $1", lost)
    run, found = await desk.compared()
    assert {key: (found[key]["bucket"], found[key]["action"]) for key in (foreign, intent, lost)} == {
        foreign: ("theirs_only", "alarmed"),
        intent: ("amount_differs", "alarmed"),
        lost: ("ours_only", "alarmed"),
    }
    assert found[intent]["gateway_object"] == other
    assert (await desk.shown(intent))["status"] == "INITIATED"
    assert run["left"] >= 3
    await desk.compared()
    async with desk.running.database("payments") as payments:
        alarms = await payments.fetch(
            "SELECT kind, subject_key FROM payment_alarms WHERE subject_key = ANY($1::text[]) AND kind LIKE 'reconcile%'",
            [foreign, other, "pi_lost"],
        )
    assert sorted((row["kind"], row["subject_key"]) for row in alarms) == sorted(
        [("reconcile_theirs_only", foreign), ("reconcile_amount_differs", other), ("reconcile_ours_only", "pi_lost")]
    )
    await _looked_at(desk, foreign)
    _, later = await desk.compared()
    assert later[foreign]["action"] == "settled"

    async def measured() -> bool:
        text = (await desk.running.client.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("payment_gateway_divergence{")]
        return any(float(line.rpartition(" ")[2]) >= 2 for line in lines)

    await eventually(measured, within_s=40, what="the divergence is measured")


async def _looked_at(desk: Desk, subject: str) -> None:
    """Staff find an alarm, settle it once with a word, and it waits no more."""
    staff = desk.callers.admin()

    async def listed(*, settled: bool) -> dict[str, dict[str, Any]]:
        asked = {"settled": settled, "limit": 100}
        answer = await desk.running.client.get(ALARMS, params=asked, headers=staff)
        return {one["subject"]: one for one in answer.json()["items"]}

    alarm = (await listed(settled=False))[subject]
    path = f"{ALARMS}/{alarm['id']}/settle"
    for note in ("refunded in the dashboard", "again"):
        answer = await desk.running.client.post(path, json={"note": note}, headers=staff)
        assert (answer.status_code, answer.json()["note"]) == (200, "refunded in the dashboard"), answer.text
        assert answer.json()["settled_by"]
    assert subject not in await listed(settled=False)
    assert subject in await listed(settled=True)
    bad = await desk.running.client.post(path, json={"note": "x" * 1001}, headers=staff)
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/note")
    unknown = await desk.running.client.post(f"{ALARMS}/{new_id()}/settle", json={}, headers=staff)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "alarm_not_found")
    stranger = await desk.running.client.get(ALARMS, headers=desk.callers.user())
    assert stranger.status_code == 403


@pytest.mark.parametrize("point", ["after_ask_before_apply", "after_apply", "after_slice"])
async def test_a_run_killed_half_way_is_finished_by_the_next_process(desk: Desk, point: str) -> None:
    paid = [await desk.opened("success") for _ in range(3)]
    served = desk.running.first
    await served.stop()
    served.launch(CAREFORALL_CRASH_AT=f"reconcile.{point}:{1 if point == 'after_slice' else 2}")
    await served.wait_ready()
    run = (await desk.order(gateway="simulator")).json()["items"][0]["id"]
    assert await served.wait_dead(timeout_s=60) == -signal.SIGKILL
    served.launch(CAREFORALL_CRASH_AT="")
    await served.wait_ready()
    assert (await desk.ended(run))["status"] == "FINISHED"
    assert {(await desk.shown(one))["status"] for one in paid} == {"CAPTURED"}
    async with desk.running.database("payments") as payments:
        rows = await payments.fetch(
            "SELECT payment_id::text AS payment, count(*) AS n FROM reconciliation_findings WHERE payment_id = ANY($1::uuid[]) "
            "GROUP BY payment_id",
            paid,
        )
    assert {row["payment"]: row["n"] for row in rows} == dict.fromkeys(paid, 1)


async def test_an_order_repeated_is_one_run(desk: Desk) -> None:
    by = {**desk.callers.admin(), "Idempotency-Key": str(new_id())}
    answers = await asyncio.gather(*(desk.order(by, gateway="simulator") for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    first = next(answer for answer in answers if answer.status_code == 202)
    again = await desk.order(by, gateway="simulator")
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert (await desk.order(by, gateway="simulator", dry_run=True)).json()["code"] == "idempotency_key_reused"
    await desk.ended(first.json()["items"][0]["id"])
    listed = (await desk.got("?gateway=simulator&limit=1"))["items"]
    assert [run["id"] for run in listed] == [first.json()["items"][0]["id"]]


async def test_the_switch_stops_everything_at_once(desk: Desk) -> None:
    admin = desk.callers.admin()
    off = await desk.running.client.put(f"{PATH}/switch", json={"on": False}, headers=admin)
    assert (off.status_code, off.json()) == (200, {"on": False})
    refused = await desk.order(gateway="simulator")
    assert (refused.status_code, refused.json()["code"]) == (409, "reconciler_off")
    on = await desk.running.client.put(f"{PATH}/switch", json={"on": True}, headers=admin)
    assert on.json() == {"on": True}
    await desk.compared()


async def test_only_staff_may_look_and_order(desk: Desk) -> None:
    client, admin = desk.running.client, desk.callers.admin()
    for path in ("", f"/{new_id()}", f"/{new_id()}/findings"):
        assert (await client.get(PATH + path)).status_code == 401
        assert (await client.get(PATH + path, headers=desk.callers.user())).status_code == 403
    for path in (f"/{new_id()}", f"/{new_id()}/findings", "/nothing"):
        assert (await client.get(PATH + path, headers=admin)).json()["code"] in {"run_not_found", "not_found"}
    assert (await client.put(f"{PATH}/switch", json={"on": False}, headers=desk.callers.user())).status_code == 403
    assert (await client.post(f"{PATH}/run", json={}, headers=desk.callers.user())).status_code == 403
    assert (await client.post(f"{PATH}/run", json={}, headers=admin)).json()["code"] == "idempotency_key_required"
    for body, status in (
        ({"gateway": "generic"}, 404),
        ({"gateway": "nobody"}, 404),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
        ({"since": "2020-01-01T00:00:00Z"}, 422),
        ({"since": "2026-01-01T00:00:00"}, 422),
        ({"dry_run": "yes"}, 422),
        ({"more": 1}, 422),
    ):
        assert (await desk.order(**body)).status_code == status, body


async def test_the_command_compares_and_tells_by_its_exit_status(desk: Desk, tmp_path: Path) -> None:
    async with desk.running.database("payments") as payments:
        await payments.execute("UPDATE payment_alarms SET settled_at = clock_timestamp() WHERE settled_at IS NULL")
    paid, foreign = await desk.opened("success"), await desk.foreign()
    file = tmp_path / "report.json"
    dry = await desk.running.cli("reconcile", "--gateway", "simulator", "--dry-run", "--json", str(file))
    assert dry.status == 1, dry.err
    assert f"theirs_only; {foreign}; payment unknown" in dry.out
    assert (await desk.shown(paid))["status"] == "INITIATED"
    assert {found["action"] for found in json.loads(file.read_text())["findings"]} == {"none"}
    assert (await desk.running.cli("reconcile", "--gateway", "simulator")).status == 1
    assert (await desk.shown(paid))["status"] == "CAPTURED"
    long_ago = ("--since", "2020-01-01", "--until", "2020-01-02")
    good = await desk.running.cli("reconcile", "--gateway", "simulator", *long_ago)
    assert (good.status, good.out.strip()) == (0, "simulator: finished; nothing to compare; left: 0")
    for wrong in (("--gateway", "nobody"), ("--since", "2020-01-01"), ("--since", "yesterday")):
        assert (await desk.running.cli("reconcile", *wrong)).status == 2, wrong
