"""Redis, NATS and PostgreSQL taken away under load: what is promised meanwhile, and that all of it is in order afterwards."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
import redis.asyncio

from careforall.drills import repository
from careforall.drills.asking import Answered
from careforall.drills.load import AMOUNT, DONATION, READ, WEBHOOK, Load
from careforall.launch.server_process import Server
from careforall_testing import outcomes
from careforall_testing.journey import Journey, running_platform
from careforall_testing.polling import eventually
from careforall_testing.sizes import sizes

SIZES = sizes()
PUBLISHERS = ("donations", "payments", "accounts")
EMPTY_WITHIN_S = 60.0
RECOVERED_WITHIN_S = 10.0

pytestmark = pytest.mark.timeout(170 + 3 * SIZES.broker_outage_s)


@pytest.fixture(scope="module")
async def journey() -> AsyncIterator[Journey]:
    async with running_platform() as journey:
        yield journey


@pytest.fixture
async def load(journey: Journey) -> Load:
    """A campaign of this test, with gifts whose webhooks can be sent whatever is away."""
    found = Load(journey, await journey.campaign())
    await found.prepare(SIZES.prepared)
    await found.look()
    return found


async def start_again(server: Server) -> None:
    """Start a server on its old port and wait until it answers."""
    server.launch()
    await asyncio.to_thread(server.wait_ready)


async def answers_more(load: Load, kinds: Collection[str] = (DONATION, READ), count: int = 20) -> None:
    """Wait until so many further requests of each kind were answered: the load goes on."""
    seen = {kind: len(load.of(kind)) for kind in kinds}
    await eventually(lambda: all(len(load.of(kind)) >= seen[kind] + count for kind in kinds), within_s=60, what="more answers")


async def for_a_while(seconds: float) -> None:
    """Let an outage last."""
    until = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() >= until, within_s=seconds + 5, every_s=0.2)


async def in_order(journey: Journey, load: Load) -> None:
    """Nothing lost, every effect once, the books balance."""
    await load.pay_everything()
    gifts = load.gifts.keys()
    await outcomes.all_stored(journey, gifts)
    await outcomes.all_completed(journey, gifts)
    await outcomes.totals_are(journey, load.campaign, given=AMOUNT * len(gifts), gifts=len(gifts))
    await outcomes.one_receipt_each(journey, gifts)
    await outcomes.books_balance(journey)


async def test_without_redis_nobody_notices(journey: Journey, load: Load) -> None:
    valkey = journey.servers.redis
    async with load.running(per_second=SIZES.per_second):
        await answers_more(load)
        await asyncio.to_thread(valkey.stop)
        await for_a_while(SIZES.outage_s)
        await answers_more(load)
        await start_again(valkey)
        await answers_more(load)
    assert load.failures() == []
    assert len(load.of(WEBHOOK)) > 0
    await in_order(journey, load)


async def test_an_emptied_redis_doubles_nothing(journey: Journey, load: Load) -> None:
    async with redis.asyncio.Redis.from_url(journey.servers.redis.url) as valkey, load.running(per_second=SIZES.per_second):
        await answers_more(load)
        await valkey.flushall()
        told = [load.gifts[gift] for gift in load.paid]
        again = [await load.tell(gift) for gift in told]
        await answers_more(load)
    assert again
    assert all(answered.headers.get("idempotent-replayed") == "true" for answered in again)
    assert load.failures() == []
    await in_order(journey, load)


async def test_without_the_broker_everything_is_accepted_and_delivered_afterwards(journey: Journey, load: Load) -> None:
    nats = journey.servers.nats
    async with load.running(per_second=SIZES.per_second):
        await answers_more(load)
        await asyncio.to_thread(nats.stop)
        await for_a_while(SIZES.broker_outage_s)
        waiting = await _outbox(journey)
        await start_again(nats)
    assert waiting > 0
    assert load.failures() == []
    await eventually(lambda: _emptied(journey), within_s=EMPTY_WITHIN_S, every_s=0.2, what="empty outboxes")
    await in_order(journey, load)


async def test_a_broker_that_lost_its_disks_is_told_everything_again(journey: Journey, load: Load) -> None:
    nats = journey.servers.nats
    await load.pay_everything()
    await outcomes.all_completed(journey, load.gifts.keys())
    await journey.settled()
    before = await _known_streams(journey)
    async with load.running(per_second=SIZES.per_second):
        await answers_more(load)
        await asyncio.to_thread(nats.kill)
        await asyncio.to_thread(shutil.rmtree, nats.data / "jetstream")
        await start_again(nats)

        async def noticed() -> bool:
            known = await _known_streams(journey)
            return all(known[service] != before[service] for service in PUBLISHERS)

        await eventually(noticed, within_s=EMPTY_WITHIN_S, every_s=0.2, what="relays that noticed the wipe")
    assert load.failures() == []
    await in_order(journey, load)


async def test_without_the_database_it_says_so_and_loses_nothing(journey: Journey, load: Load) -> None:
    postgres = journey.servers.postgres
    pids = [process.pid for process in journey.platform.processes]
    async with load.running(per_second=SIZES.per_second):
        await answers_more(load)
        await asyncio.to_thread(postgres.stop)
        seen = len(load.answers)
        await for_a_while(SIZES.outage_s)
        during = [*load.answers[seen:]]
        await start_again(postgres)
        await eventually(lambda: _gives(load), within_s=RECOVERED_WITHIN_S, every_s=0.1, what="gifts are taken again")
    _refuses_clearly([answered for answered in during if answered.kind in (DONATION, WEBHOOK)])
    _reads_go_on([answered for answered in during if answered.kind == READ])
    assert {answered.status for answered in load.answers} <= {200, 201, 503}, _unexpected(journey)
    assert [process.pid for process in journey.platform.processes if process.alive] == pids, _last_words(journey)
    await in_order(journey, load)


def _refuses_clearly(answers: list[Answered]) -> None:
    """While the database is away nothing is accepted, and each refusal says when to come again, soon."""
    assert answers
    assert {answered.status for answered in answers} == {503}
    assert all(answered.headers["content-type"] == "application/problem+json" for answered in answers)
    assert all(int(answered.headers["retry-after"]) >= 1 for answered in answers)
    assert {answered.document["code"] for answered in answers} <= {"database_unavailable", "outcome_unknown"}
    assert sorted(answered.seconds for answered in answers)[len(answers) // 2] < 1


def _reads_go_on(answers: list[Answered]) -> None:
    """Totals are served as last known, and say so."""
    assert answers
    assert {answered.status for answered in answers} == {200}
    late = answers[len(answers) // 2 :]
    assert all(answered.document["stale"] is True for answered in late)
    assert all(answered.headers["warning"].startswith("110") for answered in late)


def _unexpected(journey: Journey) -> str:
    """What the processes logged as their own defects."""
    lines = [line for process in journey.platform.processes for line in process.log_text().splitlines()]
    return "\n".join(line[:3000] for line in lines if "unexpected error" in line)


def _last_words(journey: Journey) -> str:
    """The end of the log of each process that has ended."""
    return "\n".join(process.log_text()[-4000:] for process in journey.platform.processes if not process.alive)


async def _gives(load: Load) -> bool:
    return (await load.give()).good


async def _outbox(journey: Journey) -> int:
    async with journey.platform.database("donations") as donations:
        return await repository.unpublished(donations)


async def _emptied(journey: Journey) -> bool:
    return await _outbox(journey) == 0


async def _known_streams(journey: Journey) -> dict[str, Any]:
    """When each relay believes its stream was made."""
    found = {}
    for service in PUBLISHERS:
        async with journey.platform.database(service) as database:
            found[service] = await database.fetchval("SELECT stream_created FROM relay_state")
    return found
