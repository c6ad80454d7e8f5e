"""Rate limits exact under concurrency, a cache whose absence costs nothing; both on a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from careforall.kit.cache import Cache
from careforall.kit.errors import TooManyRequests
from careforall.kit.http import limits
from careforall.kit.http.limits import Limit, Limiter
from careforall.kit.ids import new_id
from careforall.launch.servers import Valkey
from careforall_testing.polling import eventually

_PATIENT = 30.0
"""Seconds to wait for Valkey: a machine that stalls must not look like a Valkey that is away."""


@asynccontextmanager
async def limiting(url: str, prefix: str) -> AsyncIterator[Limiter]:
    limiter = Limiter(url, prefix=prefix, deadline=_PATIENT)
    try:
        yield limiter
    finally:
        await limiter.close()


@asynccontextmanager
async def caching(url: str, *, pause: float = 5.0, deadline: float = _PATIENT) -> AsyncIterator[Cache]:
    cache = Cache(url, prefix=f"{new_id()}:", deadline=deadline, pause=pause)
    try:
        yield cache
    finally:
        await cache.close()


async def allowed(limiters: list[Limiter], limit: Limit, hits: int, key: str) -> int:
    """How many of so many concurrent hits got through."""
    found = await asyncio.gather(*(limiters[n % len(limiters)].hit(limit, key) for n in range(hits)), return_exceptions=True)
    assert all(isinstance(one, (str, TooManyRequests)) for one in found), found
    return sum(isinstance(one, str) for one in found)


async def test_five_of_a_hundred_concurrent_hits_through_two_processes_are_let_through(redis_url: str) -> None:
    prefix = str(new_id())
    async with limiting(redis_url, prefix) as one, limiting(redis_url, prefix) as other:
        limit = Limit("test", 5)
        assert await allowed([one, other], limit, 100, "somebody") == 5
        assert await allowed([one, other], limit, 10, "somebody") == 0
        assert await allowed([one, other], limit, 100, "somebody else") == 5


async def test_one_hit_on_several_counters_is_refused_by_the_limit_that_is_used_up(redis_url: str) -> None:
    async with limiting(redis_url, str(new_id())) as limiter:
        wide, narrow = Limit("wide", 10), Limit("narrow", 1)
        await limiter.hit_all((wide, "all"), (narrow, "k"))
        assert [limiter.field(*one) for one in ((wide, "all"), (narrow, "k"))] == ['"wide";r=9;t=60', '"narrow";r=0;t=60']
        refused = (await asyncio.gather(limiter.hit_all((wide, "all"), (narrow, "k")), return_exceptions=True))[0]
        assert isinstance(refused, TooManyRequests)
        await limiter.hit_all((wide, "all"), (narrow, "other"))


async def test_a_very_large_limit_is_counted_in_advance_and_never_exceeded(
    redis_db: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_RESERVED_SECONDS", 60.0)  # a machine that stalls for a second loses a reserve otherwise
    async with limiting(redis_db.url, "a") as one, limiting(redis_db.url, "a") as other:
        limit = Limit("test", 60_000)
        assert sum([await allowed([one, other], limit, 100, "busy") for _ in range(100)]) == 10_000
        async with redis.asyncio.Redis.from_url(redis_db.url) as client:
            calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert calls < 500
        passed = 10_000 + sum([await allowed([one, other], limit, 2_000, "busy") for _ in range(26)])
        assert 60_000 - 2 * 60 <= passed <= 60_000


async def test_a_refusal_says_when_to_come_again(redis_url: str) -> None:
    async with limiting(redis_url, str(new_id())) as limiter:
        limit = Limit("test", 1)
        assert (await limiter.hit(limit, "k")).startswith('"test";r=0')
        refused = (await asyncio.gather(limiter.hit(limit, "k"), return_exceptions=True))[0]
        assert isinstance(refused, TooManyRequests)
        assert (refused.status, 1 <= (refused.retry_after or 0) <= 60) == (429, True)


async def test_with_valkey_away_each_process_counts_for_itself_and_nobody_gets_an_error(redis_db: Valkey) -> None:
    async with limiting(redis_db.url, "a") as one, limiting(redis_db.url, "a") as other:
        limit = Limit("test", 5)
        assert await allowed([one, other], limit, 10, "before") == 5
        await asyncio.to_thread(redis_db.stop)
        assert await allowed([one], limit, 50, "k") == 5
        assert await allowed([other], limit, 50, "k") == 5


async def test_reads_of_one_moment_travel_as_one_command(redis_db: Valkey) -> None:
    async with caching(redis_db.url) as cache:
        await cache.put({f"k{number}": str(number).encode() for number in range(50)}, seconds=60)
        found = await cache.get_many([f"k{number % 60}" for number in range(200)])
        assert found == [str(number % 60).encode() if number % 60 < 50 else None for number in range(200)]
        async with redis.asyncio.Redis.from_url(redis_db.url) as client:
            assert (await client.info("commandstats"))["cmdstat_mget"]["calls"] == 1


async def test_values_of_one_moment_are_stored_by_one_command_and_end(redis_db: Valkey) -> None:
    async with caching(redis_db.url) as cache:
        await cache.put({f"k{number}": str(number).encode() for number in range(50)}, seconds=60)
        async with redis.asyncio.Redis.from_url(redis_db.url) as client:
            assert (await client.info("commandstats"))["cmdstat_eval"]["calls"] == 1
            lifetimes = [await client.ttl(key) for key in await client.keys("*k*")]
    assert len(lifetimes) == 50
    assert all(50 < seconds <= 60 for seconds in lifetimes)


async def test_an_absent_cache_is_a_miss_its_breaker_opens_and_closes_by_itself(redis_db: Valkey) -> None:
    async with caching(redis_db.url, pause=0.2) as cache:
        await cache.put({"k": b"v"}, seconds=60)
        assert await cache.get("k") == b"v"
        await asyncio.to_thread(redis_db.stop)
        for _ in range(5):
            assert await cache.get("k") is None
            await cache.put({"k": b"v"}, seconds=60)
            await cache.drop("k")
        assert not await cache.alive()
        redis_db.launch()
        await asyncio.to_thread(redis_db.wait_ready)

        async def back() -> bytes | None:
            await cache.put({"k": b"again"}, seconds=60)
            return await cache.get("k")

        assert await eventually(back, what="the cache is used again") == b"again"


async def test_a_frozen_cache_costs_its_deadline_and_no_error(redis_db: Valkey) -> None:
    async with caching(redis_db.url, deadline=0.25) as cache:
        await cache.put({"k": b"v"}, seconds=60)
        redis_db.freeze()
        assert await asyncio.wait_for(cache.get_many(["k", "other"]), 5) == [None, None]
