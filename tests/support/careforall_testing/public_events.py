"""Public events as the broker hands them out, for tests of what integrators are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from careforall.contracts.donations import CampaignUpdated, DonationCompleted
from careforall.kit.consumer import Consumer, Decoder
from careforall.kit.db import Database
from careforall.kit.envelope import Event, Message, seal
from careforall.kit.ids import new_id

PERSON = "giver-of-the-test@example.org"


def gift(**changes: Any) -> DonationCompleted:
    """A gift whose giver must stay here."""
    fields: dict[str, Any] = {
        "donation_id": new_id(),
        "campaign_id": new_id(),
        "intent_id": new_id(),
        "amount": Decimal("25.00"),
        "currency": "EUR",
        "status": "COMPLETED",
        "donor_key": "f" * 64,
        "donor_email": PERSON,
        "donor_name": "Giver of the test",
        "campaign_title": "Wells",
        "completed_at": datetime(2027, 1, 31, 12, tzinfo=UTC),
    }
    return DonationCompleted(**(fields | changes))


def campaign(campaign_id: UUID | None = None) -> CampaignUpdated:
    return CampaignUpdated(campaign_id=campaign_id or new_id(), title="Wells", goal=Decimal(100), currency="EUR", status="LIVE")


def sealed(event: Event, *, about: UUID | None = None, version: int = 1) -> bytes:
    """An event as it travels."""
    return seal(
        event,
        subject=event.SUBJECT,
        event_id=new_id(),
        aggregate_id=about or new_id(),
        aggregate_version=version,
        source="test",
        correlation_id="",
    )


def message(event: Event, *, about: UUID | None = None, version: int = 1) -> Message[Any]:
    """An event as its consumer gets it."""
    consumer = Consumer(name="test", stream="TEST", events=(type(event),), handler=_unused)
    found = Decoder(consumer).decode(sealed(event, about=about, version=version), deliveries=1)
    assert isinstance(found, Message), found
    return found


async def stored(database: Database) -> list[int]:
    """The numbers of all stored events."""
    return [row["number"] for row in await database.fetch("SELECT number FROM webhook_events ORDER BY number")]


async def _unused(_connection: Any, _messages: Sequence[Any]) -> None:
    raise AssertionError("only decoding is wanted")
