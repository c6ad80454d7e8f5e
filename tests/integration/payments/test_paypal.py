"""Paying with PayPal: the real service on its servers, and the strict fake of PayPal over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from msgspec import Struct

from careforall.kit import json
from careforall.kit.idempotency import Answer, Call, fingerprint
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall.payments.errors import IllegalTransition
from careforall.payments.gateways.paypal import PayPal
from careforall.payments.repository_ledger import LedgerFilter
from careforall.payments.schemas import IntentOrder, RefundOrder
from careforall.payments.schemas_reconciliation import RunOrder
from careforall_testing.callers import Callers, signing_in
from careforall_testing.paypal_door import CLIENT_ID, CLIENT_SECRET, Json
from careforall_testing.paypal_fake import OLD_WEBHOOK_ID, WEBHOOK_ID, PayPalFake
from careforall_testing.platform import client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

WEBHOOK = "/api/v1/payments/webhook/paypal"


class Desk(Struct, frozen=True, kw_only=True):
    """The service with PayPal beside it; nothing is asked about until a test has it done."""

    till: Any
    fake: PayPalFake

    async def intent(self, subject_type: Any = "DONATION", amount: str = "25.00") -> UUID:
        order = IntentOrder(
            subject_type=subject_type,
            subject_id=new_id(),
            amount=Decimal(amount),
            currency="EUR",
            gateway="paypal",
            title="A well",
        )
        return UUID(str((await self.till.service.create_intent(order)).id))

    async def pay(self, intent: UUID) -> str:
        """Press the button of the pay page; return where it leads."""
        answer = await self.till.clients[False].post(f"/pay/{intent}")
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def page(self, intent: UUID, query: str = "") -> str:
        answer = await self.till.clients[False].get(f"/pay/{intent}{query}")
        found = re.search(r"<h1>(.*?)</h1>", answer.text)
        assert found is not None
        return found[1]

    async def approved(self, intent: UUID, *, told: bool = True) -> str:
        """The payer goes to PayPal and agrees; return the order's id."""
        order = (await self.pay(intent)).partition("token=")[2]
        self.fake.approve(order)
        if told:
            assert (await self.deliver("CHECKOUT.ORDER.APPROVED", order)).json()["reason"] == "approved"
        return order

    async def deliver(self, event_type: str, order: str, *, hot: bool = True, webhook_id: str = WEBHOOK_ID) -> httpx2.Response:
        """Hand over the newest event of a type about an order."""
        body, headers = self.fake.delivery(event_type, order, webhook_id=webhook_id)
        answer: httpx2.Response = await self.till.clients[hot].post(WEBHOOK, content=body, headers=headers)
        return answer

    async def settle(self) -> None:
        """What the job does every two seconds."""
        await self.till.service.paying.settle_attempts()

    async def settle_now(self, intent: UUID) -> None:
        """The same once the time to ask has come."""
        due = "UPDATE payment_attempts SET ask_at = clock_timestamp() WHERE intent_id = $1 AND number > 0"
        await self.till.database.run(lambda connection: connection.execute(due, intent))
        await self.settle()

    async def paid(self, subject_type: str = "DONATION") -> UUID:
        intent = await self.intent(subject_type)
        await self.approved(intent)
        await self.settle()
        return intent

    async def status(self, intent: UUID) -> str:
        return str((await self.till.row(intent))["status"])

    async def attempts(self, intent: UUID) -> list[str]:
        rows = await self.till.database.fetch("SELECT status FROM payment_attempts WHERE intent_id = $1 ORDER BY number", intent)
        return [row["status"] for row in rows]

    async def refund(self, intent: UUID, amount: str | None = None, *, key: str = "") -> Answer:
        order = RefundOrder(reason="asked by the donor", amount=Decimal(amount) if amount else None)
        call = Call(scope="refund|staff-1", key=key or str(new_id()), fingerprint=fingerprint(str(intent), json.encode(order)))
        answer: Answer = await self.till.service.refunding.refund(intent, order, call=call, by="staff-1")
        return answer

    async def compared(self) -> None:
        """Compare the last day with PayPal."""
        reconciling = self.till.service.reconciling
        [run] = await reconciling.order_now(RunOrder(gateway="paypal"), by="staff-1")
        await reconciling.work()
        report = await reconciling.report(run.id)
        assert report.run.status == "FINISHED", report

    def refunds(self, intent: UUID) -> list[Json]:
        [order] = self.fake.orders_of(intent)
        return list(order["purchase_units"][0]["payments"]["refunds"])


def settings(fake: PayPalFake, folder: Path) -> dict[str, Any]:
    anchor = folder / "anchor.pem"
    anchor.write_bytes(fake.signer.authority.root.pem)
    return {
        "paypal_client_id": CLIENT_ID,
        "paypal_client_secret": CLIENT_SECRET,
        "paypal_webhook_ids": f"{WEBHOOK_ID}, {OLD_WEBHOOK_ID}",
        "paypal_base": fake.url,
        "paypal_trust_anchor": str(anchor),
        "paypal_certificate_host": fake.certificates.address,
    }


@pytest.fixture(scope="module")
async def desk(arena: Any, servers: ServerUrls, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    folder = tmp_path_factory.mktemp("paypal")
    async with PayPalFake().serving() as fake:
        options = {**settings(fake, folder), "gateway_seconds": 1.0, "pays_per_minute": 100_000}
        async with arena.open(servers, **options) as till:
            yield Desk(till=till, fake=fake)


async def test_a_payer_approves_and_the_event_has_the_money_taken(desk: Desk) -> None:
    intent = await desk.intent()
    assert await desk.page(intent) == "Complete your payment"
    order = await desk.approved(intent)
    assert await desk.status(intent) == "INITIATED"
    await desk.settle()
    assert await desk.status(intent) == "CAPTURED"
    late = await desk.deliver("PAYMENT.CAPTURE.COMPLETED", order)
    assert (late.status_code, late.json()["reason"]) == (200, "duplicate_transition")
    assert await desk.page(intent) == "Thank you, your payment arrived"
    row = await desk.till.row(intent)
    assert (row["gateway_object"], row["method"], row["captured_amount"]) == (order, "PAYPAL", Decimal(25))
    assert await desk.till.steps(intent) == [("INITIATED", "AUTHORIZED"), ("AUTHORIZED", "CAPTURED")]
    assert len(desk.fake.captures_of(intent)) == 1


async def test_the_event_of_the_capture_alone_is_enough(desk: Desk) -> None:
    intent = await desk.intent()
    order = await desk.approved(intent, told=False)
    another = PayPal(desk.fake.url, CLIENT_ID, CLIENT_SECRET, live=False, seconds=1.0)
    await another.show(order)
    await another.close()
    told = await desk.deliver("PAYMENT.CAPTURE.COMPLETED", order, hot=False, webhook_id=OLD_WEBHOOK_ID)
    assert (told.status_code, told.json()["new_status"]) == (200, "CAPTURED")
    entries = await desk.till.service.bookkeeping.entries(LedgerFilter(payment_id=intent, account="fees"), None, 10)
    assert [line.amount for entry in entries for line in entry.lines] == [Decimal("0.50"), Decimal("-0.50")]


async def test_a_lost_approval_is_made_up_for_by_the_payers_return(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.approved(intent, told=False)
    await desk.settle()
    assert await desk.status(intent) == "INITIATED"
    assert await desk.page(intent, "?return=1&token=5O190127TN364715T&PayerID=QYR5Z8XDVJNXQ") == "Waiting for the gateway"

    async def captured() -> bool:
        await desk.settle()
        return await desk.status(intent) == "CAPTURED"

    await eventually(captured, within_s=10, every_s=0.2)
    assert len(desk.fake.captures_of(intent)) == 1


async def test_a_lost_approval_and_a_payer_who_never_returns_are_made_up_for_by_asking(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.approved(intent, told=False)
    await desk.settle_now(intent)
    assert await desk.status(intent) == "CAPTURED"


async def test_an_approval_is_asked_about_at_once_however_often_it_was_before(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.pay(intent)
    for _ in range(3):
        await desk.settle_now(intent)
    await desk.approved(intent)
    await desk.settle()
    assert await desk.status(intent) == "CAPTURED"


async def test_after_a_decline_the_same_order_is_paid(desk: Desk) -> None:
    intent = await desk.intent()
    desk.fake.trouble("refusal", "INSTRUMENT_DECLINED")
    order = await desk.approved(intent)
    await desk.settle()
    assert (await desk.status(intent), await desk.attempts(intent)) == ("INITIATED", ["FAILED"])
    assert await desk.approved(intent) == order
    await desk.settle()
    assert (await desk.status(intent), await desk.attempts(intent)) == ("CAPTURED", ["FAILED", "SUCCEEDED"])
    assert (len(desk.fake.orders_of(intent)), len(desk.fake.captures_of(intent))) == (1, 1)


async def test_a_decline_counts_once_however_often_its_payer_looks_at_the_page(desk: Desk) -> None:
    intent = await desk.intent()
    desk.fake.trouble("refusal", "INSTRUMENT_DECLINED")
    await desk.approved(intent)
    await desk.settle()
    for _ in range(2):
        assert await desk.page(intent, "?return=1") == "Waiting for the gateway"
    await desk.till.service.misfits.look()
    assert await desk.page(intent, "?return=1") == "Complete your payment"
    await desk.settle_now(intent)
    assert ((await desk.till.row(intent))["declines"], await desk.attempts(intent)) == (1, ["FAILED"])
    await desk.approved(intent)
    await desk.settle()
    assert await desk.status(intent) == "CAPTURED"


async def test_a_declined_order_ends_with_its_time_and_is_not_taken_afterwards(desk: Desk) -> None:
    intent = await desk.intent()
    desk.fake.trouble("refusal", "INSTRUMENT_DECLINED")
    order = await desk.approved(intent)
    await desk.settle()
    over = "UPDATE payment_intents SET expires_at = clock_timestamp() WHERE id = $1"
    await desk.till.database.run(lambda connection: connection.execute(over, intent))
    await desk.till.service.expire_intents()
    await desk.settle()
    assert ((await desk.till.row(intent))["reason"], await desk.status(intent)) == ("expired", "FAILED")
    desk.fake.approve(order)
    assert (await desk.deliver("CHECKOUT.ORDER.APPROVED", order)).status_code == 200
    await desk.settle_now(intent)
    assert desk.fake.captures_of(intent) == []


async def test_a_lapsed_order_is_followed_by_a_new_one(desk: Desk) -> None:
    intent = await desk.intent()
    first = (await desk.pay(intent)).partition("token=")[2]
    desk.fake.lapse(first)
    await desk.settle_now(intent)
    assert (await desk.status(intent), await desk.attempts(intent)) == ("INITIATED", ["FAILED"])
    second = await desk.approved(intent)
    await desk.settle()
    assert (await desk.status(intent), second != first) == ("CAPTURED", True)


@pytest.mark.parametrize(("decided", "status"), [("COMPLETED", "CAPTURED"), ("DECLINED", "INITIATED")])
async def test_a_pending_capture_waits_for_paypals_decision(desk: Desk, decided: str, status: str) -> None:
    intent = await desk.intent()
    desk.fake.trouble("capture_status", "PENDING")
    order = await desk.approved(intent)
    await desk.settle()
    assert (await desk.status(intent), await desk.attempts(intent)) == ("INITIATED", ["OPEN"])
    desk.fake.settle(desk.fake.capture_of(order)["id"], decided)
    word = "COMPLETED" if decided == "COMPLETED" else "DENIED"
    assert (await desk.deliver(f"PAYMENT.CAPTURE.{word}", order)).status_code == 200
    await desk.settle()
    assert await desk.status(intent) == status
    if status == "INITIATED":
        assert await desk.approved(intent) != order
        await desk.settle()
        assert await desk.status(intent) == "CAPTURED"
    assert [one["status"] for one in desk.fake.captures_of(intent)].count("COMPLETED") == 1


@pytest.mark.parametrize("trouble", ["error", "silence", "garbage"])
async def test_an_order_is_made_once_whatever_became_of_the_answer(desk: Desk, trouble: str) -> None:
    intent = await desk.intent()
    desk.fake.trouble("create", trouble)
    assert await desk.pay(intent) == f"/pay/{intent}"
    assert await desk.attempts(intent) == ["UNKNOWN"]
    await desk.settle_now(intent)
    assert await desk.attempts(intent) == ["OPEN"]
    await desk.approved(intent)
    await desk.settle()
    assert await desk.status(intent) == "CAPTURED"
    assert (len(desk.fake.orders_of(intent)), len(desk.fake.captures_of(intent))) == (1, 1)


@pytest.mark.parametrize("trouble", ["error", "silence", "garbage"])
async def test_money_is_taken_once_whatever_became_of_the_answer(desk: Desk, trouble: str) -> None:
    intent = await desk.intent()
    await desk.approved(intent)
    desk.fake.trouble("capture", trouble)
    await desk.settle()
    assert (await desk.status(intent), await desk.attempts(intent)) == ("INITIATED", ["OPEN"])
    await desk.settle_now(intent)
    assert await desk.status(intent) == "CAPTURED"
    assert len(desk.fake.captures_of(intent)) == 1


async def test_a_token_that_ended_in_between_costs_nothing(desk: Desk) -> None:
    intent = await desk.intent()
    await desk.approved(intent)
    desk.fake.end_tokens()
    await desk.settle()
    assert await desk.status(intent) == "CAPTURED"


async def test_a_refund_of_money_that_is_disputed_is_told_to_a_person(desk: Desk) -> None:
    intent = await desk.paid()
    [order] = desk.fake.orders_of(intent)
    desk.fake.dispute(order["id"], "25.00")
    await desk.deliver("CUSTOMER.DISPUTE.CREATED", str(intent))
    desk.fake.refund_by_hand(order["id"], "25.00")
    assert (await desk.deliver("PAYMENT.CAPTURE.REFUNDED", order["id"])).json()["new_status"] == "REFUNDED"
    raised = await desk.till.database.fetch("SELECT kind FROM payment_alarms WHERE payment_id = $1", intent)
    assert [row["kind"] for row in raised] == ["refund_of_disputed"]


async def test_held_money_is_captured_once(desk: Desk) -> None:
    intent = await desk.paid("ORDER")
    assert await desk.status(intent) == "AUTHORIZED"
    for _ in range(2):
        assert (await desk.till.service.paying.capture(intent)).status == "CAPTURED"
    assert len(desk.fake.captures_of(intent)) == 1
    with pytest.raises(IllegalTransition):
        await desk.till.service.paying.void(intent)


async def test_held_money_whose_capture_got_no_answer_is_captured_once(desk: Desk) -> None:
    intent = await desk.paid("ORDER")
    desk.fake.trouble("capture_held", "error")
    with pytest.raises(Exception, match="500"):
        await desk.till.service.paying.capture(intent)
    assert await desk.status(intent) == "AUTHORIZED"
    assert (await desk.till.service.paying.capture(intent)).status == "CAPTURED"
    assert len(desk.fake.captures_of(intent)) == 1


@pytest.mark.parametrize("learned", [False, True])
async def test_what_goes_back_of_another_amount_does_not_prove_that_ours_was_paid(desk: Desk, *, learned: bool) -> None:
    intent = await desk.paid("ORDER")
    [order] = desk.fake.orders_of(intent)
    desk.fake.capture_by_hand(order["id"], "10.00")
    if not learned:
        assert (await desk.deliver("PAYMENT.CAPTURE.COMPLETED", order["id"])).json()["reason"] == "amount_mismatch"
    desk.fake.refund_by_hand(order["id"], "10.00")
    if learned:
        await desk.compared()
    else:
        assert (await desk.deliver("PAYMENT.CAPTURE.REFUNDED", order["id"])).json()["reason"] == "refund_exceeds_captured"
    row = await desk.till.row(intent)
    assert (row["status"], row["captured_amount"], row["refunded_amount"]) == ("AUTHORIZED", 0, 0)
    assert "payments.captured" not in await desk.till.told(intent)


async def test_held_money_is_released(desk: Desk) -> None:
    intent = await desk.paid("ORDER")
    for _ in range(2):
        assert (await desk.till.service.paying.void(intent)).status == "REFUNDED"
    [order] = desk.fake.orders_of(intent)
    [held] = order["purchase_units"][0]["payments"]["authorizations"]
    assert held["status"] == "VOIDED"
    assert (await desk.deliver("PAYMENT.AUTHORIZATION.VOIDED", order["id"])).status_code == 200
    assert await desk.status(intent) == "REFUNDED"


async def test_an_unpaid_intent_that_ended_is_not_taken_when_its_payer_approves_late(desk: Desk) -> None:
    intent = await desk.intent()
    order = (await desk.pay(intent)).partition("token=")[2]
    assert (await desk.till.service.paying.void(intent)).status == "FAILED"
    desk.fake.approve(order)
    assert (await desk.deliver("CHECKOUT.ORDER.APPROVED", order)).status_code == 200
    await desk.settle_now(intent)
    assert (await desk.status(intent), desk.fake.captures_of(intent)) == ("FAILED", [])


async def test_refunds_are_partial_repeatable_and_told_twice(desk: Desk) -> None:
    intent = await desk.paid()
    [order] = desk.fake.orders_of(intent)
    first = await desk.refund(intent, "10.00", key=f"a-{intent}")
    told = await desk.deliver("PAYMENT.CAPTURE.REFUNDED", order["id"])
    again = await desk.refund(intent, "10.00", key=f"a-{intent}")
    assert (first.status, again.body, told.json()["reason"]) == (201, first.body, "duplicate_transition")
    await desk.refund(intent)
    assert [one["amount"]["value"] for one in desk.refunds(intent)] == ["10.00", "15.00"]
    assert await desk.status(intent) == "REFUNDED"
    assert (await desk.till.told(intent)).count("payments.refunded") == 2


@pytest.mark.parametrize("trouble", ["error", "silence"])
async def test_a_refund_is_made_once_whatever_became_of_the_answer(desk: Desk, trouble: str) -> None:
    intent = await desk.paid()
    desk.fake.trouble("refund", trouble)
    assert (await desk.refund(intent, "10.00")).status == 202
    due = "UPDATE refunds SET lease_until = clock_timestamp(), retry_at = clock_timestamp() WHERE intent_id = $1"
    await desk.till.database.run(lambda connection: connection.execute(due, intent))
    await desk.till.service.refunding.settle_refunds()
    assert [one["amount"]["value"] for one in desk.refunds(intent)] == ["10.00"]
    assert (await desk.till.row(intent))["refunded_amount"] == Decimal(10)


async def test_a_refund_made_at_paypal_is_booked_once(desk: Desk) -> None:
    intent = await desk.paid()
    [order] = desk.fake.orders_of(intent)
    desk.fake.refund_by_hand(order["id"], "5.00")
    answers = await asyncio.gather(*(desk.deliver("PAYMENT.CAPTURE.REFUNDED", order["id"]) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await desk.till.row(intent))["refunded_amount"] == Decimal(5)
    assert await desk.till.count("refunds", "intent_id = $1", intent) == 1


async def test_what_was_done_at_paypal_is_found_by_a_comparison_where_its_webhooks_were_lost(desk: Desk) -> None:
    refunded, disputed = await desk.paid(), await desk.paid()
    [first], [second] = desk.fake.orders_of(refunded), desk.fake.orders_of(disputed)
    desk.fake.refund_by_hand(first["id"], "5.00")
    desk.fake.dispute(second["id"], "20.00")
    await desk.compared()
    assert (await desk.till.row(refunded))["refunded_amount"] == Decimal(5)
    assert await desk.till.count("disputes", "intent_id = $1 AND status = 'OPEN'", disputed) == 1
    desk.fake.dispute(second["id"], "20.00", status="RESOLVED", outcome="RESOLVED_BUYER_FAVOUR")
    await desk.compared()
    assert await desk.till.count("disputes", "intent_id = $1 AND status = 'LOST'", disputed) == 1
    assert await desk.till.count("refunds", "intent_id = $1", refunded) == 1


@pytest.mark.parametrize("hot", [True, False])
async def test_what_paypal_did_not_sign_is_not_kept(desk: Desk, *, hot: bool) -> None:
    intent = await desk.intent()
    order = await desk.approved(intent, told=False)
    body, headers = desk.fake.delivery("CHECKOUT.ORDER.APPROVED", order)
    before = await desk.till.count("webhook_events")
    for changed, sent in ((body + b" ", headers), (body, {**headers, "PayPal-Transmission-Id": "other"}), (body, {})):
        answer = await desk.till.clients[hot].post(WEBHOOK, content=changed, headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_signature")
    assert await desk.till.count("webhook_events") == before
    await desk.settle()
    assert await desk.status(intent) == "INITIATED"


@pytest.mark.parametrize("hot", [True, False])
async def test_without_paypal_its_endpoint_is_not_there_and_nothing_is_asked(till: Any, desk: Desk, *, hot: bool) -> None:
    body, headers = desk.fake.delivery("CHECKOUT.ORDER.APPROVED")
    answer = await till.clients[hot].post(WEBHOOK, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "gateway_not_configured")
    without = Desk(till=till, fake=desk.fake)
    intent, calls = await without.intent(), len(desk.fake.calls)
    assert await without.pay(intent) == f"/pay/{intent}"
    assert (await without.attempts(intent), len(desk.fake.calls)) == (["FAILED"], calls)
    row = await till.database.fetchrow("SELECT code FROM payment_attempts WHERE intent_id = $1", intent)
    assert row["code"] == "gateway_not_configured"


async def test_processes_of_their_own_take_the_money_by_themselves(servers: ServerUrls, own_nats: Nats, tmp_path: Path) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with PayPalFake().serving() as fake:
        variables = {f"CAREFORALL_{name.upper()}": value for name, value in settings(fake, tmp_path).items()}
        async with (
            platform(urls, ["payments"], **variables) as running,
            signing_in(running) as callers,
            client_of(running.first.internal_url) as inside,
        ):
            intent = await _ordered(inside, callers)
            location = (await running.client.post(f"/pay/{intent}")).headers["location"]
            order = location.partition("token=")[2]
            fake.approve(order)
            body, headers = fake.delivery("CHECKOUT.ORDER.APPROVED", order)
            assert (await running.client.post(WEBHOOK, content=body, headers=headers)).status_code == 200

            async def captured() -> bool:
                shown = await running.client.get(f"/api/v1/payments/{intent}", headers=callers.admin())
                return bool(shown.json()["status"] == "CAPTURED")

            await eventually(captured, within_s=20)
            assert len(fake.captures_of(intent)) == 1


async def _ordered(inside: httpx2.AsyncClient, callers: Callers) -> str:
    body = {
        "subject_type": "DONATION",
        "subject_id": str(new_id()),
        "amount": "25.00",
        "currency": "EUR",
        "gateway": "paypal",
    }
    headers = {**callers.service("orders", "payments"), "Idempotency-Key": str(new_id())}
    answer = await inside.post("/api/v1/payments/intent", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
