"""All SQL of endpoints, their secrets and what they want; what is wanted changes only under `repository_events.lock`."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from careforall.kit.db import Connection
from careforall.sync.domain_webhooks import DisabledReason, Endpoint, Secret


async def insert(
    connection: Connection, endpoint_id: UUID, *, url: str, event_types: Sequence[str], description: str
) -> Endpoint:
    """Store a new endpoint."""
    await connection.execute(_INSERT, endpoint_id, url, list(event_types), description)
    return await _present(connection, endpoint_id)


async def update(
    connection: Connection,
    endpoint: Endpoint,
    *,
    url: str,
    event_types: Sequence[str],
    description: str,
    disabled: DisabledReason | None,
) -> Endpoint:
    """Store a changed endpoint; one that is disabled anew stays so for the reason it had."""
    await connection.execute(_UPDATE, endpoint.id, url, list(event_types), description, disabled)
    return await _present(connection, endpoint.id)


async def disable_gone(connection: Connection, endpoint_id: UUID, version: int) -> bool:
    """Disable an endpoint that says it is gone, if nobody has changed it since it was called; return whether."""
    return bool(await connection.fetchval(_DISABLE_GONE, endpoint_id, version))


async def delete(connection: Connection, endpoint_id: UUID) -> None:
    """Delete an endpoint and its secrets; the rest follows when its deliveries are forgotten."""
    await connection.execute(_DELETE, endpoint_id)
    await connection.execute("DELETE FROM webhook_secrets WHERE endpoint_id = $1", endpoint_id)


async def locked(connection: Connection, endpoint_id: UUID) -> Endpoint | None:
    """Lock and return an endpoint."""
    row = await connection.fetchrow(f"{_ENDPOINTS} AND id = $1 FOR NO KEY UPDATE", endpoint_id)
    return _endpoint(row) if row else None


async def endpoint(connection: Connection, endpoint_id: UUID) -> Endpoint | None:
    """Return an endpoint."""
    row = await connection.fetchrow(f"{_ENDPOINTS} AND id = $1", endpoint_id)
    return _endpoint(row) if row else None


async def endpoints(connection: Connection, before: UUID | None, limit: int) -> list[Endpoint]:
    """Return endpoints, newest first."""
    rows = await connection.fetch(f"{_ENDPOINTS} AND ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2", before, limit)
    return [_endpoint(row) for row in rows]


async def enabled(connection: Connection) -> list[Endpoint]:
    """Return the endpoints that hear of events now."""
    return [_endpoint(row) for row in await connection.fetch(f"{_ENDPOINTS} AND enabled ORDER BY id")]


async def want(connection: Connection, endpoint_id: UUID, event_types: Sequence[str] | None, last: int) -> None:
    """Note what an endpoint wants of the events after the last number; None: nothing."""
    await connection.execute(_UNWANT, endpoint_id, last)
    await connection.execute(_CLOSE, endpoint_id, last)
    if event_types is not None:
        await connection.execute(_WANT, endpoint_id, last, list(event_types))


async def add_secret(connection: Connection, endpoint_id: UUID, salt: bytes) -> int:
    """Store a new secret and return its number."""
    number: int = await connection.fetchval(_ADD_NUMBERED, endpoint_id, salt)
    return number


async def end_secrets(connection: Connection, endpoint_id: UUID, seconds: int) -> None:
    """Let all secrets of an endpoint end in so many seconds, or when they do anyway."""
    await connection.execute(_END_SECRETS, endpoint_id, seconds)


async def forget_secrets(connection: Connection, endpoint_id: UUID) -> None:
    """Forget the secrets of an endpoint that have ended; its newest has no end, so that numbers go on."""
    await connection.execute("DELETE FROM webhook_secrets WHERE endpoint_id = $1 AND ends_at <= clock_timestamp()", endpoint_id)


async def secrets(connection: Connection, endpoint_ids: Sequence[UUID]) -> list[Secret]:
    """Return the live secrets of endpoints, the newest first."""
    return [Secret(**row) for row in await connection.fetch(_SECRETS, list(endpoint_ids))]


async def start_replay(connection: Connection, endpoint_id: UUID, after: int, until: int) -> None:
    """Note that the events after a number are to be looked at again; a replay under way goes on from the earlier place."""
    await connection.execute(_START_REPLAY, endpoint_id, after, until)


async def replays(connection: Connection) -> list[UUID]:
    """Return the endpoints with a replay under way."""
    return [row["id"] for row in await connection.fetch(f"{_ENDPOINTS} AND enabled AND replay_after IS NOT NULL ORDER BY id")]


async def replay_stretch(connection: Connection, endpoint_id: UUID) -> tuple[int, int] | None:
    """Return which events an endpoint's replay still has to look at."""
    row = await connection.fetchrow(_REPLAY_STRETCH, endpoint_id)
    return (row["replay_after"], row["replay_until"]) if row else None


async def note_replayed(connection: Connection, endpoint_id: UUID, after: int | None) -> None:
    """Note how far a replay has come; None: to its end."""
    await connection.execute(_NOTE_REPLAYED, endpoint_id, after)


async def forget(connection: Connection, pruned: int) -> None:
    """Forget what was wanted of events that are forgotten, and deleted endpoints of which nothing else is left."""
    await connection.execute("DELETE FROM webhook_wants WHERE until_number <= $1", pruned)
    await connection.execute(_FORGET)


async def disabled(connection: Connection) -> dict[str, int]:
    """Count disabled endpoints by the reason."""
    return {row["reason"]: row["n"] for row in await connection.fetch(_DISABLED)}


async def _present(connection: Connection, endpoint_id: UUID) -> Endpoint:
    found = await endpoint(connection, endpoint_id)
    assert found is not None
    return found


def _endpoint(row: Any) -> Endpoint:
    return Endpoint(**{**row, "event_types": tuple(row["event_types"])})


_ENDPOINTS = """
SELECT id, url, event_types, description, enabled, disabled_reason, disabled_at, version, created_at, updated_at, replay_after
FROM webhook_endpoints
WHERE deleted_at IS NULL
"""
_INSERT = "INSERT INTO webhook_endpoints (id, url, event_types, description) VALUES ($1, $2, $3, $4)"
_UPDATE = """
UPDATE webhook_endpoints
SET url = $2,
    event_types = $3,
    description = $4,
    enabled = $5::text IS NULL,
    disabled_reason = CASE WHEN $5::text IS NOT NULL THEN coalesce(disabled_reason, $5) END,
    disabled_at = CASE WHEN $5::text IS NOT NULL THEN coalesce(disabled_at, clock_timestamp()) END,
    replay_after = CASE WHEN $5::text IS NULL THEN replay_after END,
    replay_until = CASE WHEN $5::text IS NULL THEN replay_until END,
    version = version + 1,
    updated_at = clock_timestamp()
WHERE id = $1
"""
_DISABLE_GONE = """
UPDATE webhook_endpoints
SET enabled = false,
    disabled_reason = 'gone',
    disabled_at = clock_timestamp(),
    replay_after = NULL,
    replay_until = NULL,
    version = version + 1,
    updated_at = clock_timestamp()
WHERE id = $1 AND version = $2 AND enabled
RETURNING true
"""
_DELETE = """
UPDATE webhook_endpoints
SET enabled = false,
    disabled_reason = coalesce(disabled_reason, 'staff'),
    disabled_at = coalesce(disabled_at, clock_timestamp()),
    replay_after = NULL,
    replay_until = NULL,
    version = version + 1,
    deleted_at = clock_timestamp()
WHERE id = $1
"""
_UNWANT = "DELETE FROM webhook_wants WHERE endpoint_id = $1 AND until_number IS NULL AND after_number = $2"
_CLOSE = "UPDATE webhook_wants SET until_number = $2 WHERE endpoint_id = $1 AND until_number IS NULL"
_WANT = "INSERT INTO webhook_wants (endpoint_id, after_number, event_types) VALUES ($1, $2, $3)"
_ADD_NUMBERED = """
INSERT INTO webhook_secrets (endpoint_id, number, salt)
SELECT $1, coalesce(max(number), 0) + 1, $2 FROM webhook_secrets WHERE endpoint_id = $1
RETURNING number
"""
_END_SECRETS = """
UPDATE webhook_secrets
SET ends_at = least(ends_at, clock_timestamp() + make_interval(secs => $2))
WHERE endpoint_id = $1
"""
_SECRETS = """
SELECT endpoint_id, number, salt, ends_at
FROM webhook_secrets
WHERE endpoint_id = ANY($1::uuid[]) AND (ends_at IS NULL OR ends_at > clock_timestamp())
ORDER BY endpoint_id, number DESC
"""
_START_REPLAY = """
UPDATE webhook_endpoints SET replay_after = least(replay_after, $2), replay_until = $3 WHERE id = $1
"""
_REPLAY_STRETCH = """
SELECT replay_after, replay_until
FROM webhook_endpoints
WHERE id = $1 AND enabled AND replay_after IS NOT NULL
FOR NO KEY UPDATE
"""
_NOTE_REPLAYED = """
UPDATE webhook_endpoints
SET replay_after = $2, replay_until = CASE WHEN $2::bigint IS NOT NULL THEN replay_until END
WHERE id = $1
"""
_FORGET = """
DELETE FROM webhook_endpoints AS gone
WHERE deleted_at < clock_timestamp() - interval '1 day'
  AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE endpoint_id = gone.id)
  AND NOT EXISTS (SELECT FROM webhook_wants WHERE endpoint_id = gone.id)
"""
_DISABLED = """
SELECT disabled_reason AS reason, count(*) AS n FROM webhook_endpoints WHERE deleted_at IS NULL AND NOT enabled GROUP BY 1
"""
