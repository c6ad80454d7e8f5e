"""Paying at a real gateway over HTTP: the pay page, declines, unknown outcomes, captures, releases and refunds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from msgspec import Struct

from careforall.kit.ids import id_at, new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls


class Desk(Struct, frozen=True, kw_only=True):
    """Payments and the simulated gateway in one process, with the callers they know."""

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
        answer = await self.ordered("intent", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ordered(self, path: str, body: Any = None, *, key: str = "") -> httpx2.Response:
        """Order something as another service does."""
        headers = {**self.callers.service("orders", "payments"), "Idempotency-Key": key or str(new_id())}
        return await self.inside.post(f"/api/v1/payments/{path}", json=body, headers=headers)

    async def pay(self, intent: str) -> str:
        """Press the button of the pay page; return where it leads."""
        answer = await self.running.client.post(f"/pay/{intent}")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def is_asked_again(self) -> bool:
        """Whether our calls reach the gateway: after troubles the breaker keeps them back for a while."""
        return "/simulator/" in await self.pay(await self.intent())

    async def page(self, intent: str, query: str = "") -> str:
        answer = await self.running.client.get(f"/pay/{intent}{query}")
        found = re.search(r"<h1>(.*?)</h1>", answer.text)
        assert found is not None
        return found[1]

    async def does(self, intent: str, verb: str, **body: Any) -> None:
        """Have the gateway do something to its object."""
        answer = await self.running.client.post(f"/simulator/control/{intent}/{verb}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text

    async def turn(self, **switches: Any) -> None:
        """Make the gateway misbehave."""
        answer = await self.running.client.post("/simulator/control/switches", json=switches)
        assert answer.status_code == 200, answer.text

    async def shown(self, intent: str) -> dict[str, Any]:
        answer = await self.running.client.get(f"/api/v1/payments/{intent}", headers=self.callers.admin())
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def reaches(self, intent: str, status: str, within_s: float = 20) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            shown = await self.shown(intent)
            return shown if shown["status"] == status else None

        return dict(await eventually(look, within_s=within_s, what=f"{intent} is {status}") or {})

    async def declined(self, intent: str) -> None:
        """Wait until the one attempt of an intent is known to have failed."""

        async def look() -> bool:
            return [attempt["status"] for attempt in (await self.shown(intent))["attempts"]] == ["FAILED"]

        await eventually(look, what=f"{intent} is declined")

    async def at_the_gateway(self, intent: str) -> str:
        """How the gateway's object of an intent stands."""
        answer = await self.running.client.get(f"/simulator/control/{intent}")
        return str(answer.json()["payment_intent"]["status"])

    async def objects(self, intent: str) -> list[str]:
        """The gateway's objects that were made for an intent."""
        async with self.running.database("simulator") as opened:
            rows = await opened.fetch("SELECT id FROM payment_intents WHERE intent_id = $1", intent)
            return [row["id"] for row in rows]


@pytest.fixture(scope="module")
async def desk(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Desk]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    patience = {"CAREFORALL_GATEWAY_SECONDS": "1.0", "CAREFORALL_GATEWAY_TRIES": "1", "CAREFORALL_PAYS_PER_MINUTE": "100000"}
    async with (
        platform(urls, ["payments", "simulator"], **patience) as running,
        signing_in(running) as callers,
        client_of(running.first.internal_url) as inside,
    ):
        yield Desk(running=running, callers=callers, inside=inside)


@pytest.fixture(autouse=True)
async def _honest(desk: Desk) -> None:
    """Begin with an honest gateway, and a breaker that has noticed."""
    await desk.turn()
    await eventually(desk.is_asked_again, within_s=30, what="the gateway is asked")


async def test_a_payer_goes_to_the_gateway_and_comes_back_paid(desk: Desk) -> None:
    intent = await desk.intent()
    assert await desk.page(intent) == "Complete your payment"
    address = await desk.pay(intent)
    assert address == await desk.pay(intent)
    assert await desk.page(intent, "?return=1") == "Waiting for the gateway"
    await desk.does(intent, "success")
    shown = await desk.reaches(intent, "CAPTURED")
    assert await desk.page(intent) == "Thank you, your payment arrived"
    assert [(attempt["number"], attempt["gateway"], attempt["status"]) for attempt in shown["attempts"]] == [
        (1, "simulator", "SUCCEEDED")
    ]
    assert shown["attempts"][0]["gateway_object"] == (await desk.objects(intent))[0]
    assert [(step["from"], step["to"]) for step in shown["transitions"]] == [
        ("INITIATED", "AUTHORIZED"),
        ("AUTHORIZED", "CAPTURED"),
    ]


async def test_clicks_at_once_make_one_object(desk: Desk) -> None:
    intent = await desk.intent()
    addresses = await asyncio.gather(*(desk.pay(intent) for _ in range(6)))
    assert len({address for address in addresses if "/pay/pi_" in address}) == 1
    assert len(await desk.objects(intent)) == 1


async def test_after_a_decline_the_same_object_is_paid(desk: Desk) -> None:
    intent = await desk.intent()
    first = await desk.pay(intent)
    await desk.does(intent, "decline")
    await desk.declined(intent)
    page = (await desk.running.client.get(f"/pay/{intent}")).text
    assert "The last try did not work" in page
    assert await desk.pay(intent) == first
    await desk.does(intent, "success")
    shown = await desk.reaches(intent, "CAPTURED")
    assert [attempt["status"] for attempt in shown["attempts"]] == ["FAILED", "SUCCEEDED"]
    assert len(await desk.objects(intent)) == 1


@pytest.mark.parametrize("trouble", [{"error_after_success": 1.0}, {"timeout_after_charge": 1.0, "timeout_ms": 1500}])
async def test_an_unknown_outcome_is_settled_by_asking_and_never_by_a_second_object(desk: Desk, trouble: dict[str, Any]) -> None:
    intent = await desk.intent()
    await desk.turn(**trouble)
    assert await desk.pay(intent) == f"/pay/{intent}"
    assert (await desk.shown(intent))["attempts"][0]["status"] == "UNKNOWN"
    assert await desk.page(intent) == "One moment"
    assert await desk.pay(intent) == f"/pay/{intent}"
    await desk.turn()

    async def opened() -> bool:
        return bool((await desk.shown(intent))["attempts"][0]["status"] == "OPEN")

    await eventually(opened, within_s=20)
    assert len(await desk.objects(intent)) == 1
    await desk.pay(intent)
    await desk.does(intent, "success")
    await desk.reaches(intent, "CAPTURED")


async def test_a_payer_who_comes_back_has_us_ask_when_no_webhook_arrives(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    await desk.turn(drop=1.0)
    await desk.does(intent, "success")
    assert await desk.page(intent, "?return=1") == "Waiting for the gateway"
    shown = await desk.reaches(intent, "CAPTURED")
    assert shown["transitions"][-1]["cause"] == "simulator asked"


async def test_held_money_is_captured_once(desk: Desk) -> None:
    intent = await desk.intent("ORDER")
    await desk.pay(intent)
    await desk.does(intent, "success")
    await desk.reaches(intent, "AUTHORIZED")
    answers = [await desk.ordered(f"{intent}/capture") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "CAPTURED")] * 2
    late = await desk.ordered(f"{intent}/void")
    assert (late.status_code, late.json()["code"]) == (409, "illegal_transition")


async def test_held_money_is_released(desk: Desk) -> None:
    intent = await desk.intent("ORDER")
    await desk.pay(intent)
    await desk.does(intent, "success")
    await desk.reaches(intent, "AUTHORIZED")
    answers = [await desk.ordered(f"{intent}/void") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200}
    assert (await desk.shown(intent))["status"] in {"REFUNDED", "FAILED"}
    assert (await desk.ordered(f"{intent}/capture")).status_code == 409


async def test_an_unpaid_intent_is_ended_at_the_gateway_too(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    assert (await desk.ordered(f"{intent}/void")).json()["status"] == "FAILED"
    async with desk.running.database("simulator") as opened:
        [row] = await opened.fetch("SELECT status FROM payment_intents WHERE id = $1", (await desk.objects(intent))[0])
    assert row["status"] == "canceled"


async def test_what_is_payable_after_a_decline_ends_with_its_intent(desk: Desk) -> None:
    intent = await desk.intent("ORDER")
    await desk.pay(intent)
    await desk.does(intent, "decline")
    await desk.declined(intent)
    assert (await desk.ordered(f"{intent}/void")).json()["status"] == "FAILED"
    assert await desk.at_the_gateway(intent) == "canceled", "a buyer with another card could still have money held there"


async def test_what_is_payable_after_a_decline_ends_with_its_time(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    await desk.does(intent, "decline")
    await desk.declined(intent)
    async with desk.running.database("payments") as opened:
        await opened.execute("UPDATE payment_intents SET expires_at = clock_timestamp() WHERE id = $1", intent)
    assert (await desk.reaches(intent, "FAILED", within_s=90))["reason"] == "expired"
    assert await desk.at_the_gateway(intent) == "canceled"


async def test_money_that_is_held_after_the_end_is_released(desk: Desk) -> None:
    intent = await desk.intent("ORDER")
    await desk.pay(intent)
    async with desk.running.database("payments") as opened:
        await opened.execute("UPDATE payment_intents SET declines = 9 WHERE id = $1", intent)
    await desk.does(intent, "decline")
    await desk.reaches(intent, "FAILED")
    await desk.does(intent, "success")

    async def released() -> bool:
        return await desk.at_the_gateway(intent) == "canceled"

    await eventually(released, within_s=30, what="nothing is held")


async def test_a_payer_who_comes_back_after_a_decline_has_us_ask_too(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    await desk.does(intent, "decline")
    await desk.declined(intent)
    await desk.turn(drop=1.0)
    await desk.does(intent, "success")
    assert await desk.page(intent, "?return=1") == "Waiting for the gateway"
    await desk.reaches(intent, "CAPTURED")


async def test_a_payer_who_comes_back_declined_is_told_so(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    await desk.does(intent, "decline")
    await desk.declined(intent)

    async def told() -> bool:
        return "The last try did not work" in (await desk.running.client.get(f"/pay/{intent}?return=1")).text

    await eventually(told, within_s=15, what="the page tells of the decline")
    assert len((await desk.shown(intent))["attempts"]) == 1


@pytest.mark.parametrize("trouble", [{}, {"error_after_success": 1.0}])
async def test_staff_refunds_at_the_gateway_once_however_it_answers(desk: Desk, trouble: dict[str, Any]) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    await desk.does(intent, "success")
    await desk.reaches(intent, "CAPTURED")
    await desk.turn(**trouble)
    headers = {**desk.callers.admin(), "Idempotency-Key": f"refund-{intent}"}
    path, body = f"/api/v1/payments/{intent}/refund", {"amount": "10.00", "reason": "asked by the donor"}
    first = await desk.running.client.post(path, json=body, headers=headers)
    assert first.status_code == (202 if trouble else 201), first.text
    await desk.turn()

    async def refunded() -> bool:
        return bool((await desk.shown(intent))["refunded_amount"] == "10.00")

    await eventually(refunded, within_s=20)
    again = await desk.running.client.post(path, json=body, headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    shown = await desk.shown(intent)
    assert [(refund["amount"], refund["status"]) for refund in shown["refunds"]] == [("10.00", "SUCCEEDED")]
    async with desk.running.database("simulator") as opened:
        rows = await opened.fetch("SELECT amount FROM refunds WHERE payment_intent = $1", (await desk.objects(intent))[0])
    assert [row["amount"] for row in rows] == [1000]


async def test_rule_10_money_that_comes_after_the_end_goes_back_to_the_payer(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    async with desk.running.database("payments") as opened:
        await opened.execute("UPDATE payment_intents SET status = 'FAILED', version = version + 1 WHERE id = $1", intent)
    await desk.does(intent, "success")

    async def sent_back() -> Any:
        shown = await desk.shown(intent)
        return shown if [refund["status"] for refund in shown["refunds"]] == ["SUCCEEDED"] else None

    shown = await eventually(sent_back, within_s=20, what="the refund")
    [refund] = shown["refunds"]
    assert (shown["status"], refund["amount"], refund["unapplied"], refund["parked"]) == ("FAILED", "25.00", True, False)
    assert (shown["captured_amount"], shown["refunded_amount"]) == ("0.00", "0.00")
    story = (await desk.running.client.get(f"/simulator/control/{intent}")).json()
    assert story["payment_intent"]["amount_refunded"] == 2500
    answer = await desk.running.client.get("/api/v1/payments/ledger", params={"payment_id": intent}, headers=desk.callers.admin())
    assert sorted(entry["kind"] for entry in answer.json()["items"]) == ["UNAPPLIED", "UNAPPLIED_REFUND"]


async def test_staff_must_send_a_key_and_others_may_not_refund(desk: Desk) -> None:
    intent = await desk.intent()
    path, body = f"/api/v1/payments/{intent}/refund", {"reason": "asked by the donor"}
    keyless = await desk.running.client.post(path, json=body, headers=desk.callers.admin())
    assert (keyless.status_code, keyless.json()["code"]) == (400, "idempotency_key_required")
    key = {"Idempotency-Key": "refund-1"}
    assert (await desk.running.client.post(path, json=body, headers={**desk.callers.user(), **key})).status_code == 403
    assert (await desk.running.client.post(path, json=body, headers=key)).status_code == 401
    assert (await desk.inside.post(path, json=body, headers=key)).status_code == 401
    initiated = await desk.running.client.post(path, json=body, headers={**desk.callers.admin(), **key})
    assert (initiated.status_code, initiated.json()["code"]) == (409, "not_refundable")
    for extra in ({"status": "SUCCEEDED"}, {"amount": "much"}, {"reason": ""}):
        refused = await desk.running.client.post(path, json={**body, **extra}, headers={**desk.callers.admin(), **key})
        assert refused.status_code == 422


async def test_payers_find_the_intents_of_their_own_gifts_by_the_contracts_path(desk: Desk) -> None:
    payer, path = new_id(), "/api/v1/payments/intent"
    wish = {"subject_type": "DONATION", "subject_id": str(new_id()), "amount": "25.00", "currency": "EUR"}
    ordered = (await desk.ordered("intent", {**wish, "user_id": str(payer)})).json()
    headers = desk.callers.user(user_id=payer)

    async def asked(changes: dict[str, str], who: dict[str, str]) -> tuple[int, str]:
        answer = await desk.running.client.post(path, json={**wish, **changes}, headers=who)
        return answer.status_code, answer.json()["id"] if answer.status_code == 201 else answer.json()["code"]

    for _ in range(2):
        assert await asked({}, headers) == (201, ordered["id"])
    assert await asked({"amount": "24.00"}, headers) == (409, "subject_mismatch")
    assert await asked({"currency": "USD"}, headers) == (409, "subject_mismatch")
    assert await asked({"subject_id": str(new_id())}, headers) == (404, "payment_not_found")
    assert await asked({}, desk.callers.user()) == (404, "payment_not_found")
    assert await asked({}, {}) == (401, "unauthorized")
    assert await asked({"user_id": str(payer)}, headers) == (422, "invalid_value")
    assert await asked({"amount": "25.001"}, headers) == (422, "invalid_value")


async def test_pages_of_payments_that_are_not_here(desk: Desk) -> None:
    waiting = await desk.running.client.get(f"/pay/{new_id()}")
    assert (waiting.status_code, 'http-equiv="refresh"' in waiting.text) == (202, True)
    missing = await desk.running.client.get("/pay/nothing")
    assert (missing.status_code, "No such payment" in missing.text) == (404, True)
    for address in (f"/pay/{new_id()}", "/pay/nothing"):
        pressed = await desk.running.client.post(address)
        assert (pressed.status_code, "No such payment" in pressed.text) == (404, True)
        assert pressed.headers["content-type"].startswith("text/html")
    assert (await desk.inside.post("/api/v1/payments/intent", json={})).status_code == 401


@pytest.mark.parametrize(
    "identifier",
    [
        id_at(datetime.now(UTC) - timedelta(hours=25), 1),
        id_at(datetime.now(UTC) + timedelta(hours=25), 1),
        UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"),
        uuid4(),
    ],
    ids=["old", "early", "never", "random"],
)
async def test_nobody_waits_for_ever_for_a_payment_that_will_not_come(desk: Desk, identifier: UUID) -> None:
    missing = await desk.running.client.get(f"/pay/{identifier}")
    assert (missing.status_code, "No such payment" in missing.text) == (404, True)
    assert 'http-equiv="refresh"' not in missing.text


async def test_payers_do_not_read_what_is_noted_for_staff(desk: Desk) -> None:
    await desk.turn(error_after_success=1.0)

    async def kept_back() -> str:
        intent = await desk.intent()
        await desk.pay(intent)
        return intent if (await desk.shown(intent))["attempts"][0]["status"] == "FAILED" else ""

    intent = await eventually(kept_back, within_s=30, what="the breaker is open")
    [attempt] = (await desk.shown(intent))["attempts"]
    page = (await desk.running.client.get(f"/pay/{intent}")).text
    assert attempt["reason"] == "simulator cannot be asked now"
    assert "simulator" not in page
    assert "The last try did not work: The gateway did not take it. You have not been charged." in page


async def test_while_payments_cannot_be_read_the_page_says_so_and_looks_again(desk: Desk) -> None:
    intent = await desk.intent()
    async with desk.running.database("payments") as database, database.transaction():
        await database.execute("LOCK TABLE payment_intents IN ACCESS EXCLUSIVE MODE")
        answers = [await desk.running.client.request(method, f"/pay/{intent}") for method in ("GET", "POST")]
    for answer in answers:
        assert answer.status_code in {409, 503}
        assert answer.headers["retry-after"] == "1"
        assert "please do not pay a second time" in answer.text
        assert 'http-equiv="refresh"' in answer.text
        assert answer.headers["cache-control"] == "no-store"
    assert await desk.page(intent) == "Complete your payment"


async def test_whoever_presses_too_often_reads_so_on_the_page(desk: Desk) -> None:
    intent = await desk.intent()
    strict = await desk.running.serve(["payments"], role="api", CAREFORALL_PAYS_PER_MINUTE="1")
    async with client_of(strict.url) as client:
        answers = [await client.post(f"/pay/{intent}") for _ in range(2)]
    assert answers[-1].status_code == 429
    assert "Too many tries" in answers[-1].text
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


async def test_the_page_shows_names_as_text(desk: Desk) -> None:
    body = {"subject_type": "DONATION", "subject_id": str(new_id()), "amount": "25.00", "currency": "EUR", "title": "<b>A&B</b>"}
    intent = (await desk.ordered("intent", body)).json()["id"]
    page = (await desk.running.client.get(f"/pay/{intent}")).text
    assert "<bdi>&lt;b&gt;A&amp;B&lt;/b&gt;</bdi>" in page


async def test_amounts_are_written_as_in_mails(desk: Desk) -> None:
    body = {"subject_type": "DONATION", "subject_id": str(new_id()), "amount": "2500", "currency": "JPY", "title": "Wells"}
    intent = (await desk.ordered("intent", body)).json()["id"]
    page = (await desk.running.client.get(f"/pay/{intent}")).text
    assert "<dt>Amount</dt><dd>¥2,500</dd>" in page
    assert "Pay ¥2,500</button>" in page
