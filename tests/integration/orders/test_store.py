"""Turns of sagas share transactions: of two only one is written, whoever is held up waits alone, and a repeat changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from careforall.kit.db import Database, PoolSettings
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing
from careforall.orders.records import Logged, Run, Sale, Turn
from careforall.orders.saga_words import Saga
from careforall.orders.store import Fenced, Store
from careforall_testing.platform import fresh_database
from careforall_testing.servers import ServerUrls


@pytest.fixture
async def database(servers: ServerUrls) -> AsyncIterator[Database]:
    async with fresh_database(servers.postgres, "orders") as url:
        opened = Database(url, name="orders", settings=PoolSettings())
        await opened.open()
        yield opened
        await opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    """A store of one flight, so that what is saved at once meets in one batch."""
    return Store(database, max_batch=64, flights=1)


def beginning(identifier: UUID | None = None) -> Turn:
    sale = Sale(order_id=new_id(), intent_id=new_id(), user_id=new_id())
    before = Run(saga=Saga(id=identifier or new_id(), type="CHECKOUT"), sale=sale)
    return following(before)


def following(before: Run, *, epoch: int = 0, events: tuple[Outgoing, ...] = ()) -> Turn:
    logs = (Logged(step="reserve", attempt=before.version + 1, status="STARTED"),)
    version, logged = before.version + 1, before.logged + len(logs)
    after = Run(saga=before.saga, sale=before.sale, epoch=epoch or before.epoch, version=version, logged=logged)
    return Turn(id=new_id(), before=before, after=after, lease=30.0, logs=logs, events=events)


async def both(store: Store, *turns: Turn) -> list[Run | BaseException]:
    return await asyncio.gather(*(store.save(turn) for turn in turns), return_exceptions=True)


async def log_of(database: Database, saga_id: UUID) -> list[tuple[int, int]]:
    rows = await database.fetch("SELECT number, attempt FROM saga_step_log WHERE saga_id = $1 ORDER BY number", saga_id)
    return [(row["number"], row["attempt"]) for row in rows]


async def told(database: Database) -> list[Any]:
    return [row["id"] for row in await database.fetch("SELECT id FROM outbox ORDER BY id")]


def an_event(saga_id: UUID) -> Outgoing:
    return Outgoing(id=new_id(), event_type="checkout.initiated", aggregate_id=saga_id, payload=b"{}", traceparent=None)


async def test_of_two_beginnings_of_one_saga_one_is_written(store: Store, database: Database) -> None:
    saga_id = new_id()
    answers = await both(store, beginning(saga_id), beginning(saga_id), beginning())
    assert sorted(type(one).__name__ for one in answers) == ["Fenced", "Run", "Run"]
    assert await log_of(database, saga_id) == [(0, 1)]
    [won] = [one for one in answers[:2] if isinstance(one, Run)]
    stored = await store.load(saga_id)
    assert stored is not None
    assert stored.sale == won.sale


async def test_of_two_turns_of_one_saga_one_is_written_with_its_event(store: Store, database: Database) -> None:
    first, other = await store.save(beginning()), await store.save(beginning())
    turns = [following(first, events=(an_event(first.saga.id),)) for _ in range(2)]
    answers = await both(store, *turns, following(other))
    assert sorted(type(one).__name__ for one in answers) == ["Fenced", "Run", "Run"]
    [won] = [turn for turn, answer in zip(turns, answers[:2], strict=True) if isinstance(answer, Run)]
    assert await told(database) == [won.events[0].id]
    assert await log_of(database, first.saga.id) == [(0, 1), (1, 2)]


async def test_who_was_taken_over_writes_no_more(store: Store, database: Database) -> None:
    run = await store.save(beginning())
    taken = await store.save(following(run, epoch=run.epoch + 1))
    with pytest.raises(Fenced):
        await store.save(following(run, events=(an_event(run.saga.id),)))
    assert await told(database) == []
    assert (await store.save(following(taken))).version == taken.version + 1


async def test_a_turn_that_is_written_already_is_our_own(store: Store, database: Database) -> None:
    """As after a COMMIT whose answer was lost: it is written again, and changes nothing."""
    begun = beginning()
    run = await store.save(begun)
    moved = following(run, events=(an_event(run.saga.id),))
    assert await store.save(begun) == run
    assert await store.save(moved) == await store.save(moved)
    assert await log_of(database, run.saga.id) == [(0, 1), (1, 2)]
    assert await told(database) == [moved.events[0].id]


async def test_a_saga_that_is_held_keeps_no_other_waiting(store: Store, database: Database) -> None:
    held, free = await store.save(beginning()), await store.save(beginning())
    connection = await asyncpg.connect(database.dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM saga_state WHERE id = $1 FOR UPDATE", held.saga.id)
            waiting = asyncio.ensure_future(store.save(following(held)))
            assert (await store.save(following(free))).version == free.version + 1
            assert not waiting.done()
        assert (await waiting).version == held.version + 1
    finally:
        await connection.close()
