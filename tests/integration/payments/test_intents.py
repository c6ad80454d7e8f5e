"""Intents: made by accepted gifts and by other services, shown to their payers, ended when their time is over."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from careforall.kit import secrets
from careforall.kit.errors import InvalidInput
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.payments.errors import PaymentNotFound, SubjectMismatch
from careforall.payments.schemas import IntentOrder


def order(subject: UUID, **changes: Any) -> IntentOrder:
    facts: dict[str, Any] = {"subject_type": "ORDER", "subject_id": subject, "amount": Decimal("12.50"), "currency": "EUR"}
    return IntentOrder(**{**facts, **changes})


async def test_an_accepted_gift_makes_its_intent_once(till: Any) -> None:
    intent = await till.pledge()
    row = await till.row(intent)
    assert (row["status"], row["amount"], row["currency"], row["gateway"]) == ("INITIATED", Decimal(25), "EUR", "simulator")
    assert (row["title"], row["livemode"], row["version"]) == ("A well for the village", False, 1)
    assert (row["expires_at"] - row["created_at"]).total_seconds() == pytest.approx(86_400, abs=1)
    assert await till.told(intent) == ["payments.intent_created"]


async def test_a_subject_has_one_open_intent(till: Any) -> None:
    subject = new_id()
    first = await till.service.create_intent(order(subject))
    again = await till.service.create_intent(order(subject))
    assert first.id == again.id
    with pytest.raises(SubjectMismatch):
        await till.service.create_intent(order(subject, amount=Decimal("12.51")))
    await till.tell(till.success(first.id, status="FAILED", amount="12.50"))
    assert (await till.service.create_intent(order(subject))).id != first.id


async def test_a_paid_subject_is_not_charged_again(till: Any) -> None:
    subject = new_id()
    first = await till.service.create_intent(order(subject))
    await till.tell(till.success(first.id, amount="12.50"))
    paid = await till.service.create_intent(order(subject))
    assert (paid.id, paid.status) == (first.id, "CAPTURED")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [({"amount": Decimal(0)}, "/amount"), ({"amount": Decimal("1.001")}, "/amount"), ({"currency": "ABC"}, "/currency")],
)
async def test_an_impossible_intent_is_refused(till: Any, changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await till.service.create_intent(order(new_id(), **changes))
    assert refused.value.errors[0].pointer == pointer


async def test_a_payment_is_shown_to_its_payer_to_staff_and_to_the_holder_of_the_receipt_token(till: Any) -> None:
    owner = new_id()
    made = await till.service.create_intent(order(new_id(), user_id=owner))
    allowed = (person(owner), person(new_id(), role="ADMIN"))
    for viewer in allowed:
        assert (await till.service.payment(made.id, viewer, None)).intent.id == made.id
    for stranger in (None, person(new_id())):
        with pytest.raises(PaymentNotFound):
            await till.service.payment(made.id, stranger, None)
    gift = await till.pledge()
    key = secrets.derive(till.resources.settings.secret_key, "receipt token")
    token = secrets.sign(key, (await till.row(gift))["subject_id"].bytes)
    assert (await till.service.payment(gift, None, token)).intent.id == gift
    with pytest.raises(PaymentNotFound):
        await till.service.payment(made.id, None, token)


@pytest.mark.parametrize("path", ["not-an-id", "00000000-0000-0000-0000-000000000000", str(new_id())])
async def test_what_is_no_payment_of_ours_is_not_found(till: Any, path: str) -> None:
    answer = await till.clients[True].get(f"/api/v1/payments/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_an_unpaid_intent_fails_when_its_time_is_over(till: Any) -> None:
    expired, fresh, paid, trying = await till.pledges([new_id() for _ in range(4)])
    await till.tell(till.success(paid))
    async with till.database.connection() as opened:
        await opened.execute("UPDATE payment_intents SET expires_at = now() WHERE id = ANY($1)", [expired, paid, trying])
        await opened.execute(
            "INSERT INTO payment_attempts (intent_id, number, gateway, status) VALUES ($1, 1, 'simulator', 'OPEN')", trying
        )
    await till.service.expire_intents()
    states = [(await till.row(intent))["status"] for intent in (expired, fresh, paid, trying)]
    assert states == ["FAILED", "INITIATED", "CAPTURED", "INITIATED"]
    assert (await till.row(expired))["reason"] == "expired"
    assert (await till.told(expired)) == ["payments.intent_created", "payments.failed"]


def person(identifier: UUID, role: Any = "USER") -> Principal:
    return Principal(user_id=identifier, email="donor1@example.org", role=role)


async def test_an_intent_of_a_gateway_that_moves_real_money_says_so(arena: Any, servers: Any) -> None:
    stripe = {"stripe_secret_key": "sk_live_key", "stripe_webhook_secrets": "whsec_c2VjcmV0"}
    async with arena.open(servers, environment="production", **stripe) as till:
        assert (await till.service.create_intent(order(new_id(), gateway="stripe"))).livemode
        assert not (await till.service.create_intent(order(new_id(), gateway="generic"))).livemode
