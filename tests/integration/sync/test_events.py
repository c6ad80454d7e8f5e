"""Public events are stored once, in an order that a reader can follow while others write, and forgotten after 30 days."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from careforall.contracts import public
from careforall.kit import consumer as kit_consumer
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message
from careforall.kit.errors import InvalidInput
from careforall.sync.consumers import consumers
from careforall.sync.domain_webhooks import LARGEST
from careforall.sync.errors import CursorExpired
from careforall.sync.publishing import Publishing
from careforall.sync.service import SyncService
from careforall_testing.public_events import PERSON, campaign, gift, message, stored

WRITERS, BATCHES = 6, 25


@pytest.fixture
def publishing(database: Database) -> Publishing:
    return Publishing(database)


def consumer_of(database: Database, stream: str) -> Consumer:
    found = consumers(SyncService(database, targets=[], tries=5), Publishing(database))
    return next(one for one in found if one.name == f"sync-events-{stream}")


async def heard(database: Database, *messages: Message[Any]) -> int:
    """Give a batch to the consumer as its runner does, inbox and all."""
    consumer = consumer_of(database, "donations")
    return await database.run(lambda connection: kit_consumer.apply(connection, consumer, messages))


async def bodies(publishing: Publishing, **wanted: Any) -> list[dict[str, Any]]:
    stretch = await publishing.read(wanted.get("after"), wanted.get("types", ()), wanted.get("limit", 100))
    return [json.loads(event.body) for event in stretch.events]


async def execute(database: Database, statement: str, *args: object) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(statement, *args)

    await database.run(work)


def test_each_public_event_is_heard_by_one_consumer() -> None:
    found = consumers(Any, Any)  # type: ignore[arg-type]  # only who hears what is looked at
    subjects = [subject for one in found if one.name.startswith("sync-events-") for subject in one.filters()]
    assert sorted(subjects) == sorted(public.SUBJECTS)


async def test_an_event_is_stored_once_however_often_it_comes(database: Database, publishing: Publishing) -> None:
    one, other = message(gift(), version=2), message(gift())
    assert await heard(database, one, other, one) == 2
    assert await heard(database, one, message(gift())) == 1
    await execute(database, "DELETE FROM inbox")
    await heard(database, one, other)
    assert await stored(database) == [1, 2, 3]
    ids = [event["id"] for event in await bodies(publishing)]
    assert sorted(ids[:2]) == sorted([str(one.event_id), str(other.event_id)])


async def test_what_is_listed_says_which_object_and_nothing_of_the_giver(database: Database, publishing: Publishing) -> None:
    event = gift()
    told = message(event, about=event.donation_id, version=7)
    await heard(database, told)
    (shown,) = await bodies(publishing)
    assert shown == {
        "id": str(told.event_id),
        "type": "donations.completed",
        "timestamp": told.occurred_at.isoformat().replace("+00:00", "Z"),
        "object_id": str(event.donation_id),
        "sequence": 7,
        "data": {
            "donation_id": str(event.donation_id),
            "campaign_id": str(event.campaign_id),
            "campaign_title": "Wells",
            "amount": "25.00",
            "currency": "EUR",
            "status": "COMPLETED",
            "refunded_amount": "0.00",
            "disputed_amount": "0.00",
            "completed_at": "2027-01-31T12:00:00Z",
        },
    }
    row = await database.fetchrow(
        "SELECT count(*) AS n FROM webhook_events WHERE position($1::bytea IN body) > 0", PERSON.encode()
    )
    assert row is not None
    assert row["n"] == 0


async def test_a_reader_sees_everything_once_while_others_write(database: Database, publishing: Publishing) -> None:
    seed = random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)

    async def write(pauses: Sequence[float]) -> None:
        for pause in pauses:

            async def work(connection: Connection, pause: float = pause) -> None:
                await publishing.store(connection, [message(gift()) for _ in range(3)])
                await asyncio.sleep(pause)  # a commit that is slow while others would like to pass it

            await database.run(work)

    writing = asyncio.gather(*(write([dice.uniform(0, 0.01) for _ in range(BATCHES)]) for _ in range(WRITERS)))
    seen: list[int] = []
    after = 0
    while not writing.done() or after < WRITERS * BATCHES * 3:
        stretch = await publishing.read(after, (), dice.randint(1, 20))
        seen += [event.number for event in stretch.events]
        after = stretch.reached
        await asyncio.sleep(0)
    await writing
    assert seen == list(range(1, WRITERS * BATCHES * 3 + 1))


async def test_a_reader_of_one_type_gets_on_past_all_others(database: Database, publishing: Publishing) -> None:
    await heard(database, *(message(gift()) for _ in range(30)), message(campaign()), *(message(gift()) for _ in range(30)))
    await heard(database, message(campaign()))
    wanted = ["campaigns.updated"]
    first = await publishing.read(None, wanted, 1)
    rest = await publishing.read(first.reached, wanted, 10)
    assert [len(first.events), len(rest.events), rest.reached] == [1, 1, 62]
    both = await bodies(publishing, types=["campaigns.updated", "donations.completed"], limit=100)
    assert both == await bodies(publishing)
    assert (await publishing.read(62, wanted, 10)).reached == 62


async def test_a_cursor_before_what_is_kept_is_refused_and_a_new_start_begins_there(
    database: Database, publishing: Publishing
) -> None:
    for _ in range(3):
        await heard(database, *(message(gift()) for _ in range(4)))
    await execute(database, "UPDATE webhook_events SET stored_at = stored_at - interval '31 days' WHERE number <= 5")
    assert len(await bodies(publishing, after=2)) == 10
    await publishing.forget()
    assert await stored(database) == list(range(6, 13))
    with pytest.raises(CursorExpired):
        await publishing.read(4, (), 10)
    assert len(await bodies(publishing, after=5)) == 7
    assert len(await bodies(publishing)) == 7
    await publishing.forget()
    assert await stored(database) == list(range(6, 13))


async def test_readers_are_told_before_the_first_event_is_gone(database: Database, publishing: Publishing) -> None:
    await heard(database, *(message(gift()) for _ in range(4)))
    await execute(database, "UPDATE webhook_sequence SET pruned = 2")
    assert await stored(database) == [1, 2, 3, 4]
    with pytest.raises(CursorExpired):
        await publishing.read(1, (), 10)
    assert [event.number for event in (await publishing.read(None, (), 10)).events] == [3, 4]


@pytest.mark.parametrize("after", [1, LARGEST, LARGEST + 1, 2**128 - 1])
async def test_a_place_that_was_never_reached_is_refused(publishing: Publishing, after: int) -> None:
    with pytest.raises(CursorExpired):
        await publishing.read(after, (), 10)


async def test_unknown_and_private_types_are_refused_by_name(publishing: Publishing) -> None:
    with pytest.raises(InvalidInput) as refused:
        await publishing.read(None, ["donations.completed", "accounts.user_registered", "gifts.given"], 10)
    assert [(error.pointer, error.code) for error in refused.value.errors] == [
        ("/type/1", "unknown_event"),
        ("/type/2", "unknown_event"),
    ]


async def test_two_batches_with_the_same_events_at_once_store_them_once(database: Database) -> None:
    shared = [message(gift()) for _ in range(20)]
    publishing = Publishing(database)
    await asyncio.gather(*(database.run(lambda connection: publishing.store(connection, shared)) for _ in range(4)))
    assert await stored(database) == list(range(1, 21))
