"""The consumer on a real broker and a real database: each message takes effect once, or ends as a dead letter with its reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import REGISTRY

from careforall.kit import inbox
from careforall.kit.bus import Bus, Stream
from careforall.kit.consumer import ADVISORY, Park, Runner
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message
from careforall.kit.ids import new_id
from careforall.kit.operations import DeadLetter, Operations
from careforall.launch.servers import Nats
from careforall_testing.plumbing import (
    Bells,
    bells,
    connected,
    count,
    note,
    numbers,
    opened,
    publish,
    runner_of,
    running,
)
from careforall_testing.polling import eventually
from careforall_testing.proxy import proxy_to

POISON = 13
GATHERED_S = 0.05
HORIZON_S = 31 * 86400


async def poisoned(connection: Connection, messages: Sequence[Message[Any]]) -> None:
    """A handler that cannot stand one number, after it has written some."""
    await note(connection, messages)
    if any(message.event.number == POISON for message in messages):
        raise ValueError(f"cannot stand {POISON}")


async def applied(database: Database, expected: list[int]) -> None:
    await eventually(lambda: _is(database, expected), what=f"effects {expected}")


async def _is(database: Database, expected: list[int]) -> bool:
    return await numbers(database) == expected


def _told(runner: Runner) -> tuple[float | None, float | None]:
    """How many messages the metrics call applied, and duplicates."""
    asked = [{"consumer": runner.consumer.name, "outcome": outcome} for outcome in ("applied", "duplicate")]
    applied, duplicate = (REGISTRY.get_sample_value("messages_consumed_total", labels) for labels in asked)
    return applied, duplicate


def _lag(runner: Runner) -> float | None:
    return REGISTRY.get_sample_value("consumer_pending_messages", {"consumer": runner.consumer.name})


async def letters(database: Database, expected: int = 1) -> list[DeadLetter]:
    """The dead letters, once there are so many."""

    async def found() -> list[DeadLetter]:
        events = (await Operations("bells", database).dead_letters(100)).events
        return events if len(events) == expected else []

    return await eventually(found, what=f"{expected} dead letters")


async def acknowledged(bus: Bus, runner: Runner) -> None:
    """Wait until the broker expects nothing more."""

    async def settled() -> bool:
        info = await bus.jetstream.consumer_info(runner.consumer.stream, runner.consumer.name)
        return not info.num_ack_pending and not info.num_pending

    await eventually(settled, what="everything acknowledged")


async def test_a_batch_is_one_transaction_with_its_inbox_rows(database: Database, bus: Bus, bell: Bells) -> None:
    sizes: list[int] = []

    async def counting(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        sizes.append(len(messages))
        await note(connection, messages)

    await publish(bus, bell.subject, *(bell.sealed(number) for number in range(100)))
    runner = runner_of(bell, database, bus, counting, batch=64)
    async with running(runner.run()):
        await applied(database, list(range(100)))
        await acknowledged(bus, runner)
    assert sizes[0] == 64
    assert await count(database, "inbox") == 100


async def test_messages_that_trickle_in_are_taken_several_at_a_time(database: Database, bus: Bus, bell: Bells) -> None:
    sizes: list[int] = []

    async def counting(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        sizes.append(len(messages))
        await note(connection, messages)

    runner = runner_of(bell, database, bus, counting, batch=64)
    begun = time.monotonic()
    async with running(runner.run()):
        for number in range(40):
            await publish(bus, bell.subject, bell.sealed(number))
            await asyncio.sleep(0.01)  # not a wait: what makes it a trickle
        await applied(database, list(range(40)))
        most = (time.monotonic() - begun) / GATHERED_S + 2
    assert len(sizes) <= most, sizes


async def test_the_same_event_twice_takes_effect_once_in_one_batch_and_in_two(database: Database, bus: Bus, bell: Bells) -> None:
    twice = bell.sealed(1)
    await publish(bus, bell.subject, twice, twice)
    runner = runner_of(bell, database, bus)
    async with running(runner.run()):
        await applied(database, [1])
        await publish(bus, bell.subject, twice, bell.sealed(2))
        await applied(database, [1, 2])
        await acknowledged(bus, runner)
        await eventually(lambda: _told(runner) == (2, 2), what="each message counted once, by what became of it")


@pytest.mark.parametrize("place", [0, 31, 63])
async def test_a_poison_message_is_isolated_by_halving_and_its_neighbours_are_applied(
    database: Database, bus: Bus, bell: Bells, place: int
) -> None:
    sent = [POISON if number == place else 100 + number for number in range(64)]
    await publish(bus, bell.subject, *(bell.sealed(number) for number in sent))
    runner = runner_of(bell, database, bus, poisoned)
    async with running(runner.run()):
        await applied(database, [number for number in sent if number != POISON])
        dead = await letters(database)
        await acknowledged(bus, runner)
        await eventually(lambda: _told(runner) == (63, 0), what="each message counted once, by what became of it")
    assert (dead[0].kind, dead[0].attempts, dead[0].consumer) == ("inbox", 1, runner.consumer.name)
    assert dead[0].reason == f"ValueError: cannot stand {POISON}"
    assert await count(database, "inbox") == 63, "the poison left no claim behind"


async def test_a_failing_message_is_tried_again_before_it_is_given_up(database: Database, bus: Bus, bell: Bells) -> None:
    tried = 0

    async def moody(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise ValueError("not today")
        await note(connection, messages)

    await publish(bus, bell.subject, bell.sealed(1))
    runner = runner_of(bell, database, bus, moody, attempts=2)
    async with running(runner.run()):
        await applied(database, [1])
        await acknowledged(bus, runner)
    assert (await Operations("bells", database).dead_letters(10)).count == 0


async def test_a_retried_dead_letter_takes_effect_exactly_once(database: Database, bus: Bus, bell: Bells) -> None:
    cured = False

    async def curable(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await (note if cured else poisoned)(connection, messages)

    await publish(bus, bell.subject, bell.sealed(POISON))
    runner = runner_of(bell, database, bus, curable)
    operations = Operations("bells", database)
    async with running(runner.run()):
        letter = (await letters(database))[0]
        assert await operations.retry(letter.id, new_id())
        assert await runner.redrive() == 0, "still poisonous"
        again = (await letters(database))[0]
        assert (again.id, again.attempts) == (letter.id, 2)
        cured = True
        assert await operations.retry(letter.id, new_id())
        assert sum(await asyncio.gather(runner.redrive(), runner.redrive())) >= 1
        assert not await operations.retry(letter.id, new_id())
        assert await runner.redrive() == 0
    assert await numbers(database) == [POISON]
    assert (await operations.dead_letters(10)).count == 0
    assert await count(database, "outbox", "event_type = 'bells.admin_action'") == 2, "staff's retries are audited"


async def test_a_discarded_dead_letter_is_settled_without_an_effect(database: Database, bus: Bus, bell: Bells) -> None:
    await publish(bus, bell.subject, bell.sealed(POISON))
    runner = runner_of(bell, database, bus, poisoned)
    async with running(runner.run()):
        letter = (await letters(database))[0]
    operations = Operations("bells", database)
    assert await operations.discard(letter.id, new_id())
    assert not await operations.retry(letter.id, new_id())
    assert await runner.redrive() == 0
    assert await numbers(database) == []


async def test_rule_07_an_unknown_version_is_parked_and_its_neighbours_are_applied(
    database: Database, bus: Bus, bell: Bells
) -> None:
    await publish(bus, bell.subject, bell.sealed(1, version=99), bell.sealed(2))
    runner = runner_of(bell, database, bus)
    async with running(runner.run()):
        await applied(database, [2])
        info = await eventually(lambda: _info(bus, runner, pending=1))
    assert info.num_ack_pending == 1, "it comes again in an hour"
    assert (await Operations("bells", database).dead_letters(10)).count == 0
    assert await count(database, "message_failures") == 0


async def test_rule_06_an_event_older_than_the_inbox_remembers_is_refused_and_never_applied(
    database: Database, bus: Bus, bell: Bells
) -> None:
    old = UUID(int=(int((time.time() - HORIZON_S) * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))
    await publish(bus, bell.subject, bell.sealed(1, event_id=old), bell.sealed(2))
    runner = runner_of(bell, database, bus)
    async with running(runner.run()):
        await applied(database, [2])
        letter = (await letters(database))[0]
        await acknowledged(bus, runner)
        assert letter.reason.startswith("beyond_horizon")
        assert await Operations("bells", database).retry(letter.id, new_id())
        assert await runner.redrive() == 0
    assert await numbers(database) == [2]


@pytest.mark.parametrize(
    "garbage",
    [b"", b"not json", b"[]", b"null", b'{"event_id": 7}', b"\xff\xfe\x00", b"x" * 100_000],
    ids=["empty", "text", "array", "null", "wrong_types", "binary", "long"],
)
async def test_what_is_no_envelope_becomes_a_dead_letter_and_stops_nobody(
    database: Database, bus: Bus, bell: Bells, garbage: bytes
) -> None:
    await publish(bus, bell.subject, garbage, bell.sealed(2))
    runner = runner_of(bell, database, bus)
    async with running(runner.run()):
        await applied(database, [2])
        assert (await letters(database))[0].reason.startswith("undecodable")
        await acknowledged(bus, runner)


async def test_a_reason_the_database_cannot_store_as_it_is_does_not_stop_the_consumer(
    database: Database, bus: Bus, bell: Bells
) -> None:
    async def rude(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        if any(message.event.number == POISON for message in messages):
            raise ValueError("nul \x00 and surrogate \ud800")
        await note(connection, messages)

    await publish(bus, bell.subject, bell.sealed(POISON), bell.sealed(2))
    runner = runner_of(bell, database, bus, rude)
    async with running(runner.run()) as work:
        await applied(database, [2])
        assert (await letters(database))[0].reason.startswith("ValueError: nul ")
        assert not work[0].done()


async def test_a_parked_message_comes_again_when_its_handler_asked_for_it(database: Database, bus: Bus, bell: Bells) -> None:
    early = True

    async def waiting(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        nonlocal early
        if early and any(message.event.number == 1 for message in messages):
            early = len(messages) > 1
            raise Park(0.1)
        await note(connection, messages)

    await publish(bus, bell.subject, bell.sealed(1), bell.sealed(2))
    runner = runner_of(bell, database, bus, waiting)
    async with running(runner.run()):
        await applied(database, [1, 2])
    assert await count(database, "message_failures") == 0


async def test_rule_07_a_database_that_is_away_holds_the_batch_and_counts_no_attempt(
    kit_url: str, database: Database, bus: Bus, bell: Bells
) -> None:
    async with proxy_to(kit_url) as wire, opened(wire.url, command_timeout=1.0) as wired:
        runner = runner_of(bell, wired, bus)
        async with running(runner.run()) as work:
            await publish(bus, bell.subject, bell.sealed(1))
            await applied(database, [1])
            wire.mode = "refuse"
            wire.reset()
            await publish(bus, bell.subject, *(bell.sealed(number) for number in range(2, 12)))
            refused = wire.accepted
            await eventually(lambda: wire.accepted > refused + 1, what="two tries in vain")
            await publish(bus, bell.subject, *(bell.sealed(number) for number in range(12, 15)))
            await eventually(lambda: _lag(runner) == 3, what="what came meanwhile is told as pending")
            wire.heal()
            await applied(database, list(range(1, 15)))
            assert not work[0].done()
        info = await bus.jetstream.consumer_info(bell.stream.name, runner.consumer.name)
        assert info.num_redelivered == 0
    assert await count(database, "message_failures") == 0


async def test_rule_07_a_database_lost_while_a_failure_is_counted_does_not_end_the_consumer(
    kit_url: str, bus: Bus, bell: Bells
) -> None:
    async with proxy_to(kit_url) as wire, opened(wire.url, command_timeout=1.0) as wired:

        async def fail_and_cut(_: Connection, messages: Sequence[Message[Any]]) -> None:
            wire.mode = "refuse"
            wire.reset()
            await asyncio.sleep(0)
            raise ValueError(f"no {len(messages)}")

        runner = runner_of(bell, wired, bus, fail_and_cut)
        async with running(runner.run()) as work:
            await publish(bus, bell.subject, bell.sealed(1))
            refused = wire.accepted
            await eventually(lambda: wire.accepted > refused + 1)
            await asyncio.wait(work, timeout=0.3)
            assert not work[0].done()


async def test_rule_07_a_row_that_somebody_else_holds_is_no_fault_of_the_message(
    kit_url: str, database: Database, bus: Bus, bell: Bells
) -> None:
    await database.run(lambda c: c.execute("INSERT INTO effects (id, key, number) VALUES ($1, 'held', 0)", new_id()))

    async def touching(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await connection.execute("UPDATE effects SET number = number + $1 WHERE key = 'held'", len(messages))

    async with opened(kit_url, lock_timeout_ms=50) as impatient, database.connection() as holder:
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT FROM effects FOR UPDATE")
        runner = runner_of(bell, impatient, bus, touching)
        async with running(runner.run()):
            await publish(bus, bell.subject, bell.sealed(1))
            await _blocked_twice(database)
            await held.rollback()
            await applied(database, [1])
    assert await count(database, "message_failures") == 0
    assert await count(database, "dead_letters") == 0


async def test_rule_07_the_longer_a_row_is_held_the_more_seldom_a_message_comes_again(
    kit_url: str, database: Database, bus: Bus, bell: Bells
) -> None:
    tries: list[float] = []

    async def touching(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        tries.append(time.monotonic())
        await note(connection, messages)

    async with opened(kit_url, lock_timeout_ms=50) as impatient, database.connection() as holder:
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE effects IN SHARE MODE")
        async with running(runner_of(bell, impatient, bus, touching).run()):
            await publish(bus, bell.subject, bell.sealed(1))
            await asyncio.sleep(8)  # not a wait: as long as the rows are held
            during = len(tries)
            await held.rollback()
            await eventually(lambda: _is(database, [1]), within_s=20)
    assert during <= 6, tries


async def test_rule_07_a_slow_database_is_no_fault_of_the_message(
    kit_url: str, database: Database, bus: Bus, bell: Bells
) -> None:
    waits = [0.5, 0.5, 0.0]

    async def slow(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await connection.execute("SELECT pg_sleep($1)", waits.pop(0))
        await note(connection, messages)

    async with opened(kit_url, statement_timeout_ms=200) as impatient, running(runner_of(bell, impatient, bus, slow).run()):
        await publish(bus, bell.subject, bell.sealed(1))
        await applied(database, [1])
    assert await count(database, "message_failures") == 0
    assert await count(database, "dead_letters") == 0


async def test_a_consumer_that_the_broker_forgot_is_made_again_by_itself(own_nats: Nats, database: Database) -> None:
    bell = bells()
    async with connected(own_nats.url) as bus:
        await bus.ensure_streams([bell.stream])
        runner = runner_of(bell, database, bus)
        async with running(runner.run()):
            await publish(bus, bell.subject, bell.sealed(1))
            await applied(database, [1])
            await bus.jetstream.delete_stream(bell.stream.name)
            await bus.ensure_streams([bell.stream])
            await publish(bus, bell.subject, bell.sealed(2))
            await eventually(lambda: _is(database, [1, 2]), within_s=15)


async def test_a_stream_that_somebody_deleted_is_made_again_by_who_listens_to_it(own_nats: Nats, database: Database) -> None:
    bell = bells()
    async with connected(own_nats.url) as bus:
        await bus.ensure_streams([bell.stream])
        async with running(runner_of(bell, database, bus).run()):
            await publish(bus, bell.subject, bell.sealed(1))
            await applied(database, [1])
            await bus.jetstream.delete_stream(bell.stream.name)
            await eventually(lambda: bus.extent(bell.stream.name), within_s=15, what="the stream again")
            await publish(bus, bell.subject, bell.sealed(2))
            await eventually(lambda: _is(database, [1, 2]), within_s=15)


async def test_a_message_the_broker_gave_up_on_is_kept_as_a_dead_letter(database: Database, bus: Bus, bell: Bells) -> None:
    await publish(bus, bell.subject, bell.sealed(7))
    captured = Stream(name=f"GIVEN_UP_{bell.stream.name}", subjects=(f"{ADVISORY}.{bell.stream.name}.>",), max_bytes=1024**2)
    await bus.ensure_streams([captured])
    runner = runner_of(bell, database, bus)
    await publish(bus, f"{ADVISORY}.{bell.stream.name}.{runner.consumer.name}", b'{"stream_seq": 1}')  # while nobody listens
    async with running(runner.hear_advisories(captured.name)):
        letter = (await eventually(lambda: letters(database)))[0]
    assert letter.reason.startswith("max_deliveries")
    assert await Operations("bells", database).retry(letter.id, new_id())
    assert await runner.redrive() == 1
    assert await numbers(database) == [7]


async def test_a_consumer_told_to_stop_gives_back_what_it_holds_at_once(database: Database, bus: Bus, bell: Bells) -> None:
    held = asyncio.Event()

    async def endless(_: Connection, __: Sequence[Message[Any]]) -> None:
        held.set()
        await asyncio.Event().wait()

    await publish(bus, bell.subject, *(bell.sealed(number) for number in range(3)))
    async with running(runner_of(bell, database, bus, endless).run()):
        await held.wait()
    started = time.monotonic()
    async with running(runner_of(bell, database, bus).run()):
        await applied(database, [0, 1, 2])
    assert time.monotonic() - started < 5, "waited until the broker took it back"


async def test_claiming_again_writes_so_that_the_repeat_s_own_commit_proves_the_first(database: Database) -> None:
    messages = [new_id(), new_id()]
    assert await database.run(lambda c: inbox.claim(c, "ear", messages)) == set(messages)
    before = await database.fetch("SELECT xmin::text FROM inbox")
    assert await database.run(lambda c: inbox.claim(c, "ear", messages)) == set()
    assert await database.run(lambda c: inbox.claim(c, "other ear", messages)) == set(messages)
    after = await database.fetch("SELECT xmin::text FROM inbox WHERE consumer = 'ear'")
    assert {row["xmin"] for row in before} & {row["xmin"] for row in after} == set()


async def _info(bus: Bus, runner: Runner, *, pending: int) -> Any:
    try:
        info = await bus.jetstream.consumer_info(runner.consumer.stream, runner.consumer.name)
    except Exception as error:
        if type(error).__name__ != "NotFoundError":
            raise
        return None
    return info if info.num_ack_pending == pending else None


async def _blocked_twice(database: Database) -> None:
    """Return once a lock was waited for, given up, and waited for again."""
    seen: set[str] = set()

    async def look() -> bool:
        rows: list[asyncpg.Record] = await database.fetch(
            "SELECT xact_start::text AS began FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        seen.update(row["began"] for row in rows)
        return len(seen) > 1

    await eventually(look, within_s=5)
