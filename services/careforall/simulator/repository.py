"""All SQL of the simulator: intents, refunds, disputes, events and switches."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from careforall.kit import json
from careforall.kit.db import Connection
from careforall.simulator.domain import Dispute, Draft, EventSeen, EventState, Intent, Refund
from careforall.simulator.switches import Fate, Switches


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """The switches as they stand, and the last intent made before they were turned."""

    switches: Switches
    since: int


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A locked intent with all that decides about it."""

    intent: Intent
    dispute: Dispute | None
    turned: Turned
    now: datetime


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to store, with how it is going to be delivered."""

    id: str
    type: str
    payment_intent: str
    body: bytes
    fate: Fate


class DueEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to deliver now; `attempts` counts this one, `age` is in seconds."""

    number: int
    id: str
    body: bytes
    copies: int
    bad_signatures: int
    attempts: int
    age: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery; `wait` is the seconds until the next one."""

    number: int
    state: EventState
    wait: float
    text: str


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted: created in [since, until), after an object, of one intent."""

    since: int | None = None
    until: int | None = None
    after: str | None = None
    payment_intent: str | None = None
    limit: int = 10


async def insert_intent(connection: Connection, intent_id: str, draft: Draft) -> Intent:
    """Store a new intent."""
    row = await connection.fetchrow(
        _INSERT_INTENT,
        intent_id,
        draft.amount,
        draft.currency,
        draft.capture_method,
        json.encode(draft.metadata).decode(),
        draft.return_url,
    )
    return _intent(_found(row))


async def find_intent(connection: Connection, intent_id: str) -> Intent | None:
    """Return an intent."""
    row = await connection.fetchrow(_FIND_INTENT, intent_id)
    return _intent(row) if row else None


async def newest_intent(connection: Connection, reference: str) -> Intent | None:
    """Return an intent by its id, or the newest one made for an intent of ours."""
    row = await connection.fetchrow(_NEWEST_INTENT, reference)
    return _intent(row) if row else None


async def hold_intent(connection: Connection, intent_id: str) -> Held | None:
    """Lock an intent and read what decides about it."""
    row = await connection.fetchrow(_LOCK_INTENT, intent_id)
    if row is None:
        return None
    dispute = await connection.fetchrow(_FIND_DISPUTE, intent_id)
    turned = await read_switches(connection)
    return Held(intent=_intent(row), dispute=Dispute(**dispute) if dispute else None, turned=turned, now=row["now"])


async def update_intent(connection: Connection, intent: Intent) -> None:
    """Store what an action made of a locked intent."""
    await connection.execute(
        _UPDATE_INTENT,
        intent.id,
        intent.version,
        intent.amount_capturable,
        intent.amount_received,
        intent.amount_refunded,
        intent.status,
        intent.latest_charge,
        intent.decline_code,
        intent.cancellation_reason,
    )


async def insert_refund(connection: Connection, refund: Refund) -> None:
    """Store a refund."""
    await connection.execute(
        _INSERT_REFUND,
        refund.id,
        refund.payment_intent,
        refund.charge,
        refund.amount,
        refund.currency,
        refund.reason,
        refund.status,
        json.encode(refund.metadata).decode(),
        refund.created,
    )


async def put_dispute(connection: Connection, dispute: Dispute) -> None:
    """Store a dispute, or how it was decided."""
    await connection.execute(
        _PUT_DISPUTE,
        dispute.id,
        dispute.payment_intent,
        dispute.charge,
        dispute.amount,
        dispute.currency,
        dispute.status,
        dispute.created,
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


async def insert_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Store events to deliver, in their order."""
    for event in events:
        await connection.execute(
            _INSERT_EVENT,
            event.id,
            event.type,
            event.payment_intent,
            event.body,
            "DROPPED" if event.fate.dropped else "PENDING",
            event.fate.copies,
            event.fate.bad_signatures,
            event.fate.delay_ms / 1000,
        )


async def claim_events(connection: Connection, *, limit: int, lease: float) -> list[DueEvent]:
    """Take events that are due; whoever dies with them leaves them due again after the lease."""
    rows = await connection.fetch(_CLAIM_EVENTS, limit, lease)
    return sorted((DueEvent(**row) for row in rows), key=lambda event: event.number)


async def settle_events(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Note what became of deliveries."""
    await connection.execute(
        _SETTLE_EVENTS,
        [outcome.number for outcome in outcomes],
        [outcome.state for outcome in outcomes],
        [outcome.wait for outcome in outcomes],
        [outcome.text for outcome in outcomes],
    )


async def events_of(connection: Connection, reference: str) -> list[EventSeen]:
    """Return the events of an intent, or of all made for an intent of ours, in the order they happened."""
    return [EventSeen(**row) for row in await connection.fetch(_EVENTS_OF, reference)]


async def newest_events(connection: Connection, limit: int) -> list[EventSeen]:
    """Return the newest events."""
    return [EventSeen(**row) for row in await connection.fetch(_NEWEST_EVENTS, limit)]


async def bodies_of(connection: Connection, reference: str) -> list[bytes]:
    """Return the same events as they are sent, dropped ones too."""
    return [row["body"] for row in await connection.fetch(_BODIES_OF, reference)]


async def read_switches(connection: Connection) -> Turned:
    """Return the switches."""
    row = _found(await connection.fetchrow(_READ_SWITCHES))
    return Turned(switches=msgspec.json.decode(row["settings"], type=Switches), since=row["since"])


async def turn_switches(connection: Connection, switches: Switches) -> None:
    """Replace the switches; chances are drawn anew from here."""
    await connection.execute(_TURN_SWITCHES, json.encode(switches).decode())


def _found(row: asyncpg.Record | None) -> asyncpg.Record:
    if row is None:
        raise LookupError("a statement that always returns a row returned none")
    return row


def _intent(row: asyncpg.Record) -> Intent:
    return Intent(**_with_metadata(row, Intent))


def _refund(row: asyncpg.Record) -> Refund:
    return Refund(**_with_metadata(row, Refund))


def _with_metadata(row: asyncpg.Record, kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    fields = {name: row[name] for name in kind.__struct_fields__}
    return {**fields, "metadata": msgspec.json.decode(row["metadata"], type=dict[str, str])}


_INSERT_INTENT = """
INSERT INTO payment_intents (id, amount, currency, status, capture_method, metadata, return_url)
VALUES ($1, $2, $3, 'requires_payment_method', $4, $5::jsonb, $6)
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
_LOCK_INTENT = "SELECT *, clock_timestamp() AS now FROM payment_intents WHERE id = $1 FOR UPDATE"
_UPDATE_INTENT = """
UPDATE payment_intents
SET version = $2, amount_capturable = $3, amount_received = $4, amount_refunded = $5, status = $6, latest_charge = $7,
    decline_code = $8, cancellation_reason = $9
WHERE id = $1
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
_INSERT_REFUND = """
INSERT INTO refunds (id, payment_intent, charge, amount, currency, reason, status, metadata, created)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9)
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
_FIND_DISPUTE = "SELECT * FROM disputes WHERE payment_intent = $1"
_PUT_DISPUTE = """
INSERT INTO disputes (id, payment_intent, charge, amount, currency, status, created)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET status = excluded.status
"""
_INSERT_EVENT = """
INSERT INTO events (id, type, payment_intent, body, state, copies, bad_signatures, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::float8 * interval '1 second')
"""
_CLAIM_EVENTS = """
UPDATE events
SET attempts = attempts + 1, due_at = clock_timestamp() + $2::float8 * interval '1 second'
WHERE number = ANY (ARRAY(
    SELECT number
    FROM events
    WHERE state = 'PENDING' AND due_at <= (SELECT clock_timestamp())
    ORDER BY due_at, number
    LIMIT $1
    FOR UPDATE SKIP LOCKED
))
RETURNING number, id, body, copies, bad_signatures, attempts,
          extract(epoch FROM clock_timestamp() - created)::float8 AS age
"""
_SETTLE_EVENTS = """
UPDATE events
SET state = outcome.state, last_outcome = outcome.text,
    due_at = clock_timestamp() + outcome.wait * interval '1 second',
    delivered_at = CASE WHEN outcome.state = 'DELIVERED' THEN clock_timestamp() END
FROM unnest($1::bigint[], $2::text[], $3::float8[], $4::text[]) AS outcome (number, state, wait, text)
WHERE events.number = outcome.number AND events.state = 'PENDING'
"""
_EVENTS_OF = """
SELECT id, type, payment_intent, state, attempts, last_outcome, created, delivered_at
FROM events
WHERE payment_intent IN (SELECT id FROM payment_intents WHERE id = $1 OR intent_id = $1)
ORDER BY number
"""
_NEWEST_EVENTS = """
SELECT id, type, payment_intent, state, attempts, last_outcome, created, delivered_at
FROM events
ORDER BY number DESC
LIMIT $1
"""
_BODIES_OF = """
SELECT body
FROM events
WHERE payment_intent IN (SELECT id FROM payment_intents WHERE id = $1 OR intent_id = $1)
ORDER BY number
"""
_READ_SWITCHES = "SELECT settings, since FROM switches"
_TURN_SWITCHES = """
UPDATE switches
SET settings = $1::jsonb, since = (SELECT coalesce(max(number), 0) FROM payment_intents)
"""
