"""The carts service as two real processes on one database, with a Valkey and a broker of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from careforall.launch.servers import Nats, Valkey
from careforall_testing.callers import signing_in
from careforall_testing.carts import CartHouse
from careforall_testing.platform import client_of, platform
from careforall_testing.servers import ServerUrls, own_nats, own_redis


@pytest.fixture(scope="session")
def carts_nats() -> Iterator[Nats]:
    """A broker for the carts service of this worker."""
    with own_nats() as server:
        yield server


@pytest.fixture(scope="session")
def carts_redis() -> Iterator[Valkey]:
    """A Valkey for the carts service of this worker, to be stopped and started."""
    with own_redis() as server:
        yield server


@pytest.fixture(scope="session")
async def house(servers: ServerUrls, carts_nats: Nats, carts_redis: Valkey) -> AsyncIterator[CartHouse]:
    """Two processes on one database."""
    urls = ServerUrls(postgres=servers.postgres, nats=carts_nats.url, redis=carts_redis.url)
    async with platform(urls, ["carts"]) as running, signing_in(running) as callers:
        await running.serve(["carts"])
        async with client_of(running.processes[1].url) as second:
            yield CartHouse(running=running, callers=callers, second=second)
