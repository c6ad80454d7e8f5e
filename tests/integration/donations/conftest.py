"""The donations service as two real processes, one with hot paths and one without, shared by the tests of a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from careforall.launch.servers import Nats
from careforall_testing.giving import GivingHouse, giving_house
from careforall_testing.servers import ServerUrls, own_nats


@pytest.fixture(scope="session")
def donations_nats() -> Iterator[Nats]:
    """A broker for the donations service of this worker."""
    with own_nats() as server:
        yield server


@pytest.fixture(scope="session")
async def house(servers: ServerUrls, donations_nats: Nats) -> AsyncIterator[GivingHouse]:
    """Both processes."""
    async with giving_house(ServerUrls(postgres=servers.postgres, nats=donations_nats.url, redis=servers.redis)) as found:
        yield found


@pytest.fixture(scope="session")
async def campaign(house: GivingHouse) -> dict[str, Any]:
    """A LIVE campaign in EUR that nobody changes."""
    return await house.campaign(minimum="1.00", maximum="10000.00")


@pytest.fixture(params=["hot", "cold"])
def door(request: pytest.FixtureRequest, house: GivingHouse) -> httpx2.AsyncClient:
    """The way in: with hot paths, and through the framework alone."""
    return house.door(request.param)
