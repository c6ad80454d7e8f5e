"""A small write through the write Service, each second: the one proof that writes are taken, and by which timeline."""

import asyncio
from datetime import UTC, datetime

import asyncpg

from careforall_operator.reconcile.observed import Beat

# Of two servers the one with the higher timeline is the newer; the name of the file being written begins with it.
_BEAT = """
WITH before AS (SELECT beat_at FROM careforall_heartbeat WHERE platform = $1)
INSERT INTO careforall_heartbeat (platform, beat_at)
VALUES ($1, $2)
ON CONFLICT (platform) DO UPDATE SET beat_at = excluded.beat_at
RETURNING
    (SELECT beat_at FROM before) AS previous,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline,
    (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS wal_end
"""
_TABLE = "CREATE TABLE IF NOT EXISTS careforall_heartbeat (platform text PRIMARY KEY, beat_at timestamptz NOT NULL)"


async def beat(dsn: str, platform: str, *, timeout: float) -> Beat:
    """Write a heartbeat over a new connection, so that the route is tried each time; tell what came of it, never raise."""
    now = datetime.now(UTC)
    try:
        async with asyncio.timeout(timeout):
            return await _written(dsn, platform, now)
    except TimeoutError:
        return Beat(at=now, written=False, error=f"no answer within {timeout:g} s")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as error:
        return Beat(at=now, written=False, error=str(error) or type(error).__name__)


async def _written(dsn: str, platform: str, now: datetime) -> Beat:
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "careforall-operator"})
    try:
        try:
            row = await connection.fetchrow(_BEAT, platform, now)
        except asyncpg.UndefinedTableError:
            await connection.execute(_TABLE)
            row = await connection.fetchrow(_BEAT, platform, now)
    finally:
        connection.terminate()
    assert row is not None
    return Beat(at=datetime.now(UTC), written=True, timeline=row["timeline"], wal_end=row["wal_end"], previous=row["previous"])
