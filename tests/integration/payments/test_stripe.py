"""Paying with Stripe: the real service against a strict fake of Stripe's API, over HTTP and with signed webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.comparisons import first_comparisons
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls
from careforall_testing.signing import STRIPE, sign_stripe
from careforall_testing.stripe_books import fee_of
from careforall_testing.stripe_fake import StripeFake, Switches, sent
from careforall_testing.stripe_forms import Json

SECOND_SECRET = "whsec_the-one-before"


class Desk(Struct, frozen=True, kw_only=True):
    """Payments set up for Stripe, the company itself, and the callers both know."""

    running: Platform
    callers: Callers
    inside: httpx2.AsyncClient
    fake: StripeFake

    async def intent(self, subject_type: str = "DONATION", **changes: Any) -> str:
        body = {
            "subject_type": subject_type,
            "subject_id": str(new_id()),
            "amount": "25.00",
            "currency": "EUR",
            "title": "A well",
            "gateway": "stripe",
        }
        answer = await self.ordered("intent", {**body, **changes})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ordered(self, path: str, body: Any = None) -> httpx2.Response:
        """Order something as another service does."""
        headers = {**self.callers.service("orders", "payments"), "Idempotency-Key": str(new_id())}
        return await self.inside.post(f"/api/v1/payments/{path}", json=body, headers=headers)

    async def pay(self, intent: str) -> str:
        """Press the button of the pay page; return where it leads."""
        answer = await self.running.client.post(f"/pay/{intent}")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def opened(self, subject_type: str = "DONATION", **changes: Any) -> tuple[str, str]:
        """An intent whose payer is on Stripe's page: its id and the session's."""
        intent = await self.intent(subject_type, **changes)
        address = await self.pay(intent)
        assert address.startswith(f"{self.fake.url}/c/pay/cs_test_"), address
        return intent, address.rpartition("/")[2]

    async def paid(self, subject_type: str = "DONATION") -> tuple[str, Json]:
        """An intent that was paid, and Stripe's payment intent."""
        intent, session = await self.opened(subject_type)
        money = self.fake.books.pay(session)
        await self.told()
        assert (await self.shown(intent))["status"] == ("AUTHORIZED" if subject_type == "ORDER" else "CAPTURED")
        return intent, money

    async def told(self) -> list[str]:
        """Have Stripe send its webhooks; return what was said to each."""
        answers = await self.fake.deliver(f"{self.running.first.url}{STRIPE}")
        assert {answer.status_code for answer in answers} <= {200}, [answer.text for answer in answers]
        return [answer.json()["status"] for answer in answers]

    async def shown(self, intent: str) -> dict[str, Any]:
        answer = await self.running.client.get(f"/api/v1/payments/{intent}", headers=self.callers.admin())
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def attempts(self, intent: str) -> list[tuple[str, str]]:
        return [(attempt["status"], attempt["code"]) for attempt in (await self.shown(intent))["attempts"]]

    async def reaches(self, intent: str, **wanted: Any) -> None:
        async def so() -> bool:
            shown = await self.shown(intent)
            return all(shown[name] == value for name, value in wanted.items())

        await eventually(so, within_s=30, what=f"{intent} is {wanted}")

    async def refund(self, intent: str, amount: str | None = None, *, order: dict[str, str] | None = None) -> httpx2.Response:
        """Order a refund as staff does; the same `order` is the same one again."""
        body = {"reason": "asked by the donor", **({"amount": amount} if amount else {})}
        return await self.running.client.post(f"/api/v1/payments/{intent}/refund", json=body, headers=order or self.order())

    async def fees(self, intent: str) -> list[str]:
        """What the ledger says that Stripe kept of a payment."""
        asked = {"payment_id": intent, "account": "fees"}
        answer = await self.running.client.get("/api/v1/payments/ledger", params=asked, headers=self.callers.admin())
        lines = [line for entry in answer.json()["items"] for line in entry["lines"]]
        return [line["amount"] for line in lines if line["account"] == "fees"]

    async def ended(self, run_id: str) -> None:
        """Wait until a comparison is finished."""

        async def so() -> bool:
            answer = await self.running.client.get(f"/api/v1/payments/reconciliation/{run_id}", headers=self.callers.admin())
            return bool(answer.json()["status"] == "FINISHED")

        await eventually(so, within_s=60, what="the comparison ends")

    def order(self) -> dict[str, str]:
        """Who orders, under a key."""
        return {**self.callers.admin(), "Idempotency-Key": str(new_id())}

    def sessions(self, intent: str) -> list[Json]:
        """The sessions made for an intent."""
        return [one for one in self.fake.books.sessions.values() if one["client_reference_id"] == intent]

    async def is_asked_again(self) -> bool:
        """Whether our calls reach Stripe: after troubles the breaker keeps them back for a while."""
        return "/c/pay/" in await self.pay(await self.intent())


@pytest.fixture(scope="module")
async def desk(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Desk]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with StripeFake.running() as fake:
        variables = {
            "CAREFORALL_GATEWAY_SECONDS": "1.0",
            "CAREFORALL_GATEWAY_TRIES": "1",
            "CAREFORALL_PAYS_PER_MINUTE": "100000",
            "CAREFORALL_RECONCILE_CALLS_PER_SECOND": "1000",
            "CAREFORALL_DEFAULT_GATEWAY": "stripe",
            "CAREFORALL_STRIPE_SECRET_KEY": fake.key,
            "CAREFORALL_STRIPE_WEBHOOK_SECRETS": f"{fake.secret}, {SECOND_SECRET}",
            "CAREFORALL_STRIPE_BASE": fake.url,
        }
        async with (
            platform(urls, ["donations", "payments"], **variables) as running,
            signing_in(running) as callers,
            client_of(running.first.internal_url) as inside,
        ):
            await first_comparisons(running, callers, "stripe")
            yield Desk(running=running, callers=callers, inside=inside, fake=fake)


@pytest.fixture(autouse=True)
async def _honest(desk: Desk) -> None:
    """Begin with an honest Stripe, and a breaker that has noticed."""
    desk.fake.switches = Switches()
    await eventually(desk.is_asked_again, within_s=30, what="Stripe is asked")
    desk.fake.lose_webhooks()


async def test_a_payer_goes_to_stripe_and_comes_back_paid(desk: Desk) -> None:
    intent, session = await desk.opened()
    assert await desk.pay(intent) == desk.fake.books.sessions[session]["url"]
    money = desk.fake.books.pay(session)
    assert await desk.told() == ["ignored", "processed", "ignored"]
    shown = await desk.shown(intent)
    assert (shown["status"], shown["captured_amount"], shown["gateway"], shown["method"]) == (
        "CAPTURED",
        "25.00",
        "stripe",
        "CARD",
    )
    assert [(one["status"], one["gateway_object"]) for one in shown["attempts"]] == [("SUCCEEDED", money["id"])]
    assert (money["amount_received"], money["currency"], money["metadata"]) == (2500, "eur", {"intent_id": intent})


async def test_a_gift_that_names_no_gateway_is_given_with_stripe(desk: Desk) -> None:
    client = desk.running.client
    wanted = {"title": "Clean water", "goal": "1000.00", "currency": "EUR", "status": "LIVE"}
    campaign = (await client.post("/api/v1/campaigns", json=wanted, headers=desk.callers.admin())).json()["id"]
    body = {"campaign_id": campaign, "donor_email": "donor1@example.org", "amount": "25.00"}
    gift = (await client.post("/api/v1/donations", json=body)).json()
    intent = gift["payment_intent"]["id"]
    await eventually(lambda: _has_page(desk, intent), what="the intent arrives")
    session = (await desk.pay(intent)).rpartition("/")[2]
    desk.fake.books.pay(session)
    await desk.told()

    async def completed() -> bool:
        shown = await client.get(f"/api/v1/donations/{gift['id']}", headers={"X-Receipt-Token": gift["receipt_token"]})
        return bool(shown.json()["status"] == "COMPLETED")

    await eventually(completed, within_s=20)


async def test_what_stripe_is_asked_for(desk: Desk) -> None:
    intent, session = await desk.opened("ORDER", title="Two mugs")
    made, back = desk.fake.books.sessions[session], f"{desk.running.first.url}/pay/{intent}"
    assert (made["amount_total"], made["submit_type"], made["_wanted"]["capture_method"]) == (2500, "pay", "manual")
    assert (made["success_url"], made["cancel_url"]) == (f"{back}?return=1", back)
    assert made["metadata"] == {"intent_id": intent, "attempt": f"{intent}:1"}


@pytest.mark.parametrize(
    ("amount", "currency", "counted"),
    [("2500", "JPY", 2500), ("12.340", "KWD", 12340), ("700", "ISK", 70000)],
)
async def test_amounts_are_counted_as_stripe_counts(desk: Desk, amount: str, currency: str, counted: int) -> None:
    intent, session = await desk.opened(amount=amount, currency=currency)
    assert desk.fake.books.sessions[session]["amount_total"] == counted
    desk.fake.books.pay(session)
    await desk.told()
    shown = await desk.shown(intent)
    assert (shown["status"], shown["captured_amount"]) == ("CAPTURED", amount)


async def test_clicks_at_once_make_one_session(desk: Desk) -> None:
    intent = await desk.intent()
    await asyncio.gather(*(desk.pay(intent) for _ in range(6)))
    assert len(desk.sessions(intent)) == 1


async def test_after_a_decline_the_same_page_is_paid(desk: Desk) -> None:
    intent, session = await desk.opened()
    desk.fake.books.decline(session)
    await desk.told()
    assert await desk.attempts(intent) == [("FAILED", "insufficient_funds")]
    assert "Your card has insufficient funds." in (await desk.running.client.get(f"/pay/{intent}")).text
    assert (await desk.pay(intent)).endswith(session)
    desk.fake.books.pay(session)
    await desk.told()
    shown = await desk.shown(intent)
    assert (shown["status"], [one["status"] for one in shown["attempts"]]) == ("CAPTURED", ["FAILED", "SUCCEEDED"])
    assert len(desk.sessions(intent)) == 1


async def test_a_payer_who_comes_back_has_us_ask_when_no_webhook_arrives(desk: Desk) -> None:
    intent, session = await desk.opened()
    desk.fake.books.pay(session)
    desk.fake.lose_webhooks()
    await desk.running.client.get(f"/pay/{intent}?return=1")
    await desk.reaches(intent, status="CAPTURED")
    assert (await desk.shown(intent))["transitions"][-1]["cause"] == "stripe asked"


async def test_held_money_is_captured_once(desk: Desk) -> None:
    intent, money = await desk.paid("ORDER")
    answers = [await desk.ordered(f"{intent}/capture") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "CAPTURED")] * 2
    assert (money["status"], money["amount_received"]) == ("succeeded", 2500)
    assert await desk.told() == ["ignored"]
    assert (await desk.ordered(f"{intent}/void")).status_code == 409


async def test_held_money_is_released(desk: Desk) -> None:
    intent, money = await desk.paid("ORDER")
    answers = [await desk.ordered(f"{intent}/void") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "REFUNDED")] * 2
    assert (money["status"], money["amount_received"]) == ("canceled", 0)
    await desk.told()
    assert (await desk.shown(intent))["status"] == "REFUNDED"


@pytest.mark.parametrize("declined", [False, True])
async def test_an_unpaid_page_is_ended_at_stripe_too(desk: Desk, declined: bool) -> None:
    intent, session = await desk.opened()
    if declined:
        desk.fake.books.decline(session)
        await desk.told()
        await desk.pay(intent)
    assert (await desk.ordered(f"{intent}/void")).json()["status"] == "FAILED"
    assert desk.fake.books.sessions[session]["status"] == "expired"


async def test_a_page_that_ended_at_stripe_ends_the_intent(desk: Desk) -> None:
    told, session = await desk.opened()
    desk.fake.books.expire(session)
    await desk.told()
    asked, session = await desk.opened()
    desk.fake.books.expire(session)
    desk.fake.lose_webhooks()
    await desk.running.client.get(f"/pay/{asked}?return=1")
    for intent in (told, asked):
        await desk.reaches(intent, status="FAILED", reason="expired")


async def test_a_debit_that_comes_back_unpaid_ends_the_intent(desk: Desk) -> None:
    intent, session = await desk.opened()
    desk.fake.books.pay_later(session)
    await desk.told()
    assert (await desk.shown(intent))["status"] == "INITIATED"
    desk.fake.books.bounce(session)
    await desk.told()
    await desk.reaches(intent, status="FAILED", reason="payment_failed")


@pytest.mark.parametrize("trouble", [Switches(error_after_success=True), Switches(late_s=1.6)])
async def test_an_unknown_opening_is_settled_by_asking_with_exactly_one_session(desk: Desk, trouble: Switches) -> None:
    intent = await desk.intent()
    desk.fake.switches = trouble
    assert await desk.pay(intent) == f"/pay/{intent}"
    assert await desk.attempts(intent) == [("UNKNOWN", "")]
    assert len(desk.sessions(intent)) == 1
    desk.fake.switches = Switches()

    async def opened() -> bool:
        return await desk.attempts(intent) == [("OPEN", "")]

    await eventually(opened, within_s=30)
    [session] = desk.sessions(intent)
    assert await desk.pay(intent) == session["url"]
    desk.fake.books.pay(session["id"])
    await desk.told()
    assert (await desk.shown(intent))["status"] == "CAPTURED"


async def test_an_opening_that_made_nothing_ends_the_attempt_and_the_next_one_works(desk: Desk) -> None:
    intent = await desk.intent()
    desk.fake.switches = Switches(error_before=True)
    await desk.pay(intent)
    assert desk.sessions(intent) == []
    desk.fake.switches = Switches()

    async def failed() -> bool:
        return await desk.attempts(intent) == [("FAILED", "gateway_error")]

    await eventually(failed, within_s=30)
    assert "/c/pay/" in await desk.pay(intent)
    assert [one["metadata"]["attempt"] for one in desk.sessions(intent)] == [f"{intent}:2"]


@pytest.mark.parametrize("order", ["capture", "void"])
@pytest.mark.parametrize("trouble", [Switches(error_after_success=True), Switches(error_before=True), Switches(late_s=1.6)])
async def test_an_unknown_step_is_settled_by_repeating_the_order(desk: Desk, order: str, trouble: Switches) -> None:
    intent, money = await desk.paid("ORDER")
    desk.fake.switches = trouble
    assert (await desk.ordered(f"{intent}/{order}")).status_code == 503
    assert (await desk.shown(intent))["status"] == "AUTHORIZED"
    desk.fake.switches = Switches()

    async def done() -> bool:
        return (await desk.ordered(f"{intent}/{order}")).status_code == 200

    await eventually(done, within_s=30, every_s=0.5)
    assert (await desk.shown(intent))["status"] == ("CAPTURED" if order == "capture" else "REFUNDED")
    assert money["amount_received"] == (2500 if order == "capture" else 0)


async def test_refunds_in_parts_up_to_what_was_captured(desk: Desk) -> None:
    intent, money = await desk.paid()
    first, second = await desk.refund(intent, "10.00"), await desk.refund(intent)
    assert [(one.status_code, one.json()["amount"]) for one in (first, second)] == [(201, "10.00"), (201, "15.00")]
    assert (await desk.refund(intent, "0.01")).status_code == 409
    await desk.told()
    shown = await desk.shown(intent)
    assert (shown["status"], shown["refunded_amount"], len(shown["refunds"])) == ("REFUNDED", "25.00", 2)
    assert [one["amount"] for one in desk.fake.books.refunds.values() if one["payment_intent"] == money["id"]] == [1000, 1500]


@pytest.mark.parametrize("trouble", [Switches(error_after_success=True), Switches(late_s=1.6)])
async def test_an_unknown_refund_is_settled_by_asking_and_sent_once(desk: Desk, trouble: Switches) -> None:
    intent, money = await desk.paid()
    desk.fake.switches = trouble
    order = desk.order()
    assert (await desk.refund(intent, "10.00", order=order)).status_code == 202
    desk.fake.switches = Switches()
    await desk.reaches(intent, refunded_amount="10.00")
    assert (await desk.refund(intent, "10.00", order=order)).status_code == 201
    assert [one["amount"] for one in desk.fake.books.refunds.values() if one["payment_intent"] == money["id"]] == [1000]


async def test_a_refund_that_failed_at_stripe_has_failed_here(desk: Desk) -> None:
    intent, money = await desk.paid()
    desk.fake.switches = Switches(error_before=True)
    assert (await desk.refund(intent, "10.00")).status_code == 202
    desk.fake.switches = Switches()

    async def failed() -> bool:
        return [one["status"] for one in (await desk.shown(intent))["refunds"]] == ["FAILED"]

    await eventually(failed, within_s=30)
    assert not [one for one in desk.fake.books.refunds.values() if one["payment_intent"] == money["id"]]
    assert (await desk.refund(intent, "25.00")).status_code == 201


async def test_a_refund_that_fails_after_stripe_took_it_waits_for_a_person(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    intent, _ = await desk.paid()
    monkeypatch.setattr(desk.fake.books, "make_refund", partial(desk.fake.books.make_refund, status="pending"))
    assert (await desk.refund(intent, "10.00")).status_code == 202
    [name] = [one["id"] for one in desk.fake.books.refunds.values() if one["metadata"].get("intent_id") == intent]
    desk.fake.books.settle_refund(name, "failed")
    await desk.told()
    assert [one["status"] for one in (await desk.shown(intent))["refunds"]] == ["FAILED"]
    alarms = (await desk.running.client.get("/api/v1/payments/alarms", headers=desk.callers.admin())).json()["items"]
    assert [one["kind"] for one in alarms if one["payment_id"] == intent] == ["refund_failed"]


async def test_a_refund_made_at_stripe_itself_is_ours_too(desk: Desk) -> None:
    intent, money = await desk.paid()
    desk.fake.books.make_refund({"payment_intent": money["id"], "amount": "500"})
    assert await desk.told() == ["processed", "ignored"]
    assert (await desk.shown(intent))["refunded_amount"] == "5.00"


async def test_a_key_used_with_other_parameters_ends_the_attempt_alone(desk: Desk) -> None:
    intent = await desk.intent()
    await _spoil(desk, f"{intent}:1")
    assert await desk.pay(intent) == f"/pay/{intent}"
    assert await desk.attempts(intent) == [("FAILED", "idempotency_mismatch")]
    assert (await desk.shown(intent))["status"] == "INITIATED"
    assert "/c/pay/" in await desk.pay(intent)


async def test_a_busy_stripe_is_asked_again_later(desk: Desk) -> None:
    intent = await desk.intent()
    desk.fake.switches = Switches(throttle=True)
    assert await desk.pay(intent) == f"/pay/{intent}"
    assert (await desk.attempts(intent))[0][0] == "UNKNOWN"
    assert desk.sessions(intent) == []
    desk.fake.switches = Switches()

    async def opened() -> bool:
        return (await desk.attempts(intent))[0][0] == "OPEN"

    await eventually(opened, within_s=30)
    assert len(desk.sessions(intent)) == 1


async def test_a_currency_stripe_does_not_take_is_refused_with_its_words(desk: Desk) -> None:
    intent = await desk.intent(currency="SEK")
    assert await desk.pay(intent) == f"/pay/{intent}"
    assert await desk.attempts(intent) == [("FAILED", "invalid_request")]
    assert "Invalid currency: sek." in (await desk.running.client.get(f"/pay/{intent}")).text


async def test_events_tell_once_whatever_is_sent_again(desk: Desk) -> None:
    intent, session = await desk.opened()
    desk.fake.books.pay(session)
    event = next(one for one in reversed(desk.fake.books.events) if one["type"] == "payment_intent.succeeded")
    answers = await asyncio.gather(*(_send(desk, sent(event), secret) for secret in (desk.fake.secret, SECOND_SECRET) * 4))
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1
    assert [(one["from"], one["to"]) for one in (await desk.shown(intent))["transitions"]] == [
        ("INITIATED", "AUTHORIZED"),
        ("AUTHORIZED", "CAPTURED"),
    ]


async def test_a_fee_that_no_event_tells_is_booked_by_the_next_comparison(desk: Desk) -> None:
    intent, money = await desk.paid()
    assert await desk.fees(intent) == []
    for _ in range(2):
        path, body = "/api/v1/payments/reconciliation/run", {"gateway": "stripe"}
        ordered = await desk.running.client.post(path, json=body, headers=desk.order())
        assert ordered.status_code == 202, ordered.text
        await desk.ended(ordered.json()["items"][0]["id"])
        assert await desk.fees(intent) == [f"{fee_of(money['amount']) / 100:.2f}"]


async def test_forged_and_foreign_events_change_nothing(desk: Desk) -> None:
    intent, session = await desk.opened()
    desk.fake.books.pay(session)
    event = next(one for one in reversed(desk.fake.books.events) if one["type"] == "payment_intent.succeeded")
    assert (await _send(desk, sent(event), "whsec_foreign")).status_code == 401
    assert (await _send(desk, sent(event).replace(b"  ", b""), desk.fake.secret, signed=sent(event))).status_code == 401
    live = await _send(desk, sent({**event, "livemode": True}), desk.fake.secret)
    assert (live.status_code, live.json()["reason"]) == (200, "foreign_mode")
    assert (await desk.shown(intent))["status"] == "INITIATED"


async def test_a_dispute_is_kept_with_the_payment(desk: Desk) -> None:
    intent, money = await desk.paid()
    desk.fake.books.dispute(money["id"])
    assert await desk.told() == ["processed"]
    shown = await desk.shown(intent)
    assert [(dispute["amount"], dispute["status"]) for dispute in shown["disputes"]] == [("25.00", "OPEN")]
    assert (shown["status"], shown["disputed_amount"]) == ("CAPTURED", "25.00")


async def _has_page(desk: Desk, intent: str) -> bool:
    return (await desk.running.client.get(f"/pay/{intent}")).status_code == 200


async def _send(desk: Desk, body: bytes, secret: str, *, signed: bytes = b"") -> httpx2.Response:
    return await desk.running.client.post(STRIPE, content=body, headers=sign_stripe(secret, signed or body))


async def _spoil(desk: Desk, key: str) -> None:
    """Have somebody use a key before us."""
    form = {
        "mode": "payment",
        "success_url": "https://example.org/",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "eur",
        "line_items[0][price_data][unit_amount]": "100",
        "line_items[0][price_data][product_data][name]": "Another thing",
    }
    headers = {"Authorization": f"Bearer {desk.fake.key}", "Stripe-Version": "2026-10-28.endive", "Idempotency-Key": key}
    async with client_of(desk.fake.url) as client:
        assert (await client.post("/v1/checkout/sessions", data=form, headers=headers)).status_code == 200
