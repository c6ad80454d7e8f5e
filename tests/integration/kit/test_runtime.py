"""What a process makes of its roles: who answers people gives up soon, who works behind them goes on however slow it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from careforall.kit.db import Database
from careforall.kit.errors import DatabaseUnavailable
from careforall.kit.runtime import Process
from careforall.kit.service import Definition, Parts
from careforall.kit.settings import Settings
from careforall.launch.servers import Nats
from careforall_testing.platform import platform
from careforall_testing.proxy import proxy_to
from careforall_testing.servers import ServerUrls

BELLS = Definition(name="bells", package="careforall.contracts", settings=Settings, build=lambda _: Parts(service=None))
SLOW_S = 0.3
"""What each answer of the server takes: a connection is several of them, and so longer than a second."""


@asynccontextmanager
async def _process(url: str, role: str) -> AsyncIterator[Database]:
    process = Process([(BELLS, Settings(postgres_url=url, database_url=url, secret_key="s" * 32))], (), (role,))
    await process.open_databases()
    try:
        yield process.databases[BELLS.name]
    finally:
        await process.close()


@pytest.mark.parametrize("role", ["relay", "consumers"])
async def test_background_work_connects_to_a_database_that_is_slow_to_answer(kit_url: str, role: str) -> None:
    async with proxy_to(kit_url) as wire:
        wire.latency_s = SLOW_S
        async with _process(wire.url, role) as database:
            assert await database.fetch("SELECT 1")
            await (await database.dedicated()).close()


async def test_whoever_answers_requests_gives_up_on_it_within_a_second(kit_url: str) -> None:
    async with proxy_to(kit_url) as wire:
        wire.latency_s = SLOW_S
        async with _process(wire.url, "api") as database:
            with pytest.raises(DatabaseUnavailable):
                await database.fetch("SELECT 1")


async def test_a_broker_that_does_not_answer_in_time_ends_no_process_that_starts(servers: ServerUrls, own_nats: Nats) -> None:
    async with proxy_to(own_nats.url) as wire:
        wire.cut_at(b"STREAM.CREATE", delivered=False)
        urls = ServerUrls(postgres=servers.postgres, nats=wire.url, redis=servers.redis)
        async with platform(urls, ["accounts"]):
            assert wire.cuts == 1
