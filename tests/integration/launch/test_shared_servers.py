"""The fixtures other tests stand on."""

from __future__ import annotations

import asyncpg
import nats
import pytest
import redis

from careforall.launch.servers import Nats, Valkey
from careforall_testing.databases import Databases, connection


async def prepare(url: str) -> None:
    async with connection(url) as database:
        await database.execute("CREATE TABLE gift (id INT PRIMARY KEY)")


async def test_a_clone_has_the_tables_of_its_template_and_is_nobody_elses(databases: Databases) -> None:
    template = await databases.template("launch_test", prepare)
    async with databases.clone(template) as one, databases.clone(template) as other:
        async with connection(one) as database:
            await database.execute("INSERT INTO gift VALUES (1)")
        async with connection(other) as database:
            assert await database.fetchval("SELECT count(*) FROM gift") == 0


async def test_a_clone_is_gone_afterwards(databases: Databases) -> None:
    template = await databases.template("launch_test", prepare)
    async with databases.clone(template) as url, connection(url) as database:
        assert await database.fetchval("SELECT 1") == 1
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(url)


async def test_a_template_that_failed_half_way_is_made_again(databases: Databases) -> None:
    async def fails(url: str) -> None:
        await prepare(url)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await databases.template("launch_half", fails)
    template = await databases.template("launch_half", prepare)
    async with databases.clone(template) as url, connection(url) as database:
        assert await database.fetchval("SELECT count(*) FROM gift") == 0


async def test_the_shared_broker_and_cache_answer(nats_url: str, redis_url: str) -> None:
    client = await nats.connect(nats_url)
    assert (await client.jetstream().account_info()).limits is not None
    await client.close()
    with redis.Redis.from_url(redis_url) as cache:
        assert cache.ping()


async def test_an_own_broker_has_no_streams(own_nats: Nats) -> None:
    client = await nats.connect(own_nats.url)
    assert await client.jetstream().streams_info() == []
    await client.close()


def test_an_own_cache_is_empty(redis_db: Valkey) -> None:
    with redis.Redis.from_url(redis_db.url) as cache:
        assert cache.dbsize() == 0
