"""Messages in: what donations says about gifts and campaigns. One service call each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from careforall.contracts.donations import (
    CampaignCreated,
    CampaignEnded,
    CampaignUpdated,
    DonationCompleted,
    DonationDisputed,
    DonationRefunded,
    DonationSnapshot,
)
from careforall.contracts.streams import DONATIONS
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.totals.domain import CampaignFact, Gift
from careforall.totals.service import TotalsService

_COUNTED = frozenset({"COMPLETED", "REFUNDED"})
_BATCH = 500


def consumers(service: TotalsService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def donations(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.fold(connection, [_gift(message) for message in messages if message.event.status in _COUNTED])

    async def campaigns(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.keep_campaigns(connection, [_fact(message) for message in messages])

    return (
        Consumer(
            name="totals-donations",
            stream=DONATIONS.name,
            events=(DonationCompleted, DonationRefunded, DonationDisputed, DonationSnapshot),
            handler=donations,
            batch=_BATCH,
        ),
        Consumer(
            name="totals-campaigns",
            stream=DONATIONS.name,
            events=(CampaignCreated, CampaignUpdated, CampaignEnded),
            handler=campaigns,
        ),
    )


def _gift(message: Message[Any]) -> Gift:
    event = message.event
    return Gift(
        donation_id=event.donation_id,
        campaign_id=event.campaign_id,
        donor_key=event.donor_key,
        currency=event.currency,
        amount=event.amount,
        refunded_amount=event.refunded_amount,
        disputed_amount=event.disputed_amount,
        anonymous=event.anonymous,
        version=message.aggregate_version,
        completed_at=_completed_at(event),
    )


def _completed_at(event: DonationCompleted | DonationRefunded | DonationDisputed | DonationSnapshot) -> datetime | None:
    match event:
        case DonationCompleted():
            return event.completed_at
        case DonationSnapshot():
            return event.settled_at
        case DonationRefunded() | DonationDisputed():
            return None


def _fact(message: Message[Any]) -> CampaignFact:
    event = message.event
    return CampaignFact(
        campaign_id=event.campaign_id, currency=event.currency, status=event.status, version=message.aggregate_version
    )
