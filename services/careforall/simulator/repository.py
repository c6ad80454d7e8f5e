"""All SQL about intents, refunds, disputes and switches."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from careforall.kit import json
from careforall.kit.db import Connection
from careforall.simulator.domain import Dispute, Draft, Intent, Refund
from careforall.simulator.switches import Moment, Switches


class Disputed(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute with what its caller noted at the intent."""

    dispute: Dispute
    metadata: Mapping[str, str]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted: created in [since, until), after an object, of one intent."""

    since: int | None = None
    until: int | None = None
    after: str | None = None
    payment_intent: str | None = None
    limit: int = 10


async def insert_intents(connection: Connection, drafts: Mapping[str, Draft]) -> dict[str, Intent]:
    """Store new intents, numbered in the order of their ids; return them by id."""
    wanted = drafts.values()
    rows = await connection.fetch(
        _INSERT_INTENTS,
        list(drafts),
        [draft.amount for draft in wanted],
        [draft.currency for draft in wanted],
        [draft.capture_method for draft in wanted],
        [json.encode(draft.metadata).decode() for draft in wanted],
        [draft.return_url for draft in wanted],
    )
    return {row["id"]: _intent(row) for row in rows}


async def find_intent(connection: Connection, intent_id: str) -> Intent | None:
    """Return an intent."""
    row = await connection.fetchrow(_FIND_INTENT, intent_id)
    return _intent(row) if row else None


async def newest_intent(connection: Connection, reference: str) -> Intent | None:
    """Return an intent by its id, or the newest one made for an intent of ours."""
    row = await connection.fetchrow(_NEWEST_INTENT, reference)
    return _intent(row) if row else None


async def lock_intents(connection: Connection, ids: Sequence[str]) -> list[Intent]:
    """Lock intents that nobody else holds."""
    return [_intent(row) for row in await connection.fetch(_LOCK_INTENTS, ids)]


async def known_of(connection: Connection, ids: Sequence[str]) -> frozenset[str]:
    """Return which of these intents there are."""
    return frozenset(row["id"] for row in await connection.fetch(_KNOWN_OF, ids))


async def disputes_of(connection: Connection, ids: Sequence[str]) -> dict[str, Dispute]:
    """Return the disputes of intents, by intent."""
    return {row["payment_intent"]: Dispute(**row) for row in await connection.fetch(_DISPUTES_OF, ids)}


async def update_intents(connection: Connection, intents: Sequence[Intent]) -> None:
    """Store what actions made of locked intents."""
    await connection.execute(
        _UPDATE_INTENTS,
        [intent.id for intent in intents],
        [intent.version for intent in intents],
        [intent.amount_capturable for intent in intents],
        [intent.amount_received for intent in intents],
        [intent.amount_refunded for intent in intents],
        [intent.status for intent in intents],
        [intent.latest_charge for intent in intents],
        [intent.decline_code for intent in intents],
        [intent.cancellation_reason for intent in intents],
    )


async def insert_refunds(connection: Connection, refunds: Sequence[Refund]) -> None:
    """Store refunds, in their order."""
    await connection.execute(
        _INSERT_REFUNDS,
        [refund.id for refund in refunds],
        [refund.payment_intent for refund in refunds],
        [refund.charge for refund in refunds],
        [refund.amount for refund in refunds],
        [refund.currency for refund in refunds],
        [refund.reason for refund in refunds],
        [refund.status for refund in refunds],
        [json.encode(refund.metadata).decode() for refund in refunds],
        [refund.created for refund in refunds],
    )


async def put_disputes(connection: Connection, disputes: Sequence[Dispute]) -> None:
    """Store disputes, or how they were decided."""
    await connection.execute(
        _PUT_DISPUTES,
        [dispute.id for dispute in disputes],
        [dispute.payment_intent for dispute in disputes],
        [dispute.charge for dispute in disputes],
        [dispute.amount for dispute in disputes],
        [dispute.currency for dispute in disputes],
        [dispute.status for dispute in disputes],
        [dispute.created for dispute in disputes],
    )


async def find_refund(connection: Connection, refund_id: str) -> Refund | None:
    """Return a refund."""
    row = await connection.fetchrow(_FIND_REFUND, refund_id)
    return _refund(row) if row else None


async def list_intents(connection: Connection, window: Window) -> list[Intent]:
    """Return intents, newest first, one more than asked for if there are more."""
    rows = await connection.fetch(_LIST_INTENTS, window.since, window.until, window.after, window.limit + 1)
    return [_intent(row) for row in rows]


async def list_refunds(connection: Connection, window: Window) -> list[Refund]:
    """Return refunds, newest first, one more than asked for if there are more."""
    rows = await connection.fetch(
        _LIST_REFUNDS, window.since, window.until, window.after, window.limit + 1, window.payment_intent
    )
    return [_refund(row) for row in rows]


async def list_disputes(connection: Connection, window: Window) -> list[Disputed]:
    """Return disputes, newest first, one more than asked for if there are more."""
    rows = await connection.fetch(
        _LIST_DISPUTES, window.since, window.until, window.after, window.limit + 1, window.payment_intent
    )
    return [
        Disputed(
            dispute=Dispute(**{name: row[name] for name in Dispute.__struct_fields__}),
            metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        )
        for row in rows
    ]


async def find_dispute(connection: Connection, dispute_id: str) -> Dispute | None:
    """Return a dispute."""
    row = await connection.fetchrow("SELECT * FROM disputes WHERE id = $1", dispute_id)
    return Dispute(**row) if row else None


async def read_moment(connection: Connection) -> Moment:
    """Return the switches as they stand, and the time."""
    row = await connection.fetchrow(_READ_MOMENT)
    if row is None:
        raise LookupError("the row of the switches is gone")
    return Moment(switches=msgspec.json.decode(row["settings"], type=Switches), since=row["since"], now=row["now"])


async def turn_switches(connection: Connection, switches: Switches) -> None:
    """Replace the switches; chances are drawn anew from here."""
    await connection.execute(_TURN_SWITCHES, json.encode(switches).decode())


def _intent(row: asyncpg.Record) -> Intent:
    return Intent(**_with_metadata(row, Intent))


def _refund(row: asyncpg.Record) -> Refund:
    return Refund(**_with_metadata(row, Refund))


def _with_metadata(row: asyncpg.Record, kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    fields = {name: row[name] for name in kind.__struct_fields__}
    return {**fields, "metadata": msgspec.json.decode(row["metadata"], type=dict[str, str])}


_INSERT_INTENTS = """
INSERT INTO payment_intents (id, amount, currency, status, capture_method, metadata, return_url)
SELECT id, amount, currency, 'requires_payment_method', capture_method, metadata::jsonb, return_url
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
     AS draft (id, amount, currency, capture_method, metadata, return_url)
ORDER BY id
RETURNING *
"""
_FIND_INTENT = "SELECT * FROM payment_intents WHERE id = $1"
_NEWEST_INTENT = """
SELECT *
FROM payment_intents
WHERE id = $1 OR intent_id = $1
ORDER BY number DESC
LIMIT 1
"""
_LOCK_INTENTS = """
SELECT *
FROM payment_intents
WHERE id = ANY ($1::text[])
ORDER BY id
FOR UPDATE SKIP LOCKED
"""
_KNOWN_OF = "SELECT id FROM payment_intents WHERE id = ANY ($1::text[])"
_UPDATE_INTENTS = """
UPDATE payment_intents AS i
SET version = made.version, amount_capturable = made.capturable, amount_received = made.received,
    amount_refunded = made.refunded, status = made.status, latest_charge = made.charge, decline_code = made.decline,
    cancellation_reason = made.reason
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[])
     AS made (id, version, capturable, received, refunded, status, charge, decline, reason)
WHERE i.id = made.id
"""
_LIST_INTENTS = """
SELECT *
FROM payment_intents
WHERE ($1::bigint IS NULL OR created >= to_timestamp($1::bigint))
  AND ($2::bigint IS NULL OR created < to_timestamp($2::bigint))
  AND ($3::text IS NULL OR number < (SELECT number FROM payment_intents WHERE id = $3))
ORDER BY number DESC
LIMIT $4
"""
_INSERT_REFUNDS = """
INSERT INTO refunds (id, payment_intent, charge, amount, currency, reason, status, metadata, created)
SELECT id, payment_intent, charge, amount, currency, reason, status, metadata::jsonb, created
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
     WITH ORDINALITY AS made (id, payment_intent, charge, amount, currency, reason, status, metadata, created, place)
ORDER BY place
"""
_FIND_REFUND = "SELECT * FROM refunds WHERE id = $1"
_LIST_REFUNDS = """
SELECT *
FROM refunds
WHERE ($1::bigint IS NULL OR created >= to_timestamp($1::bigint))
  AND ($2::bigint IS NULL OR created < to_timestamp($2::bigint))
  AND ($3::text IS NULL OR number < (SELECT number FROM refunds WHERE id = $3))
  AND ($5::text IS NULL OR payment_intent = $5)
ORDER BY number DESC
LIMIT $4
"""
_DISPUTES_OF = "SELECT * FROM disputes WHERE payment_intent = ANY ($1::text[])"
_LIST_DISPUTES = """
SELECT d.*, i.metadata
FROM disputes d
JOIN payment_intents i ON i.id = d.payment_intent
WHERE ($1::bigint IS NULL OR d.created >= to_timestamp($1::bigint))
  AND ($2::bigint IS NULL OR d.created < to_timestamp($2::bigint))
  AND ($3::text IS NULL OR (d.created, d.id) < (SELECT created, id FROM disputes WHERE id = $3))
  AND ($5::text IS NULL OR d.payment_intent = $5)
ORDER BY d.created DESC, d.id DESC
LIMIT $4
"""
_PUT_DISPUTES = """
INSERT INTO disputes (id, payment_intent, charge, amount, currency, status, created)
SELECT *
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[])
     AS said (id, payment_intent, charge, amount, currency, status, created)
ORDER BY payment_intent
ON CONFLICT (id) DO UPDATE SET status = excluded.status
"""
_READ_MOMENT = "SELECT settings, since, clock_timestamp() AS now FROM switches"
_TURN_SWITCHES = """
UPDATE switches
SET settings = $1::jsonb, since = (SELECT coalesce(max(number), 0) FROM payment_intents)
"""
