"""Idempotency keys of a whole batch: claimed, answered and given up by one statement each (rule 1: sorted by key)."""

from collections.abc import Sequence

from careforall.kit.db import Connection
from careforall.kit.errors import IdempotencyKeyReused
from careforall.kit.idempotency import Answer, Call

Key = tuple[str, str]


def key_of(call: Call) -> Key:
    """Return scope and key, under which a batch knows a call."""
    return call.scope, call.key


async def claim(connection: Connection, calls: Sequence[Call]) -> dict[Key, Answer | IdempotencyKeyReused]:
    """Claim the keys of calls; return the answers of those claimed before, touched so that they are durable (rule 2)."""
    if not calls:
        return {}
    rows = await connection.fetch(_CLAIM, *_columns(calls), [call.fingerprint for call in calls])
    won = {(row["scope"], row["key"]) for row in rows}
    lost = {key_of(call): call for call in calls if key_of(call) not in won}
    if not lost:
        return {}
    stored = await connection.fetch(_TOUCH, *_columns(list(lost.values())))
    found: dict[Key, Answer | IdempotencyKeyReused] = dict.fromkeys(lost, IdempotencyKeyReused())
    for row in stored:
        key = (row["scope"], row["key"])
        if row["fingerprint"] == lost[key].fingerprint:
            found[key] = Answer(status=row["status"], body=row["body"], replayed=True)
    return found


async def settle(connection: Connection, answered: Sequence[tuple[Call, Answer]], refused: Sequence[Call]) -> None:
    """Store the answers of claimed keys, and free those whose request was refused."""
    if answered:
        calls = [call for call, _ in answered]
        answers = [answer for _, answer in answered]
        await connection.execute(_STORE, *_columns(calls), [one.status for one in answers], [one.body for one in answers])
    if refused:
        await connection.execute(_FORGET, *_columns(refused))


def _columns(calls: Sequence[Call]) -> tuple[list[str], list[str]]:
    return [call.scope for call in calls], [call.key for call in calls]


_CLAIM = """
INSERT INTO idempotency_keys (scope, key, fingerprint, status, body)
SELECT scope, key, fingerprint, 0, '' FROM unnest($1::text[], $2::text[], $3::bytea[]) AS wanted (scope, key, fingerprint)
ORDER BY scope, key
ON CONFLICT (scope, key) DO NOTHING
RETURNING scope, key
"""
_TOUCH = """
UPDATE idempotency_keys AS k SET seen_at = clock_timestamp()
FROM unnest($1::text[], $2::text[]) AS wanted (scope, key)
WHERE k.scope = wanted.scope AND k.key = wanted.key
RETURNING k.scope, k.key, k.fingerprint, k.status, k.body
"""
_STORE = """
UPDATE idempotency_keys AS k SET status = said.status, body = said.body
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bytea[]) AS said (scope, key, status, body)
WHERE k.scope = said.scope AND k.key = said.key
"""
_FORGET = """
DELETE FROM idempotency_keys AS k
USING unnest($1::text[], $2::text[]) AS refused (scope, key)
WHERE k.scope = refused.scope AND k.key = refused.key
"""
