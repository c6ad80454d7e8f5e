"""All SQL of the totals service. Every transaction takes base rows by donation, donors by campaign and key, then counters."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit import json
from careforall.kit.db import Connection, Database
from careforall.kit.ids import new_id
from careforall.totals.domain import CampaignFact, Change, Comparison, Day, Difference, Donor, Gift, Totals

VIEWS = ("campaign_totals", "campaign_days", "campaign_top_donors")


async def insert_missing(connection: Connection, gifts: Sequence[Gift]) -> set[UUID]:
    """Insert base rows that are not there; return the donations inserted."""
    rows = await connection.fetch(_INSERT_MISSING, *_columns(gifts), [gift.anonymous for gift in gifts])
    return {row["donation_id"] for row in rows}


async def lock_base(connection: Connection, donation_ids: Sequence[UUID]) -> dict[UUID, Gift]:
    """Lock base rows in id order and return them as they stand once the lock is held."""
    rows = await connection.fetch(_LOCK_BASE, donation_ids)
    return {row["donation_id"]: Gift(**row) for row in rows}


async def correct_base(connection: Connection, gifts: Sequence[Gift]) -> None:
    """Write newer states over locked base rows."""
    await connection.execute(
        _CORRECT_BASE,
        [gift.donation_id for gift in gifts],
        [gift.amount for gift in gifts],
        [gift.refunded_amount for gift in gifts],
        [gift.disputed_amount for gift in gifts],
        [gift.version for gift in gifts],
        [gift.completed_at for gift in gifts],
    )


async def count_donors(connection: Connection, gifts: Sequence[Gift]) -> dict[UUID, int]:
    """Add gifts to their donors; return how many donors are new to each campaign."""
    rows = await connection.fetch(
        _COUNT_DONORS,
        [gift.campaign_id for gift in gifts],
        [gift.donor_key for gift in gifts],
        [gift.amount for gift in gifts],
    )
    return {row["campaign_id"]: row["fresh"] for row in rows}


async def move_counters(connection: Connection, changes: Sequence[Change]) -> dict[UUID, int]:
    """Add changes to the counters, one upsert for all; return the new revisions, without campaigns of another currency."""
    rows = await connection.fetch(
        _MOVE_COUNTERS,
        [change.campaign_id for change in changes],
        [change.currency for change in changes],
        [change.total_amount for change in changes],
        [change.refunded_amount for change in changes],
        [change.disputed_amount for change in changes],
        [change.total_donations for change in changes],
        [change.unique_donors for change in changes],
        [change.revision for change in changes],
    )
    return {row["campaign_id"]: row["revision"] for row in rows}


async def keep_campaigns(connection: Connection, facts: Sequence[CampaignFact]) -> None:
    """Store campaigns where they are newer than what is known."""
    await connection.execute(
        _KEEP_CAMPAIGNS,
        [fact.campaign_id for fact in facts],
        [fact.currency for fact in facts],
        [fact.status for fact in facts],
        [fact.version for fact in facts],
    )


async def counters(database: Database, campaign_ids: Sequence[UUID]) -> list[Totals]:
    """Return the counters of each campaign, zeros where there are none; the currency of an unknown campaign is empty."""
    return [_totals(row) for row in await database.fetch(_COUNTERS, campaign_ids)]


async def from_view(database: Database, campaign_ids: Sequence[UUID]) -> list[tuple[Totals, datetime]]:
    """Return what the view knows of these campaigns, and when it was refreshed."""
    rows = await database.fetch(_FROM_VIEW, campaign_ids)
    return [(_totals(row), row["refreshed_at"]) for row in rows]


async def recount(database: Database, campaign_ids: Sequence[UUID]) -> list[Totals]:
    """Count campaigns from the base, zeros included; the currency of an unknown campaign is empty."""
    return [_totals(row) for row in await database.fetch(_RECOUNT, campaign_ids)]


async def popular(database: Database, limit: int) -> list[UUID]:
    """Return the campaigns with most gifts that still collect or ended."""
    return [row["campaign_id"] for row in await database.fetch(_POPULAR, limit)]


async def top(database: Database, limit: int) -> list[UUID]:
    """Return the campaigns that raised most."""
    return [row["campaign_id"] for row in await database.fetch(_TOP, limit)]


async def days(database: Database, campaign_id: UUID) -> list[Day]:
    """Return the newest days of a campaign."""
    return [Day(**row) for row in await database.fetch(_DAYS, campaign_id)]


async def top_donors(database: Database, campaign_id: UUID) -> list[Donor]:
    """Return the donors who gave most to a campaign."""
    return [Donor(**row) for row in await database.fetch(_TOP_DONORS, campaign_id)]


async def refresh_view(session: Connection, view: str, *, deadline: float) -> datetime:
    """Refresh a view while others go on reading it; return the time from which it counts."""
    began: datetime = await session.fetchval(_NOW)
    await session.execute(_REFRESH[view], timeout=deadline)
    await session.execute(_REFRESHED, view, began)
    return began


async def raised(database: Database) -> list[tuple[str, float, int]]:
    """Return currency, gross money and number of completed gifts over all campaigns."""
    return [(row["currency"], row["raised"], row["gifts"]) for row in await database.fetch(_RAISED)]


async def last_drift(database: Database) -> list[tuple[str, int]]:
    """Return how many campaigns differed from each source in the last comparison; nothing before the first."""
    return [(row["source"], row["campaigns"]) for row in await database.fetch(_LAST_DRIFT)]


async def hours_since_comparison(database: Database) -> float | None:
    """Return the age of the last comparison, None where there was none."""
    row = await database.fetchrow(_SINCE_COMPARISON)
    return float(row["hours"]) if row is not None and row["hours"] is not None else None


async def compare(session: Connection, *, deadline: float) -> Comparison:
    """Compare counters, base and view in one statement, so in one snapshot."""
    rows = await session.fetch(_DIFFERENCES, timeout=deadline)
    campaigns: int = await session.fetchval(_COUNT_CAMPAIGNS)
    differences = [
        Difference(
            campaign_id=row["campaign_id"],
            source=row["source"],
            counted=_decoded(row["counted"]),
            found=_decoded(row["found"]),
        )
        for row in rows
    ]
    return Comparison(campaigns=campaigns, differences=differences)


async def keep_comparison(session: Connection, comparison: Comparison) -> None:
    """Store the outcome of a comparison."""
    identifier, found = new_id(), comparison.differences
    async with session.transaction():
        await session.execute(_KEEP_COMPARISON, identifier, comparison.campaigns, len(found))
        await session.execute(
            _KEEP_DIFFERENCES,
            [new_id() for _ in found],
            identifier,
            [difference.campaign_id for difference in found],
            [difference.source for difference in found],
            [_encoded(difference.counted) for difference in found],
            [_encoded(difference.found) for difference in found],
        )


def _columns(gifts: Iterable[Gift]) -> tuple[list[object], ...]:
    rows = [
        (
            *(gift.donation_id, gift.campaign_id, gift.donor_key, gift.currency, gift.amount, gift.refunded_amount),
            *(gift.disputed_amount, gift.version, gift.completed_at),
        )
        for gift in gifts
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _totals(row: asyncpg.Record) -> Totals:
    return Totals(**{name: row[name] for name in _TOTALS})


def _encoded(totals: Totals | None) -> str | None:
    return json.encode(totals).decode() if totals is not None else None


def _decoded(text: str | None) -> Totals | None:
    return msgspec.json.decode(text, type=Totals) if text is not None else None


_TOTALS = tuple(field.name for field in msgspec.structs.fields(Totals))

_INSERT_MISSING = """
INSERT INTO completed_donations
    (donation_id, campaign_id, donor_key, currency, amount, refunded_amount, disputed_amount, version, completed_at, anonymous,
     updated_at)
SELECT gift.*, now()
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::numeric[], $8::bigint[],
            $9::timestamptz[], $10::boolean[]) AS gift
ON CONFLICT (donation_id) DO NOTHING
RETURNING donation_id
"""
_LOCK_BASE = """
SELECT donation_id, campaign_id, donor_key, currency, amount, refunded_amount, disputed_amount, anonymous, version, completed_at
FROM completed_donations
WHERE donation_id = ANY($1::uuid[])
ORDER BY donation_id
FOR UPDATE
"""
_CORRECT_BASE = """
UPDATE completed_donations AS base
SET amount = newer.amount,
    refunded_amount = newer.refunded_amount,
    disputed_amount = newer.disputed_amount,
    version = newer.version,
    completed_at = newer.completed_at,
    updated_at = CASE WHEN newer.version > base.version THEN greatest(base.updated_at, now()) ELSE base.updated_at END
FROM unnest($1::uuid[], $2::numeric[], $3::numeric[], $4::numeric[], $5::bigint[], $6::timestamptz[])
    AS newer (donation_id, amount, refunded_amount, disputed_amount, version, completed_at)
WHERE base.donation_id = newer.donation_id
"""
_COUNT_DONORS = """
WITH counted AS (
    INSERT INTO campaign_donors AS donor (campaign_id, donor_key, gifts, amount)
    SELECT campaign_id, donor_key, count(*), sum(amount)
    FROM unnest($1::uuid[], $2::text[], $3::numeric[]) AS gift (campaign_id, donor_key, amount)
    GROUP BY campaign_id, donor_key
    ORDER BY campaign_id, donor_key
    ON CONFLICT (campaign_id, donor_key) DO UPDATE
    SET gifts = donor.gifts + excluded.gifts, amount = donor.amount + excluded.amount
    RETURNING campaign_id, (xmax = 0) AS fresh
)
SELECT campaign_id, count(*) AS fresh FROM counted WHERE fresh GROUP BY campaign_id
"""
_MOVE_COUNTERS = """
INSERT INTO campaign_totals AS kept
    (campaign_id, currency, total_amount, refunded_amount, disputed_amount, total_donations, unique_donors, revision,
     last_updated)
SELECT change.*, now()
FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::bigint[], $7::bigint[], $8::bigint[])
    AS change
ON CONFLICT (campaign_id) DO UPDATE
SET total_amount = kept.total_amount + excluded.total_amount,
    refunded_amount = kept.refunded_amount + excluded.refunded_amount,
    disputed_amount = kept.disputed_amount + excluded.disputed_amount,
    total_donations = kept.total_donations + excluded.total_donations,
    unique_donors = kept.unique_donors + excluded.unique_donors,
    revision = kept.revision + excluded.revision,
    last_updated = greatest(kept.last_updated, excluded.last_updated)
WHERE kept.currency = excluded.currency
RETURNING campaign_id, revision
"""
_KEEP_CAMPAIGNS = """
INSERT INTO campaigns AS known (campaign_id, currency, status, version)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (campaign_id) DO UPDATE
SET currency = excluded.currency, status = excluded.status, version = excluded.version
WHERE known.version < excluded.version
"""
_COUNTERS = """
SELECT wanted.campaign_id,
       coalesce(kept.currency, known.currency, '') AS currency,
       coalesce(kept.total_amount, 0) AS total_amount,
       coalesce(kept.refunded_amount, 0) AS refunded_amount,
       coalesce(kept.disputed_amount, 0) AS disputed_amount,
       coalesce(kept.total_donations, 0) AS total_donations,
       coalesce(kept.unique_donors, 0) AS unique_donors,
       kept.last_updated,
       coalesce(kept.revision, 0) AS revision
FROM unnest($1::uuid[]) AS wanted (campaign_id)
LEFT JOIN campaign_totals AS kept USING (campaign_id)
LEFT JOIN campaigns AS known USING (campaign_id)
"""
_FROM_VIEW = """
SELECT counted.*, refresh.refreshed_at
FROM campaign_totals_mv AS counted
JOIN view_refreshes AS refresh ON refresh.view = 'campaign_totals'
WHERE counted.campaign_id = ANY($1::uuid[])
"""
_RECOUNT = """
SELECT wanted.campaign_id,
       coalesce(gifts.currency, known.currency, '') AS currency,
       coalesce(gifts.total_amount, 0) AS total_amount,
       coalesce(gifts.refunded_amount, 0) AS refunded_amount,
       coalesce(gifts.disputed_amount, 0) AS disputed_amount,
       gifts.total_donations,
       gifts.unique_donors,
       gifts.last_updated,
       coalesce(gifts.revision, 0) AS revision
FROM unnest($1::uuid[]) AS wanted (campaign_id)
LEFT JOIN campaigns AS known USING (campaign_id)
CROSS JOIN LATERAL (
    SELECT min(currency) AS currency, sum(amount) AS total_amount, sum(refunded_amount) AS refunded_amount,
           sum(disputed_amount) AS disputed_amount, count(*) AS total_donations, count(DISTINCT donor_key) AS unique_donors,
           max(updated_at) AS last_updated, sum(version)::bigint AS revision
    FROM completed_donations AS base
    WHERE base.campaign_id = wanted.campaign_id
) AS gifts
"""
_POPULAR = """
SELECT kept.campaign_id
FROM campaign_totals AS kept
LEFT JOIN campaigns AS known USING (campaign_id)
ORDER BY (known.status IS NOT DISTINCT FROM 'LIVE') DESC, kept.total_donations DESC, kept.campaign_id
LIMIT $1
"""
_TOP = """
SELECT campaign_id FROM campaign_totals ORDER BY total_amount DESC, campaign_id LIMIT $1
"""
_DAYS = """
SELECT day, total_amount, refunded_amount, total_donations
FROM campaign_days_mv
WHERE campaign_id = $1
ORDER BY day DESC
LIMIT 366
"""
_TOP_DONORS = """
SELECT donor_key, amount, gifts FROM campaign_top_donors_mv WHERE campaign_id = $1 ORDER BY place
"""
_NOW = "SELECT clock_timestamp()"
_REFRESH = {view: f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view}_mv" for view in VIEWS}
_REFRESHED = """
INSERT INTO view_refreshes (view, refreshed_at)
VALUES ($1, $2)
ON CONFLICT (view) DO UPDATE SET refreshed_at = greatest(view_refreshes.refreshed_at, excluded.refreshed_at)
"""
_RAISED = """
SELECT currency, sum(total_amount)::float8 AS raised, sum(total_donations)::bigint AS gifts
FROM campaign_totals
GROUP BY currency
"""
_SINCE_COMPARISON = """
SELECT extract(epoch FROM clock_timestamp() - max(compared_at))::float8 / 3600 AS hours FROM total_comparisons
"""
_LAST_DRIFT = """
SELECT compared.source, count(difference.id) AS campaigns
FROM (SELECT id FROM total_comparisons ORDER BY compared_at DESC LIMIT 1) AS last
CROSS JOIN unnest(ARRAY['base_table', 'materialized_view']) AS compared (source)
LEFT JOIN total_differences AS difference ON difference.comparison_id = last.id AND difference.source = compared.source
GROUP BY compared.source
"""
_COUNT_CAMPAIGNS = "SELECT count(*) FROM campaign_totals"
_DIFFERENCES = """
WITH base AS (
    SELECT campaign_id, min(currency) AS currency, sum(amount) AS total_amount, sum(refunded_amount) AS refunded_amount,
           sum(disputed_amount) AS disputed_amount, sum(gifts)::bigint AS total_donations, count(*) AS unique_donors,
           max(updated_at) AS last_updated, sum(versions)::bigint AS revision
    FROM (
        SELECT campaign_id, donor_key, min(currency) AS currency, sum(amount) AS amount, sum(refunded_amount) AS refunded_amount,
               sum(disputed_amount) AS disputed_amount, count(*) AS gifts, max(updated_at) AS updated_at, sum(version) AS versions
        FROM completed_donations
        GROUP BY campaign_id, donor_key
    ) AS donors
    GROUP BY campaign_id
), found AS (
    SELECT 'base_table' AS source, * FROM base
    UNION ALL
    SELECT 'materialized_view', * FROM campaign_totals_mv
), counted AS (
    SELECT source, campaign_id, currency, total_amount, refunded_amount, disputed_amount, total_donations, unique_donors,
           last_updated, revision
    FROM campaign_totals
    CROSS JOIN unnest(ARRAY['base_table', 'materialized_view']) AS source
)
SELECT campaign_id, source, to_json(counted)::text AS counted, to_json(found)::text AS found
FROM counted
FULL JOIN found USING (source, campaign_id)
WHERE counted IS DISTINCT FROM found
  AND (source = 'base_table' OR counted.revision IS NULL OR found.revision >= counted.revision)
ORDER BY campaign_id, source
"""
_KEEP_COMPARISON = "INSERT INTO total_comparisons (id, campaigns, differences) VALUES ($1, $2, $3)"
_KEEP_DIFFERENCES = """
INSERT INTO total_differences (id, comparison_id, campaign_id, source, counted, found)
SELECT difference.id, $2, difference.campaign_id, difference.source, difference.counted, difference.found
FROM unnest($1::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[]) AS difference (id, campaign_id, source, counted, found)
"""
