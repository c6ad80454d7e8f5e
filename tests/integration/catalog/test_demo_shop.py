"""The shop of the demo: whole, the same every time, and loaded once."""

from __future__ import annotations

import pytest

from careforall.cli.demo_shop import load_shop
from careforall.kit.db import Database, PoolSettings
from careforall_testing.platform import fresh_database
from careforall_testing.servers import ServerUrls


@pytest.mark.parametrize("_", ["first", "second"])
async def test_the_demo_shop_is_the_same_every_time(servers: ServerUrls, _: str) -> None:
    async with fresh_database(servers.postgres, "catalog") as url:
        settings = PoolSettings(
            max_size=1, acquire_timeout=20, connect_timeout=20, command_timeout=60, statement_timeout_ms=60_000
        )
        database = Database(url, name="catalog", settings=settings)
        await database.open()
        assert await load_shop(database) == "demo shop: 355 products in 13 categories"
        assert await load_shop(database) == "demo shop is there already"
        [row] = await database.fetch(_LOOK)
        await database.close()
    assert tuple(row) == (355, 355, 1245, "8392")


_LOOK = """
SELECT count(*) AS products, (SELECT count(*) FROM outbox) AS told, (SELECT count(*) FROM variants) AS all_variants,
       left(md5(string_agg(name || base_price || brand, ',' ORDER BY name, brand, base_price)), 4) AS mark
FROM products
"""
