"""Rules of totals without I/O: what a gift's newest state is, and by how much the counters of its campaign move (rule 14)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit.ids import by_id

ZERO = Decimal(0)

Level = Literal["redis", "materialized_view", "base_table", "realtime"]
Source = Literal["base_table", "materialized_view"]


class Gift(msgspec.Struct, frozen=True, kw_only=True):
    """A donation whose money was captured, with its amounts as they stand after `version`."""

    donation_id: UUID
    campaign_id: UUID
    donor_key: str
    currency: str
    amount: Decimal
    refunded_amount: Decimal
    disputed_amount: Decimal = ZERO
    anonymous: bool
    version: int
    completed_at: datetime | None = None


class CampaignFact(msgspec.Struct, frozen=True, kw_only=True):
    """What totals needs to know of a campaign."""

    campaign_id: UUID
    currency: str
    status: str
    version: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a campaign. All but `refunded_amount` and `disputed_amount` are gross and never fall.

    `revision` is the sum of the versions of its donations: it grows with every change and is equal at every level.
    """

    campaign_id: UUID
    currency: str
    total_amount: Decimal = ZERO
    refunded_amount: Decimal = ZERO
    disputed_amount: Decimal = ZERO
    total_donations: int = 0
    unique_donors: int = 0
    last_updated: datetime | None = None
    revision: int = 0

    @property
    def net_amount(self) -> Decimal:
        """What stays with the cause."""
        return self.total_amount - self.refunded_amount - self.disputed_amount


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Totals as read from a level; `stale` while the database is away."""

    totals: Totals
    level: Level
    cached_at: datetime
    stale: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """By how much a batch moves the counters of one campaign."""

    campaign_id: UUID
    currency: str
    total_amount: Decimal = ZERO
    refunded_amount: Decimal = ZERO
    disputed_amount: Decimal = ZERO
    total_donations: int = 0
    unique_donors: int = 0
    revision: int = 0


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign whose counters are not what was recounted; None where one side lacks the campaign."""

    campaign_id: UUID
    source: Source
    counted: Totals | None
    found: Totals | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How many campaigns were recounted, and what differs."""

    campaigns: int
    differences: list[Difference]


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign received on one day (UTC)."""

    day: date
    total_amount: Decimal
    refunded_amount: Decimal
    total_donations: int


class Donor(msgspec.Struct, frozen=True, kw_only=True):
    """A donor by keyed hash: there is no name here to give away."""

    donor_key: str
    amount: Decimal
    gifts: int


def newest(gifts: Iterable[Gift]) -> list[Gift]:
    """Return the newest state of each donation, in the order in which rows are locked."""
    latest: dict[UUID, Gift] = {}
    for gift in gifts:
        known = latest.get(gift.donation_id)
        latest[gift.donation_id] = gift if known is None else merged(known, gift)
    return [latest[donation_id] for donation_id in sorted(latest, key=by_id)]


def merged(known: Gift, other: Gift) -> Gift:
    """Return the newer state of one donation, keeping the time of completion that only some events carry."""
    winner = other if other.version > known.version else known
    times = [gift.completed_at for gift in (known, other) if gift.completed_at is not None]
    completed_at = min(times, default=None)
    if winner.completed_at == completed_at:
        return winner
    return msgspec.structs.replace(winner, completed_at=completed_at)


def corrections(kept: Mapping[UUID, Gift], incoming: Iterable[Gift]) -> list[tuple[Gift, Gift]]:
    """Return (as it was, as it is now) of the kept donations that the incoming states change."""
    pairs = ((kept[gift.donation_id], merged(kept[gift.donation_id], gift)) for gift in incoming)
    return [(before, after) for before, after in pairs if before != after]


def changes(added: Iterable[Gift], corrected: Iterable[tuple[Gift, Gift]], new_donors: Mapping[UUID, int]) -> list[Change]:
    """Return what a batch does to the counters, in campaign order: new minus old, one change per campaign."""
    moves: dict[UUID, list[Change]] = {}
    for gift in added:
        moves.setdefault(gift.campaign_id, []).append(_arrival(gift))
    for before, after in corrected:
        if after.version > before.version:
            moves.setdefault(before.campaign_id, []).append(_correction(before, after))
    return [_summed(moves[campaign], new_donors.get(campaign, 0)) for campaign in sorted(moves)]


def _arrival(gift: Gift) -> Change:
    return Change(
        campaign_id=gift.campaign_id,
        currency=gift.currency,
        total_amount=gift.amount,
        refunded_amount=gift.refunded_amount,
        disputed_amount=gift.disputed_amount,
        total_donations=1,
        revision=gift.version,
    )


def _correction(before: Gift, after: Gift) -> Change:
    return Change(
        campaign_id=before.campaign_id,
        currency=before.currency,
        total_amount=after.amount - before.amount,
        refunded_amount=after.refunded_amount - before.refunded_amount,
        disputed_amount=after.disputed_amount - before.disputed_amount,
        revision=after.version - before.version,
    )


def _summed(moves: Sequence[Change], new_donors: int) -> Change:
    return Change(
        campaign_id=moves[0].campaign_id,
        currency=moves[0].currency,
        total_amount=sum((move.total_amount for move in moves), ZERO),
        refunded_amount=sum((move.refunded_amount for move in moves), ZERO),
        disputed_amount=sum((move.disputed_amount for move in moves), ZERO),
        total_donations=sum(move.total_donations for move in moves),
        unique_donors=new_donors,
        revision=sum(move.revision for move in moves),
    )
