"""Where totals are read from, and what happens when a level is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from careforall.kit.ids import new_id
from careforall.totals.domain import CampaignFact, Gift
from careforall.totals.levels import redis_key, stored
from careforall_testing.servers import ServerUrls

SOON = 10.0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll for a condition."""
    deadline = time.monotonic() + SOON
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def held_amount(running: Any, campaign: object) -> Decimal | None:
    held = stored(await running.cache.get(redis_key(campaign)))  # type: ignore[arg-type]  # an id
    return held.totals.total_amount if held is not None else None


async def test_each_level_answers_in_its_turn(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers, process_seconds=0.0) as running:
        campaign = new_id()
        await running.fold([gift(campaign, disputed_amount=Decimal("4.00"))])
        from_base = (await running.service.totals(campaign)).reading
        await running.parts.views["campaign_totals"]()
        from_view = (await running.service.totals(campaign)).reading
        await running.service.refresh_campaign(campaign)
        from_redis = (await running.service.totals(campaign)).reading
        realtime = (await running.service.totals(campaign, realtime=True)).reading
        levels = [reading.level for reading in (from_base, from_view, from_redis, realtime)]
        assert levels == ["base_table", "materialized_view", "redis", "realtime"]
        assert from_base.totals == from_view.totals == from_redis.totals == realtime.totals
        assert (realtime.totals.total_amount, realtime.totals.net_amount) == (Decimal("10.00"), Decimal("6.00"))


async def test_a_miss_warms_redis(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers, process_seconds=0.0) as feeding:
        campaign = new_id()
        await feeding.fold([gift(campaign)])
        async with arena.open(servers, database=feeding.database.dsn, started=True, process_seconds=0.0) as running:
            await running.cache.drop(redis_key(campaign))
            await running.service.totals(campaign)

            async def warmed() -> bool:
                return await held_amount(running, campaign) == Decimal("10.00")

            await until(warmed)
            assert (await running.service.totals(campaign)).reading.level == "redis"


async def test_memory_answers_for_its_second_only(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers, process_seconds=0.2) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        first = await running.service.totals(campaign)
        assert running.service.ready(str(campaign)) == first.body
        await running.fold([gift(campaign)])
        assert (await running.service.totals(campaign)).body == first.body

        async def renewed() -> bool:
            return bool((await running.service.totals(campaign)).reading.totals.total_donations == 2)

        await until(renewed)


async def test_readers_of_one_moment_share_one_flight(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers) as running:
        campaigns = [new_id() for _ in range(3)]
        await running.fold([gift(campaign) for campaign in campaigns])
        before = running.database.queries
        answers = await asyncio.gather(*(running.service.totals(campaigns[number % 3]) for number in range(300)))
        assert {answer.reading.totals.campaign_id for answer in answers} == set(campaigns)
        assert running.database.queries - before == 2  # the view and the base, once for all


async def test_realtime_reads_share_queries_and_see_every_commit_before_them(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()

    async def read() -> int:
        return int((await running.service.totals(campaign, realtime=True)).reading.totals.total_donations)

    for count in range(1, 6):
        early = [asyncio.ensure_future(read()) for _ in range(20)]
        await asyncio.sleep(0)
        await running.fold([gift(campaign)])
        before = running.database.queries
        assert set(await asyncio.gather(*(read() for _ in range(50)))) == {count}
        assert running.database.queries - before <= 2
        assert set(await asyncio.gather(*early)) <= {count - 1, count}


async def test_a_commit_reaches_redis_and_the_memory_of_other_processes(
    arena: Any, servers: ServerUrls, gift: Callable[..., Gift]
) -> None:
    instance = f"test-{new_id().hex}"
    async with (
        arena.open(servers, instance=instance, started=True) as consuming,
        arena.open(servers, instance=instance, database=consuming.database.dsn, process_seconds=60.0) as reading,
    ):
        campaign = new_id()
        await consuming.fold([gift(campaign)])

        async def told() -> bool:
            return await held_amount(reading, campaign) == Decimal("10.00")

        await until(told)
        assert (await reading.service.totals(campaign)).reading.totals.total_donations == 1
        await consuming.fold([gift(campaign), gift(campaign)])

        async def renewed() -> bool:
            return bool((await reading.service.totals(campaign)).reading.totals.total_donations == 3)

        await until(renewed)
        assert await held_amount(reading, campaign) == Decimal("30.00")


async def test_an_old_value_in_redis_is_replaced_after_the_next_commit(
    arena: Any, servers: ServerUrls, gift: Callable[..., Gift]
) -> None:
    async with arena.open(servers, started=True) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        await until(lambda: _holds(running, campaign, "10.00"))
        old = await running.cache.get(redis_key(campaign))
        await running.fold([gift(campaign)])
        await running.cache.put({redis_key(campaign): old}, seconds=300)
        await until(lambda: _holds(running, campaign, "20.00"))


async def test_a_rolled_back_fold_leaves_nothing_behind(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers, started=True) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])

        async def fails(connection: Any) -> None:
            await running.service.fold(connection, [gift(campaign, amount="90.00")])
            raise ZeroDivisionError

        try:
            await running.database.run(fails)
        except ZeroDivisionError:
            await until(lambda: _holds(running, campaign, "10.00"))
        assert (await running.counters(campaign)).total_amount == Decimal("10.00")


async def test_zeros_come_in_the_currency_of_the_campaign(running: Any) -> None:
    known, stranger = new_id(), new_id()
    facts = [
        CampaignFact(campaign_id=known, currency=currency, status="LIVE", version=version)
        for currency, version in (("KWD", 2), ("JPY", 1))
    ]
    await running.database.run(lambda connection: running.service.keep_campaigns(connection, facts))
    await running.database.run(lambda connection: running.service.keep_campaigns(connection, facts[1:]))
    zeros = [(await running.service.totals(campaign)).reading for campaign in (known, stranger)]
    assert [reading.totals.currency for reading in zeros] == ["KWD", "EUR"]
    assert {reading.totals.total_donations for reading in zeros} == {0}


async def test_warm_start_puts_popular_campaigns_into_redis(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers) as feeding:
        popular, quiet = new_id(), new_id()
        await feeding.fold([gift(popular), gift(popular), gift(quiet)])
        async with arena.open(servers, database=feeding.database.dsn, started=True, warm_campaigns=1) as running:
            await until(lambda: _holds(running, popular, "20.00"))
            assert await held_amount(running, quiet) is None


async def test_top_campaigns_come_highest_first(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers) as running:
        campaigns = [new_id() for _ in range(3)]
        await running.fold([gift(campaign, amount=f"{10 * (1 + number)}.00") for number, campaign in enumerate(campaigns)])
        found = [reading.totals.campaign_id for reading in await running.service.top(2)]
        assert found == [campaigns[2], campaigns[1]]


async def _holds(running: Any, campaign: object, amount: str) -> bool:
    return await held_amount(running, campaign) == Decimal(amount)
