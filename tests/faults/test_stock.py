"""A rush for scarce stock: Redis dies, processes are killed in the middle of batches, and every unit is sold exactly once."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from careforall.kit.ids import new_id
from careforall.launch.servers import Nats, Valkey
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.sizes import sizes
from careforall_testing.stock_house import RESERVATIONS, Buyers, StockHouse, stock_house

SIZES = sizes()
SKU = "LAST-ONES"
HELD = "SELECT coalesce(sum(quantity), 0) FROM reservations WHERE sku = $1 AND status = 'PENDING'"
POINTS = ("batch.before_commit", "batch.after_commit", "relay.after_ack_before_mark")

pytestmark = pytest.mark.timeout(120 + SIZES.buyers // 20)


@pytest.fixture
def broker() -> Iterator[Nats]:
    with own_nats() as server:
        yield server


@pytest.fixture
async def house(servers: ServerUrls, broker: Nats, redis_db: Valkey) -> AsyncIterator[StockHouse]:
    async with stock_house(ServerUrls(postgres=servers.postgres, nats=broker.url, redis=redis_db.url)) as found:
        yield found


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - shown when the test fails
    return random.Random(seed)


async def test_a_rush_sells_exactly_what_is_there_while_redis_dies(
    house: StockHouse, redis_db: Valkey, chance: random.Random
) -> None:
    await house.put(SKU, SIZES.units)
    buyers = Buyers(house, SKU, chance)

    rush = asyncio.create_task(buyers.rush(SIZES.buyers))
    while len(buyers.served) < SIZES.units // 2:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(redis_db.kill)
    await rush

    assert len(buyers.answers) == SIZES.buyers
    assert len(buyers.served) == SIZES.units
    assert all(len(answers) == 1 for answers in buyers.answers.values()), "who clicks twice is told the same twice"
    assert await house.value(HELD, SKU) == SIZES.units
    assert (await house.stock(SKU))["available"] == 0
    assert await house.violations() == []


async def test_a_flood_after_the_sale_is_refused_early_and_freed_stock_is_sold_again(
    house: StockHouse, chance: random.Random
) -> None:
    await house.put(SKU, 5)
    buyers = Buyers(house, SKU, chance)
    await buyers.rush(200)
    holder = await house.value("SELECT holder_id FROM reservations LIMIT 1")
    gone = await house.doors[0].delete(f"{RESERVATIONS}/{holder}", headers=house.staff)
    assert gone.status_code == 200, gone.text

    await asyncio.sleep(1.1)  # a hint lives one second
    await buyers.rush(100)

    assert len(buyers.served) == 6
    assert await house.value(HELD, SKU) == 5
    assert await house.violations() == []


@pytest.mark.parametrize("point", POINTS)
async def test_a_process_killed_in_a_batch_loses_and_doubles_nothing(
    house: StockHouse, chance: random.Random, point: str
) -> None:
    await house.put(SKU, 100)
    victim = house.running.first
    await victim.stop()
    buyers = Buyers(house, SKU, chance)
    over = asyncio.Event()
    rush = asyncio.create_task(_rush_and_settle(house, buyers, chance, over))
    for _ in range(SIZES.rounds + 1):
        victim.launch(CAREFORALL_CRASH_AT=f"{point}:{chance.randint(1, 4)}")
        assert await victim.wait_dead(timeout_s=60) == -signal.SIGKILL, victim.log_text()[-3000:]
    victim.launch(CAREFORALL_CRASH_AT="")
    await victim.wait_ready()
    over.set()
    await rush

    assert all(len(answers) == 1 for answers in buyers.answers.values())
    assert await house.violations() == []
    doubled = "SELECT count(*) FROM (SELECT holder_id FROM reservations GROUP BY holder_id HAVING sum(quantity) <> 1) AS doubled"
    assert await house.value(doubled) == 0
    known = await house.value("SELECT count(*) FROM holders")
    assert known == len(buyers.served), "every acknowledged hold is there, and no other"


async def _rush_and_settle(house: StockHouse, buyers: Buyers, chance: random.Random, over: asyncio.Event) -> None:
    """Buyers come and go until it is over: what is held is sold, released or kept."""
    while not over.is_set():
        await buyers.rush(20, workers=8)
        await asyncio.gather(*(_settle(house, chance) for _ in range(4)))


async def _settle(house: StockHouse, chance: random.Random) -> None:
    holder = await house.value("SELECT holder_id FROM reservations WHERE status = 'PENDING' ORDER BY random() LIMIT 1")
    path = f"{RESERVATIONS}/{holder or new_id()}"
    try:
        if chance.random() < 0.5:
            await house.doors[1].post(f"{path}/confirm", headers=house.staff)
        else:
            await house.doors[1].delete(path, headers=house.staff)
    except httpx2.HTTPError:
        return
