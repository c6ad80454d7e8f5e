"""Catalog and search as one real process, shared by the tests of a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from careforall.launch.servers import Nats
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.shopping import ShopHouse, shop_house


@pytest.fixture(scope="session")
def search_nats() -> Iterator[Nats]:
    """A broker for this worker."""
    with own_nats() as server:
        yield server


@pytest.fixture(scope="session")
async def house(servers: ServerUrls, search_nats: Nats) -> AsyncIterator[ShopHouse]:
    """Catalog and search."""
    urls = ServerUrls(postgres=servers.postgres, nats=search_nats.url, redis=servers.redis)
    async with shop_house(urls, ["catalog", "search"], known=["inventory"]) as found:
        yield found
