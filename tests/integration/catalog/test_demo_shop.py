"""The shop of the demo: whole, the same every time, stocked, and loaded once."""

from __future__ import annotations

from careforall.cli.demo_shop import load_shop, made_up
from careforall.kit.db import Database, PoolSettings
from careforall_testing.databases import Databases
from careforall_testing.platform import fresh_database
from careforall_testing.servers import ServerUrls
from careforall_testing.stock import stock_database, stockroom


async def test_the_demo_shop_is_loaded_once_with_stock(servers: ServerUrls, databases: Databases) -> None:
    async with (
        fresh_database(servers.postgres, "catalog") as url,
        stock_database(databases) as stock_url,
        stockroom(stock_url, servers.redis) as room,
    ):
        settings = PoolSettings(
            max_size=1, acquire_timeout=20, connect_timeout=20, command_timeout=60, statement_timeout_ms=60_000
        )
        database = Database(url, name="catalog", settings=settings)
        await database.open()
        assert await load_shop(database, room.service) == "demo shop: 355 products in 13 categories"
        assert await load_shop(database, room.service) == "demo shop is there already"
        [row] = await database.fetch(_LOOK)
        await database.close()
        assert await room.value("SELECT count(DISTINCT sku) FROM stock") == 1245
    assert tuple(row) == (355, 355, 1245, "8392")


def test_the_demo_shop_is_the_same_every_time() -> None:
    assert made_up() == made_up()


_LOOK = """
SELECT count(*) AS products, (SELECT count(*) FROM outbox) AS told, (SELECT count(*) FROM variants) AS all_variants,
       left(md5(string_agg(name || base_price || brand, ',' ORDER BY name, brand, base_price)), 4) AS mark
FROM products
"""
