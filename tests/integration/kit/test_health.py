"""What health says of a database."""

from __future__ import annotations

from careforall.kit.bus import Bus
from careforall.kit.cache import Cache
from careforall.kit.health import Health
from careforall_testing.databases import connection
from careforall_testing.plumbing import opened


async def test_a_database_that_takes_no_writes_is_down(kit_url: str, bus: Bus) -> None:
    assert await _word_of_the_database(kit_url, bus) == "up"
    async with connection(kit_url) as owner:
        name = await owner.fetchval("SELECT current_database()")
        await owner.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert await _word_of_the_database(kit_url, bus) == "down"


async def _word_of_the_database(url: str, bus: Bus) -> str:
    async with opened(url, acquire_timeout=5, connect_timeout=5) as database:
        health = Health({"bells": database}, bus, Cache("redis://127.0.0.1:1/0", prefix=""))
        await health.look()
        return health.services()["bells"].database
