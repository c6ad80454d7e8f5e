"""The degraded flag on a real broker: believed while it is fresh, and a hint only (rule 18)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.js.api import KeyValueConfig
from nats.js.kv import KeyValue

from careforall.kit.bus import Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.degraded import Degraded, DegradedFlag
from careforall.kit.ids import new_id
from careforall.kit.timelines import Remembered, Timelines
from careforall.launch.servers import Nats
from careforall_testing.callers import signing_in
from careforall_testing.giving import CAMPAIGNS, DONATIONS, gift
from careforall_testing.platform import platform
from careforall_testing.plumbing import Bells, count, relay_of, running, store
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls, own_nats

BUCKET, KEY = "cfa-flags", "degraded"


def said(*, active: bool, **more: Any) -> bytes:
    """What the watcher of the database writes."""
    return json.dumps({"active": active, "since": datetime.now(UTC).isoformat(), "reason": "PrimaryLost", **more}).encode()


async def bucket(bus: Bus) -> KeyValue:
    """Make the bucket as the operator does."""
    return await bus.jetstream.create_key_value(KeyValueConfig(bucket=BUCKET, history=1, ttl=30))


@pytest.fixture
async def flags(bus: Bus) -> AsyncIterator[KeyValue]:
    """The bucket, made as the operator makes it, and gone afterwards."""
    yield await bucket(bus)
    await bus.jetstream.delete_key_value(BUCKET)


async def test_without_a_bucket_or_a_key_nothing_is_degraded(bus: Bus) -> None:
    flag = DegradedFlag(bus)
    await flag.look()
    assert not flag.active
    flag.refuse_writes()


async def test_an_active_flag_refuses_writes_until_it_is_lifted(bus: Bus, flags: KeyValue) -> None:
    flag = DegradedFlag(bus)
    await flags.put(KEY, said(active=True, timeline=3, expires_at="later"))
    await flag.look()
    with pytest.raises(Degraded) as refused:
        flag.refuse_writes()
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "degraded", 5)
    await flags.put(KEY, said(active=False))
    await flag.look()
    assert not flag.active


async def test_a_flag_that_vanishes_is_lifted(bus: Bus, flags: KeyValue) -> None:
    flag = DegradedFlag(bus)
    await flags.put(KEY, said(active=True))
    await flag.look()
    assert flag.active
    await flags.purge(KEY)
    await flag.look()
    assert not flag.active


async def test_a_flag_that_nobody_says_again_is_not_believed_for_longer_than_its_life(bus: Bus, flags: KeyValue) -> None:
    flag = DegradedFlag(bus, lifetime=0.3)
    await flags.put(KEY, said(active=True))
    await flag.look()
    assert flag.active
    await asyncio.sleep(0.35)
    await flag.look()
    assert not flag.active
    fresh = DegradedFlag(bus, lifetime=0.3)
    await fresh.look()
    assert not fresh.active, "a process that starts later does not believe it either"
    await flags.put(KEY, said(active=True))
    await flag.look()
    assert flag.active, "said again, it holds again"


async def test_what_is_no_flag_is_none(bus: Bus, flags: KeyValue) -> None:
    flag = DegradedFlag(bus)
    await flags.put(KEY, b'{"active": "perhaps"}')
    await flag.look()
    assert not flag.active


async def test_the_relay_rests_while_it_is_said_and_then_goes_on(database: Database, bus: Bus, bell: Bells) -> None:
    resting = True
    await store(database, [bell.ring(1)])
    async with running(relay_of(bell, database, bus, resting=lambda: resting).run()):
        await asyncio.sleep(1)
        assert await count(database, "outbox", "status = 'PROCESSED'") == 0
        resting = False
        await eventually(lambda: _published(database), what="the row that waited")


async def test_a_process_refuses_writes_and_answers_reads_while_the_flag_is_up_and_needs_no_broker_to_go_on(
    servers: ServerUrls,
) -> None:
    with own_nats() as broker:
        urls = ServerUrls(postgres=servers.postgres, nats=broker.url, redis=servers.redis)
        async with platform(urls, ["donations"]) as made, signing_in(made) as callers:
            body = {"title": "Wells", "goal": "1000.00", "currency": "EUR", "status": "LIVE"}
            campaign = (await made.client.post(CAMPAIGNS, json=body, headers=callers.admin())).json()
            await _raise_flag(broker)
            await eventually(lambda: _degraded(made.client, campaign), within_s=5, what="503 degraded")
            assert (await made.client.get(f"{CAMPAIGNS}/{campaign['id']}")).status_code == 200
            await asyncio.to_thread(broker.stop)
            await eventually(
                lambda: _given(made.client, campaign), within_s=40, every_s=0.5, what="a gift without broker or flag"
            )


async def test_a_process_that_starts_knows_the_timelines_others_saw(redis_url: str) -> None:
    first, second, late = Timelines(), Timelines(), Timelines()
    cache = Cache(redis_url, prefix=f"{new_id()}:", deadline=2)
    processes = [Remembered(seen, cache) for seen in (first, second, late)]
    try:
        assert first.admit("one", 7)
        assert second.admit("two", 2)
        await processes[0].close()
        await processes[1].close()
        assert await processes[2].recall() == {"one": 7, "two": 2}
        assert not late.admit("one", 6)
        assert late.admit("one", 8)
        await processes[2].close()
    finally:
        await cache.close()


async def test_without_redis_timelines_are_learned_anew() -> None:
    timelines = Timelines()
    cache = Cache("redis://127.0.0.1:1/0", prefix="")
    remembered = Remembered(timelines, cache)
    await remembered.recall()
    assert timelines.admit("one", 1)
    await remembered.close()
    await cache.close()


async def _published(database: Database) -> bool:
    return await count(database, "outbox", "status = 'PROCESSED'") == 1


async def _raise_flag(broker: Nats) -> None:
    bus = Bus(broker.url, name="watcher")
    await bus.open()
    await (await bucket(bus)).put(KEY, said(active=True))
    await bus.close()


async def _degraded(client: Any, campaign: dict[str, Any]) -> bool:
    answer = await client.post(DONATIONS, json=gift(campaign))
    if answer.status_code != 503:
        return False
    assert (answer.json()["code"], answer.headers["retry-after"], answer.json()["retryable"]) == ("degraded", "5", True)
    return True


async def _given(client: Any, campaign: dict[str, Any]) -> bool:
    answer = await client.post(DONATIONS, json=gift(campaign, donor_email="late@example.org"))
    assert answer.status_code in {201, 503}, answer.text
    return bool(answer.status_code == 201)
