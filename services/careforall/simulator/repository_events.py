"""All SQL about events: written with the change they tell of, claimed when they are due, settled when they were sent."""

from collections.abc import Sequence

import msgspec

from careforall.kit.db import Connection
from careforall.simulator.domain import EventSeen, EventState
from careforall.simulator.switches import Fate


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


async def insert_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Store events to deliver, in their order."""
    await connection.execute(
        _INSERT_EVENTS,
        [event.id for event in events],
        [event.type for event in events],
        [event.payment_intent for event in events],
        [event.body for event in events],
        ["DROPPED" if event.fate.dropped else "PENDING" for event in events],
        [event.fate.copies for event in events],
        [event.fate.bad_signatures for event in events],
        [event.fate.delay_ms / 1000 for event in events],
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


_INSERT_EVENTS = """
INSERT INTO events (id, type, payment_intent, body, state, copies, bad_signatures, due_at)
SELECT id, type, payment_intent, body, state, copies, bad_signatures, clock_timestamp() + delay * interval '1 second'
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::smallint[], $7::smallint[], $8::float8[])
     WITH ORDINALITY AS told (id, type, payment_intent, body, state, copies, bad_signatures, delay, place)
ORDER BY place
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
