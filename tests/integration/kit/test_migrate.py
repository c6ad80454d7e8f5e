"""Migrations: from nothing, once, in order, by whoever comes first; and services that refuse an old schema."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from careforall.cli.registry import NAMES
from careforall.kit import migrate
from careforall.kit.migrate import Migration, MigrationError
from careforall.launch.servers import Nats
from careforall_testing.databases import connection, database_url
from careforall_testing.platform import StartFailed, platform
from careforall_testing.servers import ServerUrls

ONE = Migration(name="test/0001_one.sql", sql="CREATE TABLE one (id integer PRIMARY KEY)")
TWO = Migration(name="test/0002_two.sql", sql="ALTER TABLE one ADD COLUMN name text")
BROKEN = Migration(name="test/0003_broken.sql", sql="CREATE TABLE half (id integer); SELECT * FROM nowhere")


@pytest.fixture
async def missing(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database that does not exist yet."""
    name = f"migrate_{secrets.token_hex(6)}"
    yield database_url(postgres_url, name)
    async with connection(postgres_url) as admin:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def names(url: str) -> list[str]:
    async with connection(url) as opened:
        return [row["name"] for row in await opened.fetch("SELECT name FROM schema_migrations ORDER BY applied_at")]


async def test_from_zero_the_database_is_made_and_everything_applied_once(missing: str) -> None:
    assert await migrate.migrate(missing, [ONE, TWO]) == [ONE.name, TWO.name]
    assert await migrate.migrate(missing, [ONE, TWO]) == []
    assert await names(missing) == [ONE.name, TWO.name]


@pytest.mark.parametrize("service", [name for name in NAMES if name != "audit"])
async def test_every_service_s_migrations_replay_from_zero(missing: str, service: str) -> None:
    migrations = migrate.load(f"careforall.{service}")
    assert await migrate.migrate(missing, migrations) == [migration.name for migration in migrations]
    async with connection(missing) as opened:
        assert (await migrate.standing(opened, migrations)).pending == []


async def test_only_what_is_new_is_applied(missing: str) -> None:
    await migrate.migrate(missing, [ONE])
    async with connection(missing) as opened:
        assert (await migrate.standing(opened, [ONE, TWO])).pending == [TWO.name]
    assert await migrate.migrate(missing, [ONE, TWO]) == [TWO.name]


async def test_what_a_newer_release_applied_is_named(missing: str) -> None:
    await migrate.migrate(missing, [ONE, TWO])
    async with connection(missing) as opened:
        assert (await migrate.standing(opened, [ONE])).unknown == [TWO.name]
        assert (await migrate.standing(opened, [ONE, TWO])).unknown == []
    assert await migrate.migrate(missing, [ONE]) == []


async def test_an_edited_file_is_refused_and_nothing_is_applied(missing: str) -> None:
    await migrate.migrate(missing, [ONE])
    edited = Migration(name=ONE.name, sql=ONE.sql + " -- harmless")
    with pytest.raises(MigrationError, match=r"test/0001_one\.sql was edited"):
        await migrate.migrate(missing, [edited, TWO])
    assert await names(missing) == [ONE.name]


async def test_a_migration_that_fails_leaves_nothing_of_itself(missing: str) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await migrate.migrate(missing, [ONE, BROKEN, TWO])
    assert await names(missing) == [ONE.name]
    async with connection(missing) as opened:
        assert await opened.fetchval("SELECT to_regclass('half')") is None


async def test_two_migrators_at_once_apply_each_file_once(missing: str) -> None:
    slow = Migration(name="test/0001_slow.sql", sql=f"SELECT pg_sleep(0.2); {ONE.sql}")
    done = await asyncio.gather(*(migrate.migrate(missing, [slow, TWO]) for _ in range(3)))
    assert sorted(done, key=len) == [[], [], [slow.name, TWO.name]]


async def test_a_service_refuses_to_start_on_a_schema_behind_its_code(servers: ServerUrls, own_nats: Nats) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, databases_of=["donations"]) as running:
        async with running.database("donations") as opened:
            await opened.execute("DELETE FROM schema_migrations WHERE name LIKE 'donations/%'")
        assert (await running.cli("migrate", "donations", "--check")).status == 1
        with pytest.raises(StartFailed):
            await running.serve(["donations"])
        assert await running.first.wait_dead() == 1
        assert "run careforall migrate" in running.first.log_text()


async def test_a_check_waits_for_who_migrates(servers: ServerUrls, own_nats: Nats) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, databases_of=["donations"]) as running:
        async with running.database("donations") as opened:
            await opened.execute("ALTER TABLE schema_migrations RENAME TO schema_migrations_away")
        waiting = asyncio.ensure_future(running.cli("migrate", "donations", "--check", "--wait", "60"))
        done, _ = await asyncio.wait({waiting}, timeout=3)
        assert not done
        async with running.database("donations") as opened:
            await opened.execute("ALTER TABLE schema_migrations_away RENAME TO schema_migrations")
        assert (await waiting).status == 0


async def test_a_service_told_to_wait_starts_when_the_schema_is_up_to_date(servers: ServerUrls, own_nats: Nats) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, databases_of=["donations"]) as running:
        async with running.database("donations") as opened:
            await opened.execute("ALTER TABLE schema_migrations RENAME TO schema_migrations_away")
        starting = asyncio.ensure_future(running.serve(["donations"], CAREFORALL_SCHEMA_WAIT="60"))
        done, _ = await asyncio.wait({starting}, timeout=3)
        assert not done
        async with running.database("donations") as opened:
            await opened.execute("ALTER TABLE schema_migrations_away RENAME TO schema_migrations")
        await starting
