"""One payment on a desk: facts are applied to it as production does, and the rows that come of it lie beside it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments.domain import Fact, Intent
from careforall.payments.effects import Effects, Source
from careforall.payments.ledger import Entry
from careforall.payments.records import Dispute, Refund

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AMOUNT = Decimal("25.00")
NOTHING = Decimal(0)


def intent(status: PaymentStatus = "CAPTURED", **changes: Any) -> Intent:
    """Return an intent of 25 EUR."""
    captured = AMOUNT if status in {"CAPTURED", "REFUNDED"} else NOTHING
    facts: dict[str, Any] = {
        **dict.fromkeys(Intent.__struct_fields__, ""),
        "id": new_id(),
        "subject_type": "DONATION",
        "subject_id": new_id(),
        "campaign_id": new_id(),
        "amount": AMOUNT,
        "currency": "EUR",
        "status": status,
        "status_at": NOW,
        "version": 3,
        "captured_amount": captured,
        "refunded_amount": captured if status == "REFUNDED" else NOTHING,
        "disputed_amount": NOTHING,
        "declines": 0,
        "method": None,
        "user_id": None,
        "livemode": False,
        "traceparent": None,
        "expires_at": NOW + timedelta(hours=1),
    }
    return Intent(**{**facts, **changes})


class Desk:
    """Applies facts to one intent as production does, and keeps the rows."""

    def __init__(self, start: Intent) -> None:
        self.intent = start
        self.refunds: dict[Any, Refund] = {}
        self.disputes: dict[Any, Dispute] = {}
        self.alarms: list[str] = []
        self.events: list[str] = []
        self.entries: list[Entry] = []

    def tell(self, facts: Iterable[Fact], *, via: str = "simulator") -> Intent:
        """Apply facts, each in a transaction of its own."""
        for fact in facts:
            effects = Effects(
                attempts={},
                refunds=self.refunds.values(),
                disputes=self.disputes.values(),
                fees=[entry.payment_id for entry in self.entries if entry.kind == "FEE"],
                max_attempts=3,
            )
            effects.apply(self.intent, fact, Source(via=via, cause="test", event_id=new_id(), received_at=NOW))
            self.intent = effects.now(self.intent)
            self.refunds |= effects.changes.refunds
            self.disputes |= effects.changes.disputes
            self.alarms += [alarm.kind for alarm in effects.changes.alarms]
            self.entries += effects.changes.entries
            self.events += [row.event_type for row in effects.changes.outbox]
        return self.intent

    @property
    def net(self) -> Decimal:
        """What stays of the payment."""
        return self.intent.captured_amount - self.intent.refunded_amount - self.intent.disputed_amount
