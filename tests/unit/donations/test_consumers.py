"""What a payment's snapshot means to a donation: it may only say what the events before it said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from careforall.contracts.payments import PaymentSnapshot
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


def snapshot(status: Any, *, captured: Decimal = NOTHING, refunded: Decimal = NOTHING) -> Message[PaymentSnapshot]:
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
    )
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


@pytest.mark.parametrize(
    ("message", "kinds"),
    [
        (snapshot("INITIATED"), []),
        (snapshot("AUTHORIZED"), []),
        (snapshot("CAPTURED", captured=ALL), [("captured", NOTHING)]),
        (snapshot("CAPTURED", captured=ALL, refunded=PART), [("refunded", PART)]),
        (snapshot("REFUNDED", captured=ALL, refunded=ALL), [("refunded", ALL)]),
        (snapshot("REFUNDED"), [("ended", NOTHING)]),
        (snapshot("FAILED"), [("ended", NOTHING)]),
    ],
    ids=["initiated", "authorized", "captured", "partly refunded", "refunded", "voided", "failed"],
)
async def test_a_snapshot_says_what_the_events_said(message: Message[PaymentSnapshot], kinds: list[tuple[str, Decimal]]) -> None:
    heard = Heard()
    payments: Any = consumers(heard)[0]  # type: ignore[arg-type]  # only the method the consumer calls
    await payments.handler(None, [message])
    assert [(fact.kind, fact.total_refunded) for fact in heard.facts] == kinds
