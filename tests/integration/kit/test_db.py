"""The database habits: repeat after deadlocks, throw useless connections away, answer 503 soon, come back by oneself."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from careforall.kit.db import Connection, Database
from careforall.kit.errors import DatabaseUnavailable, Locked
from careforall.kit.ids import new_id
from careforall.kit.timelines import Timelines
from careforall.launch.servers import Postgres
from careforall_testing.databases import Databases, connection
from careforall_testing.plumbing import count, numbers, opened, prepare
from careforall_testing.polling import eventually
from careforall_testing.proxy import proxy_to

INSERT = "INSERT INTO effects (id, number) VALUES ($1, 1)"


async def insert(connection: Connection) -> None:
    await connection.execute(INSERT, new_id())


@pytest.fixture
async def own_url(own_postgres: Postgres) -> AsyncIterator[str]:
    """A database on the module's own server."""
    databases = Databases(server_url=own_postgres.url)
    async with databases.clone(await databases.template("kit", prepare)) as url:
        yield url


async def test_a_deadlock_repeats_the_whole_transaction_and_both_succeed(database: Database) -> None:
    keys = ["a", "b"]
    await database.run(lambda c: c.executemany("INSERT INTO effects (id, key) VALUES ($1, $2)", [(new_id(), k) for k in keys]))
    runs = 0
    met = asyncio.Barrier(2)

    async def cross(connection: Connection, first: str, second: str) -> None:
        nonlocal runs
        runs += 1
        touch = "UPDATE effects SET note = note || 'x' WHERE key = $1"
        await connection.execute("SET LOCAL deadlock_timeout = '20ms'")
        await connection.execute(touch, first)
        if runs <= 2:
            await met.wait()
        await connection.execute(touch, second)

    await asyncio.gather(database.run(lambda c: cross(c, "a", "b")), database.run(lambda c: cross(c, "b", "a")))
    assert runs == 3
    assert await count(database, "effects", "note = 'xx'") == 2


async def test_serialisation_failures_that_never_end_reach_the_caller_after_a_bounded_number_of_tries(database: Database) -> None:
    runs = 0

    async def unlucky(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")

    with pytest.raises(asyncpg.SerializationError):
        await database.run(unlucky, attempts=3)
    assert runs == 3


async def test_an_error_in_the_work_rolls_everything_back_and_leaves_the_pool_whole(database: Database) -> None:
    async def half(connection: Connection) -> None:
        await insert(connection)
        raise ZeroDivisionError

    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            await database.run(half)
    assert await numbers(database) == []
    assert database.usage()["checked_out"] == 0


async def test_cancelled_work_is_rolled_back_and_gives_its_connection_back(database: Database) -> None:
    begun = asyncio.Event()

    async def endless(connection: Connection) -> None:
        await insert(connection)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(database.run(endless))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(database) == []
    assert database.usage()["checked_out"] == 0


async def test_a_lock_held_too_long_is_a_conflict_and_no_loss_of_the_database(kit_url: str, database: Database) -> None:
    async with database.connection() as holder:
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE effects")
        async with opened(kit_url, lock_timeout_ms=50) as impatient:
            with pytest.raises(Locked):
                await impatient.run(insert)
            assert impatient.failures == 0
        await held.rollback()


async def test_whoever_waits_for_rows_is_woken_after_each_commit_and_not_after_a_rollback(database: Database) -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    async def fail(_: Connection) -> None:
        raise ZeroDivisionError

    database.on_commit = wake
    await database.run(insert)
    with pytest.raises(ZeroDivisionError):
        await database.run(fail)
    assert woken == 1


async def test_an_exhausted_pool_answers_503_after_the_acquire_time_out(kit_url: str) -> None:
    async with opened(kit_url, max_size=1, acquire_timeout=0.1) as small:
        async with small.connection():
            with pytest.raises(DatabaseUnavailable):
                await small.run(insert)
        await small.run(insert)


async def test_rule_18_a_connection_that_became_read_only_is_thrown_away_with_its_whole_generation(database: Database) -> None:
    old = [row["pid"] for row in await asyncio.gather(*(_pid(database) for _ in range(3)))]
    async with database.connection() as demoted:
        await demoted.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await demoted.execute(INSERT, new_id())
        with pytest.raises(DatabaseUnavailable):
            await database.run(lambda _: demoted.execute(INSERT, new_id()))
    await eventually(lambda: _writes(database), within_s=5, what="a writable connection")
    fresh = [row["pid"] for row in await asyncio.gather(*(_pid(database) for _ in range(8)))]
    assert not set(old) & set(fresh), "neighbours came from the same server and went with it"


async def test_rule_18_a_standby_is_refused_at_connect_and_welcome_once_promoted(own_postgres: Postgres, own_url: str) -> None:
    async with opened(own_url) as database:
        await database.run(insert)
        await _demote(own_postgres)
        with pytest.raises(DatabaseUnavailable):
            await database.run(insert)
        with pytest.raises(DatabaseUnavailable):
            await database.fetchrow("SELECT 1")
        with pytest.raises(DatabaseUnavailable):
            await database.dedicated()
        await _promote(own_postgres)
        await eventually(lambda: _writes(database), what="the promoted server")


async def test_rule_18_a_server_of_an_older_timeline_is_refused_once_a_newer_was_seen(
    own_postgres: Postgres, own_url: str
) -> None:
    async with _copy(own_postgres) as lost_the_election:
        await _demote(own_postgres)
        await _promote(own_postgres)
        name = own_url.rpartition("/")[2]
        timelines = Timelines()
        async with opened(own_url, timelines=timelines) as elected:
            await elected.run(insert)
        async with opened(lost_the_election.database_url(name), timelines=timelines) as database:
            with pytest.raises(DatabaseUnavailable):
                await database.run(insert)
            with pytest.raises(DatabaseUnavailable):
                await database.dedicated()
        async with opened(lost_the_election.database_url(name)) as unaware:
            await unaware.run(insert)
        async with opened(own_url, timelines=timelines) as elected:
            await elected.run(insert)


async def test_rule_18_connections_to_an_older_timeline_are_let_go_once_a_newer_was_seen(
    own_postgres: Postgres, own_url: str
) -> None:
    """Idle ones too: of a frozen primary nothing is heard."""
    async with _copy(own_postgres) as old:
        await _demote(own_postgres)
        await _promote(own_postgres)
        async with proxy_to(old.database_url(own_url.rpartition("/")[2])) as route, opened(route.url) as database:
            await asyncio.gather(_pid(database), _pid(database))
            session = await database.dedicated()
            (cluster,) = database.timelines()
            before = database.timelines()[cluster]
            route.lead_to(own_postgres.url)
            await asyncio.gather(*(_pid(database) for _ in range(3)))
            assert database.timelines() == {cluster: before}, "the session is open to the old one yet"
            found = await asyncio.gather(*(_timeline(database) for _ in range(4)))
            assert set(found) == {before + 1}
            session.terminate()
            assert database.timelines() == {cluster: before + 1}


async def _timeline(database: Database) -> int:
    row = await database.fetchrow("SELECT pg_sleep(0.05), ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int")
    assert row is not None
    return int(row[1])


async def test_postgresql_stopped_is_a_503_within_a_second_and_its_return_needs_no_restart(
    own_postgres: Postgres, own_url: str
) -> None:
    async with opened(own_url) as database:
        await database.run(insert)
        await asyncio.to_thread(own_postgres.stop)
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailable) as refused:
                await database.run(insert)
            assert time.monotonic() - started < 1
            assert (refused.value.status, refused.value.retry_after) == (503, 1)
        assert not database.available
        own_postgres.launch()
        await asyncio.to_thread(own_postgres.wait_ready)
        await eventually(lambda: _writes(database), within_s=10, what="recovery")
        assert database.available
        assert await numbers(database) == [1, 1]


async def test_a_service_may_start_while_its_database_is_away(kit_url: str) -> None:
    async with proxy_to(kit_url) as wire:
        wire.mode = "refuse"
        async with opened(wire.url) as database:
            with pytest.raises(DatabaseUnavailable):
                await database.run(insert)
            wire.heal()
            await database.run(insert)
            assert await numbers(database) == [1]


async def test_a_server_that_does_not_answer_connects_is_a_503_within_a_second(kit_url: str) -> None:
    async with proxy_to(kit_url) as wire:
        wire.mode = "blackhole"
        async with opened(wire.url) as database:
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                await database.run(insert)
            assert time.monotonic() - started < 1


async def test_a_server_that_falls_silent_is_waited_for_once(kit_url: str) -> None:
    async def fall_silent(connection: Connection) -> None:
        await insert(connection)
        wire.mode = "blackhole"
        await insert(connection)

    async def fall_silent_for_readers() -> None:
        async with database.snapshot() as connection:
            wire.mode = "blackhole"
            await connection.fetchval("SELECT 1")

    async with proxy_to(kit_url) as wire, opened(wire.url, command_timeout=2) as database:
        for work in (database.run(fall_silent), fall_silent_for_readers()):
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                await work
            assert time.monotonic() - started < 2 * 2
            wire.heal()
        assert await numbers(database) == []


async def test_the_log_says_once_in_a_while_why_a_database_cannot_be_used(kit_url: str) -> None:
    with capture_logs() as lines:
        async with opened(kit_url + "_gone", acquire_timeout=5, connect_timeout=5) as database:
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await database.run(insert)
    (told,) = [line for line in lines if line["log_level"] == "warning"]
    assert "does not exist" in told["error"]


async def test_connections_that_do_not_answer_are_let_go_without_an_error_of_a_task(kit_url: str) -> None:
    async with proxy_to(kit_url) as wire, opened(wire.url, command_timeout=0.5) as database:
        await asyncio.gather(*(_pid(database) for _ in range(3)))
        unseen: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        wire.mode = "blackhole"
        for _ in range(4):
            with pytest.raises(DatabaseUnavailable):
                await database.run(insert)
        await eventually(lambda: not _closing(), within_s=10, what="connections that are let go")
        gc.collect()
        assert unseen == []
        wire.heal()


def _closing() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if "Connection.close" in repr(task)]


async def test_few_connections_are_opened_at_once_so_that_some_are_ready_however_slow_the_server_is(kit_url: str) -> None:
    async with proxy_to(kit_url) as wire:
        wire.mode = "blackhole"
        async with opened(wire.url, connect_timeout=30, acquire_timeout=30) as database:
            waiting = [asyncio.ensure_future(database.run(insert)) for _ in range(8)]
            await eventually(lambda: wire.accepted == 2, within_s=10, what="connections that hang")
            wire.heal()
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in ended if one is not None] == [DatabaseUnavailable] * 2
            assert await numbers(database) == [1] * 6


async def _pid(database: Database) -> asyncpg.Record:
    row = await database.fetchrow("SELECT pg_backend_pid() AS pid, pg_sleep(0.05)")
    assert row is not None
    return row


async def _writes(database: Database) -> bool:
    try:
        await database.run(insert)
    except DatabaseUnavailable:
        return False
    return True


async def _demote(server: Postgres) -> None:
    """Start it again as a standby."""
    await asyncio.to_thread(server.stop)
    signal = server.data / "standby.signal"
    signal.touch()
    server.identity.own(signal)
    server.launch()
    await asyncio.to_thread(server.wait_ready)


async def _promote(server: Postgres) -> None:
    """Make a standby the primary of a new timeline."""
    async with connection(server.url) as admin:
        assert await admin.fetchval("SELECT pg_promote()")


@asynccontextmanager
async def _copy(server: Postgres) -> AsyncIterator[Postgres]:
    """A second server of the same cluster, on the timeline of now."""
    await asyncio.to_thread(server.stop)
    folder = server.data.with_name("copy")
    await asyncio.to_thread(subprocess.run, ["cp", "-a", str(server.data), str(folder)], check=True)
    folder.with_name("copy.ready").touch()
    other = Postgres(
        binary=server.binary,
        data=folder,
        log=server.log.with_name("copy.log"),
        identity=server.identity,
        durable=False,
        password=server.password,
    )
    try:
        for one in (server, other):
            one.launch()
            await asyncio.to_thread(one.wait_ready)
        yield other
    finally:
        await asyncio.to_thread(other.stop)
        await asyncio.to_thread(shutil.rmtree, folder)


async def test_reads_of_a_snapshot_see_one_moment_and_can_write_nothing(database: Database) -> None:
    await database.run(insert)
    everything = "SELECT count(*) FROM effects"
    async with database.snapshot() as connection:
        assert await connection.fetchval("SHOW transaction_read_only") == "on"
        assert await connection.fetchval(everything) == 1
        await database.run(insert)
        assert await connection.fetchval(everything) == 1
    assert await count(database, "effects") == 2


@pytest.mark.parametrize("state", ["53100", "53200", "58030"])
async def test_a_server_without_room_is_away_and_nothing_was_done(database: Database, state: str) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{state}'; END $$")

    with pytest.raises(DatabaseUnavailable):
        await database.run(work)
