"""The gateway itself against the fake: all facts of an object, pages of objects, and what each error of Stripe's means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall.payments.domain import DisputeFact, Intent, RefundFact, StateFact
from careforall.payments.gateways.base import GatewayRefused, GatewayUnknown
from careforall.payments.gateways.stripe import Stripe
from careforall.payments.gateways.stripe_calls import SpentKey
from careforall_testing.stripe_fake import StripeFake, Switches

BACK = "https://example.org/pay/1?return=1"


@pytest.fixture
async def fake() -> AsyncIterator[StripeFake]:
    async with StripeFake.running() as running:
        yield running


@asynccontextmanager
async def stripe(base: str, key: str, *, seconds: float = 5.0) -> AsyncIterator[Stripe]:
    gateway = Stripe(key, livemode=False, base=base, seconds=seconds)
    try:
        yield gateway
    finally:
        await gateway.close()


@pytest.fixture
async def gateway(fake: StripeFake) -> AsyncIterator[Stripe]:
    async with stripe(fake.url, fake.key) as opened:
        yield opened


def intent(**changes: Any) -> Intent:
    now = datetime.now(UTC)
    facts: dict[str, Any] = {
        "id": new_id(),
        "subject_type": "DONATION",
        "subject_id": new_id(),
        "campaign_id": new_id(),
        "amount": Decimal("25.00"),
        "currency": "EUR",
        "gateway": "stripe",
        "status": "INITIATED",
        "status_at": now,
        "version": 1,
        "captured_amount": Decimal(0),
        "refunded_amount": Decimal(0),
        "disputed_amount": Decimal(0),
        "declines": 0,
        "captured_via": "",
        "gateway_object": "",
        "method": None,
        "title": "A well",
        "user_id": None,
        "livemode": False,
        "reason": "",
        "correlation_id": "request-1",
        "traceparent": None,
        "expires_at": now + timedelta(hours=24),
        "created_at": now,
        "updated_at": now,
    }
    return Intent(**{**facts, **changes})


async def test_all_facts_of_a_payment_are_shown_by_either_name(fake: StripeFake, gateway: Stripe) -> None:
    mine = intent()
    made = await gateway.open(mine, key="a:1", return_url=BACK)
    assert (made.facts, made.intent_id, made.redirect_url) == ((), mine.id, fake.books.sessions[made.id]["url"])
    paid = fake.books.pay(made.id)["id"]
    first = fake.books.make_refund({"payment_intent": paid, "amount": "500"})["id"]
    second = fake.books.make_refund({"payment_intent": paid, "amount": "700"}, status="pending")["id"]
    fake.books.settle_refund(second, "failed")
    dispute = fake.books.dispute(paid)
    dispute["status"] = "lost"
    for name in (made.id, paid):
        shown = await gateway.show(name)
        assert (shown.id, shown.intent_id) == (name, mine.id)
        state, one, two, lost = shown.facts
        assert isinstance(state, StateFact)
        assert (state.target, state.gateway_object) == ("CAPTURED", paid)
        assert isinstance(one, RefundFact)
        assert isinstance(two, RefundFact)
        assert [(one.gateway_refund_id, one.status), (two.gateway_refund_id, two.status)] == [
            (first, "SUCCEEDED"),
            (second, "FAILED"),
        ]
        assert isinstance(lost, DisputeFact)
        assert (lost.gateway_dispute_id, lost.status) == (dispute["id"], "LOST")


async def test_a_declined_page_tells_nothing_until_it_ends(fake: StripeFake, gateway: Stripe) -> None:
    made = await gateway.open(intent(), key="b:1", return_url=BACK)
    paid = fake.books.decline(made.id)["id"]
    assert [(await gateway.show(name)).facts for name in (made.id, paid)] == [(), ()]
    fake.books.expire(made.id)
    for name in (made.id, paid):
        assert (await gateway.show(name)).facts == (StateFact(target="FAILED", reason="expired", gateway_object=paid),)


async def test_more_refunds_than_a_page_are_all_shown(fake: StripeFake, gateway: Stripe) -> None:
    made = await gateway.open(intent(), key="c:1", return_url=BACK)
    paid = fake.books.pay(made.id)["id"]
    names = [fake.books.make_refund({"payment_intent": paid, "amount": "10"})["id"] for _ in range(205)]
    facts = (await gateway.show(made.id)).facts
    assert [fact.gateway_refund_id for fact in facts if isinstance(fact, RefundFact)] == names


async def test_objects_of_a_time_come_in_pages(fake: StripeFake, gateway: Stripe) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    opened = [await gateway.open(intent(), key=f"d:{number}", return_url=BACK) for number in range(3)]
    for session in opened:
        fake.books.pay(session.id)
    template = next(iter(fake.books.intents.values()))
    for number in range(230):
        at = int(now.timestamp()) - 3600 + number
        fake.books.intents[f"pi_{number}"] = {**template, "id": f"pi_{number}", "created": at}
    since, until = now - timedelta(seconds=3600), now - timedelta(seconds=3600 - 210)
    first = await gateway.list_objects(since, until)
    second = await gateway.list_objects(since, until, after=first.next)
    third = await gateway.list_objects(since, until, after=second.next)
    assert [len(page.objects) for page in (first, second, third)] == [100, 100, 10]
    assert third.next == ""
    found = [one.id for page in (first, second, third) for one in page.objects]
    assert sorted(found) == sorted(f"pi_{number}" for number in range(210))
    assert all(one.created_at is not None and since <= one.created_at < until for one in first.objects)
    assert {type(fact) for one in first.objects for fact in one.facts} == {StateFact}


async def test_a_session_is_found_among_many_after_a_failure(fake: StripeFake, gateway: Stripe) -> None:
    mine = intent()
    fake.switches = Switches(error_after_success=True)
    with pytest.raises(GatewayUnknown):
        await gateway.open(mine, key="e:1", return_url=BACK)
    fake.switches = Switches()
    [made] = fake.books.sessions
    for number in range(150):
        await gateway.open(intent(), key=f"e-{number}", return_url=BACK)
    found = await gateway.open(mine, key="e:1", return_url=BACK)
    assert (found.id, found.redirect_url) == (made, fake.books.sessions[made]["url"])
    assert len(fake.books.sessions) == 151


async def test_one_key_makes_one_session_however_often_it_is_called(fake: StripeFake, gateway: Stripe) -> None:
    mine = intent()
    opened = [await gateway.open(mine, key="f:1", return_url=BACK) for _ in range(3)]
    assert len({one.id for one in opened}) == len(fake.books.sessions) == 1


@pytest.mark.parametrize(("trouble", "status"), [(Switches(throttle=True), "429"), (Switches(error_before=True), "500")])
async def test_a_call_is_made_once_without_hidden_repeats(
    fake: StripeFake, gateway: Stripe, trouble: Switches, status: str
) -> None:
    fake.switches = trouble
    with pytest.raises(GatewayUnknown) as unknown:
        await gateway.open(intent(), key="g:1", return_url=BACK)
    assert fake.calls == [("POST", "checkout/sessions")]
    assert status in str(unknown.value)


async def test_a_key_in_use_is_unknown(fake: StripeFake, gateway: Stripe) -> None:
    mine = intent()
    fake.switches = Switches(late_s=0.5)
    first = asyncio.ensure_future(gateway.open(mine, key="h:1", return_url=BACK))
    while not fake.books.sessions:
        await asyncio.sleep(0.01)
    with pytest.raises(GatewayUnknown) as used:
        await gateway.open(mine, key="h:1", return_url=BACK)
    assert "409" in str(used.value)
    assert (await first).id in fake.books.sessions


async def test_a_failure_is_unknown_once_and_known_to_be_spent_then(fake: StripeFake, gateway: Stripe) -> None:
    made = await gateway.open(intent(subject_type="ORDER"), key="i:1", return_url=BACK)
    paid = fake.books.pay(made.id)["id"]
    fake.switches = Switches(error_before=True)
    with pytest.raises(GatewayUnknown) as first:
        await gateway.capture(paid, key="i:capture")
    assert not isinstance(first.value, SpentKey)
    with pytest.raises(GatewayUnknown):
        await gateway.capture(paid, key="i:capture")
    fake.switches = Switches()
    assert fake.books.intents[paid]["status"] == "requires_capture"
    with pytest.raises(GatewayUnknown):
        await gateway.capture(paid, key="i:capture")
    assert [path for _, path in fake.calls if path.endswith("/capture")] == [f"payment_intents/{paid}/capture"] * 5


@pytest.mark.parametrize(("status", "code"), [(400, "parameter_unknown"), (402, "insufficient_funds"), (404, "resource_missing")])
async def test_a_clear_no_is_a_refusal_in_plain_words(status: int, code: str) -> None:
    kind = "card_error" if status == 402 else "invalid_request_error"
    words = "No: 4242 4242 4242 4242"
    decline = ', "decline_code": "insufficient_funds"' if status == 402 else ""
    body = f'{{"error": {{"type": "{kind}", "code": "{code}", "message": "{words}"{decline}}}}}'
    async with answering(status, body) as base, stripe(base, "sk_test_1") as gateway:
        with pytest.raises(GatewayRefused) as refused:
            await gateway.show("pi_1")
    assert (refused.value.code, str(refused.value)) == (code, "[redacted]")


@pytest.mark.parametrize("status", [401, 403])
async def test_what_stripe_says_of_our_key_stays_here(status: int) -> None:
    body = '{"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_test_secret"}}'
    async with answering(status, body) as base, stripe(base, "sk_test_secret") as gateway:
        with pytest.raises(GatewayRefused) as refused:
            await gateway.show("pi_1")
    assert (refused.value.code, str(refused.value)) == ("authentication_failed", "The gateway does not accept our key.")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>maintenance</html>"),
        (200, "[]"),
        (200, "7"),
        (200, ""),
        (200, '{"id": 7}'),
        (200, '{"object": "payment_intent"}'),
        (302, ""),
        (400, "no"),
        (400, '{"error": 7}'),
        (409, '{"error": {"type": "invalid_request_error", "code": "idempotency_key_in_use", "message": "wait"}}'),
        (429, '{"error": {"type": "invalid_request_error", "code": "lock_timeout", "message": "wait"}}'),
        (500, '{"error": {"type": "api_error", "message": "sorry"}}'),
        (502, "<html>bad gateway</html>"),
    ],
)
async def test_whatever_else_comes_back_is_unknown(status: int, body: str) -> None:
    async with answering(status, body) as base, stripe(base, "sk_test_1") as gateway:
        with pytest.raises(GatewayUnknown):
            await gateway.show("pi_1")


async def test_silence_and_absence_are_unknown() -> None:
    async with answering(200, "{}", silent=True) as base, stripe(base, "sk_test_1", seconds=0.2) as gateway:
        with pytest.raises(GatewayUnknown):
            await gateway.show("pi_1")
    async with stripe(base, "sk_test_1") as gateway:
        with pytest.raises(GatewayUnknown):
            await gateway.open(intent(), key="k:1", return_url=BACK)


@asynccontextmanager
async def answering(status: int, body: str, *, silent: bool = False) -> AsyncIterator[str]:
    """Something at an address that always says the same, or nothing at all."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if silent:
            await reader.read()
        head = (
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body.encode())
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
