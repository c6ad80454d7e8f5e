"""What the company says on the wire, and how it proves that it said it."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import msgspec

from careforall.simulator import domain, objects
from careforall.simulator.delivery import LONGEST_PAUSE_S, pause
from careforall.simulator.domain import Intent
from careforall.simulator.pages import redirect_status, shown_amount, way_back
from careforall.simulator.settings import SimulatorSettings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
INTENT = Intent(id="pi_1", amount=2500, currency="eur", created=NOW, metadata={"intent_id": "ours"}, return_url="http://a/b?c=d")
BASE = "http://127.0.0.1/simulator"
ROOT = "x" * 32


def test_a_fresh_intent_on_the_wire() -> None:
    shown = msgspec.to_builtins(objects.intent_object(INTENT, BASE))
    assert shown == {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 2500,
        "amount_capturable": 0,
        "amount_received": 0,
        "amount_refunded": 0,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "created": int(NOW.timestamp()),
        "currency": "eur",
        "hosted_url": "http://127.0.0.1/simulator/pay/pi_1",
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {"intent_id": "ours"},
        "status": "requires_payment_method",
    }


def test_events_carry_the_object_they_tell_of() -> None:
    paid = domain.pay(INTENT, "ch_1").intent
    back = domain.refund(paid, None, refund_id="re_1", amount=500, reason=None, metadata={"a": "b"}, now=NOW)
    refund, charge = (
        json.loads(objects.event_body("evt_1", kind, back, base=BASE, now=NOW))["data"]["object"] for kind in back.events
    )
    assert (refund["object"], refund["id"], refund["amount"], refund["metadata"]) == ("refund", "re_1", 500, {"a": "b"})
    assert (charge["object"], charge["id"], charge["amount_refunded"], charge["refunded"]) == ("charge", "ch_1", 500, False)


def test_a_decline_says_why() -> None:
    declined = domain.decline(INTENT, "ch_1")
    body = json.loads(objects.event_body("evt_1", declined.events[0], declined, base=BASE, now=NOW))
    assert body["type"] == "payment_intent.payment_failed"
    assert body["data"]["object"]["last_payment_error"]["code"] == "card_declined"


def test_the_signature_covers_time_and_body() -> None:
    header = objects.signature("secret", b'{"a":1}', 1700000000)
    expected = hmac.new(b"secret", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert header == f"t=1700000000,v1={expected}"


def test_the_way_back_keeps_the_query_and_tells_how_it_went() -> None:
    paid = domain.pay(INTENT, "ch_1").intent
    assert way_back(paid, "pay") == "http://a/b?c=d&payment_intent=pi_1&redirect_status=succeeded"
    assert redirect_status(domain.decline(INTENT, "ch_1").intent, "decline") == "failed"
    assert redirect_status(domain.cancel(INTENT, None).intent, "cancel") == "canceled"


def test_amounts_are_shown_with_the_places_of_their_currency() -> None:
    assert [shown_amount(2500, code) for code in ("eur", "jpy", "kwd")] == ["€25.00", "¥2,500", "KWD\N{NO-BREAK SPACE}2.500"]


def test_pauses_grow_up_to_an_hour() -> None:
    pauses = [pause(attempts) for attempts in range(1, 40)]
    assert pauses[0] <= 0.5
    assert 2 < pauses[3] <= 4
    assert LONGEST_PAUSE_S * 0.75 <= pauses[-1] <= LONGEST_PAUSE_S


def test_secrets_and_addresses_have_defaults_and_the_first_secret_signs() -> None:
    bare = SimulatorSettings(postgres_url="postgresql://localhost", secret_key=ROOT, public_url="http://127.0.0.1:8000/")
    assert bare.webhook_url == "http://127.0.0.1:8000/api/v1/payments/webhook/simulator"
    assert len(bare.api_key) == len(bare.signing_secret) == 64
    assert bare.api_key != bare.signing_secret
    given = SimulatorSettings(postgres_url="postgresql://localhost", secret_key=ROOT, simulator_secrets="new, old")
    assert given.signing_secret == "new"
