"""The SQL by which gifts are accepted: everything about new ones in one statement, and their callers' keys.

Everything here takes its tables in one order: campaigns, keys, donations.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from careforall.donations.domain import Donation
from careforall.donations.repository import extra_text
from careforall.kit.db import Connection
from careforall.kit.idempotency import Call
from careforall.kit.outbox import Outgoing


class Gift(msgspec.Struct, frozen=True, kw_only=True):
    """A donation to be stored with all that goes along: its event, and the answer under its caller's key."""

    donation: Donation
    campaign_version: int
    event: Outgoing
    call: Call | None
    answer: bytes


async def give(connection: Connection, gifts: Sequence[Gift]) -> set[UUID]:
    """Store gifts whose key is new and whose open campaign has the given version; return the ids of what was stored."""
    columns = zip(*(_gift_values(gift) for gift in gifts), strict=True)
    rows = await connection.fetch(_GIVE, sorted({gift.donation.campaign_id for gift in gifts}), *(list(one) for one in columns))
    return {row["id"] for row in rows}


async def claim_keys(connection: Connection, calls: Sequence[tuple[str, str, bytes]]) -> set[tuple[str, str]]:
    """Insert idempotency rows of (scope, key, fingerprint) and return those that were new."""
    rows = await connection.fetch(_CLAIM_KEYS, *_columns(calls, 3))
    return {(row["scope"], row["key"]) for row in rows}


async def touch_keys(connection: Connection, calls: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Any]:
    """Return stored answers; the touch makes this transaction a writing one (rule 2)."""
    rows = await connection.fetch(_TOUCH_KEYS, *_columns(calls, 2))
    return {(row["scope"], row["key"]): row for row in rows}


async def store_answers(connection: Connection, answers: Sequence[tuple[str, str, int, bytes]]) -> None:
    """Store what was answered under each key."""
    await connection.execute(_STORE_ANSWERS, *_columns(answers, 4))


async def forget_keys(connection: Connection, calls: Sequence[tuple[str, str]]) -> None:
    """Free keys whose request was refused."""
    await connection.execute(_FORGET_KEYS, *_columns(calls, 2))


def _gift_values(gift: Gift) -> tuple[Any, ...]:
    donation, call = gift.donation, gift.call
    return (
        donation.id,
        donation.campaign_id,
        gift.campaign_version,
        donation.intent_id,
        donation.donor_email,
        donation.donor_key,
        donation.donor_name,
        donation.user_id,
        donation.anonymous,
        donation.message,
        donation.amount,
        donation.gateway,
        extra_text(donation),
        donation.created_at,
        call.scope if call else None,
        call.key if call else None,
        call.fingerprint if call else None,
        gift.answer,
        gift.event.id,
        gift.event.payload,
        gift.event.traceparent,
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[index] for row in rows] for index in range(width)]


# Everything about new gifts in one round trip: campaigns first, then keys, then donations, as every transaction here.
_GIVE = """
WITH campaign AS MATERIALIZED (
    SELECT id, version, currency
    FROM campaigns
    WHERE id = ANY($1::uuid[])
      AND status = 'LIVE'
      AND (starts_at IS NULL OR starts_at <= clock_timestamp())
      AND (ends_at IS NULL OR ends_at > clock_timestamp())
    ORDER BY id
    FOR SHARE
), gift AS MATERIALIZED (
    SELECT g.*, campaign.currency
    FROM unnest(
        $2::uuid[], $3::uuid[], $4::integer[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::uuid[], $10::boolean[],
        $11::text[], $12::numeric[], $13::text[], $14::jsonb[], $15::timestamptz[], $16::text[], $17::text[], $18::bytea[],
        $19::bytea[], $20::uuid[], $21::bytea[], $22::text[]
    ) AS g (
        id, campaign_id, campaign_version, intent_id, donor_email, donor_key, donor_name, user_id, anonymous, message, amount,
        gateway, extra_data, created_at, scope, key, fingerprint, answer, event_id, payload, traceparent
    )
    JOIN campaign ON campaign.id = g.campaign_id AND campaign.version = g.campaign_version
), claimed AS (
    INSERT INTO idempotency_keys (scope, key, fingerprint, status, body)
    SELECT scope, key, fingerprint, 201, answer FROM gift WHERE key IS NOT NULL ORDER BY scope, key
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING scope, key
), new AS (
    INSERT INTO donations (
        id, campaign_id, intent_id, donor_email, donor_key, donor_name, user_id, anonymous, message, amount, currency, gateway,
        extra_data, created_at
    )
    SELECT id, campaign_id, intent_id, donor_email, donor_key, donor_name, user_id, anonymous, message, amount, currency, gateway,
           extra_data, created_at
    FROM gift
    WHERE key IS NULL OR (scope, key) IN (SELECT scope, key FROM claimed)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), begun AS (
    INSERT INTO donation_history (donation_id, version, from_status, to_status, cause)
    SELECT id, 1, NULL, 'PENDING', 'donations.created' FROM new
), told AS (
    INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
    SELECT gift.event_id, 'donations.created', gift.id, gift.payload, gift.traceparent FROM gift JOIN new ON new.id = gift.id
)
SELECT id FROM new
"""
_CLAIM_KEYS = """
INSERT INTO idempotency_keys (scope, key, fingerprint, status, body)
SELECT scope, key, fingerprint, 0, '' FROM unnest($1::text[], $2::text[], $3::bytea[]) AS wanted (scope, key, fingerprint)
ORDER BY scope, key
ON CONFLICT (scope, key) DO NOTHING
RETURNING scope, key
"""
_TOUCH_KEYS = """
UPDATE idempotency_keys AS k SET seen_at = clock_timestamp()
FROM unnest($1::text[], $2::text[]) AS wanted (scope, key)
WHERE k.scope = wanted.scope AND k.key = wanted.key
RETURNING k.scope, k.key, k.fingerprint, k.status, k.body
"""
_STORE_ANSWERS = """
UPDATE idempotency_keys AS k SET status = answered.status, body = answered.body
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bytea[]) AS answered (scope, key, status, body)
WHERE k.scope = answered.scope AND k.key = answered.key
"""
_FORGET_KEYS = """
DELETE FROM idempotency_keys AS k
USING unnest($1::text[], $2::text[]) AS refused (scope, key)
WHERE k.scope = refused.scope AND k.key = refused.key
"""
