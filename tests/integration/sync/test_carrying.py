"""Changes carried to the company over real HTTP: each call's outcome, order, keys, deletions, dead letters."""

from __future__ import annotations

import asyncio

import pytest

from careforall.kit.ids import new_id
from careforall.kit.operations import Operations
from careforall.sync.service import SyncService
from careforall_testing.mirroring import Mirror


async def test_a_customer_is_mirrored_with_their_changes_and_end(mirror: Mirror) -> None:
    made = await mirror.create(name="One", metadata={"tier": "gold", "old": "1"})
    await mirror.carry()
    assert mirror.image(made) == ("one@example.org", "One", {"tier": "gold", "old": "1"}, 1)
    changed = await mirror.change(made, name="", metadata={"tier": "silver"})
    await mirror.carry()
    assert mirror.image(changed) == ("one@example.org", None, {"tier": "silver"}, 2)
    assert (await mirror.service.customer(made.id)).external_ids == {"stripe": mirror.images(made)[0]["id"]}
    await mirror.service.delete(made.id, 2)
    await mirror.carry()
    assert mirror.images(made) == []
    row = await mirror.row(made)
    assert (row["status"], row["carried_version"], row["external_id"], row["payload"], row["carried"]) == (
        "PROCESSED",
        3,
        None,
        None,
        None,
    )
    assert [kind for kind, _ in mirror.fake.calls] == ["POST", "POST", "DELETE"]


async def test_many_changes_before_a_call_are_one_call(mirror: Mirror) -> None:
    made = await mirror.create()
    for number in range(5):
        await mirror.change(made, name=f"Name {number}")
    await mirror.carry()
    assert mirror.image(made) == ("one@example.org", "Name 4", {}, 6)
    assert len(mirror.fake.calls) == 1


async def test_who_is_deleted_before_they_were_carried_costs_no_call(mirror: Mirror) -> None:
    made = await mirror.create()
    await mirror.service.delete(made.id, None)
    await mirror.carry()
    assert (await mirror.row(made))["status"] == "PROCESSED"
    assert mirror.fake.calls == []


async def test_a_create_cut_after_its_effect_is_repeated_as_it_was_and_then_changed(mirror: Mirror) -> None:
    made = await mirror.create(name="First")
    mirror.fake.switches.late_s = 0.6
    await mirror.carry(seconds=0.2, breaker_pause=60)
    assert (await mirror.row(made))["status"] == "FAILED"
    mirror.fake.switches.late_s = 0
    changed = await mirror.change(made, name="Second")
    await mirror.carried()
    assert mirror.image(changed) == ("one@example.org", "Second", {}, 2)
    assert len(mirror.fake.books.customers.all) == 1


async def test_a_change_while_the_call_is_out_follows_it(mirror: Mirror) -> None:
    made = await mirror.create(name="First")
    mirror.fake.switches.late_s = 0.3
    async with mirror.worker(seconds=2) as worker:
        running = asyncio.ensure_future(worker.run())
        await asyncio.sleep(0.1)
        changed = await mirror.change(made, name="Second")
        await running
    assert mirror.image(changed) == ("one@example.org", "Second", {}, 2)
    assert mirror.fake.calls[0][1] == "customers"
    assert len(mirror.fake.calls) == 2


async def test_a_deletion_while_the_creation_is_out_leaves_nothing(mirror: Mirror) -> None:
    made = await mirror.create(name="First")
    mirror.fake.switches.late_s = 0.3
    async with mirror.worker(seconds=2) as worker:
        running = asyncio.ensure_future(worker.run())
        await asyncio.sleep(0.1)
        await mirror.service.delete(made.id, None)
        again = await mirror.create(name="Again")
        await running
        await worker.run()
    assert mirror.images(made) == []
    assert mirror.image(again) == ("one@example.org", "Again", {}, 1)


@pytest.mark.parametrize("switch", ["error_before", "error_after_success"])
async def test_a_failure_of_theirs_spends_the_key_and_doubles_nobody(mirror: Mirror, switch: str) -> None:
    made = await mirror.create(name="First")
    setattr(mirror.fake.switches, switch, True)
    await mirror.carry()
    setattr(mirror.fake.switches, switch, False)
    changed = await mirror.change(made, name="Second")
    for _ in range(3):
        await mirror.due_now()
        await mirror.carry()
    assert mirror.image(changed) == ("one@example.org", "Second", {}, 2)
    assert len(mirror.fake.books.customers.all) == 1


async def test_what_is_refused_is_dead_at_once_and_lives_again_by_a_retry_or_a_change(mirror: Mirror) -> None:
    made = await mirror.create(email="jörg@example.org")
    await mirror.carry()
    row = await mirror.row(made)
    assert (row["status"], row["retry_count"]) == ("DEAD", 1)
    assert "email_invalid" in row["error_message"]
    operations = Operations("sync", mirror.database, queues=["deliveries"])
    letters = await operations.dead_letters(10)
    assert letters.count == 1
    assert (letters.events[0].id, letters.events[0].kind, letters.events[0].consumer) == (row["id"], "queue", "deliveries")
    statistics = await operations.outbox_statistics()
    assert (statistics.dead, statistics.pending, statistics.failure_rate) == (1, 1, 1.0)
    assert not await operations.retry(new_id(), new_id())
    assert await operations.retry(row["id"], new_id())
    await mirror.carry()
    assert (len(mirror.fake.calls), (await mirror.row(made))["status"]) == (2, "DEAD")
    changed = await mirror.change(made, email="joerg@example.org")
    await mirror.carry()
    assert mirror.image(changed) == ("joerg@example.org", None, {}, 2)


async def test_failures_that_may_pass_are_repeated_five_times(mirror: Mirror) -> None:
    made = await mirror.create()
    mirror.fake.switches.error_before = True
    for _ in range(9):
        await mirror.due_now()
        await mirror.carry()
        await asyncio.sleep(0.06)
    row = await mirror.row(made)
    assert (row["status"], row["retry_count"]) == ("DEAD", 5)


async def test_a_rate_limit_waits_as_told_and_is_nobodys_fault(mirror: Mirror) -> None:
    made = await mirror.create()
    mirror.fake.switches.throttle = True
    await mirror.carry()
    row = await mirror.row(made)
    assert (row["status"], row["retry_count"]) == ("FAILED", 0)
    wait = await mirror.database.fetchrow(
        "SELECT extract(epoch FROM next_retry_at - clock_timestamp()) AS s FROM deliveries WHERE id = $1", row["id"]
    )
    assert wait is not None
    assert 0.5 < wait["s"] <= 1


async def test_an_image_that_was_lost_is_made_anew(mirror: Mirror) -> None:
    made = await mirror.create(name="First")
    await mirror.carry()
    mirror.fake.books.customers.delete(mirror.images(made)[0]["id"])
    changed = await mirror.change(made, name="Second")
    await mirror.carry()
    await mirror.carry()
    assert mirror.image(changed) == ("one@example.org", "Second", {}, 2)


async def test_who_was_there_before_the_target_is_carried_too(mirror: Mirror) -> None:
    mirror.service = SyncService(mirror.database, targets=[], tries=5)
    made = await mirror.create()
    assert await mirror.carry() == 0
    mirror.service = SyncService(mirror.database, targets=["stripe"], tries=5)
    assert await mirror.service.adopt() == 1
    assert await mirror.service.adopt() == 0
    await mirror.carry()
    assert mirror.image(made)[3] == 1
