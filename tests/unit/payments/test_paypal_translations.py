"""What PayPal's events and orders mean in our words, whatever is missing or strange in them; shapes as PayPal documents them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.kit.ids import new_id
from careforall.payments.domain import OBJECT_ENDED, DeclineFact, DisputeFact, Fact, Fee, NoFact, RefundFact, StateFact
from careforall.payments.gateways.base import ASKED_ABOUT
from careforall.payments.gateways.paypal_events import read_event
from careforall.payments.gateways.paypal_objects import Money, Order, amount_of, facts_of, names, written

INTENT = UUID("01900000-0000-7000-8000-000000000001")
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORDER = "5O190127TN364715T"
EUR = {"currency_code": "EUR", "value": "25.00"}


def event(event_type: str, resource: Any, resource_type: str = "capture", **changed: Any) -> bytes:
    whole = {
        "id": "WH-58D329510W468432D-8HN650336L201105X",
        "event_version": "1.0",
        "create_time": "2026-11-21T12:00:00.000Z",
        "resource_type": resource_type,
        "resource_version": "2.0",
        "event_type": event_type,
        "summary": "A payment",
        "resource": resource,
        "links": [{"href": "https://api.paypal.com/v1/notifications/webhooks-events/WH-1", "rel": "self", "method": "GET"}],
    }
    return msgspec.json.encode(whole | changed)


def payment(**changed: Any) -> dict[str, Any]:
    return {
        "id": "42311647XV020574X",
        "status": "COMPLETED",
        "amount": EUR,
        "final_capture": True,
        "seller_protection": {"status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED"]},
        "seller_receivable_breakdown": {"gross_amount": EUR, "paypal_fee": {"currency_code": "EUR", "value": "1.22"}},
        "invoice_id": str(INTENT),
        "custom_id": str(INTENT),
        "supplementary_data": {"related_ids": {"order_id": ORDER}},
        "create_time": "2026-11-21T11:59:58Z",
        "update_time": "2026-11-21T11:59:59Z",
        "links": [{"href": f"https://api.paypal.com/v2/checkout/orders/{ORDER}", "rel": "up", "method": "GET"}],
    } | changed


def order(status: str = "COMPLETED", *, custom_id: str = str(INTENT), intent: str = "CAPTURE", **payments: Any) -> dict[str, Any]:
    return {
        "id": ORDER,
        "intent": intent,
        "status": status,
        "payer": {"payer_id": "QYR5Z8XDVJNXQ", "name": {"given_name": "A"}},
        "purchase_units": [
            {
                "reference_id": "default",
                "amount": EUR,
                "custom_id": custom_id,
                "invoice_id": str(INTENT),
                **({"payments": payments} if payments else {}),
            }
        ],
        "create_time": "2026-11-21T11:50:00Z",
        "links": [{"href": "https://www.paypal.com/checkoutnow?token=1", "rel": "payer-action"}],
    }


def fact_of(raw: bytes) -> Fact:
    told = read_event(raw)
    assert not told.flaw
    assert told.fact is not None
    return told.fact


def stated(target: Any) -> StateFact:
    fee = Fee(amount=Decimal("1.22"), currency="EUR") if target == "CAPTURED" else None
    return StateFact(
        target=target, at=AT, amount=Decimal("25.00"), currency="EUR", gateway_object=ORDER, method="PAYPAL", fee=fee
    )


def test_a_completed_capture_is_money_of_our_order() -> None:
    told = read_event(event("PAYMENT.CAPTURE.COMPLETED", payment()))
    assert (told.event_id, told.event_type) == ("WH-58D329510W468432D-8HN650336L201105X", "PAYMENT.CAPTURE.COMPLETED")
    assert (told.payment_id, told.gateway_object, told.fact) == (INTENT, ORDER, stated("CAPTURED"))


def test_a_created_authorisation_is_held_money_and_a_voided_one_ends() -> None:
    held = payment(status="CREATED", expiration_time="2026-12-20T00:00:00Z")
    assert fact_of(event("PAYMENT.AUTHORIZATION.CREATED", held, "authorization")) == stated("AUTHORIZED")
    voided = fact_of(event("PAYMENT.AUTHORIZATION.VOIDED", payment(status="VOIDED"), "authorization"))
    assert voided == StateFact(target="FAILED", at=AT, reason="canceled", gateway_object=ORDER)
    pending = fact_of(event("PAYMENT.AUTHORIZATION.CREATED", payment(status="PENDING"), "authorization"))
    assert pending == NoFact(reason="pending", at=AT)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (event("CHECKOUT.ORDER.APPROVED", order("APPROVED"), "checkout-order"), "approved"),
        (event("CHECKOUT.ORDER.VOIDED", order("VOIDED"), "checkout-order"), "voided"),
        (event("PAYMENT.CAPTURE.DENIED", payment(status="DECLINED")), "declined"),
        (event("PAYMENT.CAPTURE.DECLINED", payment(status="DECLINED")), "declined"),
    ],
)
def test_what_has_to_be_asked_about_names_the_order(raw: bytes, reason: str) -> None:
    told = read_event(raw)
    assert (told.payment_id, told.gateway_object, told.fact) == (INTENT, ORDER, NoFact(reason=reason, at=AT))
    assert reason in ASKED_ABOUT


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (event("PAYMENT.CAPTURE.PENDING", payment(status="PENDING", status_details={"reason": "ECHECK"})), "pending"),
        (event("PAYMENT.CAPTURE.REVERSED", payment(), "refund"), "reversed"),
        (event("CHECKOUT.ORDER.COMPLETED", order(captures=[payment(status="PENDING")]), "checkout-order"), "pending"),
        (event("CHECKOUT.ORDER.SAVED", order("SAVED"), "checkout-order"), "unhandled_type"),
        (event("BILLING.SUBSCRIPTION.CREATED", {"id": 7}, "subscription"), "unhandled_type"),
        (event("PAYMENT.CAPTURE.REFUNDED", payment(), "capture"), "told_by_refund_event"),
        (event("PAYMENT.REFUND.PENDING", payment(status="ODD"), "refund"), "unknown_refund_status"),
        (event("PAYMENT.CAPTURE.COMPLETED", payment(id=7)), "unreadable_object"),
        (event("PAYMENT.CAPTURE.COMPLETED", []), "unreadable_object"),
        (event("CHECKOUT.ORDER.APPROVED", {"status": "APPROVED"}), "unreadable_object"),
        (event("CUSTOMER.DISPUTE.CREATED", {"dispute_id": None}), "unreadable_object"),
    ],
)
def test_what_says_nothing_about_a_payment_has_no_effect(raw: bytes, reason: str) -> None:
    fact = fact_of(raw)
    assert fact == NoFact(reason=reason, at=AT)
    assert reason not in ASKED_ABOUT


def test_a_completed_order_tells_its_money() -> None:
    done = order(captures=[payment()])
    assert fact_of(event("CHECKOUT.ORDER.COMPLETED", done, "checkout-order")) == stated("CAPTURED")
    held = order(intent="AUTHORIZE", authorizations=[payment(status="CREATED")])
    assert fact_of(event("CHECKOUT.ORDER.COMPLETED", held, "checkout-order")) == stated("AUTHORIZED")


@pytest.mark.parametrize("event_type", ["PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.COMPLETED"])
def test_a_refund_is_known_by_our_id_where_we_ordered_it(event_type: str) -> None:
    ours = new_id()
    refund = payment(id="1JU08902781691411", amount={"currency_code": "EUR", "value": "7.00"}, custom_id=f"{INTENT}.{ours}")
    told = read_event(event(event_type, refund, "refund"))
    assert told.payment_id == INTENT
    assert told.fact == RefundFact(
        gateway_refund_id="1JU08902781691411",
        refund_id=ours,
        amount=Decimal("7.00"),
        currency="EUR",
        status="SUCCEEDED",
        at=AT,
        gateway_object=ORDER,
    )


def test_a_refund_made_at_paypal_gets_an_id_of_ours() -> None:
    first, second = (fact_of(event("PAYMENT.CAPTURE.REFUNDED", payment(), "refund")) for _ in range(2))
    assert isinstance(first, RefundFact)
    assert isinstance(second, RefundFact)
    assert first.refund_id not in {second.refund_id, INTENT}


@pytest.mark.parametrize(("status", "ours"), [("PENDING", "PENDING"), ("FAILED", "FAILED"), ("CANCELLED", "FAILED")])
def test_refunds_have_states(status: str, ours: str) -> None:
    fact = fact_of(event(f"PAYMENT.REFUND.{status}", payment(status=status), "refund"))
    assert isinstance(fact, RefundFact)
    assert fact.status == ours


def dispute(**changed: Any) -> dict[str, Any]:
    return {
        "dispute_id": "PP-D-4012",
        "create_time": "2026-11-20T10:00:00.000Z",
        "update_time": "2026-11-21T11:00:00.000Z",
        "disputed_transactions": [
            {
                "seller_transaction_id": "42311647XV020574X",
                "invoice_number": str(INTENT),
                "custom": str(INTENT),
                "seller": {"merchant_id": "5", "name": "A charity"},
            }
        ],
        "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        "status": "OPEN",
        "dispute_amount": EUR,
        "dispute_life_cycle_stage": "INQUIRY",
    } | changed


@pytest.mark.parametrize(
    ("event_type", "changed", "status"),
    [
        ("CREATED", {}, "OPEN"),
        ("UPDATED", {"status": "WAITING_FOR_SELLER_RESPONSE"}, "OPEN"),
        ("UPDATED", {"status": "UNDER_REVIEW", "dispute_life_cycle_stage": "CHARGEBACK"}, "OPEN"),
        ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR"}}, "LOST"),
        ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "ACCEPTED"}}, "LOST"),
        ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR"}}, "WON"),
        ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "RESOLVED_WITH_PAYOUT"}}, "WON"),
        ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "CANCELED_BY_BUYER"}}, "WON"),
    ],
)
def test_disputes_are_open_won_or_lost(event_type: str, changed: dict[str, Any], status: Any) -> None:
    told = read_event(event(f"CUSTOMER.DISPUTE.{event_type}", dispute(**changed), "dispute"))
    assert told.payment_id == INTENT
    assert told.fact == DisputeFact(
        gateway_dispute_id="PP-D-4012",
        amount=Decimal("25.00"),
        currency="EUR",
        status=status,
        at=AT,
        reason="MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"status": "RESOLVED"}, "unknown_dispute_status"),
        ({"status": "RESOLVED", "dispute_outcome": {"outcome_code": "NONE"}}, "unknown_dispute_status"),
        ({"status": "ODD"}, "unknown_dispute_status"),
        ({"disputed_transactions": []}, "dispute_of_no_payment"),
        ({"disputed_transactions": [{"custom": str(INTENT)}, {"custom": str(new_id())}]}, "dispute_of_several_payments"),
    ],
)
def test_a_dispute_that_cannot_be_placed_changes_nothing(changed: dict[str, Any], reason: str) -> None:
    assert fact_of(event("CUSTOMER.DISPUTE.RESOLVED", dispute(**changed), "dispute")) == NoFact(reason=reason, at=AT)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b'{"id": 7, "event_type": "X", "resource": {}}',
        b'{"id": "WH-1", "resource": {}}',
        b'{"id": "WH-1", "event_type": "X"}',
        b"[" * 100_000,
        b'{"id": "WH-1", "event_type": "X", "resource": ' + b"[" * 100_000,
        b'{"id": "\xff", "event_type": "X", "resource": {}}',
    ],
)
def test_what_cannot_be_understood_is_a_flaw_not_a_crash(raw: bytes) -> None:
    told = read_event(raw)
    assert told.flaw
    assert told.fact is None


def test_an_event_at_a_time_that_cannot_be_read_is_at_no_time() -> None:
    fact = fact_of(event("PAYMENT.CAPTURE.COMPLETED", payment(), create_time="yesterday"))
    assert fact == msgspec.structs.replace(stated("CAPTURED"), at=None)


@pytest.mark.parametrize("value", ["25.5.0", "NaN", "-25.00", "1e400", "", "25.001", "Infinity", "2" * 40])
def test_an_amount_that_cannot_be_read_is_none_of_ours(value: str) -> None:
    strange = payment(amount={"currency_code": "EUR", "value": value})
    captured = fact_of(event("PAYMENT.CAPTURE.COMPLETED", strange))
    refunded = fact_of(event("PAYMENT.CAPTURE.REFUNDED", strange, "refund"))
    assert isinstance(captured, StateFact)
    assert isinstance(refunded, RefundFact)
    assert (captured.amount, refunded.amount) == (Decimal(0), Decimal(0))


def test_texts_are_plain_before_they_are_kept() -> None:
    bad = dispute(reason="pay \u202e4111 1111 1111 1111\u0000")
    fact = fact_of(event("CUSTOMER.DISPUTE.CREATED", bad, "dispute"))
    assert isinstance(fact, DisputeFact)
    assert fact.reason == "[redacted]"


@pytest.mark.parametrize("name", ["4242424242424242", "PP-4242-4242-4242-4242"])
def test_a_name_is_never_taken_for_a_card_number(name: str) -> None:
    paid = payment(id=f"C{name}", supplementary_data={"related_ids": {"order_id": name}})
    captured = read_event(event("PAYMENT.CAPTURE.COMPLETED", paid))
    assert isinstance(captured.fact, StateFact)
    assert (captured.gateway_object, captured.fact.gateway_object) == (name, name)
    refunded = fact_of(event("PAYMENT.CAPTURE.REFUNDED", paid, "refund"))
    assert isinstance(refunded, RefundFact)
    assert (refunded.gateway_refund_id, refunded.gateway_object) == (f"C{name}", name)
    disputed = fact_of(event("CUSTOMER.DISPUTE.CREATED", dispute(dispute_id=name), "dispute"))
    assert isinstance(disputed, DisputeFact)
    assert disputed.gateway_dispute_id == name
    approved = read_event(event("CHECKOUT.ORDER.APPROVED", order("APPROVED") | {"id": name}, "checkout-order"))
    assert approved.gateway_object == name


@pytest.mark.parametrize("name", ["", "5O\x00", "5O 1", "5O1\n", "5O\u00e4", "5" * 201])
def test_a_name_that_is_none_makes_the_object_unreadable(name: str) -> None:
    unreadable = NoFact(reason="unreadable_object", at=AT)
    assert fact_of(event("PAYMENT.CAPTURE.REFUNDED", payment(id=name), "refund")) == unreadable
    assert fact_of(event("CUSTOMER.DISPUTE.CREATED", dispute(dispute_id=name), "dispute")) == unreadable
    assert fact_of(event("CHECKOUT.ORDER.APPROVED", order("APPROVED") | {"id": name}, "checkout-order")) == unreadable


@pytest.mark.parametrize(
    ("amount", "currency", "value"),
    [
        ("25.00", "EUR", "25.00"),
        ("0.5", "USD", "0.50"),
        ("2500", "JPY", "2500"),
        ("2500.00", "HUF", "2500"),
        ("90.00", "TWD", "90"),
    ],
)
def test_amounts_are_written_as_paypal_wants_them_and_read_back(amount: str, currency: str, value: str) -> None:
    sent = written(Decimal(amount), currency)
    assert sent == Money(currency_code=currency, value=value)
    assert amount_of(sent) == (Decimal(amount), currency)


def test_an_amount_paypal_cannot_take_is_not_rounded() -> None:
    assert written(Decimal("2500.50"), "HUF") is None


def test_names_are_read_whatever_else_stands_there() -> None:
    other = new_id()
    assert names(f"{INTENT}.{other}") == (INTENT, other)
    assert names(f"{INTENT}.canceled") == (INTENT, None)
    assert names("", str(INTENT)) == (INTENT, None)
    assert names("our shop order 7", "INV-1") == (None, None)


def states(**parts: Any) -> tuple[Fact, ...]:
    return facts_of(msgspec.convert(order(**parts), Order))


@pytest.mark.parametrize("status", ["CREATED", "SAVED", "PAYER_ACTION_REQUIRED", "APPROVED"])
def test_an_order_nobody_took_says_nothing(status: str) -> None:
    assert states(status=status) == ()


def test_an_order_shows_its_money_then_each_refund() -> None:
    part = payment(id="R1", amount={"currency_code": "EUR", "value": "5.00"})
    captured, refunded, failed = states(captures=[payment(status="PARTIALLY_REFUNDED")], refunds=[part, payment(status="FAILED")])
    assert captured == msgspec.structs.replace(stated("CAPTURED"), at=None)
    assert isinstance(refunded, RefundFact)
    assert isinstance(failed, RefundFact)
    assert (refunded.gateway_refund_id, refunded.amount, refunded.status) == ("R1", Decimal("5.00"), "SUCCEEDED")
    assert failed.status == "FAILED"


@pytest.mark.parametrize(
    ("parts", "target"),
    [
        ({"captures": [payment(status="REFUNDED")]}, "CAPTURED"),
        ({"captures": [payment(status="DECLINED"), payment()]}, "CAPTURED"),
        ({"authorizations": [payment(status="CREATED")], "captures": [payment(status="DECLINED")]}, "AUTHORIZED"),
        ({"authorizations": [payment(status="CAPTURED")], "captures": [payment()]}, "CAPTURED"),
        ({"authorizations": [payment(status="VOIDED")]}, "FAILED"),
        ({"authorizations": [payment(status="EXPIRED")]}, "FAILED"),
        ({"status": "APPROVED", "custom_id": f"{INTENT}.canceled"}, "FAILED"),
    ],
)
def test_the_state_of_an_order_is_that_of_its_money(parts: dict[str, Any], target: str) -> None:
    [fact] = states(**parts)
    assert isinstance(fact, StateFact)
    assert fact.target == target


@pytest.mark.parametrize("parts", [{"captures": [payment(status="PENDING")]}, {"authorizations": [payment(status="PENDING")]}])
def test_an_undecided_payment_is_no_state(parts: dict[str, Any]) -> None:
    assert states(**parts) == ()


@pytest.mark.parametrize(
    "parts", [{"captures": [payment(status="DECLINED")]}, {"captures": [payment(status="FAILED")]}, {"status": "VOIDED"}]
)
def test_an_order_that_cannot_be_paid_any_more_ends_the_attempt_not_the_intent(parts: dict[str, Any]) -> None:
    [fact] = states(**parts)
    assert isinstance(fact, DeclineFact)
    assert (fact.code, fact.gateway_object) == (OBJECT_ENDED, ORDER)
