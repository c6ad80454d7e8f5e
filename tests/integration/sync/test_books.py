"""`verify` finds a customer whose change is lost, events go out with each change, and whoever is erased is deleted there, too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from careforall.contracts.accounts import UserErased
from careforall.kit.ids import new_id
from careforall.sync.consumers import consumers
from careforall.sync.errors import CustomerNotFound
from careforall.sync.publishing import Publishing
from careforall_testing.mirroring import Mirror, broken
from careforall_testing.public_events import message


async def _sql(mirror: Mirror, statement: str) -> None:
    async def work(connection: Any) -> None:
        await connection.execute(statement)

    await mirror.database.run(work)


@pytest.mark.parametrize(
    ("forgery", "invariant"),
    [
        ("UPDATE customers SET version = 2", "sync.newest_version_is_carried_or_waits"),
        ("UPDATE customers SET version = 2", "sync.event_for_each_newest_version"),
        ("DELETE FROM outbox", "sync.event_for_each_newest_version"),
        ("UPDATE deliveries SET version = 2, status = 'PENDING'", "sync.newest_version_is_carried_or_waits"),
    ],
)
async def test_books_that_were_forged_are_found(mirror: Mirror, forgery: str, invariant: str) -> None:
    await mirror.create()
    assert await broken(mirror) == {}, "what waits is in order"
    await mirror.carry()
    assert await broken(mirror) == {}
    await _sql(mirror, forgery)
    assert invariant in await broken(mirror)


async def test_each_change_has_its_event_and_snapshots_say_the_same(mirror: Mirror) -> None:
    made = await mirror.create(name="One", metadata={"tier": "gold"})
    await mirror.change(made, name="Two")
    gone = await mirror.create(email="two@example.org")
    await mirror.service.delete(gone.id, None)
    rows = await mirror.database.fetch("SELECT event_type, payload FROM outbox ORDER BY id")
    kinds = [row["event_type"] for row in rows]
    assert kinds == ["customer.created", "customer.updated", "customer.created", "customer.deleted"]
    told = [msgspec.json.decode(row["payload"]) for row in rows]
    assert [one["aggregate_version"] for one in told] == [1, 2, 1, 2]
    assert told[1]["payload"]["name"] == "Two"
    assert "email" not in told[3]["payload"]
    async with mirror.database.connection() as connection:
        snapshots = await mirror.service.snapshot(connection, None, 10)
        rest = await mirror.service.snapshot(connection, made.id, 10)
    assert [one.event_type for one in snapshots] == ["customer.snapshot", "customer.deleted"]
    assert [one.aggregate_id for one in rest] == [gone.id]


async def test_whoever_is_erased_is_deleted_there_too(mirror: Mirror) -> None:
    made, other = await mirror.create(), await mirror.create(email="two@example.org")
    await mirror.carry()
    (consumer, *_) = consumers(mirror.service, Publishing(mirror.database))
    event = UserErased(user_id=new_id(), email="One@Example.org", donor_key="x")
    for _ in range(2):
        await mirror.database.run(lambda connection: consumer.handler(connection, [message(event)]))
    await mirror.carry()
    assert mirror.images(made) == []
    assert mirror.image(other)[3] == 1
    with pytest.raises(CustomerNotFound):
        await mirror.service.customer(made.id)
