"""What the demo is made of: six campaigns, half a year of gifts, and the outcome of each, from one fixed seed."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.cli.demo_messages import MoneyWord, Webhooks, hear
from careforall.contracts.donations import CampaignCreated, CampaignEnded, CampaignUpdated, DonationCreated
from careforall.donations import events, repository
from careforall.donations.domain import Campaign, Donation
from careforall.donations.service import DonationsService
from careforall.kit import outbox
from careforall.kit.context import Cause
from careforall.kit.db import Connection, Database
from careforall.kit.ids import id_at, new_id
from careforall.kit.service import Parts
from careforall.kit.settings import Settings

_SEED = 20_260_101
_DAYS = 180
_BATCH = 200
_CAUSE = Cause(correlation_id="demo")
_AMOUNTS = ("5.00", "10.00", "10.00", "15.00", "20.00", "25.00", "25.00", "50.00", "75.00", "100.00", "250.00")
_OUTCOMES = ("SUCCESS",) * 86 + ("FAILED",) * 7 + ("REFUNDED",) * 4 + ("",) * 3
_CAMPAIGNS = (
    ("Clean water for three villages", "Wells, pumps and the training to keep them running.", "25000.00", "LIVE"),
    ("School meals, one term", "A warm meal for every child, every school day.", "12000.00", "LIVE"),
    ("Mountain rescue dogs", "Training and gear for four young dogs.", "8000.00", "LIVE"),
    ("A roof for the community library", "The rain comes through; the books deserve better.", "18000.00", "LIVE"),
    ("Winter blankets", "Paused until the next delivery is sorted.", "5000.00", "PAUSED"),
    ("Flood relief", "Ended: thank you, all of it has arrived.", "15000.00", "ENDED"),
)


class Gift(msgspec.Struct, frozen=True, kw_only=True):
    """A made-up gift and what becomes of it; an empty outcome stays pending."""

    donation: Donation
    outcome: str


class Demo:
    """Writes the demo through the services' own code."""

    def __init__(
        self, donations: Parts, donations_database: Database, payments: Parts, payments_database: Database, settings: Settings
    ) -> None:
        service = donations.service
        if not isinstance(service, DonationsService):
            raise TypeError("donations built another service than its own")
        self._donations = service
        self._donations_database = donations_database
        self._intents = next(one for one in payments.consumers if DonationCreated in one.events)
        self._webhooks = Webhooks(payments, settings)
        self._payments_database = payments_database
        self._random = random.Random(_SEED)  # noqa: S311 - made-up data from a fixed seed

    async def load(self, count: int, *, again: bool) -> str:
        """Make campaigns and gifts; return what was done in a sentence."""
        known = await self._donations_database.run(lambda connection: repository.campaigns_titled(connection, _titles()))
        if known and not again:
            return f"demo data is there already ({len(known)} campaigns)"
        await self._donations_database.run(lambda connection: _end(connection, known))
        campaigns = await self._donations_database.run(self._make_campaigns)
        gifts = [self._gift(campaigns) for _ in range(count)]
        for start in range(0, count, _BATCH):
            await self._store(gifts[start : start + _BATCH])
        await self._donations_database.run(lambda connection: _set_states(connection, campaigns))
        return f"demo data: {len(campaigns)} campaigns and {count} gifts of the last {_DAYS} days"

    async def _make_campaigns(self, connection: Connection) -> list[Campaign]:
        now = datetime.now(UTC)
        made = [
            Campaign(
                id=new_id(),
                title=title,
                story=story,
                goal=Decimal(goal),
                currency="EUR",
                status="LIVE",
                starts_at=None,
                ends_at=None,
                suggested_amounts=[Decimal("10.00"), Decimal("25.00"), Decimal("50.00")],
                minimum=Decimal("1.00"),
                maximum=None,
                version=1,
                created_at=now,
                updated_at=now,
            )
            for title, story, goal, _ in _CAMPAIGNS
        ]
        for campaign in made:
            await repository.insert_campaign(connection, campaign)
        await outbox.insert(connection, [events.campaign_event(CampaignCreated, campaign, _CAUSE) for campaign in made])
        return made

    def _gift(self, campaigns: Sequence[Campaign]) -> Gift:
        pick = self._random
        campaign = pick.choices(campaigns, weights=(8, 6, 3, 4, 2, 5))[0]
        number = 1 + int(120 * pick.random() ** 2)
        at = datetime.now(UTC) - timedelta(days=_DAYS * pick.random() ** 1.5, minutes=pick.randrange(60, 1440))
        mail = f"donor{number}@example.org"
        donation = Donation(
            id=id_at(at, pick.getrandbits(74)),
            campaign_id=campaign.id,
            intent_id=new_id(),
            donor_email=mail,
            donor_key=self._donations.giving.donor_key(mail),
            donor_name=f"Donor {number}",
            user_id=None,
            anonymous=pick.random() < 0.12,  # noqa: PLR2004 - one in eight prefers it
            message="",
            amount=Decimal(pick.choice(_AMOUNTS)),
            refunded_amount=Decimal(0),
            currency="EUR",
            gateway="simulator",
            status="PENDING",
            version=1,
            payment_version=0,
            extra_data=None,
            created_at=at,
            updated_at=at,
            settled_at=None,
            campaign_title=campaign.title,
        )
        return Gift(donation=donation, outcome=pick.choice(_OUTCOMES))

    async def _store(self, gifts: Sequence[Gift]) -> None:
        """Write pledges with their events, their intents, and then the gateway's word about each."""
        donations = [gift.donation for gift in gifts]
        told = [events.created(donation, _CAUSE) for donation in donations]
        await self._donations_database.run(lambda connection: repository.insert_donations(connection, donations, told))
        await hear(self._payments_database, self._intents, [event.payload for event in told])
        await asyncio.gather(*(self._webhook(gift, "SUCCESS") for gift in gifts if gift.outcome in {"SUCCESS", "REFUNDED"}))
        await asyncio.gather(*(self._webhook(gift, gift.outcome) for gift in gifts if gift.outcome in {"FAILED", "REFUNDED"}))

    async def _webhook(self, gift: Gift, status: str) -> None:
        donation = gift.donation
        later = timedelta(days=2) if status == "REFUNDED" else timedelta(minutes=3)
        word = MoneyWord(
            intent_id=donation.intent_id,
            status=status,
            at=donation.created_at + later,
            amount=donation.amount,
            currency=donation.currency,
        )
        await self._webhooks.send(word)


async def _end(connection: Connection, known: Sequence[UUID]) -> None:
    """End the campaigns of an earlier demo."""
    await _change(connection, [(campaign_id, "ENDED") for campaign_id in known])


async def _set_states(connection: Connection, campaigns: Sequence[Campaign]) -> None:
    wanted = {title: status for title, _, _, status in _CAMPAIGNS}
    await _change(connection, [(one.id, wanted[one.title]) for one in campaigns if wanted[one.title] != one.status])


async def _change(connection: Connection, changes: Sequence[tuple[UUID, Any]]) -> None:
    for campaign_id, status in changes:
        found = await repository.campaign_for_update(connection, campaign_id)
        if found is None or found.status == status:
            continue
        changed = msgspec.structs.replace(found, status=status, version=found.version + 1)
        await repository.update_campaign(connection, changed)
        kind = CampaignEnded if status == "ENDED" else CampaignUpdated
        await outbox.insert(connection, [events.campaign_event(kind, changed, _CAUSE)])


def _titles() -> list[str]:
    return [title for title, _, _, _ in _CAMPAIGNS]
