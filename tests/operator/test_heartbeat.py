"""Heartbeats on a real PostgreSQL: what the row remembers over timelines, and what does not count as written."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import asyncpg
import pytest

from careforall.launch.servers import Postgres
from careforall_operator.heartbeat import Heart, beat
from careforall_operator.reconcile.observed import Beat
from careforall_operator.settings import Settings
from careforall_testing.servers import own_folder, running

OLD_TABLE = "CREATE TABLE careforall_heartbeat (platform text PRIMARY KEY, beat_at timestamptz NOT NULL)"


@pytest.fixture(name="server")
def fx_server() -> Iterator[Postgres]:
    with own_folder() as folder, running(Postgres, folder) as made:
        yield made


def beaten(server: Postgres) -> Beat:
    return asyncio.run(beat(server.url, "main", timeout=5))


def promote(server: Postgres) -> None:
    """Kill the server and let its data go on as a new timeline."""
    server.kill()
    signal = server.data / "standby.signal"
    signal.touch()
    owner = server.data.stat()
    os.chown(signal, owner.st_uid, owner.st_gid)
    server.start()
    asyncio.run(_sql(server.url, "SELECT pg_promote()"))


async def _sql(url: str, text: str) -> None:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(text)
    finally:
        connection.terminate()


def test_the_row_remembers_the_last_beat_before_and_the_first_after(server: Postgres) -> None:
    asyncio.run(_sql(server.url, OLD_TABLE))  # as an older version made it
    first, second = beaten(server), beaten(server)
    assert (first.timeline, first.before, second.before) == (1, None, None)
    assert second.first is not None
    assert second.first <= first.at
    promote(server)
    third, fourth = beaten(server), beaten(server)
    assert (third.timeline, third.first) == (2, third.at)
    for later in (third, fourth):
        assert later.before is not None
        assert first.at < later.before <= second.at
    assert fourth.first is not None
    assert second.at < fourth.first <= third.at


def test_a_commit_that_waited_for_its_standby_in_vain_is_no_heartbeat(server: Postgres) -> None:
    assert beaten(server).written
    asyncio.run(_sql(server.url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"))
    asyncio.run(_sql(server.url, "SELECT pg_reload_conf()"))

    async def cancelled() -> Beat:
        writing = asyncio.create_task(beat(server.url, "main", timeout=10))
        while not writing.done():
            await _sql(server.url, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            await asyncio.sleep(0.05)
        return await writing

    told = asyncio.run(cancelled())
    assert not told.written
    assert "synchronous replication" in told.error


def test_a_heart_beats_by_itself_tries_quicker_and_wakes_a_pass_with_each_change(server: Postgres) -> None:
    woken: list[float] = []

    async def watched() -> int:
        heart = Heart(dsn, "main", Settings(), lambda: woken.append(time.monotonic()))
        try:
            assert (await heart.newest()).written
            await asyncio.to_thread(server.kill)
            await _until(heart, written=False)
            tried = await _tries(heart, seconds=1.5)
            server.launch()
            await _until(heart, written=True)
        finally:
            await heart.close()
        return tried

    async def dsn() -> str:
        return server.url

    assert asyncio.run(watched()) >= 4
    assert len(woken) == 3


def test_a_timeline_whose_beats_fail_again_soon_begins_anew(server: Postgres) -> None:
    async def watched() -> tuple[Beat, Beat, Beat]:
        heart = Heart(dsn, "main", Settings(), lambda: None)
        try:
            first = await heart.newest()
            await _tries(heart, seconds=0.6)
            same = await heart.newest()
            await asyncio.to_thread(server.kill)
            await _until(heart, written=False)
            server.launch()
            await _until(heart, written=True)
            await _tries(heart, seconds=0.6)
            return first, same, await heart.newest()
        finally:
            await heart.close()

    async def dsn() -> str:
        return server.url

    first, same, again = asyncio.run(watched())
    assert (first.timeline, same.timeline, again.timeline) == (1, 1, 1)
    assert same.at > first.at
    assert same.first == first.first
    assert again.first is not None
    assert again.first > same.at


def test_a_timeline_whose_beats_hang_soon_begins_anew(server: Postgres) -> None:
    """As on a new primary that takes some commits alone and then waits for its standby."""
    assert beaten(server).written  # the table is there

    async def watched() -> tuple[Beat, Beat]:
        heart = Heart(dsn, "other", Settings(heartbeat_timeout_seconds=5), lambda: None)
        try:
            first = await heart.newest()
            await _sql(server.url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await _sql(server.url, "SELECT pg_reload_conf()")
            await asyncio.sleep(1.6)
            await _sql(server.url, "ALTER SYSTEM RESET synchronous_standby_names")
            await _sql(server.url, "SELECT pg_reload_conf()")
            await _tries(heart, seconds=1)
            return first, await heart.newest()
        finally:
            await heart.close()

    async def dsn() -> str:
        return server.url

    first, later = asyncio.run(watched())
    assert (first.written, later.written) == (True, True)
    assert first.first is not None
    assert later.first is not None
    assert later.first - first.first > timedelta(seconds=1)


async def _tries(heart: Heart, *, seconds: float) -> int:
    """Count the heartbeats within a time."""
    moments: set[datetime] = set()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        moments.add((await heart.newest()).at)
        await asyncio.sleep(0.02)
    return len(moments)


async def _until(heart: Heart, *, written: bool) -> None:
    async with asyncio.timeout(30):
        while (await heart.newest()).written != written:
            await asyncio.sleep(0.02)
