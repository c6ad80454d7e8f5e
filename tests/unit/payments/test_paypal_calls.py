"""Calls to PayPal over HTTP, against the strict fake: what is taken, what is refused, what stays unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from careforall.kit.ids import new_id
from careforall.payments.domain import OBJECT_ENDED, DeclineFact, DisputeFact, Fact, Intent, RefundFact, StateFact
from careforall.payments.gateways.base import GatewayNotAsked, GatewayObject, GatewayRefused, GatewayUnknown
from careforall.payments.gateways.paypal import PayPal
from careforall_testing.paypal_door import CLIENT_ID, CLIENT_SECRET
from careforall_testing.paypal_fake import PayPalFake

NOW = datetime.now(UTC)
BACK = "https://give.example.org/pay/1?return=1"


@pytest.fixture
async def fake() -> AsyncIterator[PayPalFake]:
    async with PayPalFake().serving() as serving:
        yield serving


@pytest.fixture
async def paypal(fake: PayPalFake) -> AsyncIterator[PayPal]:
    gateway = PayPal(fake.url, CLIENT_ID, CLIENT_SECRET, live=False, seconds=1.0)
    yield gateway
    await gateway.close()


def intent(**changed: Any) -> Intent:
    found = Intent(
        id=new_id(),
        subject_type="DONATION",
        subject_id=new_id(),
        campaign_id=None,
        amount=Decimal("25.00"),
        currency="EUR",
        gateway="paypal",
        status="INITIATED",
        status_at=NOW,
        version=1,
        captured_amount=Decimal(0),
        refunded_amount=Decimal(0),
        disputed_amount=Decimal(0),
        declines=0,
        captured_via="",
        gateway_object="",
        method=None,
        title="A well",
        user_id=None,
        livemode=False,
        reason="",
        correlation_id="",
        traceparent=None,
        expires_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )
    return msgspec.structs.replace(found, **changed)


async def opened(paypal: PayPal, wanted: Intent) -> GatewayObject:
    return await paypal.open(wanted, key=f"{wanted.id}:1", return_url=BACK)


async def taken(paypal: PayPal, fake: PayPalFake, wanted: Intent) -> Intent:
    made = await opened(paypal, wanted)
    fake.approve(made.id)
    await paypal.show(made.id)
    return msgspec.structs.replace(wanted, gateway_object=made.id)


def state(shown: GatewayObject) -> str:
    assert isinstance(shown.facts[0], StateFact)
    return shown.facts[0].target


@pytest.mark.parametrize(("subject", "wanted"), [("DONATION", "CAPTURE"), ("ORDER", "AUTHORIZE")])
async def test_an_order_is_made_once_a_key_and_carries_our_id(
    paypal: PayPal, fake: PayPalFake, subject: Any, wanted: str
) -> None:
    asked = intent(subject_type=subject)
    first, again = await opened(paypal, asked), await opened(paypal, asked)
    assert first == again
    assert first.redirect_url == f"{fake.url}/checkoutnow?token={first.id}"
    assert (first.intent_id, first.facts) == (asked.id, ())
    [order] = fake.orders_of(asked.id)
    [unit] = order["purchase_units"]
    assert (order["intent"], unit["custom_id"], unit["invoice_id"]) == (wanted, str(asked.id), str(asked.id))
    assert unit["amount"] == {"currency_code": "EUR", "value": "25.00"}


async def test_another_content_under_a_key_is_refused(paypal: PayPal, fake: PayPalFake) -> None:
    asked = intent()
    await opened(paypal, asked)
    with pytest.raises(GatewayRefused) as refused:
        await opened(paypal, msgspec.structs.replace(asked, amount=Decimal("26.00")))
    assert refused.value.code == "DUPLICATE_REQUEST_ID"
    assert len(fake.orders) == 1


@pytest.mark.parametrize(("amount", "currency"), [("2500", "JPY"), ("2500.00", "HUF"), ("90.00", "TWD")])
async def test_currencies_without_decimals_are_taken_whole(paypal: PayPal, fake: PayPalFake, amount: str, currency: str) -> None:
    asked = intent(amount=Decimal(amount), currency=currency)
    paid = await taken(paypal, fake, asked)
    [fact] = (await paypal.show(paid.gateway_object)).facts
    assert isinstance(fact, StateFact)
    assert (fact.amount, fact.currency) == (Decimal(amount), currency)


async def test_an_amount_paypal_cannot_take_is_refused_before_it_is_asked(paypal: PayPal, fake: PayPalFake) -> None:
    with pytest.raises(GatewayRefused) as refused:
        await opened(paypal, intent(amount=Decimal("2500.50"), currency="HUF"))
    assert refused.value.code == "amount_not_supported"
    assert fake.calls == []


@pytest.mark.parametrize(("subject", "target"), [("DONATION", "CAPTURED"), ("ORDER", "AUTHORIZED")])
async def test_asking_takes_an_approved_order_once_however_many_ask(
    paypal: PayPal, fake: PayPalFake, subject: Any, target: str
) -> None:
    made = await opened(paypal, intent(subject_type=subject))
    assert (await paypal.show(made.id)).facts == ()
    fake.approve(made.id)
    other = PayPal(fake.url, CLIENT_ID, CLIENT_SECRET, live=False, seconds=1.0)
    shown = await asyncio.gather(*(gateway.show(made.id) for gateway in (paypal, other) for _ in range(4)))
    await other.close()
    assert {state(one) for one in shown} == {target}
    assert state(await paypal.show(made.id)) == target
    assert len(fake.events) == 2


async def test_an_order_somebody_else_took_meanwhile_is_looked_at_again(paypal: PayPal, fake: PayPalFake) -> None:
    made = await opened(paypal, intent())
    fake.approve(made.id)
    fake.trouble("refusal", "ORDER_ALREADY_CAPTURED")
    looks = fake.count("show")
    assert (await paypal.show(made.id)).facts == ()
    assert fake.count("show") == looks + 2


@pytest.mark.parametrize("code", ["INSTRUMENT_DECLINED", "PAYER_CANNOT_PAY", "TRANSACTION_REFUSED"])
async def test_a_decline_leaves_the_order_payable(paypal: PayPal, fake: PayPalFake, code: str) -> None:
    made = await opened(paypal, intent())
    fake.approve(made.id)
    fake.trouble("refusal", code)
    [fact] = (await paypal.show(made.id)).facts
    assert isinstance(fact, DeclineFact)
    assert (fact.code, fact.gateway_object) == (code, made.id)
    fake.approve(made.id)
    assert state(await paypal.show(made.id)) == "CAPTURED"


async def test_a_spent_or_lapsed_order_ends_the_attempt(paypal: PayPal, fake: PayPalFake) -> None:
    made = await opened(paypal, intent())
    fake.approve(made.id)
    fake.trouble("refusal", "ORDER_EXPIRED")
    [spent] = (await paypal.show(made.id)).facts
    fake.lapse(made.id)
    [lapsed] = (await paypal.show(made.id)).facts
    assert isinstance(spent, DeclineFact)
    assert isinstance(lapsed, DeclineFact)
    assert (spent.code, lapsed.code) == (OBJECT_ENDED, OBJECT_ENDED)


async def test_a_second_order_of_a_paid_intent_cannot_be_taken(paypal: PayPal, fake: PayPalFake) -> None:
    asked = intent()
    await taken(paypal, fake, asked)
    second = await paypal.open(asked, key=f"{asked.id}:2", return_url=BACK)
    fake.approve(second.id)
    with pytest.raises(GatewayRefused) as refused:
        await paypal.show(second.id)
    assert refused.value.code == "DUPLICATE_INVOICE_ID"
    assert len(fake.captures_of(asked.id)) == 1


async def test_held_money_is_captured_once(paypal: PayPal, fake: PayPalFake) -> None:
    asked = intent(subject_type="ORDER")
    order = (await taken(paypal, fake, asked)).gateway_object
    assert state(await paypal.capture(order, key="k")) == "CAPTURED"
    assert state(await paypal.capture(order, key="k")) == "CAPTURED"
    assert state(await paypal.cancel(order, key="c")) == "CAPTURED"
    assert (fake.count("capture_held"), len(fake.captures_of(asked.id))) == (1, 1)


async def test_a_declined_capture_keeps_the_money_held(paypal: PayPal, fake: PayPalFake) -> None:
    order = (await taken(paypal, fake, intent(subject_type="ORDER"))).gateway_object
    fake.trouble("capture_status", "DECLINED")
    with pytest.raises(GatewayRefused) as refused:
        await paypal.capture(order, key="k")
    assert refused.value.code == "capture_declined"
    assert state(await paypal.show(order)) == "AUTHORIZED"


async def test_held_money_is_released_once(paypal: PayPal, fake: PayPalFake) -> None:
    order = (await taken(paypal, fake, intent(subject_type="ORDER"))).gateway_object
    for key in ("k", "k", "another"):
        assert state(await paypal.cancel(order, key=key)) == "FAILED"
    assert fake.count("void") == 1
    assert state(await paypal.show(order)) == "FAILED"


async def test_held_money_is_released_by_whoever_comes_first(paypal: PayPal, fake: PayPalFake) -> None:
    order = (await taken(paypal, fake, intent(subject_type="ORDER"))).gateway_object
    shown = await asyncio.gather(*(paypal.cancel(order, key=f"k{number}") for number in range(4)))
    assert {state(one) for one in shown} == {"FAILED"}
    assert fake.count("void") > 1


@pytest.mark.parametrize("approved", [False, True])
async def test_an_order_given_up_is_never_taken(paypal: PayPal, fake: PayPalFake, *, approved: bool) -> None:
    asked = intent()
    made = await opened(paypal, asked)
    if approved:
        fake.approve(made.id)
    assert state(await paypal.cancel(made.id, key="k")) == "FAILED"
    fake.approve(made.id)
    shown = await paypal.show(made.id)
    assert (state(shown), shown.intent_id) == ("FAILED", asked.id)
    assert (fake.count("capture"), fake.captures_of(asked.id)) == (0, [])


async def test_a_payment_paypal_has_not_decided_about_cannot_be_given_up(paypal: PayPal, fake: PayPalFake) -> None:
    made = await opened(paypal, intent())
    fake.approve(made.id)
    fake.trouble("capture_status", "PENDING")
    assert (await paypal.show(made.id)).facts == ()
    with pytest.raises(GatewayRefused) as refused:
        await paypal.cancel(made.id, key="k")
    assert refused.value.code == "payment_pending"


async def test_a_lapsed_order_is_given_up_already(paypal: PayPal, fake: PayPalFake) -> None:
    made = await opened(paypal, intent())
    fake.lapse(made.id)
    assert state(await paypal.cancel(made.id, key="k")) == "FAILED"


async def test_refunds_go_back_once_each(paypal: PayPal, fake: PayPalFake) -> None:
    paid = await taken(paypal, fake, intent())
    first = new_id()
    for _ in range(2):
        made = await paypal.refund(paid, Decimal("10.00"), refund_id=first, reason="not for the payer to read")
        assert made.status == "SUCCEEDED"
    assert (await paypal.show_refund(made.id)) == made
    rest = await paypal.refund(paid, Decimal("15.00"), refund_id=new_id(), reason="")
    assert rest.id != made.id
    refunds = fake.orders[paid.gateway_object]["purchase_units"][0]["payments"]["refunds"]
    assert [one["amount"]["value"] for one in refunds] == ["10.00", "15.00"]
    assert refunds[0]["custom_id"] == f"{paid.id}.{first}"
    assert [one["note_to_payer"] for one in refunds] == ["", ""]
    with pytest.raises(GatewayRefused) as refused:
        await paypal.refund(paid, Decimal("1.00"), refund_id=new_id(), reason="")
    assert refused.value.code == "CAPTURE_FULLY_REFUNDED"


async def test_what_was_not_captured_cannot_go_back(paypal: PayPal) -> None:
    made = await opened(paypal, intent())
    with pytest.raises(GatewayRefused) as refused:
        await paypal.refund(intent(gateway_object=made.id), Decimal("1.00"), refund_id=new_id(), reason="")
    assert refused.value.code == "not_captured"


async def test_an_order_shows_refunds_and_disputes_made_elsewhere(paypal: PayPal, fake: PayPalFake) -> None:
    paid = await taken(paypal, fake, intent())
    fake.refund_by_hand(paid.gateway_object, "5.00")
    dispute = fake.dispute(paid.gateway_object, "20.00")
    kinds = [type(fact).__name__ for fact in (await paypal.show(paid.gateway_object)).facts]
    assert kinds == ["StateFact", "RefundFact", "DisputeFact"]
    fake.dispute(paid.gateway_object, "20.00", status="RESOLVED", outcome="RESOLVED_BUYER_FAVOUR")
    lost = (await paypal.show(paid.gateway_object)).facts[-1]
    assert isinstance(lost, DisputeFact)
    assert (lost.gateway_dispute_id, lost.status, lost.amount) == (dispute["dispute_id"], "LOST", Decimal("20.00"))


@pytest.mark.parametrize("trouble", ["busy", "error", "silence", "garbage"])
async def test_disputes_that_cannot_be_read_hide_no_money(paypal: PayPal, fake: PayPalFake, trouble: str) -> None:
    paid = await taken(paypal, fake, intent())
    fake.trouble("disputes", trouble)
    assert state(await paypal.show(paid.gateway_object)) == "CAPTURED"


async def test_captures_are_listed_in_pages_with_our_ids(paypal: PayPal, fake: PayPalFake) -> None:
    paid = [await taken(paypal, fake, intent()) for _ in range(3)]
    await paypal.refund(paid[0], Decimal("25.00"), refund_id=new_id(), reason="")
    since, until = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=1)
    fake.page_at_most = 2
    first = await paypal.list_objects(since, until)
    rest = await paypal.list_objects(since, until, after=first.next)
    found = {one.intent_id: one for one in (*first.objects, *rest.objects)}
    assert (bool(first.next), rest.next, len(found)) == (True, "", 3)
    assert {one.id for one in found.values()} == {one.gateway_object for one in paid}
    assert all(state(one) == "CAPTURED" for one in found.values())
    assert (await paypal.list_objects(since - timedelta(hours=2), since)).objects == ()


async def test_refunds_and_disputes_made_elsewhere_are_listed_in_pages_with_the_intents_they_belong_to(
    paypal: PayPal, fake: PayPalFake
) -> None:
    asked = [intent() for _ in range(3)]
    paid = [await taken(paypal, fake, one) for one in asked]
    since, until = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=1)
    refunds = [fake.refund_by_hand(one.gateway_object, "5.00") for one in paid]
    disputes = [fake.dispute(one.gateway_object, "20.00") for one in paid]
    fake.page_at_most = 2
    found: list[GatewayObject] = []
    page = await paypal.list_changed(since, until)
    while page.next:
        found.extend(page.objects)
        page = await paypal.list_changed(since, until, after=page.next)
    found.extend(page.objects)
    told = {(one.intent_id, *said(one.facts[0])) for one in found}
    wanted = [("REFUND", one["id"], "SUCCEEDED", Decimal("5.00")) for one in refunds]
    wanted += [("DISPUTE", one["dispute_id"], "OPEN", Decimal("20.00")) for one in disputes]
    assert told == {(one.id, *fact) for one, fact in zip(asked * 2, wanted, strict=True)}
    earlier = await paypal.list_changed(since - timedelta(hours=2), since)
    assert (earlier.objects, (await paypal.list_changed(since - timedelta(hours=2), since, after=earlier.next)).objects) == (
        (),
        (),
    )


def said(fact: Fact) -> tuple[str, str, str, Decimal]:
    """What a refund or a dispute tells."""
    if isinstance(fact, RefundFact):
        return "REFUND", fact.gateway_refund_id, fact.status, fact.amount
    assert isinstance(fact, DisputeFact)
    return "DISPUTE", fact.gateway_dispute_id, fact.status, fact.amount


@pytest.mark.parametrize("trouble", ["busy", "error", "silence", "garbage"])
async def test_no_reliable_answer_is_unknown_and_a_repeat_settles_it(paypal: PayPal, fake: PayPalFake, trouble: str) -> None:
    asked = intent()
    fake.trouble("create", trouble)
    with pytest.raises(GatewayUnknown):
        await opened(paypal, asked)
    made = await opened(paypal, asked)
    fake.approve(made.id)
    fake.trouble("capture", trouble)
    with pytest.raises(GatewayUnknown):
        await paypal.show(made.id)
    assert state(await paypal.show(made.id)) == "CAPTURED"
    assert (len(fake.orders), len(fake.captures_of(asked.id))) == (1, 1)


async def test_a_gateway_that_is_away_is_unknown() -> None:
    gateway = PayPal("http://127.0.0.1:9", CLIENT_ID, CLIENT_SECRET, live=False, seconds=0.5)
    with pytest.raises(GatewayUnknown):
        await gateway.show("5O190127TN364715T")
    await gateway.close()


@pytest.mark.parametrize("code", ["PREVIOUS_REQUEST_IN_PROGRESS", "ORDER_COMPLETION_IN_PROGRESS"])
async def test_what_is_still_running_is_unknown(paypal: PayPal, fake: PayPalFake, code: str) -> None:
    made = await opened(paypal, intent())
    fake.approve(made.id)
    fake.trouble("refusal", code)
    with pytest.raises(GatewayUnknown, match=code):
        await paypal.show(made.id)


async def test_a_token_is_asked_for_once_by_all_and_again_when_it_ended(paypal: PayPal, fake: PayPalFake) -> None:
    made = await asyncio.gather(*(opened(paypal, intent()) for _ in range(8)))
    assert fake.count("token") == 1
    fake.end_tokens()
    await asyncio.gather(*(paypal.show(one.id) for one in made))
    assert fake.count("token") == 2


async def test_a_token_is_replaced_before_it_ends(fake: PayPalFake) -> None:
    fake.lifetime = 1
    gateway = PayPal(fake.url, CLIENT_ID, CLIENT_SECRET, live=False, seconds=1.0)
    made = await opened(gateway, intent())
    await asyncio.sleep(0.6)
    await gateway.show(made.id)
    assert (fake.count("token"), fake.unauthorised) == (2, 0)
    await gateway.close()


async def test_wrong_credentials_mean_that_nothing_was_asked(fake: PayPalFake) -> None:
    gateway = PayPal(fake.url, CLIENT_ID, "wrong", live=False, seconds=1.0)
    with pytest.raises(GatewayNotAsked) as refused:
        await opened(gateway, intent())
    assert refused.value.code == "gateway_credentials"
    assert "wrong" not in str(refused.value)
    assert fake.orders == {}
    await gateway.close()


async def test_refusals_are_plain_text(paypal: PayPal, fake: PayPalFake) -> None:
    made = await opened(paypal, intent())
    fake.approve(made.id)
    fake.trouble("refusal", "ODD\u202e 4111 1111 1111 1111")
    with pytest.raises(GatewayRefused) as refused:
        await paypal.show(made.id)
    assert (refused.value.code, str(refused.value)) == ("[redacted]", "[redacted]")


@pytest.mark.parametrize("more", ["?x=1", "#x", "/capture", "/../x"])
async def test_an_id_is_never_more_than_a_name(paypal: PayPal, more: str) -> None:
    made = await opened(paypal, intent())
    [fact] = (await paypal.show(f"{made.id}{more}")).facts
    assert isinstance(fact, DeclineFact)
    assert fact.code == OBJECT_ENDED
