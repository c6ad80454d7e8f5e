"""What Stripe's documented objects and events mean in our words, with all the fields they come with."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.kit import money
from careforall.kit.ids import new_id
from careforall.payments.domain import DeclineFact, DisputeFact, Fact, NoFact, RefundFact, StateFact
from careforall.payments.gateways.base import GatewayRefused, Told
from careforall.payments.gateways.stripe_facts import StripeFacts
from careforall.payments.gateways.stripe_money import minor, places
from careforall.payments.gateways.translators import READERS

INTENT = UUID("01900000-0000-7000-8000-000000000001")
CREATED, AT = 1795262400, datetime(2026, 11, 21, 12, tzinfo=UTC)
PAID = "pi_3QO8yTHouse1SBfG0m2cXfRw"

test_mode = StripeFacts(livemode=False, places=places)
live_mode = StripeFacts(livemode=True, places=places)

PAYMENT_INTENT: dict[str, Any] = {
    "id": PAID,
    "object": "payment_intent",
    "amount": 2500,
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 2500,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic",
    "client_secret": "pi_3QO8yTHouse1SBfG0m2cXfRw_secret_x",
    "confirmation_method": "automatic",
    "created": CREATED,
    "currency": "eur",
    "customer": None,
    "description": None,
    "last_payment_error": None,
    "latest_charge": "ch_3QO8yTHouse1SBfG0pRjYc1n",
    "livemode": False,
    "metadata": {"intent_id": str(INTENT)},
    "next_action": None,
    "payment_method": "pm_1QO8yTHouse1SBfGc0fFeE",
    "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
    "payment_method_types": ["card"],
    "processing": None,
    "receipt_email": None,
    "setup_future_usage": None,
    "status": "succeeded",
}
SESSION: dict[str, Any] = {
    "id": "cs_test_a1b2c3",
    "object": "checkout.session",
    "amount_subtotal": 2500,
    "amount_total": 2500,
    "automatic_tax": {"enabled": False, "status": None},
    "client_reference_id": str(INTENT),
    "created": CREATED,
    "currency": "eur",
    "customer_details": None,
    "expires_at": CREATED + 86_400,
    "livemode": False,
    "metadata": {"intent_id": str(INTENT), "attempt": f"{INTENT}:1"},
    "mode": "payment",
    "payment_intent": None,
    "payment_method_types": ["card"],
    "payment_status": "unpaid",
    "status": "expired",
    "url": None,
}
REFUND: dict[str, Any] = {
    "id": "re_3QO8yTHouse1SBfG0kQ",
    "object": "refund",
    "amount": 700,
    "balance_transaction": "txn_3QO8yTHouse1SBfG0",
    "charge": "ch_3QO8yTHouse1SBfG0pRjYc1n",
    "created": CREATED,
    "currency": "eur",
    "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
    "metadata": {},
    "payment_intent": PAID,
    "reason": "requested_by_customer",
    "receipt_number": None,
    "status": "succeeded",
}
DISPUTE: dict[str, Any] = {
    "id": "du_1QO8yTHouse1SBfG",
    "object": "dispute",
    "amount": 2500,
    "balance_transactions": [],
    "charge": "ch_3QO8yTHouse1SBfG0pRjYc1n",
    "created": CREATED,
    "currency": "eur",
    "enhanced_eligibility_types": [],
    "evidence": {"product_description": None},
    "evidence_details": {"due_by": CREATED + 604_800, "has_evidence": False, "past_due": False, "submission_count": 0},
    "is_charge_refundable": False,
    "livemode": False,
    "metadata": {},
    "payment_intent": PAID,
    "payment_method_details": {"card": {"brand": "visa", "network_reason_code": "10.4"}, "type": "card"},
    "reason": "fraudulent",
    "status": "needs_response",
}
CHARGE: dict[str, Any] = {
    "id": "ch_3QO8yTHouse1SBfG0pRjYc1n",
    "object": "charge",
    "amount": 2500,
    "amount_captured": 2500,
    "amount_refunded": 700,
    "billing_details": {"address": {"city": None}, "email": "donor1@example.org"},
    "created": CREATED,
    "currency": "eur",
    "livemode": False,
    "metadata": {"intent_id": str(INTENT)},
    "outcome": {"network_status": "approved_by_network", "type": "authorized"},
    "payment_intent": PAID,
    "refunded": False,
    "status": "succeeded",
}


def event(event_type: str, subject: dict[str, Any], *, livemode: bool = False, **changes: Any) -> bytes:
    """An event with all its documented fields."""
    return msgspec.json.encode(
        {
            "id": "evt_3QO8yTHouse1SBfG0",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": CREATED,
            "data": {"object": {**subject, **changes}, "previous_attributes": {"status": "processing"}},
            "livemode": livemode,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event_type,
        }
    )


def told(event_type: str, subject: dict[str, Any], **changes: Any) -> Told:
    return test_mode.read_event(event(event_type, subject, **changes))


def fact(event_type: str, subject: dict[str, Any], **changes: Any) -> Fact | None:
    return told(event_type, subject, **changes).fact


def test_a_payment_is_captured() -> None:
    whole = told("payment_intent.succeeded", PAYMENT_INTENT)
    assert (whole.event_id, whole.payment_id, whole.gateway_object) == ("evt_3QO8yTHouse1SBfG0", INTENT, PAID)
    assert whole.fact == StateFact(
        target="CAPTURED", at=AT, amount=Decimal("25.00"), currency="EUR", gateway_object=PAID, method="CARD"
    )


def test_money_is_held_and_released() -> None:
    held = fact("payment_intent.amount_capturable_updated", PAYMENT_INTENT, status="requires_capture", amount_received=0)
    gone = fact("payment_intent.canceled", PAYMENT_INTENT, status="canceled", cancellation_reason="abandoned", amount_received=0)
    assert isinstance(held, StateFact)
    assert isinstance(gone, StateFact)
    assert (held.target, held.amount) == ("AUTHORIZED", Decimal("25.00"))
    assert (gone.target, gone.reason) == ("FAILED", "abandoned")


def test_of_several_methods_none_is_named() -> None:
    found = fact("payment_intent.succeeded", PAYMENT_INTENT, payment_method_types=["card", "sepa_debit"])
    assert isinstance(found, StateFact)
    assert found.method is None


def test_a_decline_tells_why() -> None:
    error = {
        "charge": "ch_3QO8yT",
        "code": "card_declined",
        "decline_code": "insufficient_funds",
        "doc_url": "https://stripe.com/docs/error-codes/card-declined",
        "message": "Your card has insufficient funds.",
        "type": "card_error",
    }
    found = fact("payment_intent.payment_failed", PAYMENT_INTENT, last_payment_error=error)
    assert found == DeclineFact(at=AT, reason="Your card has insufficient funds.", code="insufficient_funds", gateway_object=PAID)
    bare = fact("payment_intent.payment_failed", PAYMENT_INTENT, last_payment_error={"code": None, "message": None})
    assert bare == DeclineFact(at=AT, gateway_object=PAID)


@pytest.mark.parametrize("event_type", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
def test_refunds_are_facts_with_an_id(event_type: str) -> None:
    ours = new_id()
    found = told(event_type, REFUND, metadata={"refund_id": str(ours), "intent_id": str(INTENT)})
    assert (found.payment_id, found.gateway_object) == (INTENT, PAID)
    assert isinstance(found.fact, RefundFact)
    assert (found.fact.gateway_refund_id, found.fact.refund_id, found.fact.status) == (REFUND["id"], ours, "SUCCEEDED")
    assert (found.fact.amount, found.fact.currency, found.fact.gateway_object) == (Decimal("7.00"), "EUR", PAID)


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("pending", "PENDING"),
        ("requires_action", "PENDING"),
        ("succeeded", "SUCCEEDED"),
        ("failed", "FAILED"),
        ("canceled", "FAILED"),
    ],
)
def test_refunds_settle(status: str, ours: str) -> None:
    found = fact("refund.updated", REFUND, status=status, failure_reason="lost_or_stolen_card")
    assert isinstance(found, RefundFact)
    assert (found.status, found.reason) == (ours, "lost_or_stolen_card")


@pytest.mark.parametrize(
    "event_type",
    [
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    ],
)
def test_disputes_are_facts_with_an_id(event_type: str) -> None:
    found = told(event_type, DISPUTE)
    assert (found.payment_id, found.gateway_object) == (None, PAID)
    assert found.fact == DisputeFact(
        gateway_dispute_id=DISPUTE["id"],
        amount=Decimal("25.00"),
        currency="EUR",
        status="OPEN",
        at=AT,
        reason="fraudulent",
        gateway_object=PAID,
    )


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("needs_response", "OPEN"),
        ("under_review", "OPEN"),
        ("warning_needs_response", "OPEN"),
        ("warning_under_review", "OPEN"),
        ("warning_closed", "WON"),
        ("prevented", "WON"),
        ("won", "WON"),
        ("lost", "LOST"),
    ],
)
def test_disputes_take_money_while_open_and_when_lost(status: str, ours: str) -> None:
    found = fact("charge.dispute.closed", DISPUTE, status=status)
    assert isinstance(found, DisputeFact)
    assert found.status == ours


@pytest.mark.parametrize(
    ("event_type", "changes", "reason", "named"),
    [
        ("checkout.session.expired", {}, "expired", "cs_test_a1b2c3"),
        ("checkout.session.expired", {"payment_intent": PAID}, "expired", PAID),
        ("checkout.session.async_payment_failed", {"payment_intent": PAID, "status": "complete"}, "payment_failed", PAID),
    ],
)
def test_the_end_of_a_page_ends_the_intent(event_type: str, changes: dict[str, Any], reason: str, named: str) -> None:
    whole = told(event_type, SESSION, **changes)
    assert (whole.payment_id, whole.gateway_object) == (INTENT, named)
    assert whole.fact == StateFact(target="FAILED", at=AT, reason=reason, gateway_object=named)


@pytest.mark.parametrize(
    ("event_type", "subject", "reason"),
    [
        ("charge.refunded", CHARGE, "told_by_refund_event"),
        ("checkout.session.completed", SESSION, "told_by_payment_intent_event"),
        ("checkout.session.async_payment_succeeded", SESSION, "told_by_payment_intent_event"),
        ("payment_intent.created", PAYMENT_INTENT, "unhandled_type"),
        ("payment_intent.processing", PAYMENT_INTENT, "unhandled_type"),
        ("charge.succeeded", CHARGE, "unhandled_type"),
        ("customer.created", {"id": "cus_1", "object": "customer", "metadata": None}, "unhandled_type"),
        ("refund.updated", {**REFUND, "status": "odd"}, "unknown_refund_status"),
        ("charge.dispute.updated", {**DISPUTE, "status": "odd"}, "unknown_dispute_status"),
        ("payment_intent.succeeded", {**PAYMENT_INTENT, "amount": "much"}, "unreadable_object"),
        ("payment_intent.succeeded", {**PAYMENT_INTENT, "amount_received": 10**16}, "unreadable_object"),
        ("refund.created", {**REFUND, "amount": -1}, "unreadable_object"),
    ],
)
def test_what_says_nothing_about_a_payment_has_no_effect(event_type: str, subject: dict[str, Any], reason: str) -> None:
    found = fact(event_type, subject)
    assert isinstance(found, NoFact)
    assert (found.reason, found.at) == (reason, AT)


def test_the_other_mode_says_nothing_and_names_nobody() -> None:
    for reader, livemode in ((test_mode, True), (live_mode, False)):
        whole = reader.read_event(event("payment_intent.succeeded", PAYMENT_INTENT, livemode=livemode))
        assert (whole.payment_id, whole.gateway_object) == (None, "")
        assert whole.fact == NoFact(reason="foreign_mode", at=AT)
    ours = live_mode.read_event(event("payment_intent.succeeded", PAYMENT_INTENT, livemode=True))
    assert isinstance(ours.fact, StateFact)


def test_a_kept_event_is_read_again_whatever_its_mode() -> None:
    for livemode in (True, False):
        found = READERS["stripe"](event("payment_intent.succeeded", PAYMENT_INTENT, livemode=livemode)).fact
        assert isinstance(found, StateFact)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"id":"e","type":"t"}',
        b'{"id":"\xff","type":"t","data":{"object":{}}}',
        b'{"id":"e","type":"t","data":{"object":' + b"[" * 100_000,
        b'{"id":"e","type":"t","created":1e400,"data":{"object":{}}}',
    ],
)
def test_an_event_without_a_shape_is_a_flaw(raw: bytes) -> None:
    assert test_mode.read_event(raw).flaw


def test_strange_texts_are_made_plain() -> None:
    error = {"message": "no\x00 more\u202e", "code": "4242 4242 4242 4242"}
    found = fact("payment_intent.payment_failed", PAYMENT_INTENT, last_payment_error=error)
    assert found == DeclineFact(at=AT, reason="no  more ", code="[redacted]", gateway_object=PAID)
    strange = fact("payment_intent.succeeded", PAYMENT_INTENT, currency="e\x00" * 9)
    assert isinstance(strange, StateFact)
    assert strange.currency is not None
    assert strange.currency.isprintable()


@pytest.mark.parametrize(
    ("currency", "amount", "counted"),
    [
        ("EUR", "25.00", 2500),
        ("JPY", "500", 500),
        ("KWD", "5.120", 5120),
        ("ISK", "700", 70000),
        ("RSD", "700", 70000),
        ("XOF", "700", 700),
    ],
)
def test_amounts_are_counted_as_stripe_counts(currency: str, amount: str, counted: int) -> None:
    assert minor(Decimal(amount), currency) == counted
    found = fact("payment_intent.succeeded", PAYMENT_INTENT, currency=currency.lower(), amount_received=counted)
    assert isinstance(found, StateFact)
    assert found.amount is not None
    assert (str(found.amount), found.currency) == (amount, currency)


@pytest.mark.parametrize("name", ["pi_4242424242424242", "pi_01900000-0000-7000-8000-424242424242"])
def test_a_name_is_never_taken_for_a_card_number(name: str) -> None:
    paid = told("payment_intent.succeeded", PAYMENT_INTENT, id=name)
    refunded = fact("refund.created", REFUND, id=f"re_{name}", payment_intent=name)
    assert isinstance(paid.fact, StateFact)
    assert isinstance(refunded, RefundFact)
    assert (paid.gateway_object, paid.fact.gateway_object) == (name, name)
    assert (refunded.gateway_refund_id, refunded.gateway_object) == (f"re_{name}", name)


@pytest.mark.parametrize("name", ["", "pi_\x00", "pi 1", "pi_1\n", "pi_\u00e4", "p" * 201])
def test_a_name_that_is_none_makes_the_object_unreadable(name: str) -> None:
    assert fact("payment_intent.succeeded", PAYMENT_INTENT, id=name) == NoFact(reason="unreadable_object", at=AT)
    assert fact("refund.created", REFUND, payment_intent=name) == NoFact(reason="unreadable_object", at=AT)


def test_what_cannot_be_counted_for_sure_is_refused() -> None:
    with pytest.raises(GatewayRefused) as ambiguous:
        minor(Decimal(5), "UGX")
    with pytest.raises(GatewayRefused) as fine:
        minor(Decimal("5.125"), "LYD")
    assert (ambiguous.value.code, fine.value.code) == ("currency_not_supported", "amount_not_supported")
    with pytest.raises(money.MoneyError):
        places("XX")
