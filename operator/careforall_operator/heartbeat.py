"""A small write through the write Service, four times a second: the one proof that writes are taken, and by which timeline."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import structlog
from msgspec.structs import replace

from careforall_operator.reconcile.observed import Beat
from careforall_operator.settings import Settings

log = structlog.get_logger(__name__)

# Of two servers the one with the higher timeline is the newer; the name of the file being written begins with it. The row keeps
# when the newest timeline took its first beat and when the one before took its last: so a report is exact across restarts.
_BEAT = """
INSERT INTO careforall_heartbeat AS known (platform, beat_at, timeline, first_at)
VALUES ($1, $2, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int, $2)
ON CONFLICT (platform) DO UPDATE SET
    beat_at = excluded.beat_at,
    timeline = excluded.timeline,
    first_at = CASE WHEN known.timeline = excluded.timeline THEN known.first_at ELSE excluded.first_at END,
    before_at = CASE WHEN known.timeline = excluded.timeline THEN known.before_at ELSE known.beat_at END
RETURNING timeline, first_at, before_at, (SELECT system_identifier FROM pg_control_system())::text AS cluster,
    (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS wal_end
"""
_TABLE = """
CREATE TABLE IF NOT EXISTS careforall_heartbeat (platform text PRIMARY KEY, beat_at timestamptz NOT NULL);
ALTER TABLE careforall_heartbeat ADD COLUMN IF NOT EXISTS timeline int, ADD COLUMN IF NOT EXISTS first_at timestamptz,
    ADD COLUMN IF NOT EXISTS before_at timestamptz
"""
_SESSION = {"application_name": "careforall-operator", "synchronous_commit": "on"}
LASTING = timedelta(seconds=1)
"""A timeline's first beat counts when others have followed for so long."""
NOT_REPLICATED = "canceling wait for synchronous replication"


class NotReplicated(Exception):
    """The commit was answered, but no standby is known to have it: it may be lost with the primary."""


async def beat(dsn: str, platform: str, *, timeout: float) -> Beat:
    """Write a heartbeat over a new connection, so that the route is tried each time; tell what came of it, never raise."""
    now = datetime.now(UTC)
    try:
        async with asyncio.timeout(timeout):
            return await _written(dsn, platform, now)
    except TimeoutError:
        return Beat(at=now, written=False, error=f"no answer within {timeout:g} s")
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        NotReplicated,
        ValueError,
    ) as error:
        return Beat(at=now, written=False, error=str(error) or type(error).__name__)


async def _written(dsn: str, platform: str, now: datetime) -> Beat:
    connection = await asyncpg.connect(dsn, server_settings=_SESSION)
    warnings: list[str] = []
    connection.add_log_listener(lambda _, message: warnings.append(str(message)))
    begun = time.monotonic()
    try:
        try:
            row = await connection.fetchrow(_BEAT, platform, now)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            await connection.execute(_TABLE)
            row = await connection.fetchrow(_BEAT, platform, now)
    finally:
        connection.terminate()
    if any(NOT_REPLICATED in warning for warning in warnings):
        raise NotReplicated(NOT_REPLICATED)
    return replace(_told(row, now), took=time.monotonic() - begun)


def _told(row: Any, sent: datetime) -> Beat:
    """What the row says; a first beat of this moment counts from its answer on, as a client would count it."""
    answered = datetime.now(UTC)
    first = answered if row["first_at"] == sent else row["first_at"]
    return Beat(
        at=answered,
        written=True,
        timeline=row["timeline"],
        wal_end=row["wal_end"],
        cluster=row["cluster"],
        first=first,
        before=row["before_at"],
    )


class Heart:
    """Beats by itself, beside the passes, so that its figures are as exact as its beats are near; a change wakes a pass."""

    def __init__(self, dsn: Callable[[], Awaitable[str]], platform: str, settings: Settings, wake: Callable[[], None]) -> None:
        self._dsn = dsn
        self._platform = platform
        self._settings = settings
        self._wake = wake
        self._newest: Beat | None = None
        self._good: Beat | None = None
        self._shaken = False
        self._task = asyncio.create_task(self._run(), name=f"heartbeat {platform}")

    async def newest(self) -> Beat:
        """Return the newest beat there is; the first one is waited for."""
        while self._newest is None:
            await asyncio.sleep(0.05)
        return self._newest

    async def _run(self) -> None:
        while True:
            begun = time.monotonic()
            self._heard(await self._once())
            told = self._newest
            pause = self._settings.heartbeat_seconds if told and told.written else self._settings.heartbeat_retry_seconds
            await asyncio.sleep(max(pause - (time.monotonic() - begun), 0.01))

    async def _once(self) -> Beat:
        now = datetime.now(UTC)
        try:
            return await beat(await self._dsn(), self._platform, timeout=self._patience())
        except Exception as error:  # noqa: BLE001 - a heart that stopped would tell its last beat for ever
            return Beat(at=now, written=False, error=repr(error))

    def _patience(self) -> float:
        """While none is taken, a heartbeat that hangs would hide the one that could be taken meanwhile."""
        usual = self._settings.heartbeat_timeout_seconds
        return usual if self._newest is None or self._newest.written else usual / 2

    def _heard(self, told: Beat) -> None:
        old, self._newest = self._newest, self._lasting(told)
        if old is None or (old.written, old.timeline) != (told.written, told.timeline):
            log.info("heartbeat", platform=self._platform, written=told.written, timeline=told.timeline, error=told.error)
            self._wake()

    def _lasting(self, told: Beat) -> Beat:
        """Count a timeline's first beat anew where beats failed or hung right after it: writes were not back.

        A new primary takes the first commits alone and only then waits for its standby. The way to the server does not count: a
        busy machine is slow to connect, and others are connected already.
        """
        good = self._good
        young = good is not None and good.first is not None and good.at - good.first < LASTING
        if not told.written:
            self._shaken = self._shaken or young
            return told
        if good is not None and good.timeline == told.timeline:
            hung = young and told.took > LASTING.total_seconds()
            told = replace(told, first=told.at if self._shaken or hung else good.first)
        self._good, self._shaken = told, False
        return told

    async def close(self) -> None:
        """Beat no more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
