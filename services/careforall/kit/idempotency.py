"""Idempotency-Key for routes of one transaction: the stored answer is written with the effect, so there is no "running" row.

A concurrent second request waits at the unique key and then gets the replay; if it waits longer than the lock time-out it gets
409 and may retry. A replay touches the row, so that its own COMMIT proves the first one durable (rule 2).
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyInUse, IdempotencyKeyReused, InvalidInput, Locked

MAX_KEY = 255


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for what under which key; `fingerprint` tells whether a repeat is the same request."""

    scope: str
    key: str
    fingerprint: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered, byte for byte."""

    status: int
    body: bytes
    replayed: bool = False


def fingerprint(*parts: bytes | str) -> bytes:
    """Return SHA-256 over the parts, each with its length so that they cannot run into each other."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()


def checked_key(raw: str | None) -> str | None:
    """Return a usable key or None when the header is absent.

    Raises:
        InvalidInput: If it is empty, longer than 255 characters or not printable ASCII.
    """
    if raw is None:
        return None
    if not raw or len(raw) > MAX_KEY or not raw.isascii() or not raw.isprintable():
        raise InvalidInput("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return raw


async def once(database: Database, call: Call | None, work: Callable[[Connection], Awaitable[tuple[int, bytes]]]) -> Answer:
    """Run `work` in one transaction, or return the answer stored under the key.

    Raises:
        IdempotencyKeyReused: The key was used with another request.
        IdempotencyKeyInUse: The first request still runs.
    """

    async def transaction(connection: Connection) -> Answer:
        if call is not None and (stored := await _claim(connection, call)) is not None:
            return stored
        status, body = await work(connection)
        if call is not None:
            await connection.execute(_STORE, call.scope, call.key, status, body)
        return Answer(status=status, body=body)

    try:
        return await database.run(transaction)
    except Locked as error:
        if call is not None:
            raise IdempotencyKeyInUse from error
        raise


async def forget(connection: Connection, scopes: Sequence[str]) -> None:
    """Delete the keys of scopes that name or quote a person who is to be forgotten; a repeat of theirs is a new request."""
    await connection.execute(_FORGET, list(scopes))


async def _claim(connection: Connection, call: Call) -> Answer | None:
    if await connection.fetchval(_CLAIM, call.scope, call.key, call.fingerprint):
        return None
    row = await connection.fetchrow(TOUCH, call.scope, call.key)
    if row is None or row["fingerprint"] != call.fingerprint:
        raise IdempotencyKeyReused
    return Answer(status=row["status"], body=row["body"], replayed=True)


_CLAIM = """
INSERT INTO idempotency_keys (scope, key, fingerprint, status, body)
VALUES ($1, $2, $3, 0, '')
ON CONFLICT (scope, key) DO NOTHING
RETURNING true
"""
_STORE = "UPDATE idempotency_keys SET status = $3, body = $4 WHERE scope = $1 AND key = $2"
_FORGET = "DELETE FROM idempotency_keys WHERE scope = ANY($1::text[])"
TOUCH = """
UPDATE idempotency_keys SET seen_at = clock_timestamp()
WHERE scope = $1 AND key = $2
RETURNING fingerprint, status, body
"""
