"""A database that is too slow for a while pauses what goes on for ever; it ends neither that work nor its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from careforall.kit.bus import Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.health import Health
from careforall.kit.runtime import _redrive
from careforall_testing.databases import connection
from careforall_testing.plumbing import opened, running

_NO_CACHE = "redis://127.0.0.1:1/0"
_LONG_ENOUGH_S = 2.5
"""Every kind of work below looks at least once in this time."""

Work = Callable[[Database, Bus], Awaitable[None]]


def _look(database: Database, bus: Bus) -> Awaitable[None]:
    return Health({"bells": database}, bus, Cache(_NO_CACHE, prefix="")).run()


def _look_for_retries(database: Database, _: Bus) -> Awaitable[None]:
    return _redrive(database, [])


@asynccontextmanager
async def _held(url: str) -> AsyncIterator[None]:
    """Hold every table that background work reads."""
    async with connection(url) as holder, holder.transaction():
        await holder.execute("LOCK TABLE outbox, dead_letters")
        yield


@pytest.mark.parametrize("lock_timeout_ms", [20, 10_000], ids=["locked", "too slow"])
@pytest.mark.parametrize("work", [_look, _look_for_retries])
async def test_work_that_goes_on_for_ever_outlives_it(kit_url: str, bus: Bus, work: Work, lock_timeout_ms: int) -> None:
    limited = opened(kit_url, statement_timeout_ms=100, lock_timeout_ms=lock_timeout_ms)
    async with limited as slow, _held(kit_url), running(work(slow, bus)) as (task,):
        done, _ = await asyncio.wait([task], timeout=_LONG_ENOUGH_S)
        assert not done
