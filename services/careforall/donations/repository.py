"""All SQL of the donations service."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.contracts.donations import CampaignStatus, DonationStatus
from careforall.donations.domain import Campaign, Donation, Step
from careforall.kit import outbox
from careforall.kit.db import Connection
from careforall.kit.ids import by_id
from careforall.kit.outbox import Outgoing


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded transition."""

    version: int
    from_status: DonationStatus | None
    to_status: DonationStatus
    cause_event: UUID | None
    cause: str
    refunded_amount: Decimal
    disputed_amount: Decimal
    at: datetime


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which donations a list or export is about."""

    campaign_id: UUID | None = None
    status: DonationStatus | None = None
    since: datetime | None = None
    until: datetime | None = None


async def insert_campaign(connection: Connection, campaign: Campaign) -> Campaign:
    """Store a new campaign and return it as it is stored."""
    row = await connection.fetchrow(_INSERT_CAMPAIGN, *_campaign_values(campaign))
    assert row is not None
    return Campaign(**row)


async def campaign_for_update(connection: Connection, campaign_id: UUID) -> Campaign | None:
    """Lock and return a campaign."""
    row = await connection.fetchrow(_CAMPAIGN + " WHERE id = $1 FOR UPDATE", campaign_id)
    return Campaign(**row) if row else None


async def update_campaign(connection: Connection, campaign: Campaign) -> Campaign:
    """Store a changed campaign and return it as it is stored."""
    row = await connection.fetchrow(_UPDATE_CAMPAIGN, *_campaign_values(campaign))
    assert row is not None
    return Campaign(**row)


async def campaign(connection: Connection, campaign_id: UUID) -> Campaign | None:
    """Return a campaign."""
    row = await connection.fetchrow(_CAMPAIGN + " WHERE id = $1", campaign_id)
    return Campaign(**row) if row else None


async def campaigns(
    connection: Connection, statuses: Sequence[CampaignStatus], search: str, before: UUID | None, limit: int
) -> list[Campaign]:
    """Return campaigns, newest first."""
    pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return [Campaign(**row) for row in await connection.fetch(_CAMPAIGNS, list(statuses), pattern, before, limit)]


async def campaigns_titled(connection: Connection, titles: Sequence[str]) -> list[UUID]:
    """Return the campaigns of these titles that are not ended."""
    return [row["id"] for row in await connection.fetch(_TITLED, list(titles))]


async def share_campaigns(connection: Connection, campaign_ids: Sequence[UUID]) -> dict[UUID, Campaign]:
    """Return campaigns that nobody can close before this transaction ends."""
    rows = await connection.fetch(_SHARE_CAMPAIGNS, sorted(set(campaign_ids)))
    return {row["id"]: Campaign(**row) for row in rows}


async def insert_donations(connection: Connection, donations: Sequence[Donation], events: Sequence[Outgoing]) -> None:
    """Store donations with their first history row and event; a donation that is already there is only touched."""
    values = [
        [d.id for d in donations],
        [d.campaign_id for d in donations],
        [d.intent_id for d in donations],
        [d.donor_email for d in donations],
        [d.donor_key for d in donations],
        [d.donor_name for d in donations],
        [d.user_id for d in donations],
        [d.anonymous for d in donations],
        [d.message for d in donations],
        [d.amount for d in donations],
        [d.currency for d in donations],
        [d.gateway for d in donations],
        [extra_text(d) for d in donations],
        [d.created_at for d in donations],
    ]
    inserted = await connection.fetch(_INSERT_DONATIONS, *values, *outbox.columns(events))
    if len(inserted) < len(donations):
        new = {row["id"] for row in inserted}
        await connection.execute(_TOUCH_DONATIONS, [d.id for d in donations if d.id not in new])


async def donations_of_intents(connection: Connection, intent_ids: Sequence[UUID]) -> dict[UUID, Donation]:
    """Lock and return donations by intent, in id order."""
    rows = await connection.fetch(_LOCK_BY_INTENT, sorted(set(intent_ids), key=by_id))
    return {row["intent_id"]: _donation(row) for row in rows}


async def states_of_intents(connection: Connection, intent_ids: Sequence[UUID]) -> dict[UUID, DonationStatus]:
    """Return the states of gifts by intent."""
    return {row["intent_id"]: row["status"] for row in await connection.fetch(_STATES_OF_INTENTS, list(intent_ids))}


async def donation_for_update(connection: Connection, donation_id: UUID) -> Donation | None:
    """Lock and return a donation."""
    row = await connection.fetchrow(_DONATION + " WHERE d.id = $1 FOR UPDATE OF d", donation_id)
    return _donation(row) if row else None


async def donation(connection: Connection, donation_id: UUID) -> Donation | None:
    """Return a donation."""
    row = await connection.fetchrow(_DONATION + " WHERE d.id = $1", donation_id)
    return _donation(row) if row else None


async def donations_of_donor(connection: Connection, donor_key: str, before: UUID | None, limit: int) -> list[Donation]:
    """Return a donor's gifts, newest first."""
    return [_donation(row) for row in await connection.fetch(_BY_DONOR, donor_key, before, limit)]


async def history(connection: Connection, donation_id: UUID) -> list[HistoryRow]:
    """Return every transition of a donation in order."""
    return [HistoryRow(**row) for row in await connection.fetch(_HISTORY, donation_id)]


async def export_page(connection: Connection, wanted: Filter, after: UUID | None, limit: int) -> list[Donation]:
    """Return a page of an export in id order."""
    rows = await connection.fetch(_EXPORT, wanted.campaign_id, wanted.status, wanted.since, wanted.until, after, limit)
    return [_donation(row) for row in rows]


async def take_steps(connection: Connection, steps: Sequence[Step]) -> None:
    """Record steps: the donation's last state, and one history row each."""
    for after in _one_status_each(steps):
        await connection.execute(
            _UPDATE_DONATIONS,
            [d.id for d in after],
            [d.status for d in after],
            [d.version for d in after],
            [d.payment_version for d in after],
            [d.refunded_amount for d in after],
            [d.settled_at for d in after],
            [d.disputed_amount for d in after],
            [d.dispute_version for d in after],
        )
    await connection.execute(
        _INSERT_HISTORY,
        [step.donation.id for step in steps],
        [step.donation.version for step in steps],
        [step.from_status for step in steps],
        [step.donation.status for step in steps],
        [step.fact.event_id for step in steps],
        [step.fact.event_type for step in steps],
        [step.donation.refunded_amount for step in steps],
        [step.donation.disputed_amount for step in steps],
    )


def _one_status_each(steps: Sequence[Step]) -> list[list[Donation]]:
    """Return what to store, one statement after another: the database lets a donation take one step of its status in each."""
    changes: Counter[UUID] = Counter()
    rounds: dict[int, dict[UUID, Donation]] = {}
    for step in steps:
        donation = step.donation
        changes[donation.id] += donation.status != step.from_status
        rounds.setdefault(max(changes[donation.id], 1), {})[donation.id] = donation
    return [[rounds[number][key] for key in sorted(rounds[number])] for number in sorted(rounds)]


async def note_verified(connection: Connection, donor_key: str, user_id: UUID) -> None:
    """Remember who has proven to own a mail; the latest proof counts."""
    await connection.execute(_NOTE_VERIFIED, donor_key, user_id)


async def erase_donor(connection: Connection, donor_key: str, user_id: UUID) -> None:
    """Forget the person and keep the facts: of what was given under their mail, and while they were signed in."""
    await connection.execute(_ERASE_DONOR, donor_key, user_id)


async def snapshot(connection: Connection, after: UUID | None, limit: int) -> list[Donation]:
    """Return donations in id order, for sending their state again."""
    return [_donation(row) for row in await connection.fetch(_SNAPSHOT, after, limit)]


def _campaign_values(campaign: Campaign) -> tuple[Any, ...]:
    return (
        campaign.id,
        campaign.title,
        campaign.story,
        campaign.goal,
        campaign.currency,
        campaign.status,
        campaign.starts_at,
        campaign.ends_at,
        campaign.suggested_amounts,
        campaign.minimum,
        campaign.maximum,
        campaign.version,
    )


def extra_text(donation: Donation) -> str | None:
    """Return a donation's extra data as the database takes it."""
    return bytes(donation.extra_data).decode() if donation.extra_data is not None else None


def _donation(row: asyncpg.Record) -> Donation:
    extra = row["extra_data"]
    return Donation(**{**row, "extra_data": msgspec.Raw(extra.encode()) if extra is not None else None})


_GIVEN = "id, title, story, goal, currency, status, starts_at, ends_at, suggested_amounts, minimum, maximum, version"
_STORED = f"{_GIVEN}, created_at, updated_at"
_CAMPAIGN = """
SELECT @stored@
FROM campaigns
""".replace("@stored@", _STORED)
_INSERT_CAMPAIGN = """
INSERT INTO campaigns (@given@)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING @stored@
""".replace("@given@", _GIVEN).replace("@stored@", _STORED)
_UPDATE_CAMPAIGN = """
UPDATE campaigns
SET title = $2, story = $3, goal = $4, currency = $5, status = $6, starts_at = $7, ends_at = $8, suggested_amounts = $9,
    minimum = $10, maximum = $11, version = $12, updated_at = clock_timestamp()
WHERE id = $1
RETURNING @stored@
""".replace("@stored@", _STORED)
_CAMPAIGNS = (
    _CAMPAIGN
    + """
WHERE status = ANY($1) AND title ILIKE $2 AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
"""
)
_TITLED = "SELECT id FROM campaigns WHERE title = ANY($1::text[]) AND status <> 'ENDED' ORDER BY id"
_SHARE_CAMPAIGNS = _CAMPAIGN + " WHERE id = ANY($1::uuid[]) ORDER BY id FOR SHARE"
_INSERT_DONATIONS = """
WITH new AS (
    INSERT INTO donations (
        id, campaign_id, intent_id, donor_email, donor_key, donor_name, user_id, anonymous, message, amount, currency, gateway,
        extra_data, created_at
    )
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::boolean[], $9::text[],
        $10::numeric[], $11::text[], $12::text[], $13::jsonb[], $14::timestamptz[]
    )
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), begun AS (
    INSERT INTO donation_history (donation_id, version, from_status, to_status, cause)
    SELECT id, 1, NULL, 'PENDING', 'donations.created' FROM new
), told AS (
    INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
    SELECT event.id, event.event_type, event.aggregate_id, event.payload, event.traceparent
    FROM unnest($15::uuid[], $16::text[], $17::uuid[], $18::bytea[], $19::text[])
        AS event (id, event_type, aggregate_id, payload, traceparent)
    JOIN new ON new.id = event.aggregate_id
)
SELECT id FROM new
"""
_TOUCH_DONATIONS = "UPDATE donations SET updated_at = updated_at WHERE id = ANY($1::uuid[])"
_DONATION = """
SELECT d.id, d.campaign_id, d.intent_id, d.donor_email, d.donor_key, d.donor_name, d.user_id, d.anonymous, d.message, d.amount,
       d.refunded_amount, d.currency, d.gateway, d.status, d.version, d.payment_version, d.extra_data, d.created_at,
       d.updated_at, d.settled_at, d.disputed_amount, d.dispute_version, c.title AS campaign_title
FROM donations AS d
JOIN campaigns AS c ON c.id = d.campaign_id
"""
_LOCK_BY_INTENT = _DONATION + " WHERE d.intent_id = ANY($1::uuid[]) ORDER BY d.id FOR UPDATE OF d"
_STATES_OF_INTENTS = "SELECT intent_id, status FROM donations WHERE intent_id = ANY($1::uuid[])"
_BY_DONOR = _DONATION + " WHERE d.donor_key = $1 AND ($2::uuid IS NULL OR d.id < $2) ORDER BY d.id DESC LIMIT $3"
_HISTORY = """
SELECT version, from_status, to_status, cause_event, cause, refunded_amount, disputed_amount, at
FROM donation_history
WHERE donation_id = $1
ORDER BY version
"""
_EXPORT = (
    _DONATION
    + """
WHERE ($1::uuid IS NULL OR d.campaign_id = $1)
  AND (CASE WHEN $2::text IS NULL THEN d.status IN ('COMPLETED', 'REFUNDED') ELSE d.status = $2 END)
  AND ($3::timestamptz IS NULL OR d.created_at >= $3)
  AND ($4::timestamptz IS NULL OR d.created_at < $4)
  AND ($5::uuid IS NULL OR d.id > $5)
ORDER BY d.id
LIMIT $6
"""
)
_UPDATE_DONATIONS = """
UPDATE donations AS d
SET status = after.status, version = after.version, payment_version = after.payment_version,
    refunded_amount = after.refunded_amount, settled_at = after.settled_at, disputed_amount = after.disputed_amount,
    dispute_version = after.dispute_version, updated_at = clock_timestamp()
FROM unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::integer[], $5::numeric[], $6::timestamptz[], $7::numeric[], $8::integer[]
) AS after (id, status, version, payment_version, refunded_amount, settled_at, disputed_amount, dispute_version)
WHERE d.id = after.id
"""
_INSERT_HISTORY = """
INSERT INTO donation_history (donation_id, version, from_status, to_status, cause_event, cause, refunded_amount,
                              disputed_amount)
SELECT *
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::numeric[], $8::numeric[])
"""
_NOTE_VERIFIED = """
INSERT INTO verified_donors (donor_key, user_id) VALUES ($1, $2)
ON CONFLICT (donor_key) DO UPDATE SET user_id = $2, verified_at = clock_timestamp()
"""
_ERASE_DONOR = """
UPDATE donations
SET donor_email = 'erased', donor_name = '', message = '', extra_data = NULL, user_id = NULL, updated_at = clock_timestamp()
WHERE id IN (SELECT id FROM donations WHERE donor_key = $1 OR user_id = $2 ORDER BY id FOR UPDATE)
"""
_SNAPSHOT = _DONATION + " WHERE $1::uuid IS NULL OR d.id > $1 ORDER BY d.id LIMIT $2"
