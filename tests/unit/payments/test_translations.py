"""What gateways' bodies mean in our words, whatever is missing or strange in them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.kit.ids import new_id
from careforall.payments.domain import DeclineFact, DisputeFact, NoFact, RefundFact, StateFact
from careforall.payments.gateways import generic, simulator

INTENT = UUID("01900000-0000-7000-8000-000000000001")


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"payment_intent_id": str(INTENT), "status": "SUCCESS", **fields})


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("2026-11-21T12:00:00Z", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T13:00:00+01:00", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T12:00:00", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        (1795262400, datetime(2026, 11, 21, 12, tzinfo=UTC)),
        (1795262400000, datetime(2026, 11, 21, 12, tzinfo=UTC)),
        (1795262400.5, datetime(2026, 11, 21, 12, 0, 0, 500000, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_every_usual_form(raw: Any, wanted: datetime) -> None:
    fact = generic.read_event(body(timestamp=raw)).fact
    assert fact is not None
    assert fact.at == wanted


@pytest.mark.parametrize(
    "raw", [None, "", "yesterday", "2026-02-30T00:00:00Z", "+10000-01-01", 10**30, -(10**30), True, [], {"a": 1}]
)
def test_a_time_that_cannot_be_read_is_no_time(raw: Any) -> None:
    told = generic.read_event(body(timestamp=raw))
    assert told.fact == StateFact(target="CAPTURED")


@pytest.mark.parametrize(
    ("status", "target"), [("SUCCESS", "CAPTURED"), ("success", "CAPTURED"), ("FAILED", "FAILED"), ("AUTHORIZED", "AUTHORIZED")]
)
def test_statuses_are_ours_or_success(status: str, target: str) -> None:
    fact = generic.read_event(body(status=status)).fact
    assert isinstance(fact, StateFact)
    assert fact.target == target


def test_either_name_of_the_payment_and_unknown_fields_are_accepted() -> None:
    told = generic.read_event(msgspec.json.encode({"payment_id": str(INTENT), "status": "FAILED", "order_id": 7, "extra": {}}))
    assert told.payment_id == INTENT
    assert generic.read_event(body(event_id=17)).event_id == "17"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b"\xff",
        b'{"status": "SUCCESS"}',
        b'{"payment_intent_id": "x"}',
        body(status="PAID"),
        body(status=7),
        body(amount="much"),
        body(amount=[]),
        b"[" * 10_000,
        b'{"payment_intent_id": "\xff", "status": "SUCCESS"}',
        b'{"extra": ' + b"[" * 100_000,
    ],
)
def test_what_cannot_be_understood_is_a_flaw_not_a_crash(raw: bytes) -> None:
    told = generic.read_event(raw)
    assert told.flaw
    assert told.fact is None


def test_a_payment_that_is_no_id_of_ours_is_nobodys() -> None:
    assert generic.read_event(body(payment_intent_id="order 7")).payment_id is None


def event(event_type: str, **subject: Any) -> bytes:
    found = {"id": "pi_1", "amount": 2500, "amount_received": 2500, "currency": "eur", "metadata": {"intent_id": str(INTENT)}}
    whole = {"id": "evt_1", "type": event_type, "created": 1795262400, "livemode": False, "data": {"object": found | subject}}
    return msgspec.json.encode(whole)


@pytest.mark.parametrize(
    ("event_type", "target"),
    [
        ("payment_intent.succeeded", "CAPTURED"),
        ("payment_intent.amount_capturable_updated", "AUTHORIZED"),
        ("payment_intent.canceled", "FAILED"),
    ],
)
def test_intent_events_are_states(event_type: str, target: str) -> None:
    told = simulator.read_event(event(event_type))
    assert (told.event_id, told.payment_id, told.gateway_object) == ("evt_1", INTENT, "pi_1")
    assert isinstance(told.fact, StateFact)
    assert (told.fact.target, told.fact.amount, told.fact.currency) == (target, Decimal("25.00"), "EUR")


def test_a_capture_is_measured_by_what_was_received() -> None:
    fact = simulator.read_event(event("payment_intent.succeeded", amount_received=2000)).fact
    assert isinstance(fact, StateFact)
    assert fact.amount == Decimal("20.00")


def test_currencies_without_cents_and_unknown_ones() -> None:
    yen = simulator.read_event(event("payment_intent.succeeded", currency="jpy")).fact
    strange = simulator.read_event(event("payment_intent.succeeded", currency="xx")).fact
    assert isinstance(yen, StateFact)
    assert isinstance(strange, StateFact)
    assert (yen.amount, yen.currency) == (Decimal(2500), "JPY")
    assert strange.currency == "XX"


def test_a_decline_ends_a_try() -> None:
    error = {"code": "card_declined", "decline_code": "no_money", "message": "The card was declined."}
    fact = simulator.read_event(event("payment_intent.payment_failed", last_payment_error=error)).fact
    assert isinstance(fact, DeclineFact)
    assert (fact.code, fact.reason, fact.gateway_object) == ("no_money", "The card was declined.", "pi_1")


def test_refunds_are_known_by_our_id_where_it_comes_back() -> None:
    ours = new_id()
    refund = {"id": "re_1", "amount": 700, "status": "succeeded", "payment_intent": "pi_1", "metadata": {"refund_id": str(ours)}}
    told = simulator.read_event(event("refund.created", **refund))
    assert (told.payment_id, told.gateway_object) == (None, "pi_1")
    assert isinstance(told.fact, RefundFact)
    assert (told.fact.refund_id, told.fact.gateway_refund_id, told.fact.amount) == (ours, "re_1", Decimal("7.00"))


@pytest.mark.parametrize(
    ("event_type", "status", "ours"),
    [
        ("charge.dispute.created", "needs_response", "OPEN"),
        ("charge.dispute.closed", "won", "WON"),
        ("charge.dispute.closed", "lost", "LOST"),
    ],
)
def test_disputes_are_facts_with_ids_of_their_own(event_type: str, status: str, ours: str) -> None:
    subject = {"id": "dp_1", "object": "dispute", "amount": 700, "payment_intent": "pi_1", "reason": "fraudulent"}
    told = simulator.read_event(event(event_type, status=status, **subject))
    assert (told.payment_id, told.gateway_object) == (INTENT, "pi_1")
    assert isinstance(told.fact, DisputeFact)
    assert (told.fact.gateway_dispute_id, told.fact.status, told.fact.reason) == ("dp_1", ours, "fraudulent")
    assert (told.fact.amount, told.fact.currency) == (Decimal("7.00"), "EUR")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (event("charge.refunded"), "told_by_refund_event"),
        (event("charge.dispute.created"), "unknown_dispute_status"),
        (event("customer.created"), "unhandled_type"),
        (event("refund.created", status="odd"), "unknown_refund_status"),
        (event("payment_intent.succeeded", metadata={"intent_id": 7}), "unreadable_object"),
        (event("payment_intent.succeeded").replace(b'"livemode":false', b'"livemode":true'), "foreign_mode"),
    ],
)
def test_what_says_nothing_about_a_payment_has_no_effect(raw: bytes, reason: str) -> None:
    fact = simulator.read_event(raw).fact
    assert isinstance(fact, NoFact)
    assert fact.reason == reason


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"id": 7}', b'{"id":"e","type":"t"}', b'{"id":"\xff"}', b'{"data":' * 100_000]
)
def test_an_event_without_a_shape_is_a_flaw(raw: bytes) -> None:
    assert simulator.read_event(raw).flaw
