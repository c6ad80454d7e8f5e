"""Databases, brokers and streams for the tests of the kit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from careforall.kit.bus import Bus
from careforall.kit.db import Database
from careforall.launch.servers import Nats, Postgres
from careforall_testing.databases import Databases
from careforall_testing.plumbing import Bells, bells, connected, opened, prepare
from careforall_testing.servers import own_folder, running


@pytest.fixture
async def kit_url(databases: Databases) -> AsyncIterator[str]:
    """A database with the kit's tables and `effects`, for one test."""
    async with databases.clone(await databases.template("kit", prepare)) as url:
        yield url


@pytest.fixture
async def database(kit_url: str) -> AsyncIterator[Database]:
    """The same, opened, with patience for a busy machine."""
    async with opened(kit_url, acquire_timeout=5, connect_timeout=5) as found:
        yield found


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    """A connection to the module's broker."""
    async with connected(own_nats.url) as found:
        yield found


@pytest.fixture
async def bell(bus: Bus) -> Bells:
    """A stream for one test."""
    made = bells()
    await bus.ensure_streams([made.stream])
    return made


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL for one module, to stop, freeze and reconfigure."""
    with own_folder() as folder, running(Postgres, folder) as server:
        yield server
