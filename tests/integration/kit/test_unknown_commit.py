"""Rule 2: a COMMIT whose fate is not known is settled by writing again, and never told as success or failure before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from careforall.kit import idempotency
from careforall.kit.batch import Busy, GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.errors import DatabaseUnavailable, UnknownOutcome
from careforall.kit.idempotency import Call, fingerprint
from careforall.kit.ids import new_id
from careforall.launch.servers import Postgres
from careforall_testing.databases import Databases, connection
from careforall_testing.plumbing import count, numbers, opened, prepare
from careforall_testing.polling import eventually
from careforall_testing.proxy import Proxy, proxy_to

COMMIT = b"COMMIT;"
WAITING_COMMIT = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"


@pytest.fixture
async def wire(kit_url: str) -> AsyncIterator[Proxy]:
    async with proxy_to(kit_url) as proxy:
        yield proxy


@pytest.fixture
async def wired(wire: Proxy) -> AsyncIterator[Database]:
    """The database by way of the wire."""
    async with opened(wire.url, command_timeout=1.0) as found:
        yield found


async def write(opened_connection: Connection, items: Sequence[int]) -> Sequence[int | Exception | Busy]:
    """Write items under their keys: the second time they are only touched."""
    await opened_connection.executemany(
        "INSERT INTO effects (id, key, number) VALUES ($1, $2::int::text, $2) "
        "ON CONFLICT (key) DO UPDATE SET note = effects.note || 'again'",
        [(new_id(), item) for item in items],
    )
    return list(items)


async def store_one(opened_connection: Connection) -> tuple[int, bytes]:
    await opened_connection.execute("INSERT INTO effects (id, number) VALUES ($1, 1)", new_id())
    return 201, b'{"number":1}'


@pytest.mark.parametrize("delivered", [True, False])
async def test_rule_02_a_wire_cut_at_commit_is_settled_by_writing_again_under_the_same_keys(
    wire: Proxy, wired: Database, database: Database, *, delivered: bool
) -> None:
    batch: GroupCommit[int, int] = GroupCommit("test", wired, write)
    await batch.submit(0, key="0")
    wire.cut_at(COMMIT, delivered=delivered)
    assert await asyncio.gather(*(batch.submit(item, key=str(item)) for item in (1, 2, 3))) == [1, 2, 3]
    assert wire.cuts == 1
    assert await numbers(database) == [0, 1, 2, 3]
    assert await count(database, "effects", "note = 'again'") == (3 if delivered else 0)


async def test_rule_02_several_cuts_in_a_row_are_settled_too(wire: Proxy, wired: Database, database: Database) -> None:
    batch: GroupCommit[int, int] = GroupCommit("test", wired, write)
    wire.cut_at(COMMIT, times=3)
    assert await batch.submit(1, key="1") == 1
    assert wire.cuts == 3
    assert await numbers(database) == [1]


async def test_rule_02_a_server_that_is_away_after_an_unknown_commit_does_not_make_it_known(
    wire: Proxy, wired: Database, database: Database
) -> None:
    batch: GroupCommit[int, int] = GroupCommit("test", wired, write, deadline=10)
    wire.cut_at(COMMIT)
    answer = asyncio.create_task(batch.submit(1, key="1"))
    await eventually(lambda: wire.cuts)
    wire.mode = "refuse"
    refused_until = wire.accepted + 2
    await eventually(lambda: wire.accepted >= refused_until)
    wire.heal()
    assert await answer == 1
    assert await numbers(database) == [1]


async def test_rule_02_past_the_deadline_the_answer_is_503_outcome_unknown_and_never_that_nothing_happened(
    wire: Proxy, wired: Database, database: Database
) -> None:
    batch: GroupCommit[int, int] = GroupCommit("test", wired, write, deadline=0.5)
    wire.cut_at(COMMIT)
    answer = asyncio.create_task(batch.submit(1, key="1"))
    await eventually(lambda: wire.cuts)
    wire.mode = "refuse"
    with pytest.raises(UnknownOutcome) as refused:
        await answer
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "outcome_unknown", 1)
    wire.heal()
    assert await batch.submit(1, key="1") == 1
    assert await numbers(database) == [1]


async def test_rule_02_a_commit_that_is_never_answered_ends_at_the_client_s_deadline(wire: Proxy, wired: Database) -> None:
    async def then_silence(opened_connection: Connection) -> None:
        await store_one(opened_connection)
        wire.mode = "half_open"

    with pytest.raises(UnknownOutcome):
        await wired.run(then_silence)
    wire.heal()
    assert await numbers(wired) == [1], "the server had committed; the old connection was thrown away"


async def test_rule_02_before_commit_a_cut_wire_means_that_nothing_happened(wire: Proxy, wired: Database) -> None:
    wire.cut_at(b"INSERT INTO effects")
    with pytest.raises(DatabaseUnavailable):
        await wired.run(store_one)
    assert await numbers(wired) == []


async def test_rule_02_a_repeat_under_the_same_idempotency_key_settles_it_for_the_caller(wire: Proxy, wired: Database) -> None:
    call = Call(scope="test", key="k", fingerprint=fingerprint("body"))
    wire.cut_at(COMMIT)
    with pytest.raises(UnknownOutcome):
        await idempotency.once(wired, call, store_one)
    settled = await idempotency.once(wired, call, store_one)
    assert (settled.status, settled.body, settled.replayed) == (201, b'{"number":1}', True)
    assert await numbers(wired) == [1]


@pytest.fixture
async def replicated(own_postgres: Postgres) -> AsyncIterator[str]:
    """A database whose commits wait for a standby that never comes, while `synchronous_standby_names` says so."""
    databases = Databases(server_url=own_postgres.url)
    async with databases.clone(await databases.template("kit", prepare)) as url:
        async with connection(own_postgres.url) as admin:
            name = url.rpartition("/")[2]
            await admin.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = on')
        yield url
        await _standby(own_postgres, "")


async def _standby(server: Postgres, names: str) -> None:
    async with connection(server.url) as admin:
        await admin.execute("SET synchronous_commit = off")
        await admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await admin.execute("SELECT pg_reload_conf()")
        await eventually(lambda: _is_set(admin, names), what="reload")


async def _is_set(admin: asyncpg.Connection, names: str) -> bool:
    return bool(await admin.fetchval("SHOW synchronous_standby_names") == names)


async def _cancel_waiting_commit(url: str) -> None:
    async with connection(url) as admin:
        pid = await eventually(lambda: admin.fetchval(WAITING_COMMIT), what="a commit that waits for its standby")
        await admin.execute("SELECT pg_cancel_backend($1)", pid)


async def test_rule_02_a_cancelled_wait_for_the_standby_is_no_success_though_the_server_says_so(
    own_postgres: Postgres, replicated: str
) -> None:
    async with opened(replicated) as database:
        assert await numbers(database) == []
        await _standby(own_postgres, "nobody")
        answer = asyncio.create_task(database.run(store_one))
        await _cancel_waiting_commit(replicated)
        with pytest.raises(UnknownOutcome):
            await answer
        assert await numbers(database) == [1], "visible, and not replicated: that is why it is unknown"


async def test_rule_02_a_cancelled_wait_is_settled_by_a_transaction_that_writes_and_waits_itself(
    own_postgres: Postgres, replicated: str
) -> None:
    async with opened(replicated) as database:
        batch: GroupCommit[int, int] = GroupCommit("test", database, write, deadline=10)
        await batch.submit(0, key="0")
        await _standby(own_postgres, "nobody")
        answer = asyncio.create_task(batch.submit(1, key="1"))
        await _cancel_waiting_commit(replicated)
        async with connection(replicated) as admin:
            await eventually(lambda: admin.fetchval(WAITING_COMMIT), what="the settling commit waits for replication too")
        assert not answer.done()
        await _standby(own_postgres, "")
        assert await answer == 1
        assert await numbers(database) == [0, 1]
