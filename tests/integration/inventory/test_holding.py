"""Stock is held all or nothing, settled once, and given back in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from careforall.contracts.inventory import Line, sku_id
from careforall.inventory import repository, repository_book
from careforall.inventory.errors import AlreadySold, BelowReserved, SkuNotFound, WarehouseNotFound
from careforall.kit.errors import InvalidInput, VersionConflict
from careforall.kit.ids import new_id
from careforall_testing.stock import Stockroom, outcomes, quantities


async def test_a_reservation_holds_and_tells(room: Stockroom) -> None:
    await room.put("MUG", 10)
    holder = new_id()

    held = await room.reserve(holder, MUG=3)

    assert held.outcome == "RESERVED"
    assert held.delivery_days == 3
    assert quantities(held) == {"main": 3}
    assert held.expires_at is not None
    assert timedelta(minutes=14) < held.expires_at - datetime.now(UTC) <= timedelta(minutes=15)
    assert await room.numbers("MUG") == (10, 3)
    assert await room.told(holder) == ["inventory.reserved"]
    assert await room.told(sku_id("MUG")) == ["inventory.stock_changed"] * 2


async def test_all_lines_are_held_or_none(room: Stockroom) -> None:
    await room.put("MUG", 10)
    await room.put("CUP", 1)

    short = await room.reserve(new_id(), MUG=3, CUP=2)
    unknown = await room.reserve(new_id(), MUG=3, JUG=1)

    assert (short.outcome, short.short) == ("OUT_OF_STOCK", ["CUP"])
    assert (unknown.outcome, unknown.short) == ("UNKNOWN_SKU", ["JUG"])
    assert await room.numbers("MUG") == (10, 0)
    assert await room.value("SELECT count(*) FROM reservations") == 0


async def test_equal_skus_are_summed_first(room: Stockroom) -> None:
    await room.put("MUG", 5)

    short = await room.reserve(new_id(), Line(sku="MUG", quantity=3), Line(sku="MUG", quantity=3))
    held = await room.reserve(new_id(), Line(sku="MUG", quantity=3), Line(sku="MUG", quantity=2))

    assert (short.outcome, held.outcome) == ("OUT_OF_STOCK", "RESERVED")
    assert quantities(held) == {"main": 5}


async def test_the_nearest_warehouse_goes_first_and_a_demand_may_be_split(room: Stockroom) -> None:
    await room.open_warehouse("north", region="north", country="DE", delivery_days=2)
    await room.open_warehouse("south", region="south", country="AT", delivery_days=5)
    await room.put("MUG", 4, "north")
    await room.put("MUG", 10, "south")

    assert quantities(await room.reserve(new_id(), MUG=2, region="south")) == {"south": 2}
    assert quantities(await room.reserve(new_id(), MUG=1, region="de")) == {"north": 1}
    assert quantities(await room.reserve(new_id(), MUG=4)) == {"south": 4}, "one parcel before the faster one"
    split = await room.reserve(new_id(), MUG=6, region="north")
    assert quantities(split) == {"north": 3, "south": 3}
    assert split.delivery_days == 5


async def test_a_step_is_answered_once(room: Stockroom) -> None:
    await room.put("MUG", 10)
    holder, step = new_id(), new_id()

    first = await room.reserve(holder, MUG=3, step=step)
    again = await asyncio.gather(*(room.reserve(holder, MUG=3, step=step) for _ in range(5)))
    other = await room.reserve(holder, MUG=4, step=step)

    assert again == [first] * 5
    assert (other.outcome, other.reason) == ("REFUSED", "idempotency_key_reused")
    assert await room.numbers("MUG") == (10, 3)


async def test_a_refusal_for_lack_of_stock_is_remembered_as_well(room: Stockroom) -> None:
    await room.put("MUG", 1)
    step = new_id()
    holder = new_id()
    short = await room.reserve(holder, MUG=2, step=step)
    await room.put("MUG", 10)

    assert await room.reserve(holder, MUG=2, step=step) == short


async def test_a_holder_steps_into_the_place_of_others(room: Stockroom) -> None:
    await room.put("MUG", 3)
    cart, saga, step = new_id(), new_id(), new_id()
    await room.reserve(cart, MUG=2)

    assert (await room.reserve(new_id(), MUG=2)).outcome == "OUT_OF_STOCK"
    much = await room.reserve(saga, MUG=4, takes=[cart])
    assert (much.outcome, await room.numbers("MUG")) == ("OUT_OF_STOCK", (3, 2)), "the cart keeps what it has"
    held = [await room.reserve(saga, MUG=3, takes=[cart], step=step) for _ in range(2)]

    assert [one.outcome for one in held] == ["RESERVED"] * 2
    assert await room.numbers("MUG") == (3, 3)
    assert await room.told(cart) == ["inventory.reserved", "inventory.released"]
    assert (await room.release(cart)).outcome == "NOT_HELD"
    assert (await room.confirm(saga)).outcome == "DONE"
    assert await room.numbers("MUG") == (0, 0)


async def test_confirming_sells_and_confirming_again_changes_nothing(room: Stockroom) -> None:
    await room.put("MUG", 10)
    holder = new_id()
    await room.reserve(holder, MUG=3)

    assert (await room.confirm(holder)).outcome == "DONE"
    assert (await room.confirm(holder)).outcome == "DONE"

    assert await room.numbers("MUG") == (7, 0)
    assert await room.told(holder) == ["inventory.reserved", "inventory.confirmed"]
    assert (await room.release(holder)).outcome == "NOT_HELD"
    assert await room.numbers("MUG") == (7, 0)


async def test_releasing_gives_back_once(room: Stockroom) -> None:
    await room.put("MUG", 10)
    holder = new_id()
    await room.reserve(holder, MUG=3)

    assert (await room.release(holder)).outcome == "DONE"
    assert (await room.release(holder)).outcome == "NOT_HELD"
    assert (await room.confirm(holder)).outcome == "NOT_HELD"
    assert (await room.confirm(new_id())).outcome == "NOT_HELD"

    assert await room.numbers("MUG") == (10, 0)
    assert await room.told(holder) == ["inventory.reserved", "inventory.released"]


async def test_what_ran_out_is_confirmed_as_long_as_nobody_else_came(room: Stockroom) -> None:
    await room.put("MUG", 3)
    holder = new_id()
    await room.reserve(holder, MUG=3)
    await room.age(holder, 3600)

    assert (await room.confirm(holder)).outcome == "DONE"
    assert await room.numbers("MUG") == (0, 0)


async def test_what_ran_out_goes_to_the_next_buyer(room: Stockroom) -> None:
    await room.put("MUG", 3)
    await room.put("CUP", 3)
    late, next_one = new_id(), new_id()
    await room.reserve(late, MUG=3, CUP=1)
    await room.age(late, 3600)

    assert (await room.reserve(next_one, MUG=2)).outcome == "RESERVED"

    assert await room.statuses(late) == ["EXPIRED", "EXPIRED"], "a holder expires whole"
    assert (await room.confirm(late)).outcome == "NOT_HELD"
    assert await room.numbers("CUP") == (3, 0)
    assert await room.told(late) == ["inventory.reserved", "inventory.expired"]
    assert (await room.release(late)).outcome == "NOT_HELD", "release after expiry"
    assert await room.numbers("MUG") == (3, 2)


async def test_the_sweep_expires_what_nobody_asks_for(room: Stockroom) -> None:
    await room.put("MUG", 3)
    late, pinned, fresh = new_id(), new_id(), new_id()
    for holder in (late, pinned, fresh):
        await room.reserve(holder, MUG=1)
    until = datetime.now(UTC) + timedelta(hours=1)
    assert (await room.extend(pinned, until, pinned=True)).outcome == "DONE"
    await room.age(late, 3600)
    await room.age(pinned, 7200)

    await room.service.sweep()

    assert [await room.statuses(one) for one in (late, pinned, fresh)] == [["EXPIRED"], ["PENDING"], ["PENDING"]]
    assert await room.numbers("MUG") == (3, 2)
    assert (await room.reserve(new_id(), MUG=2)).outcome == "OUT_OF_STOCK", "a pinned hold is nobody else's"


async def test_whoever_looks_for_what_ran_out_reads_none_of_what_did_not(room: Stockroom) -> None:
    await room.put("MUG", 500)
    await asyncio.gather(*(room.reserve(new_id(), MUG=1) for _ in range(500)))

    async with room.database.connection() as connection:
        assert await repository_book.survey(connection, {"MUG"}, [new_id()]) == []
        assert await repository.overdue_skus(connection, 100) == []
        await connection.execute("SELECT pg_stat_force_next_flush()")
        read = "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'reservations_pending'"
        [found] = await connection.fetch(read)

    assert found["idx_scan"] > 0
    assert found["idx_tup_read"] == 0, "a hold that goes on costs those who look for overdue ones nothing, however many there are"


async def test_extending_keeps_a_hold_and_only_a_hold(room: Stockroom) -> None:
    await room.put("MUG", 3)
    holder = new_id()
    await room.reserve(holder, MUG=1, seconds=60)
    await room.age(holder, 120)

    assert (await room.extend(holder, datetime.now(UTC) + timedelta(minutes=5))).outcome == "DONE"
    await room.service.sweep()
    assert await room.statuses(holder) == ["PENDING"]
    await room.release(holder)
    assert (await room.extend(holder, datetime.now(UTC) + timedelta(minutes=5))).outcome == "NOT_HELD"


async def test_a_holder_that_asks_for_more_holds_all_of_it_to_one_end(room: Stockroom) -> None:
    await room.put("MUG", 10)
    await room.put("CUP", 10)
    cart = new_id()
    first = await room.reserve(cart, MUG=1, seconds=600)
    second = await room.reserve(cart, MUG=1, CUP=2, seconds=300)

    assert sorted((item.sku, item.quantity) for item in second.items) == [("CUP", 2), ("MUG", 2)]
    assert second.expires_at == first.expires_at, "never sooner than was promised"
    await room.release(cart)
    third = await room.reserve(cart, CUP=1)
    assert [(item.sku, item.quantity) for item in third.items] == [("CUP", 1)]
    assert await room.numbers("CUP") == (10, 1)


async def test_a_holder_that_has_bought_needs_a_new_one_for_the_same(room: Stockroom) -> None:
    await room.put("MUG", 10)
    holder = new_id()
    await room.reserve(holder, MUG=1)
    await room.confirm(holder)

    refused = await room.reserve(holder, MUG=1)

    assert (refused.outcome, refused.reason) == ("REFUSED", AlreadySold.code)
    assert await room.numbers("MUG") == (9, 0)


async def test_returned_stock_goes_back_where_it_came_from(room: Stockroom) -> None:
    await room.open_warehouse("north", region="north", delivery_days=1)
    await room.put("MUG", 2, "north")
    await room.put("MUG", 5, "main")
    holder, step = new_id(), new_id()
    await room.reserve(holder, MUG=4, region="north")
    await room.confirm(holder)

    assert (await room.restock(holder, MUG=3, step=step)).outcome == "DONE"
    assert (await room.restock(holder, MUG=3, step=step)).outcome == "DONE", "once, however often it is asked"
    assert (await room.restock(holder, MUG=2)).outcome == "NOT_HELD", "more than was sold"
    assert (await room.restock(new_id(), MUG=1)).outcome == "NOT_HELD"

    rows = {row.warehouse: row.on_hand for row in (await room.service.stock("MUG")).warehouses}
    assert rows == {"main": 5, "north": 1}
    assert (await room.restock(holder, MUG=1)).outcome == "DONE"
    assert await room.numbers("MUG") == (7, 0)


async def test_counting_and_adjusting_respect_versions_and_holds(room: Stockroom) -> None:
    first = await room.put("MUG", 10)
    await room.reserve(new_id(), MUG=4)

    with pytest.raises(VersionConflict) as stale:
        await room.put("MUG", 20, expected_version=first.version)
    assert stale.value.facts == {"current_version": 2}
    with pytest.raises(BelowReserved):
        await room.put("MUG", 3)
    with pytest.raises(BelowReserved):
        await room.adjust("MUG", -7)
    with pytest.raises(SkuNotFound):
        await room.adjust("JUG", 1)
    with pytest.raises(WarehouseNotFound):
        await room.put("NEW", 1, "nowhere")

    assert await room.numbers("MUG") == (10, 4)
    assert (await room.reserve(new_id(), NEW=1)).outcome == "UNKNOWN_SKU", "a refused count makes no SKU known"
    row = await room.put("MUG", 4, expected_version=2)
    assert (row.on_hand, row.reserved, row.available, row.version) == (4, 4, 0, 3)
    assert (await room.adjust("MUG", 6)).on_hand == 10


async def test_two_that_count_a_new_sku_at_once_leave_one_truth(room: Stockroom, second_room: Stockroom) -> None:
    rows = await asyncio.gather(room.put("MUG", 5), second_room.put("MUG", 7), room.put("MUG", 6), second_room.put("MUG", 8))

    on_hand, _ = await room.numbers("MUG")
    assert min(row.version for row in rows) == 1
    assert on_hand in {5, 6, 7, 8}


async def test_several_warehouses_have_to_be_named(room: Stockroom) -> None:
    await room.open_warehouse("north")
    await room.put("MUG", 1, "north")
    assert (await room.put("MUG", 2)).warehouse == "north", "where it lies already"
    await room.put("MUG", 1, "main")

    with pytest.raises(InvalidInput) as refused:
        await room.put("MUG", 2)
    assert refused.value.errors[0].code == "warehouse_required"


async def test_one_that_is_refused_leaves_its_neighbours_alone(room: Stockroom) -> None:
    await room.put("MUG", 3)
    sold = new_id()
    await room.reserve(sold, MUG=1)
    await room.confirm(sold)

    found = await asyncio.gather(
        room.reserve(sold, MUG=1), room.reserve(new_id(), MUG=1), room.reserve(new_id(), JUG=1), room.reserve(new_id(), MUG=5)
    )

    assert outcomes(found) == {"REFUSED": 1, "RESERVED": 1, "UNKNOWN_SKU": 1, "OUT_OF_STOCK": 1}


@pytest.mark.parametrize(
    ("sku", "quantity", "reason"),
    [
        ("MUG", 0, "quantity_not_positive"),
        ("MUG", -1, "quantity_not_positive"),
        ("MUG", 10**9, "quantity_too_large"),
        ("MU\0G", 1, "invalid_sku"),
        ("", 1, "invalid_sku"),
        ("M" * 65, 1, "invalid_sku"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_own_code(room: Stockroom, sku: str, quantity: int, reason: str) -> None:
    await room.put("MUG", 10)

    refused = await room.reserve(new_id(), Line(sku=sku, quantity=quantity))

    assert (refused.outcome, refused.reason) == ("REFUSED", reason)
    assert await room.numbers("MUG") == (10, 0)


async def test_a_process_that_just_left_some_still_finds_out_what_another_sold(room: Stockroom, second_room: Stockroom) -> None:
    await room.put("MUG", 2)
    assert not await room.hints.refuses("MUG")
    found = [await one.reserve(new_id(), MUG=1) for one in (room, second_room, room)]

    assert [one.outcome for one in found] == ["RESERVED", "RESERVED", "OUT_OF_STOCK"], "under the locks, whatever it remembers"
    await room.hints.drain()
    assert await room.hints.refuses("MUG"), "and early from then on"


async def test_falling_to_the_threshold_is_told_once(room: Stockroom) -> None:
    await room.put("MUG", 10, low_stock_threshold=7)
    for _ in range(4):
        await room.reserve(new_id(), MUG=1)

    assert await room.value("SELECT count(*) FROM outbox WHERE event_type = 'inventory.low_stock'") == 1
    assert [row.sku for _, row in await room.service.low_stock(None, 10)] == ["MUG"]


async def test_a_batch_tells_of_a_changed_sku_once(room: Stockroom) -> None:
    await room.put("MUG", 100)
    await asyncio.gather(*(room.reserve(new_id(), MUG=1) for _ in range(50)))

    told = await room.told(sku_id("MUG"))
    assert len(told) < 25
    last = await room.value(
        "SELECT convert_from(payload, 'UTF8')::json FROM outbox WHERE aggregate_id = $1 ORDER BY id DESC LIMIT 1", sku_id("MUG")
    )
    assert '"reserved":50' in last
    assert f'"aggregate_version":{(await room.service.stock("MUG")).version}' in last


async def test_a_snapshot_tells_the_present_stock(room: Stockroom) -> None:
    await room.put("MUG", 10)
    await room.put("CUP", 5)
    await room.reserve(new_id(), MUG=2)

    async with room.database.connection() as connection:
        first = await room.service.snapshot(connection, None, 1)
        rest = await room.service.snapshot(connection, first[0].aggregate_id, 10)

    assert [one.event_type for one in first + rest] == ["inventory.stock_snapshot"] * 2
    assert {one.aggregate_id for one in first + rest} == {sku_id("MUG"), sku_id("CUP")}
    mug = next(one for one in first + rest if one.aggregate_id == sku_id("MUG"))
    assert b'"on_hand":10,"reserved":2,"available":8' in mug.payload


async def test_old_steps_are_forgotten(room: Stockroom) -> None:
    await room.put("MUG", 10)
    await room.database.run(lambda connection: connection.execute("UPDATE steps SET at = at - interval '31 days'"))
    await room.reserve(new_id(), MUG=1)

    await room.service.forget_steps(30)

    assert await room.value("SELECT count(*) FROM steps") == 1


NEW_HOLD = """
INSERT INTO reservations (id, holder_id, sku, warehouse, quantity, status, expires_at)
SELECT gen_random_uuid(), {holder}, '{sku}', 'main', 1, 'PENDING', clock_timestamp() FROM holders
"""


@pytest.mark.parametrize(
    "sql",
    [
        NEW_HOLD.format(holder="gen_random_uuid()", sku="MUG"),
        NEW_HOLD.format(holder="id", sku="JUG"),
        "UPDATE reservations SET holder_id = gen_random_uuid()",
        "UPDATE reservations SET sku = 'JUG'",
        "UPDATE holders SET id = gen_random_uuid()",
        "UPDATE stock SET warehouse = 'north'",
        "DELETE FROM holders",
        "DELETE FROM stock",
        "TRUNCATE holders",
        "TRUNCATE stock",
    ],
)
async def test_whatever_is_reserved_has_its_holder_and_its_shelf(room: Stockroom, sql: str) -> None:
    await room.put("MUG", 10)
    await room.open_warehouse("north")
    await room.reserve(new_id(), MUG=2)

    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await room.database.run(lambda connection: connection.execute(sql))


async def test_movements_are_written_once(room: Stockroom) -> None:
    await room.put("MUG", 10)
    holder: UUID = new_id()
    await room.reserve(holder, MUG=2)
    await room.confirm(holder)
    await room.restock(holder, MUG=1)
    await room.adjust("MUG", -3)

    found = await room.service.movements("MUG", None, None, 10)
    assert [(one.kind, one.on_hand, one.reserved) for one in reversed(found)] == [
        ("receipt", 10, 0),
        ("reserve", 0, 2),
        ("ship", -2, -2),
        ("return", 1, 0),
        ("adjust", -3, 0),
    ]
    with pytest.raises(Exception, match="append-only"):
        await room.database.run(lambda connection: connection.execute("DELETE FROM stock_movements"))
