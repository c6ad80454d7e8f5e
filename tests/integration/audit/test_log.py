"""The log on a real database: nothing changes it unnoticed, one writer links, and an erasure leaves it provable."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from careforall.audit import domain
from careforall.audit.repository import Filter
from careforall.audit.signing import holds
from careforall.kit import inbox
from careforall.kit.db import Connection, Database

MAIL = "donor1@example.org"


async def kinds(log: Any) -> list[str]:
    return [fault.kind for fault in (await log.service.verify(1, 1000)).faults]


async def test_batches_of_many_consumers_make_one_chain(log: Any, database: Database) -> None:
    batches = [[log.message() for _ in range(5)] for _ in range(20)]
    await asyncio.gather(*(log.log(*batch) for batch in batches))

    check = await log.service.verify(1, 1000)
    assert (check.links, check.faults) == (20, [])
    assert [row["number"] for row in await database.fetch("SELECT number FROM audit_links ORDER BY 1")] == list(range(1, 21))


async def test_an_event_logged_again_is_neither_doubled_nor_linked(log: Any, database: Database) -> None:
    first, second = log.message(), log.message()
    await log.log(first)
    await log.log(first, second)
    await log.log(second)

    assert len(await database.fetch("SELECT FROM audit_events")) == 2
    assert (await log.service.verify(1, 10)).links == 2
    assert await kinds(log) == []


async def test_the_database_refuses_every_change_but_erasure(log: Any, database: Database) -> None:
    await log.log(log.message(MAIL))
    await log.service.export()
    for statement in (
        "UPDATE audit_events SET body = ''",
        "UPDATE audit_events SET salt = NULL, personal = NULL, person = NULL, source = 'x'",
        "UPDATE audit_events SET personal = '{}'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_links SET count = 2",
        "DELETE FROM audit_links",
        "UPDATE audit_heads SET hash = ''",
        "DELETE FROM audit_heads",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await database.fetch(statement)
    await database.fetch("UPDATE audit_events SET salt = NULL, personal = NULL, person = NULL")
    assert await kinds(log) == []


@pytest.mark.parametrize(
    ("statements", "kind"),
    [
        (
            ["UPDATE audit_events SET body = 'x' WHERE event_id = (SELECT min(event_id::text)::uuid FROM audit_events)"],
            "changed_event",
        ),
        (["DELETE FROM audit_events WHERE event_id = (SELECT min(event_id::text)::uuid FROM audit_events)"], "removed_event"),
        (
            [
                "CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM audit_events LIMIT 1",
                "UPDATE one SET event_id = gen_random_uuid()",
                "INSERT INTO audit_events SELECT * FROM one",
            ],
            "inserted_event",
        ),
        (["DELETE FROM audit_links WHERE number = 2"], "missing_link"),
        (["UPDATE audit_links SET root = previous WHERE number = 2"], "changed_link"),
    ],
)
async def test_what_somebody_with_all_rights_does_is_found(log: Any, statements: list[str], kind: str) -> None:
    for _ in range(3):
        await log.log(log.message(), log.message())
    assert await kinds(log) == []

    await log.tamper(*statements)
    assert kind in await kinds(log)


async def test_an_event_comes_with_a_proof_into_the_signed_head(log: Any) -> None:
    messages = [log.message(MAIL) for _ in range(7)]
    await log.log(*messages)
    event, proof = await log.service.event(messages[3].event_id)
    head = await log.service.head()

    assert domain.climb(domain.leaf(event), proof.steps) == proof.link.root
    assert proof.link == head.link
    assert holds(head)
    assert await log.service.export() is True
    assert await log.service.export() is False


async def test_erasure_takes_the_person_and_keeps_the_proof(log: Any, database: Database) -> None:
    old = datetime.now(UTC) - timedelta(hours=1)
    await log.log(log.message(MAIL), log.message("other@example.org"))
    await log.log(log.message(MAIL, subject="accounts.user_erased"))
    await log.log(log.message(MAIL, at=old))

    rows = await database.fetch("SELECT person, salt, personal FROM audit_events WHERE personal IS NOT NULL")
    assert [row["personal"] for row in rows] == [b'{"/donor_email":"other@example.org"}']
    assert len(await database.fetch("SELECT FROM audit_events")) == 4
    assert await kinds(log) == []


async def test_an_event_that_slipped_past_its_erasure_is_swept(log: Any, database: Database) -> None:
    await log.log(log.message(MAIL))
    person = log.service.person(MAIL)
    async with database.connection() as connection:
        await connection.execute("INSERT INTO audit_erasures VALUES ($1, clock_timestamp())", person)

    assert await log.service.erase() == 1
    assert await database.fetch("SELECT FROM audit_events WHERE person IS NOT NULL") == []


async def test_events_are_listed_by_type_aggregate_and_correlation(log: Any) -> None:
    first, second = log.message(), log.message(subject="donations.completed")
    await log.log(first, second)

    async def found(**wanted: Any) -> list[Any]:
        return [event.event_id for event in await log.service.events(Filter(**wanted), None, 10)]

    assert await found() == [second.event_id, first.event_id]
    assert await found(event_type="donations.completed") == [second.event_id]
    assert await found(aggregate_id=first.aggregate_id) == [first.event_id]
    assert len(await found(correlation_id="request-1")) == 2
    assert await found(correlation_id="nobody") == []


async def test_many_events_are_folded_in_batches_of_500(log: Any, database: Database) -> None:
    batches = [[log.message(MAIL) for _ in range(500)] for _ in range(12)]

    async def fold(batch: list[Any]) -> None:
        async def work(connection: Connection) -> None:
            await inbox.claim(connection, "audit-donations", [message.event_id for message in batch])
            await log.service.append(connection, batch)

        await database.run(work)

    started = time.perf_counter()
    await asyncio.gather(*(fold(batch) for batch in batches))
    seconds = time.perf_counter() - started
    print(f"{6000 / seconds:.0f} events/s")  # noqa: T201 - the measurement, shown with -s

    assert (await log.service.verify(1, 100)).faults == []
    assert len(await database.fetch("SELECT FROM audit_events")) == 6000
