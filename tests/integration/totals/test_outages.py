"""Valkey or PostgreSQL away: slower or stale with a warning, never wrong; back to normal by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from careforall.kit import migrate
from careforall.kit.ids import new_id
from careforall.totals.app import SERVICE
from careforall.totals.domain import Gift
from careforall_testing.databases import connection
from careforall_testing.servers import ServerSet, own_servers

PATH = "/api/v1/totals/campaigns"
SOON = 20.0


@pytest.fixture
def own() -> Iterator[ServerSet]:
    with own_servers(durable=False) as servers:
        yield servers


@pytest.fixture
async def database_url(own: ServerSet) -> str:
    url = own.postgres.database_url("careforall_totals")
    await migrate.migrate(url, migrate.load(SERVICE.package))
    return url


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + SOON
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_without_redis_the_view_answers(arena: Any, own: ServerSet, database_url: str, gift: Callable[..., Gift]) -> None:
    async with arena.open(own.urls, database=database_url, started=True, process_seconds=0.0) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        await running.parts.views["campaign_totals"]()
        await asyncio.to_thread(own.redis.stop)
        async with running.client() as client:
            answers = [await client.get(f"{PATH}/{campaign}") for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["cache_level"] for answer in answers[1:]} == {"materialized_view"}
        assert all("stale" not in answer.json() for answer in answers)
        own.redis.launch()
        await asyncio.to_thread(own.redis.wait_ready)

        async def back() -> bool:
            return bool((await running.service.totals(campaign)).reading.level == "redis")

        await until(back)


async def test_a_commit_while_redis_hangs_is_read_from_below_and_reaches_it_afterwards(
    arena: Any, own: ServerSet, database_url: str, gift: Callable[..., Gift]
) -> None:
    async with arena.open(own.urls, database=database_url, started=True, process_seconds=0.0) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        await until(lambda: _holds(running, campaign, 1))
        await asyncio.to_thread(own.redis.freeze)
        await running.fold([gift(campaign)])
        async with asyncio.timeout(SOON):
            frozen = [(await running.service.totals(campaign)).reading for _ in range(20)]
        assert {reading.level for reading in frozen} == {"base_table"}
        assert {reading.totals.total_donations for reading in frozen} == {2}
        await asyncio.to_thread(own.redis.thaw)
        await until(lambda: _holds(running, campaign, 2))


@pytest.mark.parametrize("redis", ["up", "down"])
async def test_without_the_database_the_last_known_value_is_served_stale(
    arena: Any, own: ServerSet, database_url: str, gift: Callable[..., Gift], redis: str
) -> None:
    async with arena.open(own.urls, database=database_url, started=True, process_seconds=0.05) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        async with running.client() as client:
            before = (await client.get(f"{PATH}/{campaign}")).json()
            await asyncio.to_thread(own.postgres.stop)
            if redis == "down":
                await asyncio.to_thread(own.redis.stop)
            for query in ("?realtime=true", "", "?realtime=true", ""):
                answer = await client.get(f"{PATH}/{campaign}{query}")
                assert answer.status_code == 200
                assert answer.json()["stale"] is True
                assert answer.headers["warning"] == '110 - "Response is Stale"'
                assert answer.headers["cache-control"] == "no-store"
                assert answer.json()["total_amount"] == before["total_amount"]
            assert (await client.get(f"{PATH}/{new_id()}")).status_code == 503
            own.postgres.launch()
            await asyncio.to_thread(own.postgres.wait_ready)

            async def back() -> bool:
                answer = await client.get(f"{PATH}/{campaign}?realtime=true")
                return answer.status_code == 200 and "stale" not in answer.json()

            await until(back)
            assert "stale" not in (await client.get(f"{PATH}/{campaign}")).json()


async def test_while_somebody_locks_the_tables_the_last_known_value_is_served_stale(
    arena: Any, own: ServerSet, database_url: str, gift: Callable[..., Gift]
) -> None:
    async with arena.open(own.urls, database=database_url, started=True, process_seconds=0.05) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        async with running.client() as client, connection(database_url) as stranger, stranger.transaction():
            before = (await client.get(f"{PATH}/{campaign}")).json()
            await asyncio.to_thread(own.redis.stop)
            await stranger.execute("LOCK TABLE campaign_totals, completed_donations")
            for query in ("?realtime=true", ""):
                answer = await client.get(f"{PATH}/{campaign}{query}")
                assert answer.status_code == 200
                assert answer.json()["stale"] is True
                assert answer.json()["total_amount"] == before["total_amount"]


async def test_both_ways_answer_the_same_while_the_database_is_away(
    arena: Any, own: ServerSet, database_url: str, gift: Callable[..., Gift]
) -> None:
    async with arena.open(own.urls, database=database_url) as running:
        campaign, stranger = new_id(), new_id()
        await running.fold([gift(campaign)])
        async with running.client(hot=True) as hot, running.client(hot=False) as framework:
            await hot.get(f"{PATH}/{campaign}")
            await asyncio.to_thread(own.postgres.stop)
            await hot.get(f"{PATH}/{campaign}?realtime=true")
            for path in (f"{PATH}/{campaign}", f"{PATH}/{stranger}"):
                first, second = await hot.get(path), await framework.get(path)
                assert first.status_code == second.status_code
                assert first.headers.get("warning") == second.headers.get("warning")
                assert first.headers.get("retry-after") == second.headers.get("retry-after")
                assert first.json().get("stale") == second.json().get("stale")


async def _holds(running: Any, campaign: Any, donations: int) -> bool:
    reading = (await running.service.totals(campaign)).reading
    return bool(reading.level == "redis" and reading.totals.total_donations == donations)
