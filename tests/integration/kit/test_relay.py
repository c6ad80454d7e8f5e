"""The relay on a real outbox and a real broker: everything stored is published, whatever happens in between."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

import msgspec
import pytest
from nats.js.api import StreamConfig

from careforall.kit import outbox
from careforall.kit.bus import Bus
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Posted
from careforall.kit.ids import new_id
from careforall.kit.operations import Operations
from careforall.kit.relay import BATCH, Nudge, replay
from careforall.launch.servers import Nats
from careforall_testing.plumbing import Bells, bells, connected, count, numbers, opened, relay_of, runner_of, running, store
from careforall_testing.polling import eventually


async def stored(bus: Bus, bell: Bells) -> int:
    """How many messages the stream keeps."""
    return (await bus.jetstream.stream_info(bell.stream.name)).state.messages


async def published(database: Database, rows: int) -> None:
    await eventually(lambda: _is(database, "PROCESSED", rows), what=f"{rows} published rows")


async def _is(database: Database, status: str, rows: int) -> bool:
    return await count(database, "outbox", f"status = '{status}'") == rows


async def test_more_rows_than_a_window_are_published_once_each_with_their_stream_sequence(
    database: Database, bus: Bus, bell: Bells
) -> None:
    rows = BATCH * 2 + 7
    await store(database, [bell.ring(number) for number in range(rows)])
    async with running(relay_of(bell, database, bus).run()):
        await published(database, rows)
    assert await stored(bus, bell) == rows
    found = await database.fetch("SELECT DISTINCT stream_sequence FROM outbox WHERE published_at IS NOT NULL")
    assert {row["stream_sequence"] for row in found} == set(range(1, rows + 1))


async def test_what_is_published_are_the_stored_bytes_under_the_row_s_id(database: Database, bus: Bus, bell: Bells) -> None:
    row = bell.ring(1)
    await store(database, [row])
    async with running(relay_of(bell, database, bus).run()):
        await published(database, 1)
    message = await bus.jetstream.get_msg(bell.stream.name, 1)
    assert message.data == row.payload
    assert (message.subject, (message.headers or {})["Nats-Msg-Id"]) == (bell.subject, str(row.id))


async def test_rule_05_a_low_id_that_commits_late_is_not_skipped(database: Database, bus: Bus, bell: Bells) -> None:
    low, high = bell.ring(1), bell.ring(2)
    assert low.id < high.id
    async with running(relay_of(bell, database, bus).run()), database.connection() as slow:
        late = slow.transaction()
        await late.start()
        await outbox.insert(slow, [low])
        await store(database, [high])
        await published(database, 1)
        await late.commit()
        await published(database, 2)
    assert await stored(bus, bell) == 2


async def test_rule_02_rows_are_read_in_the_transaction_of_the_claim_and_each_claim_commits(
    database: Database, bus: Bus, bell: Bells
) -> None:
    await store(database, [bell.ring(1)])
    async with running(relay_of(bell, database, bus).run()):
        await published(database, 1)
    state = await database.fetchrow("SELECT claims, published FROM relay_state")
    assert state is not None
    assert (state["claims"] >= 1, state["published"]) == (True, 1)


async def test_acknowledged_but_not_marked_rows_are_sent_again_and_take_effect_once(
    database: Database, bus: Bus, bell: Bells
) -> None:
    rows = [bell.ring(number) for number in range(20)]
    await store(database, rows)
    await bus.publish_window([Posted(row.event_type, str(row.id), row.payload) for row in rows])
    async with running(relay_of(bell, database, bus).run(), runner_of(bell, database, bus).run()):
        await published(database, 20)
        await eventually(lambda: _effects(database, 20))
    assert await stored(bus, bell) == 20, "the broker knew the ids"
    assert await numbers(database) == list(range(20))


async def test_rule_06_after_the_broker_forgot_its_window_the_inbox_still_makes_effects_happen_once(
    database: Database, bus: Bus, bell: Bells
) -> None:
    await store(database, [bell.ring(number) for number in range(20)])
    async with running(relay_of(bell, database, bus).run(), runner_of(bell, database, bus).run()):
        await eventually(lambda: _effects(database, 20))
        await published(database, 20)
        await bus.jetstream.purge_stream(bell.stream.name)
        assert await database.run(lambda connection: replay(connection, since=None)) == 20
        await published(database, 20)
        again = bell.ring(20)
        await store(database, [again])
        await eventually(lambda: _effects(database, 21))
    assert await numbers(database) == list(range(21))


async def test_rule_06_a_wiped_stream_is_noticed_and_everything_kept_is_sent_again(
    database: Database, bus: Bus, bell: Bells
) -> None:
    await store(database, [bell.ring(number) for number in range(20)])
    async with running(relay_of(bell, database, bus).run()):
        await published(database, 20)
    await bus.jetstream.delete_stream(bell.stream.name)
    await bus.ensure_streams([bell.stream])
    assert await stored(bus, bell) == 0
    async with running(relay_of(bell, database, bus).run()):
        await eventually(lambda: _stored(bus, bell, 20))
        await published(database, 20)


async def test_rule_06_a_stream_that_lost_its_newest_messages_gets_them_again(database: Database, bus: Bus, bell: Bells) -> None:
    await store(database, [bell.ring(number) for number in range(20)])
    async with running(relay_of(bell, database, bus).run()):
        await published(database, 20)
    kept = (await bus.jetstream.stream_info(bell.stream.name)).state.last_seq
    await store(database, [bell.ring(number) for number in range(20, 25)])
    await database.run(lambda connection: _told_and_lost(connection, kept))
    async with running(relay_of(bell, database, bus).run(), runner_of(bell, database, bus).run()):
        await eventually(lambda: _effects(database, 25))
        await published(database, 25)
    assert await stored(bus, bell) == 25, "only what was lost was sent again"
    async with running(relay_of(bell, database, bus).run()):
        await asyncio.sleep(0.5)
    assert await stored(bus, bell) == await count(database, "outbox", "status = 'PROCESSED'") == 25


async def _told_and_lost(connection: Connection, kept: int) -> None:
    """What is pending was acknowledged by a broker that crashed before it had it on disk."""
    await connection.execute(
        "UPDATE outbox SET status = 'PROCESSED', published_at = clock_timestamp(), stream_sequence = $1 + place "
        "FROM (SELECT id AS row, row_number() OVER (ORDER BY id) AS place FROM outbox WHERE status = 'PENDING') AS lost "
        "WHERE id = lost.row",
        kept,
    )
    await connection.execute("UPDATE relay_state SET last_sequence = (SELECT max(stream_sequence) FROM outbox)")


async def test_a_lasting_refusal_fails_alone_dies_after_its_retries_and_lives_again_on_demand(
    database: Database, bus: Bus, bell: Bells
) -> None:
    await _limit_message_size(bus, bell, 2000)
    long = bell.ring(13)
    long = outbox.Outgoing(long.id, long.event_type, long.aggregate_id, long.payload + b" " * 4000, None)
    await store(database, [bell.ring(1), long, bell.ring(2)])
    operations = Operations("bells", database)
    async with running(relay_of(bell, database, bus).run()):
        await published(database, 2)
        await eventually(lambda: _is(database, "FAILED", 1))
        failed = (await operations.pending(10))[0]
        assert (failed.id, failed.retry_count, failed.next_retry_at is not None) == (long.id, 1, True)
        assert "10054" in (failed.error_message or "")
        for retries in range(2, 6):
            await operations.process(new_id())
            await eventually(partial(_retried, database, long.id, retries))
        dead = await operations.dead_letters(10)
        assert [(letter.id, letter.kind, letter.attempts) for letter in dead.events] == [(long.id, "outbox", 5)]
        await _limit_message_size(bus, bell, -1)
        assert await operations.retry(long.id, new_id())
        assert not await operations.retry(long.id, new_id()), "it is not dead any more"
        await eventually(lambda: _row_is(database, long.id, "PROCESSED"))
    assert (await operations.dead_letters(10)).count == 0


async def test_a_row_too_large_for_the_broker_does_not_hold_up_its_neighbours(database: Database, bus: Bus, bell: Bells) -> None:
    row = bell.ring(13)
    huge = outbox.Outgoing(row.id, row.event_type, row.aggregate_id, row.payload + b" " * 2 * 1024**2, None)
    await store(database, [bell.ring(1), huge, bell.ring(2)])
    async with running(relay_of(bell, database, bus).run()):
        await published(database, 2)
        await eventually(lambda: _is(database, "FAILED", 1))


async def test_rule_05_one_relay_is_active_and_another_takes_over_when_it_is_gone(
    kit_url: str, database: Database, own_nats: Nats
) -> None:
    bell = bells()
    async with connected(own_nats.url) as one, connected(own_nats.url) as two, opened(kit_url) as other:
        await one.ensure_streams([bell.stream])
        async with running(relay_of(bell, other, two).run()):
            holder = await eventually(lambda: _lock_holder(database), what="an active relay")
            async with running(relay_of(bell, database, one).run()):
                await store(database, [bell.ring(1)])
                await published(database, 1)
                assert await _lock_holder(database) == holder
                await other.close()
                await database.fetch("SELECT pg_terminate_backend($1)", holder)
                await store(database, [bell.ring(2)])
                await published(database, 2)
                assert await _lock_holder(database) not in {None, holder}


async def test_of_a_rush_of_commits_the_relay_hears_at_once_and_again_after_the_last(bus: Bus) -> None:
    instance, heard = f"test-{new_id().hex}", 0

    async def hear(_: object) -> None:
        nonlocal heard
        heard += 1

    await bus.listen(f"hint.{instance}.outbox.bells", hear)
    nudge = Nudge(bus, instance, "bells")
    nudge()
    await eventually(lambda: heard == 1, what="the first is told of at once")
    for _ in range(100):
        nudge()
    await eventually(lambda: heard == 2, what="those that follow are told of together")
    await asyncio.sleep(0.3)
    assert heard == 2
    nudge()
    await eventually(lambda: heard == 3, what="one after a pause")


async def test_the_broker_away_only_delays(database: Database) -> None:
    bell = bells()
    bus = Bus("nats://127.0.0.1:1", name="nobody")
    await bus.open(wait=0.1)
    try:
        async with running(relay_of(bell, database, bus).run()):
            await store(database, [bell.ring(1)])
            await asyncio.sleep(0)
            assert await _is(database, "PENDING", 1)
    finally:
        await bus.close()


@pytest.mark.parametrize("existing", [True, False])
async def test_a_stream_is_made_or_repaired_as_declared(bus: Bus, *, existing: bool) -> None:
    bell = bells()
    if existing:
        await bus.jetstream.add_stream(StreamConfig(name=bell.stream.name, subjects=["other.>"], max_age=5))
    await bus.ensure_streams([bell.stream])
    made = (await bus.jetstream.stream_info(bell.stream.name)).config
    assert (made.subjects, made.max_age, made.duplicate_window) == ([f"{bell.name}.>"], 7 * 86400, 600)
    assert (str(made.retention), str(made.discard)) == ("limits", "new")


async def _limit_message_size(bus: Bus, bell: Bells, size: int) -> None:
    config = (await bus.jetstream.stream_info(bell.stream.name)).config
    config.max_msg_size = size
    await bus.jetstream.update_stream(config)


async def _stored(bus: Bus, bell: Bells, messages: int) -> bool:
    return await stored(bus, bell) == messages


async def _effects(database: Database, rows: int) -> bool:
    return await count(database, "effects") == rows


async def _retried(database: Database, row: UUID, retries: int) -> bool:
    return await count(database, "outbox", f"id = '{row}' AND retry_count = {retries}") == 1


async def _row_is(database: Database, row: UUID, status: str) -> bool:
    return await count(database, "outbox", f"id = '{row}' AND status = '{status}'") == 1


async def _lock_holder(database: Database) -> int | None:
    row = await database.fetchrow(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return row["pid"] if row else None


async def test_a_replay_reaches_a_consumer_whose_database_lost_what_was_sent_a_moment_ago(database: Database, bus: Bus) -> None:
    bell = bells()
    window = 3.0
    await bus.ensure_streams([msgspec.structs.replace(bell.stream, duplicate_window_seconds=window)])
    await store(database, [bell.ring(1)])

    async def restored(connection: Connection) -> None:
        await connection.execute("DELETE FROM effects")
        await connection.execute("DELETE FROM inbox")

    async with running(relay_of(bell, database, bus).run(), runner_of(bell, database, bus).run()):
        await eventually(partial(_is_heard, database))
        await published(database, 1)
        await database.run(restored)
        assert await database.run(lambda connection: replay(connection, since=None, known_for=window)) == 1
        await eventually(partial(_is_heard, database), within_s=15)


async def _is_heard(database: Database) -> bool:
    return await numbers(database) == [1]
