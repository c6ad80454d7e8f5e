"""Shared reads on a real PostgreSQL: who shares a statement, who sees what, and whom a failure reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from careforall.kit.db import Connection, Database
from careforall.kit.errors import DatabaseUnavailable
from careforall.kit.ids import new_id
from careforall.kit.reads import SharedRead
from careforall.launch.servers import Postgres
from careforall_testing.plumbing import opened

NUMBERS = "SELECT key, number FROM effects WHERE key = ANY($1::text[])"


class Reader:
    """Reads numbers by their keys, and remembers who was read together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def __call__(self, connection: Connection, keys: Sequence[str]) -> list[int | None]:
        self.batches.append(list(keys))
        found = {row["key"]: row["number"] for row in await connection.fetch(NUMBERS, keys)}
        return [found.get(key) for key in keys]


async def put(database: Database, **numbers: int) -> None:
    rows = [(new_id(), key, number) for key, number in numbers.items()]
    await database.run(lambda c: c.executemany("INSERT INTO effects (id, key, number) VALUES ($1, $2, $3)", rows))


async def test_who_asks_at_once_shares_a_statement_and_gets_an_answer_of_their_own(database: Database) -> None:
    await put(database, a=1, b=2)
    read = Reader()
    shared: SharedRead[str, int | None] = SharedRead(database, read)
    assert await asyncio.gather(*(shared.ask(key) for key in "abca")) == [1, 2, None, 1]
    assert read.batches == [["a", "b", "c", "a"]]
    assert await shared.ask("b") == 2, "whoever comes alone is answered too"


async def test_no_more_than_so_many_share_a_statement(database: Database) -> None:
    await put(database, a=1, b=2, c=3)
    read = Reader()
    shared: SharedRead[str, int | None] = SharedRead(database, read, at_once=2)
    assert await asyncio.gather(*(shared.ask(key) for key in "abc")) == [1, 2, 3]
    assert read.batches == [["a", "b"], ["c"]]


async def test_whoever_comes_while_one_is_read_waits_for_a_read_that_began_later(database: Database) -> None:
    await put(database, a=1)
    began, go_on = asyncio.Event(), asyncio.Event()
    reader = Reader()

    async def slowly(connection: Connection, keys: Sequence[str]) -> list[int | None]:
        found = await reader(connection, keys)
        began.set()
        await go_on.wait()
        return found

    shared: SharedRead[str, int | None] = SharedRead(database, slowly)
    before = asyncio.create_task(shared.ask("a"))
    await began.wait()
    await database.run(lambda c: c.execute("UPDATE effects SET number = 7 WHERE key = 'a'"))
    after = asyncio.create_task(shared.ask("a"))
    await asyncio.sleep(0)
    go_on.set()
    assert (await before, await after) == (1, 7)


async def test_a_snapshot_shows_several_statements_one_moment(database: Database) -> None:
    await put(database, a=1)
    read = Reader()
    async with database.snapshot() as connection:
        before = await read(connection, ["a"])
        await database.run(lambda c: c.execute("UPDATE effects SET number = number + 1"))
        assert await read(connection, ["a"]) == before == [1]


async def test_a_bad_question_fails_alone(database: Database) -> None:
    await put(database, a=1, b=2)
    shared: SharedRead[str, int | None] = SharedRead(database, Reader())
    answers = await asyncio.gather(shared.ask("a"), shared.ask("\0"), shared.ask("b"), return_exceptions=True)
    assert (answers[0], answers[2]) == (1, 2)
    assert isinstance(answers[1], asyncpg.DataError)


async def test_whoever_gives_up_disturbs_nobody(database: Database) -> None:
    await put(database, a=1)
    shared: SharedRead[str, int | None] = SharedRead(database, Reader())
    given_up, waiting = asyncio.create_task(shared.ask("x")), asyncio.create_task(shared.ask("a"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await waiting == 1


async def test_when_the_database_goes_everybody_is_told_and_nobody_looks_for_it_again(own_postgres: Postgres) -> None:
    asked: list[list[str]] = []

    async def ending(connection: Connection, keys: Sequence[str]) -> list[int | None]:
        asked.append(list(keys))
        own_postgres.kill()
        try:
            await connection.fetchval("SELECT 1")
        finally:
            own_postgres.start()
        raise AssertionError("the server was gone")

    async with opened(own_postgres.url, connect_timeout=5, acquire_timeout=5) as database:
        shared: SharedRead[str, int | None] = SharedRead(database, ending)
        answers = await asyncio.gather(*(shared.ask(key) for key in "abc"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    assert asked == [["a", "b", "c"]]
