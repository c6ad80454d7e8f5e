"""SQL of everything that lets somebody in: sessions, refresh tokens, mailed links, API keys, signing keys.

The rest of the service's SQL is in `repository`; both take an open connection and decide nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from careforall.accounts.domain import ApiKey, LinkPurpose, RefreshState, Session, SessionEnd, SigningKey
from careforall.contracts.accounts import UserSuspended
from careforall.kit.db import Connection
from careforall.kit.envelope import decode_envelope
from careforall.kit.http.identity import Ended


class KeyOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an API key speaks for."""

    key_id: UUID
    user_id: UUID
    email: str
    email_verified: bool
    owner_is_admin: bool
    scopes: tuple[str, ...]


async def insert_session(connection: Connection, *, identifier: UUID, user_id: UUID, password_hash: str, days: int) -> bool:
    """Open a session if the user is still active with this very password; tell whether it was opened."""
    return bool(await connection.fetchval(_INSERT_SESSION, identifier, user_id, password_hash, days))


async def insert_refresh_token(connection: Connection, *, token_hash: bytes, session_id: UUID, idle_seconds: int) -> None:
    """Store a fresh token of a session and note that the session is in use."""
    await connection.execute(_INSERT_REFRESH, token_hash, session_id, idle_seconds)


async def session_of_token(connection: Connection, token_hash: bytes) -> tuple[UUID, UUID] | None:
    """Return the session of a refresh token and its user."""
    row = await connection.fetchrow(_SESSION_OF, token_hash)
    return (row["id"], row["user_id"]) if row else None


async def lock_session(connection: Connection, session_id: UUID) -> None:
    """Let refreshes of one session come one after another."""
    await connection.execute(_LOCK_SESSION, session_id)


async def refresh_state(
    connection: Connection, *, token_hash: bytes, successor_hash: bytes, grace_seconds: int
) -> RefreshState | None:
    """Return what is known about a refresh token, read after its session was locked."""
    row = await connection.fetchrow(_REFRESH_STATE, token_hash, successor_hash, grace_seconds)
    return msgspec.convert(dict(row), RefreshState) if row else None


async def use_refresh_token(connection: Connection, token_hash: bytes) -> None:
    """Mark a refresh token as used."""
    await connection.execute(_USE_REFRESH, token_hash)


async def end_session(connection: Connection, session_id: UUID, reason: SessionEnd) -> None:
    """End one session."""
    await connection.execute(_END_SESSION, session_id, reason)


async def end_sessions(connection: Connection, user_id: UUID, reason: SessionEnd) -> None:
    """End all sessions of a user."""
    await connection.execute(_END_SESSIONS, user_id, reason)


async def sessions_of(connection: Connection, user_id: UUID) -> list[Session]:
    """Return the sessions of a user that are still kept."""
    rows = await connection.fetch(_SESSIONS_OF, user_id)
    return [msgspec.convert(dict(row), Session) for row in rows]


async def insert_link(connection: Connection, *, token_hash: bytes, user_id: UUID, purpose: LinkPurpose, seconds: int) -> None:
    """Store the token of a mailed link; earlier links for the same purpose end."""
    await connection.execute(_END_LINKS, user_id, purpose)
    await connection.execute(_INSERT_LINK, token_hash, user_id, purpose, seconds)


async def use_link(connection: Connection, token_hash: bytes, purpose: LinkPurpose) -> UUID | None:
    """Use up the token of a mailed link and return its user, or None where it holds no longer."""
    found: UUID | None = await connection.fetchval(_USE_LINK, token_hash, purpose)
    return found


async def peek_link(connection: Connection, token_hash: bytes, purpose: LinkPurpose) -> str | None:
    """Return the mail of the user a link token was sent to, while the token holds."""
    found: str | None = await connection.fetchval(_PEEK_LINK, token_hash, purpose)
    return found


async def prune(connection: Connection) -> None:
    """Forget sessions and links that ended more than a day ago."""
    await connection.execute(_PRUNE_SESSIONS)
    await connection.execute(_PRUNE_LINKS)


async def insert_api_key(connection: Connection, key: ApiKey, key_hash: bytes) -> ApiKey:
    """Store a new API key."""
    row = await connection.fetchrow(
        _INSERT_API_KEY, key.id, key_hash, key.hint, key.name, key.owner_id, list(key.scopes), key.expires_at
    )
    return _api_key(row)


async def api_keys(connection: Connection, *, after: UUID | None, limit: int) -> list[ApiKey]:
    """Return keys that are not revoked, newest first."""
    return [_api_key(row) for row in await connection.fetch(_API_KEYS, after, limit)]


async def api_key(connection: Connection, identifier: UUID) -> ApiKey | None:
    """Return a key that is not revoked, locked for a change."""
    row = await connection.fetchrow(_API_KEY, identifier)
    return _api_key(row) if row else None


async def update_api_key(connection: Connection, key: ApiKey) -> ApiKey:
    """Store what staff may change of a key."""
    return _api_key(await connection.fetchrow(_UPDATE_API_KEY, key.id, key.name, list(key.scopes), key.expires_at))


async def revoke_api_key(connection: Connection, identifier: UUID) -> bool:
    """Revoke a key; False where there is none to revoke."""
    return bool(await connection.fetchval(_REVOKE_API_KEY, identifier))


async def key_owner(connection: Connection, key_hash: bytes) -> KeyOwner | None:
    """Return whom a living key of an active user speaks for."""
    row = await connection.fetchrow(_KEY_OWNER, key_hash)
    return msgspec.convert(dict(row), KeyOwner) if row else None


async def note_key_use(connection: Connection, key_id: UUID) -> None:
    """Remember that a key was used, at most once a minute."""
    await connection.execute(_NOTE_KEY_USE, key_id)


async def lock_signing_keys(connection: Connection) -> None:
    """Let one process at a time make keys."""
    await connection.execute(_LOCK_SIGNING_KEYS)


async def signing_keys(connection: Connection) -> tuple[list[SigningKey], datetime]:
    """Return all signing keys and the database's time."""
    rows = await connection.fetch(_SIGNING_KEYS)
    now: datetime = await connection.fetchval(_NOW)
    return [msgspec.convert(dict(row), SigningKey) for row in rows], now


async def insert_signing_key(connection: Connection, key: SigningKey) -> None:
    """Store a new signing key."""
    await connection.execute(_INSERT_SIGNING_KEY, key.kid, key.public_key, key.sealed_private_key, key.created_at, key.signs_from)


async def keep_signing_keys(connection: Connection, kids: Sequence[str]) -> None:
    """Forget all signing keys but these."""
    await connection.execute(_KEEP_SIGNING_KEYS, list(kids))


async def ended(connection: Connection, since: UUID) -> list[Ended]:
    """Return whose tokens ended by an event with this id or a later one."""
    rows = await connection.fetch(_ENDED, UserSuspended.SUBJECT, since)
    told = [decode_envelope(row["payload"]) for row in rows]
    return [Ended(user_id=event.aggregate_id, at=event.occurred_at.timestamp()) for event in told]


def _api_key(row: Any) -> ApiKey:
    return msgspec.convert(dict(row), ApiKey)


_INSERT_SESSION = """
INSERT INTO sessions (id, user_id, expires_at)
SELECT $1, users.id, clock_timestamp() + make_interval(days => $4)
FROM users
WHERE users.id = $2 AND users.status = 'ACTIVE' AND users.password_hash = $3
RETURNING true
"""
_INSERT_REFRESH = """
WITH used AS (
    UPDATE sessions SET last_used_at = clock_timestamp() WHERE id = $2 RETURNING expires_at
)
INSERT INTO refresh_tokens (token_hash, session_id, expires_at)
SELECT $1, $2, least(used.expires_at, clock_timestamp() + make_interval(secs => $3))
FROM used
"""
_SESSION_OF = """
SELECT sessions.id, sessions.user_id
FROM refresh_tokens
JOIN sessions ON sessions.id = refresh_tokens.session_id
WHERE refresh_tokens.token_hash = $1
"""
_LOCK_SESSION = "SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE"
_REFRESH_STATE = """
SELECT sessions.ended_at IS NOT NULL OR sessions.expires_at <= clock_timestamp() AS session_ended,
       users.status = 'ACTIVE' AS user_active,
       presented.expires_at <= clock_timestamp() AS expired,
       presented.used_at IS NOT NULL AS used,
       coalesce(presented.used_at > clock_timestamp() - make_interval(secs => $3), false) AS within_grace,
       coalesce(successor.used_at IS NOT NULL, false) AS successor_used
FROM refresh_tokens AS presented
JOIN sessions ON sessions.id = presented.session_id
JOIN users ON users.id = sessions.user_id
LEFT JOIN refresh_tokens AS successor ON successor.token_hash = $2
WHERE presented.token_hash = $1
"""
_USE_REFRESH = "UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE token_hash = $1"
_END_SESSION = """
UPDATE sessions SET ended_at = clock_timestamp(), end_reason = $2
WHERE id = $1 AND ended_at IS NULL
"""
_END_SESSIONS = """
UPDATE sessions SET ended_at = clock_timestamp(), end_reason = $2
WHERE user_id = $1 AND ended_at IS NULL
"""
_SESSIONS_OF = """
SELECT id, created_at, last_used_at, expires_at, ended_at
FROM sessions
WHERE user_id = $1
ORDER BY id
"""
_END_LINKS = """
UPDATE link_tokens SET used_at = clock_timestamp()
WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL
"""
_INSERT_LINK = """
INSERT INTO link_tokens (token_hash, user_id, purpose, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
"""
_USE_LINK = """
UPDATE link_tokens SET used_at = clock_timestamp()
WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > clock_timestamp()
RETURNING user_id
"""
_PEEK_LINK = """
SELECT users.email
FROM link_tokens
JOIN users ON users.id = link_tokens.user_id
WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > clock_timestamp()
"""
_PRUNE_SESSIONS = "DELETE FROM sessions WHERE expires_at < clock_timestamp() - interval '1 day'"
_PRUNE_LINKS = "DELETE FROM link_tokens WHERE expires_at < clock_timestamp() - interval '1 day'"
_INSERT_API_KEY = """
INSERT INTO api_keys (id, key_hash, hint, name, owner_id, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, hint, name, owner_id, scopes, expires_at, last_used_at, version, created_at
"""
_API_KEYS = """
SELECT id, hint, name, owner_id, scopes, expires_at, last_used_at, version, created_at
FROM api_keys
WHERE revoked_at IS NULL AND ($1::uuid IS NULL OR id < $1)
ORDER BY id DESC
LIMIT $2
"""
_API_KEY = """
SELECT id, hint, name, owner_id, scopes, expires_at, last_used_at, version, created_at
FROM api_keys
WHERE id = $1 AND revoked_at IS NULL FOR UPDATE
"""
_UPDATE_API_KEY = """
UPDATE api_keys SET name = $2, scopes = $3, expires_at = $4, version = version + 1
WHERE id = $1
RETURNING id, hint, name, owner_id, scopes, expires_at, last_used_at, version, created_at
"""
_REVOKE_API_KEY = """
UPDATE api_keys SET revoked_at = clock_timestamp(), version = version + 1
WHERE id = $1 AND revoked_at IS NULL
RETURNING true
"""
_KEY_OWNER = """
SELECT api_keys.id AS key_id,
       users.id AS user_id,
       users.email,
       users.email_verified_at IS NOT NULL AS email_verified,
       users.role = 'ADMIN' AS owner_is_admin,
       api_keys.scopes
FROM api_keys
JOIN users ON users.id = api_keys.owner_id
WHERE api_keys.key_hash = $1
  AND api_keys.revoked_at IS NULL
  AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp())
  AND users.status = 'ACTIVE'
"""
_NOTE_KEY_USE = """
UPDATE api_keys SET last_used_at = clock_timestamp()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
"""
_LOCK_SIGNING_KEYS = "SELECT pg_advisory_xact_lock(hashtext('careforall signing keys'))"
_NOW = "SELECT clock_timestamp()"
_SIGNING_KEYS = "SELECT kid, public_key, sealed_private_key, created_at, signs_from FROM signing_keys ORDER BY signs_from, kid"
_INSERT_SIGNING_KEY = """
INSERT INTO signing_keys (kid, public_key, sealed_private_key, created_at, signs_from)
VALUES ($1, $2, $3, $4, $5)
"""
_ENDED = "SELECT payload FROM outbox WHERE event_type = $1 AND id >= $2"
_KEEP_SIGNING_KEYS = "DELETE FROM signing_keys WHERE NOT kid = ANY ($1::text[])"
