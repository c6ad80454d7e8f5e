"""Group commit, rule 1 of the rules of correctness, letter by letter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from msgspec import Struct

from careforall.kit.batch import BUSY, Busy, GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.errors import (
    DatabaseUnavailable,
    DuplicateEntry,
    IdempotencyKeyReused,
    InvalidInput,
    Overloaded,
    Unavailable,
)
from careforall.kit.ids import new_id
from careforall_testing.plumbing import count, numbers
from careforall_testing.polling import eventually

Outcomes = Sequence[int | Exception | Busy]


class Item(Struct, frozen=True):
    """Something to write."""

    key: str
    number: int


class Writer:
    """Writes items into `effects`, remembers the batches it saw, and waits at a gate while it is closed."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, connection: Connection, items: Sequence[Item]) -> Outcomes:
        self.batches.append([item.key for item in items])
        await self.gate.wait()
        await connection.executemany(
            "INSERT INTO effects (id, key, number) VALUES ($1, $2, $3)", [(new_id(), item.key, item.number) for item in items]
        )
        return [item.number for item in items]


async def submit_all(batch: GroupCommit[Item, int], items: Sequence[Item]) -> list[int | BaseException]:
    return await asyncio.gather(*(batch.submit(item, key=item.key) for item in items), return_exceptions=True)


async def started(batch: GroupCommit[Item, int], item: Item) -> asyncio.Task[int]:
    """Submit without waiting for the result."""
    task = asyncio.create_task(batch.submit(item, key=item.key))
    await asyncio.sleep(0)
    return task


async def test_rule_01a_equal_keys_with_the_same_body_meet_in_memory_and_share_one_result(database: Database) -> None:
    write = Writer()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write)
    results = await asyncio.gather(*(batch.submit(Item("a", 7), key="a", fingerprint=b"one") for _ in range(20)))
    assert results == [7] * 20
    assert write.batches == [["a"]]
    assert await numbers(database) == [7]


async def test_rule_01a_an_equal_key_with_another_body_gets_422(database: Database) -> None:
    write = Writer()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write)
    first = asyncio.create_task(batch.submit(Item("a", 7), key="a", fingerprint=b"one"))
    await asyncio.sleep(0)
    with pytest.raises(IdempotencyKeyReused) as refused:
        await batch.submit(Item("a", 8), key="a", fingerprint=b"other")
    assert refused.value.status == 422
    assert await first == 7
    assert await numbers(database) == [7]


async def test_rule_01b_a_batch_is_written_in_the_order_of_its_keys(database: Database) -> None:
    write = Writer()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write)
    await submit_all(batch, [Item(key, 1) for key in ("c", "a", "d", "b")])
    assert write.batches == [["a", "b", "c", "d"]]


async def test_rule_01b_two_batchers_over_the_same_rows_never_deadlock(database: Database) -> None:
    keys = [f"{number:02}" for number in range(20)]
    await database.run(lambda c: c.executemany("INSERT INTO effects (id, key) VALUES ($1, $2)", [(new_id(), k) for k in keys]))
    runs = 0

    async def touch(connection: Connection, items: Sequence[Item]) -> Outcomes:
        nonlocal runs
        runs += 1
        for item in items:
            await connection.execute("UPDATE effects SET note = note || 'x' WHERE key = $1", item.key)
        return [item.number for item in items]

    batches: list[GroupCommit[Item, int]] = [GroupCommit(name, database, touch) for name in ("one", "other")]
    items = [Item(key, 1) for key in keys]
    await asyncio.gather(submit_all(batches[0], items), submit_all(batches[1], items[::-1]))
    assert runs == 2, "a deadlock would have repeated a transaction"
    assert await count(database, "effects", "note = 'xx'") == len(keys)


async def test_rule_01d_a_held_row_does_not_delay_its_neighbours_and_is_taken_up_again(database: Database) -> None:
    await database.run(lambda c: c.execute("INSERT INTO effects (id, key) VALUES ($1, 'a'), ($2, 'b')", new_id(), new_id()))

    async def lock(connection: Connection, items: Sequence[Item]) -> Outcomes:
        rows = await connection.fetch(
            "SELECT key FROM effects WHERE key = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED", [i.key for i in items]
        )
        free = {row["key"] for row in rows}
        await connection.execute("UPDATE effects SET note = note || 'x' WHERE key = ANY($1)", list(free))
        return [item.number if item.key in free else BUSY for item in items]

    batch: GroupCommit[Item, int] = GroupCommit("test", database, lock)
    async with database.connection() as holder:
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT FROM effects WHERE key = 'a' FOR UPDATE")
        slow = await started(batch, Item("a", 1))
        assert await batch.submit(Item("b", 2), key="b") == 2
        assert not slow.done()
        await held.rollback()
    assert await slow == 1
    assert await count(database, "effects", "note = 'x'") == 2


async def test_rule_01d_a_row_that_stays_held_gets_503_at_its_deadline(database: Database) -> None:
    async def always_busy(connection: Connection, items: Sequence[Item]) -> Outcomes:
        await connection.execute("SELECT 1")
        return [BUSY] * len(items)

    batch: GroupCommit[Item, int] = GroupCommit("test", database, always_busy, deadline=0.2)
    with pytest.raises(Unavailable) as refused:
        await batch.submit(Item("a", 1), key="a")
    assert (refused.value.status, refused.value.retry_after) == (503, 1)


@pytest.mark.parametrize("bad", [0, 3, 7])
async def test_rule_01e_one_bad_item_is_isolated_by_halving_and_its_neighbours_succeed(database: Database, bad: int) -> None:
    batch: GroupCommit[Item, int] = GroupCommit("test", database, Writer())
    items = [Item(str(number), -1 if number == bad else number) for number in range(8)]
    results = await submit_all(batch, items)
    assert isinstance(results.pop(bad), InvalidInput)
    good = [number for number in range(8) if number != bad]
    assert results == good
    assert await numbers(database) == good


async def test_rule_01e_a_taken_value_becomes_a_problem_that_names_the_field(database: Database) -> None:
    await database.run(lambda c: c.execute("INSERT INTO effects (id, key, number) VALUES ($1, 'taken', 1)", new_id()))
    batch: GroupCommit[Item, int] = GroupCommit("test", database, Writer())
    refused, fine = await submit_all(batch, [Item("taken", 2), Item("free", 3)])
    assert isinstance(refused, DuplicateEntry)
    assert refused.errors[0].pointer == "/key"
    assert fine == 3


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_rule_01e_class_40_repeats_the_whole_batch(database: Database, state: str) -> None:
    write = Writer()
    failures = [state]

    async def failing_once(connection: Connection, items: Sequence[Item]) -> Outcomes:
        outcomes = await write(connection, items)
        if failures:
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{failures.pop()}'; END $$")
        return outcomes

    batch: GroupCommit[Item, int] = GroupCommit("test", database, failing_once)
    assert await submit_all(batch, [Item("a", 1), Item("b", 2)]) == [1, 2]
    assert write.batches == [["a", "b"], ["a", "b"]]
    assert await numbers(database) == [1, 2]


async def test_rule_01e_a_lost_server_is_told_to_everybody_and_never_halved(database: Database) -> None:
    write = Writer()

    async def dying(connection: Connection, items: Sequence[Item]) -> Outcomes:
        await write(connection, items)
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return [1] * len(items)

    batch: GroupCommit[Item, int] = GroupCommit("test", database, dying)
    results = await submit_all(batch, [Item("a", 1), Item("b", 2)])
    assert [type(result) for result in results] == [DatabaseUnavailable] * 2
    assert write.batches == [["a", "b"]]
    assert await numbers(database) == []


async def test_rule_01e_other_errors_reach_every_caller_of_the_batch(database: Database) -> None:
    async def broken(connection: Connection, items: Sequence[Item]) -> Outcomes:
        await connection.execute("SELECT * FROM no_such_table")
        return [1] * len(items)

    batch: GroupCommit[Item, int] = GroupCommit("test", database, broken)
    results = await submit_all(batch, [Item("a", 1), Item("b", 2)])
    assert [type(result) for result in results] == [asyncpg.UndefinedTableError] * 2


async def test_rule_01f_a_full_queue_answers_503_with_retry_after(database: Database) -> None:
    write = Writer()
    write.gate.clear()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write, flights=1, max_waiting=2)
    flying = await started(batch, Item("flying", 1))
    await eventually(lambda: write.batches)
    waiting = [await started(batch, Item(f"waiting{number}", 2)) for number in range(2)]
    with pytest.raises(Overloaded) as refused:
        await batch.submit(Item("too many", 3), key="too many")
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    write.gate.set()
    assert [await task for task in (flying, *waiting)] == [1, 2, 2]
    assert await batch.submit(Item("room again", 4), key="room again") == 4


async def test_rule_01f_a_caller_gone_before_the_flush_is_taken_out(database: Database) -> None:
    write = Writer()
    write.gate.clear()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write, flights=1)
    flying = await started(batch, Item("flying", 1))
    await eventually(lambda: write.batches)
    gone, stays = await started(batch, Item("gone", 2)), await started(batch, Item("stays", 3))
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    write.gate.set()
    assert (await flying, await stays) == (1, 3)
    assert write.batches == [["flying"], ["stays"]]
    assert await numbers(database) == [1, 3]


async def test_rule_01f_once_in_a_flush_the_batch_finishes_whatever_happens_to_callers(database: Database) -> None:
    write = Writer()
    write.gate.clear()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write)
    task = await started(batch, Item("a", 1))
    await eventually(lambda: write.batches)
    task.cancel()
    write.gate.set()
    await batch.drain()
    assert await numbers(database) == [1]


async def test_a_lone_request_waits_for_nobody_and_a_crowd_shares_transactions(database: Database) -> None:
    write = Writer()
    batch: GroupCommit[Item, int] = GroupCommit("test", database, write, flights=1, max_batch=100)
    assert await batch.submit(Item("lone", 1), key="lone") == 1
    await submit_all(batch, [Item(str(number), number) for number in range(250)])
    assert [len(keys) for keys in write.batches] == [1, 100, 100, 50]
