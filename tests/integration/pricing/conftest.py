"""The pricing service on a real PostgreSQL: in this process, and as two real processes on one database."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from careforall.launch.servers import Nats
from careforall_testing.callers import signing_in
from careforall_testing.platform import client_of, platform
from careforall_testing.pricing import Counter, PricingHouse, opened_counter
from careforall_testing.servers import ServerUrls, own_nats


@pytest.fixture(scope="session")
def pricing_nats() -> Iterator[Nats]:
    """A broker for the pricing service of this worker."""
    with own_nats() as server:
        yield server


@pytest.fixture(scope="session")
async def house(servers: ServerUrls, pricing_nats: Nats) -> AsyncIterator[PricingHouse]:
    """Two processes on one database."""
    urls = ServerUrls(postgres=servers.postgres, nats=pricing_nats.url, redis=servers.redis)
    async with platform(urls, ["pricing"], CAREFORALL_RATE_QUOTES="1000000") as running, signing_in(running) as callers:
        await running.serve(["pricing"])
        async with client_of(running.processes[1].url) as second:
            yield PricingHouse(running=running, callers=callers, second=second)


@pytest.fixture
async def counter(servers: ServerUrls) -> AsyncIterator[Counter]:
    """The service in this process, on a database of this test alone."""
    async with opened_counter(servers, seed=secrets.token_hex(4)) as found:
        yield found
