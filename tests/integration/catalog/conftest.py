"""The catalog as a real process, shared by the tests of a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from careforall.launch.servers import Nats
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.shopping import ShopHouse, shop_house


@pytest.fixture(scope="session")
def catalog_nats() -> Iterator[Nats]:
    """A broker for the catalog of this worker."""
    with own_nats() as server:
        yield server


@pytest.fixture(scope="session")
async def house(servers: ServerUrls, catalog_nats: Nats) -> AsyncIterator[ShopHouse]:
    """The catalog."""
    urls = ServerUrls(postgres=servers.postgres, nats=catalog_nats.url, redis=servers.redis)
    async with shop_house(urls, ["catalog"]) as found:
        yield found
