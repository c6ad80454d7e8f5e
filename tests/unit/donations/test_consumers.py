"""What a payment's snapshot means to a donation: it may only say what the events before it said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from careforall.contracts.payments import PaymentDisputed, PaymentSnapshot
from careforall.donations.consumers import consumers
from careforall.donations.domain import PaymentFact
from careforall.kit.envelope import Message
from careforall.kit.ids import new_id

AT = datetime(2026, 11, 1, tzinfo=UTC)
NOTHING, ALL, PART = Decimal("0.00"), Decimal("25.00"), Decimal("10.00")


class Heard:
    """Stands where the service stands and keeps the facts it is given."""

    def __init__(self) -> None:
        self.facts: list[PaymentFact] = []

    async def apply(self, _: Any, facts: list[PaymentFact]) -> None:
        self.facts += facts


def snapshot(
    status: Any, *, captured: Decimal = NOTHING, refunded: Decimal = NOTHING, disputed: Decimal = NOTHING
) -> Message[PaymentSnapshot]:
    event = PaymentSnapshot(
        intent_id=new_id(),
        subject_type="DONATION",
        subject_id=new_id(),
        amount=ALL,
        currency="EUR",
        gateway="simulator",
        status=status,
        status_at=AT,
        captured_amount=captured,
        refunded_amount=refunded,
        disputed_amount=disputed,
    )
    return message(event)


def message(event: Any) -> Message[Any]:
    return Message(
        event_id=new_id(),
        event_type=event.SUBJECT,
        version=1,
        aggregate_id=event.intent_id,
        aggregate_version=3,
        occurred_at=AT,
        correlation_id="",
        source="payments",
        traceparent=None,
        event=event,
        data=b"",
    )


SAME = ("disputed", NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("told", "facts"),
    [
        (snapshot("INITIATED"), []),
        (snapshot("AUTHORIZED"), []),
        (snapshot("CAPTURED", captured=ALL), [("captured", NOTHING, NOTHING), SAME]),
        (snapshot("CAPTURED", captured=ALL, refunded=PART), [("refunded", PART, NOTHING), SAME]),
        (snapshot("CAPTURED", captured=ALL, disputed=PART), [("captured", NOTHING, NOTHING), ("disputed", NOTHING, PART)]),
        (snapshot("REFUNDED", captured=ALL, refunded=ALL), [("refunded", ALL, NOTHING), SAME]),
        (snapshot("REFUNDED"), [("ended", NOTHING, NOTHING)]),
        (snapshot("FAILED"), [("ended", NOTHING, NOTHING)]),
    ],
    ids=["initiated", "authorized", "captured", "partly refunded", "disputed", "refunded", "voided", "failed"],
)
async def test_a_snapshot_says_what_the_events_said(
    told: Message[PaymentSnapshot], facts: list[tuple[str, Decimal, Decimal]]
) -> None:
    heard = await _heard(told)
    assert [(fact.kind, fact.total_refunded, fact.total_disputed) for fact in heard] == facts
    assert all(fact.retold == (fact.kind == "disputed") for fact in heard)


async def test_a_dispute_is_told_with_all_that_is_disputed() -> None:
    event = PaymentDisputed(
        intent_id=new_id(),
        subject_type="DONATION",
        subject_id=new_id(),
        amount=ALL,
        currency="EUR",
        gateway="simulator",
        disputed_amount=PART,
        status="LOST",
    )
    [fact] = await _heard(message(event))
    assert (fact.kind, fact.total_disputed, fact.version, fact.at, fact.retold) == ("disputed", PART, 3, AT, False)


async def _heard(told: Message[Any]) -> list[PaymentFact]:
    heard = Heard()
    payments: Any = consumers(heard)[0]  # type: ignore[arg-type]  # only the method the consumer calls
    await payments.handler(None, [told])
    return heard.facts
