"""What drills and fault tests read behind the platform's back: all SQL of this package, nothing is ever written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from uuid import UUID

import asyncpg
from msgspec import Struct


class Recount(Struct, frozen=True, kw_only=True):
    """A campaign counted anew from its gifts."""

    given: Decimal
    refunded: Decimal
    gifts: int


class Money(Struct, frozen=True, kw_only=True):
    """What one side believes about the money of one payment intent, in its currency's smallest unit."""

    charges: int = 0
    held: bool = False
    received: int = 0
    refunded: int = 0
    disputed: int = 0


class Effects(Struct, frozen=True, kw_only=True):
    """How often the payments behind some intents had each of their effects."""

    booked: int
    told: int
    twice: int


async def unpublished(connection: asyncpg.Connection) -> int:
    """Count the events that wait for the broker."""
    return int(await connection.fetchval(_UNPUBLISHED))


async def stored(donations: asyncpg.Connection, gifts: Collection[str]) -> int:
    """Count the gifts that are in the database."""
    return int(await donations.fetchval(_STORED, ids(gifts)))


async def completed(donations: asyncpg.Connection, gifts: Collection[str]) -> set[str]:
    """Return the gifts that were completed, refunded ones included."""
    return {str(row["id"]) for row in await donations.fetch(_COMPLETED, ids(gifts))}


async def recount(donations: asyncpg.Connection, campaign: str) -> Recount:
    """Count a campaign anew."""
    row = await donations.fetchrow(_RECOUNT, UUID(campaign))
    assert row is not None
    return Recount(**row)


async def receipts(
    notifications: asyncpg.Connection, subjects: Collection[str], template: str = "donation_completed"
) -> dict[str, int]:
    """Count the receipts in the mailbox by gift, or whatever else a template tells of; what has none is left out."""
    return {str(row["subject_id"]): row["receipts"] for row in await notifications.fetch(_RECEIPTS, ids(subjects), template)}


async def known_intents(payments: asyncpg.Connection, intents: Collection[str]) -> int:
    """Count the intents that have arrived."""
    return int(await payments.fetchval(_KNOWN_INTENTS, ids(intents)))


async def ours(payments: asyncpg.Connection, intents: Collection[str]) -> dict[str, Money]:
    """Return what payments believes, by intent."""
    return {str(row["id"]): _money(row) for row in await payments.fetch(_OURS, ids(intents))}


async def theirs(simulator: asyncpg.Connection, intents: Collection[str]) -> dict[str, Money]:
    """Return what the gateway's own books say, by our intent; intents it never heard of are left out."""
    return {row["id"]: _money(row) for row in await simulator.fetch(_THEIRS, list(intents))}


async def refunded_twice(simulator: asyncpg.Connection, intents: Collection[str]) -> int:
    """Count refunds of ours that the gateway made more than once."""
    return int(await simulator.fetchval(_REFUNDED_TWICE, list(intents)))


async def unsettled(payments: asyncpg.Connection, intents: Collection[str]) -> int:
    """Count calls to the gateway whose outcome is still unknown: attempts and refunds."""
    return int(await payments.fetchval(_UNSETTLED, ids(intents)))


async def undelivered(simulator: asyncpg.Connection, intents: Collection[str]) -> int:
    """Count the gateway's events that are still to be delivered."""
    return int(await simulator.fetchval(_UNDELIVERED, list(intents)))


async def unfitting(payments: asyncpg.Connection, intents: Collection[str]) -> int:
    """Count the events that came at a wrong time and were kept without an effect."""
    return int(await payments.fetchval(_UNFITTING, ids(intents)))


async def effects(payments: asyncpg.Connection, intents: Collection[str]) -> Effects:
    """Count captures in the ledger and in the outbox."""
    row = await payments.fetchrow(_EFFECTS, ids(intents))
    assert row is not None
    return Effects(**row)


def ids(texts: Collection[str]) -> Sequence[UUID]:
    """Return ids as the database takes them."""
    return [UUID(text) for text in texts]


def _money(row: asyncpg.Record) -> Money:
    return Money(**{name: row[name] for name in Money.__struct_fields__})


_UNPUBLISHED = "SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'FAILED')"
_STORED = "SELECT count(*) FROM donations WHERE id = ANY($1::uuid[])"
_COMPLETED = "SELECT id FROM donations WHERE id = ANY($1::uuid[]) AND status IN ('COMPLETED', 'REFUNDED')"
_RECOUNT = """
SELECT coalesce(sum(amount), 0) AS given, coalesce(sum(refunded_amount), 0) AS refunded, count(*) AS gifts
FROM donations
WHERE campaign_id = $1 AND status IN ('COMPLETED', 'REFUNDED')
"""
_RECEIPTS = """
SELECT notifications.subject_id, count(*) AS receipts
FROM mailbox_messages
JOIN notifications USING (id)
WHERE notifications.template = $2 AND notifications.subject_id = ANY($1::uuid[])
GROUP BY notifications.subject_id
"""
_KNOWN_INTENTS = "SELECT count(*) FROM payment_intents WHERE id = ANY($1::uuid[])"
_OURS = """
SELECT id,
       (captured_amount > 0)::integer AS charges,
       status = 'AUTHORIZED' AS held,
       (captured_amount * 100)::bigint AS received,
       (refunded_amount * 100)::bigint AS refunded,
       (disputed_amount * 100)::bigint AS disputed
FROM payment_intents
WHERE id = ANY($1::uuid[])
"""
_THEIRS = """
SELECT intent_id AS id,
       count(*) FILTER (WHERE payment_intents.status = 'succeeded') AS charges,
       coalesce(bool_or(payment_intents.status = 'requires_capture'), false) AS held,
       sum(amount_received)::bigint AS received,
       sum(amount_refunded)::bigint AS refunded,
       coalesce(sum(disputes.amount) FILTER (WHERE disputes.status <> 'won'), 0)::bigint AS disputed
FROM payment_intents
LEFT JOIN disputes ON disputes.payment_intent = payment_intents.id
WHERE intent_id = ANY($1::text[])
GROUP BY intent_id
"""
_REFUNDED_TWICE = """
SELECT count(*)
FROM (
    SELECT refunds.metadata ->> 'refund_id'
    FROM refunds
    JOIN payment_intents ON payment_intents.id = refunds.payment_intent
    WHERE payment_intents.intent_id = ANY($1::text[]) AND refunds.metadata ? 'refund_id'
    GROUP BY refunds.metadata ->> 'refund_id'
    HAVING count(*) > 1
) AS doubled
"""
_UNSETTLED = """
SELECT (SELECT count(*) FROM payment_attempts WHERE intent_id = ANY($1::uuid[]) AND status IN ('INITIATED', 'UNKNOWN'))
     + (SELECT count(*) FROM refunds WHERE intent_id = ANY($1::uuid[]) AND status = 'PENDING')
"""
_UNDELIVERED = """
SELECT count(*)
FROM events
JOIN payment_intents ON payment_intents.id = events.payment_intent
WHERE payment_intents.intent_id = ANY($1::text[]) AND events.state = 'PENDING'
"""
_UNFITTING = """
SELECT count(*) FROM webhook_events WHERE payment_id = ANY($1::uuid[]) AND outcome IN ('IGNORED', 'REJECTED')
"""
_EFFECTS = """
WITH booked AS (
    SELECT payment_id, count(*) AS times FROM ledger_entries WHERE payment_id = ANY($1::uuid[]) AND kind = 'CAPTURE' GROUP BY 1
), told AS (
    SELECT aggregate_id AS payment_id, count(*) AS times
    FROM outbox
    WHERE aggregate_id = ANY($1::uuid[]) AND event_type = 'payments.captured'
    GROUP BY 1
)
SELECT (SELECT count(*) FROM booked) AS booked,
       (SELECT count(*) FROM told) AS told,
       (SELECT count(*) FROM (SELECT * FROM booked UNION ALL SELECT * FROM told) AS every WHERE times > 1) AS twice
"""
