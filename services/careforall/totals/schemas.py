"""HTTP shapes of totals. Amounts are decimal strings."""

from datetime import date, datetime
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from careforall.kit import json, money
from careforall.kit.http.lists import MAX_LIMIT
from careforall.totals.domain import Comparison, Day, Donor, Level, Reading, Source


class CampaignTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a campaign.

    `total_amount`, `total_donations` and `unique_donors` are gross and never fall; refunds and disputes lower `net_amount`.
    `last_updated` is null before the first gift; `stale` appears only while the database is away.
    """

    campaign_id: UUID
    currency: str
    total_amount: str
    refunded_amount: str
    net_amount: str
    total_donations: int
    unique_donors: int
    last_updated: datetime | None
    cache_level: Level
    cached_at: datetime
    stale: bool | UnsetType = UNSET


class RefreshRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to refresh: the cached totals of one campaign, or without it the materialised view."""

    campaign_id: UUID | None = None


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """When what was refreshed counts from."""

    refreshed: str
    refreshed_at: datetime


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign whose counters are not what a recount of `source` says."""

    campaign_id: UUID
    source: Source


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found: of how many campaigns how many counters differ, and the first hundred of them."""

    campaigns: int
    differences: int
    differing: list[Differing]


class DayTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign received on one day (UTC)."""

    day: date
    total_amount: str
    refunded_amount: str
    total_donations: int


class TopDonor(msgspec.Struct, frozen=True, kw_only=True):
    """A donor by keyed hash; names are nowhere in this service."""

    donor_key: str
    amount: str
    gifts: int


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign by day (newest first, at most a year) and by donor (the ten who gave most)."""

    campaign_id: UUID
    currency: str
    days: list[DayTotals]
    top_donors: list[TopDonor]


def shown(reading: Reading) -> CampaignTotals:
    """Return totals as the API shows them."""
    totals = reading.totals
    return CampaignTotals(
        campaign_id=totals.campaign_id,
        currency=totals.currency,
        total_amount=money.show(totals.total_amount, totals.currency),
        refunded_amount=money.show(totals.refunded_amount, totals.currency),
        net_amount=money.show(totals.net_amount, totals.currency),
        total_donations=totals.total_donations,
        unique_donors=totals.unique_donors,
        last_updated=totals.last_updated,
        cache_level=reading.level,
        cached_at=reading.cached_at,
        stale=True if reading.stale else UNSET,
    )


def compared(found: Comparison) -> Compared:
    """Return a comparison as the API shows it."""
    return Compared(
        campaigns=found.campaigns,
        differences=len(found.differences),
        differing=[Differing(campaign_id=one.campaign_id, source=one.source) for one in found.differences[:MAX_LIMIT]],
    )


def encode(reading: Reading) -> bytes:
    """Return the body of an answer."""
    return json.encode(shown(reading))


def analytics(campaign_id: UUID, currency: str, days: list[Day], donors: list[Donor]) -> Analytics:
    """Return analytics as the API shows them."""
    return Analytics(
        campaign_id=campaign_id,
        currency=currency,
        days=[
            DayTotals(
                day=day.day,
                total_amount=money.show(day.total_amount, currency),
                refunded_amount=money.show(day.refunded_amount, currency),
                total_donations=day.total_donations,
            )
            for day in days
        ],
        top_donors=[
            TopDonor(donor_key=donor.donor_key, amount=money.show(donor.amount, currency), gifts=donor.gifts) for donor in donors
        ],
    )
