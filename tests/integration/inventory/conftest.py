"""Inventory in this process, on a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from careforall_testing.databases import Databases
from careforall_testing.servers import ServerUrls
from careforall_testing.stock import Stockroom, stock_database, stockroom


@pytest.fixture
async def room_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database."""
    async with stock_database(databases) as url:
        yield url


@pytest.fixture
async def room(room_url: str, servers: ServerUrls) -> AsyncIterator[Stockroom]:
    """The service on it; the books must balance when the test is over."""
    async with stockroom(room_url, servers.redis) as found:
        yield found
        assert await found.violations() == []


@pytest.fixture
async def second_room(room_url: str, servers: ServerUrls) -> AsyncIterator[Stockroom]:
    """The same service in what stands for another process."""
    async with stockroom(room_url, servers.redis) as found:
        yield found
