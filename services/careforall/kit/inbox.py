"""The inbox makes an effect happen once: one row per consumer and message, in the transaction of the effect.

Claiming a message that is already there touches its row, so that the repeat's own COMMIT proves the first effect durable.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.kit.envelope import decode_envelope
from careforall.kit.ids import by_id, new_id


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message given up on."""

    consumer: str
    event_type: str
    key: str
    aggregate_id: UUID | None
    payload: bytes
    reason: str
    attempts: int


async def claim(connection: Connection, consumer: str, message_ids: Sequence[UUID]) -> set[UUID]:
    """Insert inbox rows and return the ids that are new to this consumer."""
    rows = await connection.fetch(_CLAIM, consumer, sorted(set(message_ids), key=by_id))
    return {row["message_id"] for row in rows if row["fresh"]}


async def count_failure(connection: Connection, consumer: str, key: str, reason: str) -> int:
    """Count one more failed attempt of a message and return the number so far."""
    return int(await connection.fetchval(_COUNT_FAILURE, consumer, key, storable(reason)))


def storable(text: str) -> str:
    """Return a text PostgreSQL can keep: errors may quote NUL characters and lone surrogates of the message they are about."""
    return text.replace("\0", "\\0").encode(errors="replace").decode()


def letter(consumer: str, data: bytes, reason: str, attempts: int) -> Letter:
    """Build a dead letter from whatever bytes arrived, readable or not."""
    try:
        envelope = decode_envelope(data)
    except msgspec.MsgspecError:
        return Letter(
            consumer=consumer,
            event_type="",
            key=str(new_id()),
            aggregate_id=None,
            payload=data,
            reason=reason,
            attempts=attempts,
        )
    return Letter(
        consumer=consumer,
        event_type=envelope.event_type,
        key=str(envelope.event_id),
        aggregate_id=envelope.aggregate_id,
        payload=data,
        reason=reason,
        attempts=attempts,
    )


async def bury(connection: Connection, dead: Letter) -> None:
    """Keep a dead letter and forget its counted failures."""
    await connection.execute(
        _BURY,
        new_id(),
        dead.consumer,
        storable(dead.event_type),
        dead.key,
        dead.aggregate_id,
        dead.payload,
        storable(dead.reason),
        dead.attempts,
    )
    await connection.execute(_FORGET_FAILURES, dead.consumer, dead.key)


_CLAIM = """
INSERT INTO inbox (consumer, message_id)
SELECT $1, id FROM unnest($2::uuid[]) AS id
ON CONFLICT (consumer, message_id) DO UPDATE SET received_at = inbox.received_at
RETURNING message_id, (xmax = 0) AS fresh
"""
_COUNT_FAILURE = """
INSERT INTO message_failures (consumer, message_key, attempts, error_message)
VALUES ($1, $2, 1, $3)
ON CONFLICT (consumer, message_key) DO UPDATE
SET attempts = message_failures.attempts + 1, error_message = $3, updated_at = clock_timestamp()
RETURNING attempts
"""
_FORGET_FAILURES = "DELETE FROM message_failures WHERE consumer = $1 AND message_key = $2"
_BURY = """
INSERT INTO dead_letters (id, consumer, event_type, message_key, aggregate_id, payload, reason, attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (consumer, message_key) DO UPDATE
SET status = 'DEAD', reason = $7, attempts = $8, settled_at = NULL
"""
CONSUMERS_TO_RETRY = "SELECT DISTINCT consumer FROM dead_letters WHERE status = 'RETRY'"
RETRIES = """
SELECT id, payload FROM dead_letters
WHERE consumer = $1 AND status = 'RETRY'
ORDER BY id
LIMIT 50
"""
RETRIED = "UPDATE dead_letters SET status = 'RETRIED', settled_at = clock_timestamp() WHERE id = $1"
DEAD_AGAIN = "UPDATE dead_letters SET status = 'DEAD', reason = $2, attempts = attempts + 1 WHERE id = $1"
