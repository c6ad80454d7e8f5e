"""Idempotency-Key on routes of one transaction: replays, refusals and waiting, on a real unique key."""

from __future__ import annotations

import asyncio

import pytest

from careforall.kit import idempotency
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Conflict, IdempotencyKeyInUse, IdempotencyKeyReused, Locked
from careforall.kit.idempotency import Answer, Call, fingerprint
from careforall.kit.ids import new_id
from careforall_testing.plumbing import count, numbers, opened
from careforall_testing.polling import eventually

BODY = '{"städt":  "\\u00fc"}'.encode()


def call(body: str = "one", *, scope: str = "POST /things|user", key: str = "k") -> Call:
    return Call(scope=scope, key=key, fingerprint=fingerprint(body))


async def work(connection: Connection) -> tuple[int, bytes]:
    await connection.execute("INSERT INTO effects (id, number) VALUES ($1, 1)", new_id())
    return 201, BODY


async def test_rule_20_a_repeat_gets_the_same_status_and_bytes_and_has_no_effect(database: Database) -> None:
    assert await idempotency.once(database, call(), work) == Answer(status=201, body=BODY)
    assert await idempotency.once(database, call(), work) == Answer(status=201, body=BODY, replayed=True)
    assert await numbers(database) == [1]


async def test_rule_20_the_same_key_with_another_body_gets_422_and_has_no_effect(database: Database) -> None:
    await idempotency.once(database, call(), work)
    with pytest.raises(IdempotencyKeyReused) as refused:
        await idempotency.once(database, call("other"), work)
    assert refused.value.status == 422
    assert await numbers(database) == [1]


async def test_rule_20_keys_of_different_callers_never_meet(database: Database) -> None:
    await idempotency.once(database, call(), work)
    other = await idempotency.once(database, call("other", scope="POST /things|somebody else"), work)
    assert not other.replayed
    assert await numbers(database) == [1, 1]


async def test_without_a_key_every_request_is_a_new_one(database: Database) -> None:
    assert [(await idempotency.once(database, None, work)).replayed for _ in range(2)] == [False, False]
    assert await numbers(database) == [1, 1]


async def test_rule_20_a_refused_request_stores_no_answer_so_that_its_repeat_is_tried_anew(database: Database) -> None:
    async def refuse(_: Connection) -> tuple[int, bytes]:
        raise Conflict

    with pytest.raises(Conflict):
        await idempotency.once(database, call(), refuse)
    assert await count(database, "idempotency_keys") == 0
    assert not (await idempotency.once(database, call(), work)).replayed


async def test_rule_20_concurrent_requests_wait_and_then_get_the_replay(database: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> tuple[int, bytes]:
        begun.set()
        await go_on.wait()
        return await work(connection)

    first = asyncio.create_task(idempotency.once(database, call(), slow))
    await begun.wait()
    others = [asyncio.create_task(idempotency.once(database, call(), work)) for _ in range(4)]
    await _blocked(database, 4)
    go_on.set()
    assert not (await first).replayed
    assert [(await other).replayed for other in others] == [True] * 4
    assert await numbers(database) == [1]


async def test_rule_20_who_waits_longer_than_the_lock_time_out_gets_409_and_may_retry(kit_url: str, database: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> tuple[int, bytes]:
        begun.set()
        await go_on.wait()
        return await work(connection)

    first = asyncio.create_task(idempotency.once(database, call(), slow))
    await begun.wait()
    async with opened(kit_url, lock_timeout_ms=100) as impatient:
        with pytest.raises(IdempotencyKeyInUse) as refused:
            await idempotency.once(impatient, call(), work)
        assert (refused.value.status, refused.value.retry_after) == (409, 1)
        go_on.set()
        await first
        assert (await idempotency.once(impatient, call(), work)).replayed


async def test_a_lock_time_out_without_a_key_is_a_plain_409(kit_url: str, database: Database) -> None:
    async with database.connection() as holder:
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE effects")
        async with opened(kit_url, lock_timeout_ms=50) as impatient:
            with pytest.raises(Locked):
                await idempotency.once(impatient, None, work)
        await held.rollback()


async def _blocked(database: Database, expected: int) -> None:
    async def waiting() -> bool:
        row = await database.fetchrow(
            "SELECT count(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return row is not None and row["waiting"] == expected

    await eventually(waiting, what=f"{expected} requests that wait for the key")
