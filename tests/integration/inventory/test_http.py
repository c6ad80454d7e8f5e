"""What HTTP says of stock, reservations and warehouses, through both doors: exact codes, and nothing half done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import nats
import pytest
from msgspec.json import decode

from careforall.contracts import inventory
from careforall.contracts.catalog import ProductCreated, Variant
from careforall.contracts.inventory import Line, Reserve, Reserved, Settle, Settled
from careforall.kit import json
from careforall.kit.envelope import seal
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.stock_house import RESERVATIONS, STOCK_PATH, StockHouse, stock_house

ADJUST, WAREHOUSES = f"{STOCK_PATH}/adjustments", "/api/v1/admin/warehouses"


@pytest.fixture(scope="module")
def broker() -> Iterator[Nats]:
    with own_nats() as server:
        yield server


@pytest.fixture(scope="module")
async def house(servers: ServerUrls, broker: Nats) -> AsyncIterator[StockHouse]:
    async with stock_house(ServerUrls(postgres=servers.postgres, nats=broker.url, redis=servers.redis)) as found:
        yield found
        assert await found.violations() == []


@pytest.fixture(params=["hot", "cold"])
def door(request: pytest.FixtureRequest, house: StockHouse) -> httpx2.AsyncClient:
    return house.door(request.param)


@pytest.fixture
def sku() -> str:
    return f"SKU-{new_id().hex[-12:]}"


def code_of(answer: httpx2.Response) -> str:
    found = answer.json()
    return str(found["errors"][0]["code"] if found.get("errors") else found["code"])


async def test_stock_is_shown_summed_and_by_warehouse(house: StockHouse, door: httpx2.AsyncClient, sku: str) -> None:
    first = await house.put(sku, 10, low_stock_threshold=2)
    held = await door.post(RESERVATIONS, json={"lines": [{"sku": sku, "quantity": 3}]}, headers=house.staff)
    assert held.status_code == 201, held.text

    answer = await door.get(f"/api/v1/inventory/{sku}")

    row = {"on_hand": 10, "reserved": 3, "available": 7, "version": 2}
    assert answer.json() == {"sku": sku, **row, "warehouses": [{"warehouse": "main", **row}]}
    assert answer.headers["etag"] == '"2"'
    counted = {"on_hand": 10, "reserved": 0, "available": 10, "low_stock_threshold": 2, "version": 1}
    assert first == {"sku": sku, "warehouse": "main", **counted}
    several = await door.get("/api/v1/inventory", params={"skus": f"{sku},NOBODY-KNOWS"})
    assert [one["sku"] for one in several.json()["items"]] == [sku]


async def test_a_reservation_lives_by_http(house: StockHouse, door: httpx2.AsyncClient, sku: str) -> None:
    await house.put(sku, 10)
    holder = str(new_id())
    body = {"holder_id": holder, "lines": [{"sku": sku, "quantity": 2}], "seconds": 600}
    key = house.staff | {"Idempotency-Key": f"key-{holder}"}

    held = await door.post(RESERVATIONS, json=body, headers=key)
    again = await door.post(RESERVATIONS, json=body, headers=key)
    other = await door.post(RESERVATIONS, json=body | {"seconds": 700}, headers=key)
    shown = await door.get(f"{RESERVATIONS}/{holder}", headers=house.staff)
    sold = [await door.post(f"{RESERVATIONS}/{holder}/confirm", headers=house.staff) for _ in range(2)]
    released = await door.delete(f"{RESERVATIONS}/{holder}", headers=house.staff)

    assert (held.status_code, held.json()["outcome"], held.json()["holder_id"]) == (201, "RESERVED", holder)
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (201, held.content, "true")
    assert (other.status_code, code_of(other)) == (422, "idempotency_key_reused")
    assert [(item["quantity"], item["status"]) for item in shown.json()["items"]] == [(2, "PENDING")]
    assert [one.json()["items"][0]["status"] for one in sold] == ["CONFIRMED"] * 2
    assert (released.status_code, code_of(released)) == (409, "not_held")
    assert (await house.stock(sku))["on_hand"] == 8


async def test_releasing_by_http_may_be_repeated(house: StockHouse, door: httpx2.AsyncClient, sku: str) -> None:
    await house.put(sku, 10)
    held = await door.post(RESERVATIONS, json={"lines": [{"sku": sku, "quantity": 2}]}, headers=house.staff)
    path = f"{RESERVATIONS}/{held.json()['holder_id']}"

    released = [await door.delete(path, headers=house.staff) for _ in range(2)]
    confirmed = await door.post(f"{path}/confirm", headers=house.staff)

    assert [(one.status_code, one.json()["items"][0]["status"]) for one in released] == [(200, "RELEASED")] * 2
    assert (confirmed.status_code, code_of(confirmed)) == (409, "not_held")
    assert (await door.delete(f"{RESERVATIONS}/{new_id()}", headers=house.staff)).status_code == 404


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        ([], 422, "wrong_number_of_lines"),
        ([("SKU", 0)], 422, "quantity_not_positive"),
        ([("SKU", -1)], 422, "quantity_not_positive"),
        ([("SKU", 10**9)], 422, "quantity_too_large"),
        ([("SKU", 10**30)], 422, "quantity_too_large"),
        ([("SKU", 600_000), ("SKU", 600_000)], 422, "quantity_too_large"),
        ([("SKU\0", 1)], 422, "invalid_sku"),
        ([("SKU", 11)], 409, "out_of_stock"),
        ([("SKU", 6), ("SKU", 6)], 409, "out_of_stock"),
        ([("NOBODY-KNOWS", 1)], 404, "sku_not_found"),
        ([("SKU", "many")], 422, "invalid_value"),
    ],
)
async def test_reservations_that_cannot_be_are_refused(
    house: StockHouse, door: httpx2.AsyncClient, sku: str, lines: list[tuple[str, Any]], status: int, code: str
) -> None:
    await house.put(sku, 10)
    wanted = [{"sku": name.replace("SKU", sku), "quantity": quantity} for name, quantity in lines]

    answer = await door.post(RESERVATIONS, json={"lines": wanted}, headers=house.staff)

    assert answer.status_code == status, answer.text
    assert code_of(answer) == code
    assert (await house.stock(sku))["reserved"] == 0


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"on_hand": -1}, 422, "quantity_negative"),
        ({"on_hand": 10**9}, 422, "quantity_too_large"),
        ({"on_hand": 3}, 409, "below_reserved"),
        ({"on_hand": 20, "expected_version": 1}, 409, "version_conflict"),
        ({"on_hand": 20, "warehouse": "nowhere"}, 404, "warehouse_not_found"),
        ({"on_hand": 20, "warehouse": "no where"}, 422, "invalid_warehouse"),
        ({"on_hand": 20, "sku": "a\0b"}, 422, "invalid_sku"),
        ({"on_hand": 20, "low_stock_threshold": -1}, 422, "quantity_negative"),
    ],
)
async def test_counts_that_cannot_be_are_refused(
    house: StockHouse, sku: str, change: dict[str, Any], status: int, code: str
) -> None:
    await house.put(sku, 10)
    held = await house.doors[0].post(RESERVATIONS, json={"lines": [{"sku": sku, "quantity": 4}]}, headers=house.staff)
    assert held.status_code == 201

    answer = await house.doors[0].put(STOCK_PATH, json={"sku": sku} | change, headers=house.staff)

    assert (answer.status_code, code_of(answer)) == (status, code)
    if code == "version_conflict":
        assert answer.json()["current_version"] == 2
    assert (await house.stock(sku))["on_hand"] == 10


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"delta": 0}, 422, "delta_zero"),
        ({"delta": 10**9}, 422, "quantity_too_large"),
        ({"delta": -11}, 409, "below_reserved"),
        ({"delta": 1, "reason": " "}, 422, "required_field"),
        ({"delta": 1, "reason": "a\0b"}, 422, "invalid_character"),
        ({"delta": 1, "expected_version": 7}, 409, "version_conflict"),
        ({"delta": 1, "sku": "NOBODY-KNOWS"}, 404, "sku_not_found"),
    ],
)
async def test_adjustments_that_cannot_be_are_refused(
    house: StockHouse, sku: str, change: dict[str, Any], status: int, code: str
) -> None:
    await house.put(sku, 10)

    answer = await house.doors[0].post(ADJUST, json={"sku": sku, "reason": "found"} | change, headers=house.staff)

    assert (answer.status_code, code_of(answer)) == (status, code)
    assert (await house.stock(sku))["on_hand"] == 10


async def test_an_adjustment_is_made_once_and_explained(house: StockHouse, door: httpx2.AsyncClient, sku: str) -> None:
    await house.put(sku, 10)
    body = {"sku": sku, "delta": -4, "reason": "broken", "expected_version": 1}
    key = house.staff | {"Idempotency-Key": f"key-{new_id()}"}

    answers = [await door.post(ADJUST, json=body, headers=key) for _ in range(2)]
    movements = await door.get(f"{STOCK_PATH}/movements", params={"sku": sku, "limit": 1}, headers=house.staff)
    following = {"sku": sku, "limit": 1, "cursor": movements.json()["next_cursor"]}
    older = await door.get(f"{STOCK_PATH}/movements", params=following, headers=house.staff)

    assert [(one.status_code, one.json()["on_hand"]) for one in answers] == [(200, 6)] * 2
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert [(one["kind"], one["on_hand"], one["cause"]) for one in movements.json()["items"]] == [("adjust", -4, "broken")]
    assert [(one["kind"], one["on_hand"]) for one in older.json()["items"]] == [("receipt", 10)]


async def test_if_match_is_the_version_too(house: StockHouse, sku: str) -> None:
    await house.put(sku, 10)
    stale = await house.doors[0].put(STOCK_PATH, json={"sku": sku, "on_hand": 5}, headers=house.staff | {"If-Match": '"7"'})
    good = await house.doors[0].put(STOCK_PATH, json={"sku": sku, "on_hand": 5}, headers=house.staff | {"If-Match": '"1"'})

    assert (stale.status_code, stale.json()["current_version"]) == (409, 1)
    assert (good.status_code, good.headers["etag"]) == (200, '"2"')


async def test_what_runs_low_is_listed_page_by_page(house: StockHouse, sku: str) -> None:
    low = [f"{sku}-{index}" for index in range(3)]
    for one in low:
        await house.put(one, 2)
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await house.doors[0].get(f"{STOCK_PATH}/low-stock", params=query, headers=house.staff)).json()
        found += [row["sku"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert set(low) <= set(found)
    assert len(found) == len(set(found))


async def test_warehouses_are_opened_and_changed(house: StockHouse) -> None:
    code = f"w-{new_id().hex[-8:]}"
    new = {"code": code, "name": "North", "region": "north", "country": "DE", "delivery_days": 2}
    client, staff = house.doors[0], house.staff

    made = await client.post(WAREHOUSES, json=new, headers=staff)
    taken = await client.post(WAREHOUSES, json=new, headers=staff)
    changed = await client.patch(f"{WAREHOUSES}/{code}", json={"delivery_days": 4, "version": 1}, headers=staff)
    stale = await client.patch(f"{WAREHOUSES}/{code}", json={"delivery_days": 5, "version": 1}, headers=staff)
    odd = await client.post(WAREHOUSES, json=new | {"code": "a b"}, headers=staff)

    assert (made.status_code, taken.status_code, code_of(taken)) == (201, 409, "duplicate_entry")
    assert (changed.json()["delivery_days"], changed.headers["etag"]) == (4, '"2"')
    assert (stale.status_code, stale.json()["current_version"]) == (409, 2)
    assert (odd.status_code, code_of(odd)) == (422, "invalid_warehouse")
    assert (await client.patch(f"{WAREHOUSES}/nowhere", json={"name": "x"}, headers=staff)).status_code == 404
    listed = (await client.get(WAREHOUSES, headers=staff)).json()["items"]
    assert {"main", code} <= {one["code"] for one in listed}


async def test_only_staff_changes_stock_and_holds_it(house: StockHouse, door: httpx2.AsyncClient, sku: str) -> None:
    await house.put(sku, 10)
    body = {"lines": [{"sku": sku, "quantity": 1}]}
    for headers, status in (({}, 401), (house.callers.user(), 403)):
        assert (await door.post(RESERVATIONS, json=body, headers=headers)).status_code == status
        assert (await door.put(STOCK_PATH, json={"sku": sku, "on_hand": 1}, headers=headers)).status_code == status
        assert (await door.get(f"{STOCK_PATH}/low-stock", headers=headers)).status_code == status
        assert (await door.get(f"{RESERVATIONS}/{new_id()}", headers=headers)).status_code == status
    assert (await house.stock(sku))["reserved"] == 0


async def test_services_hold_stock_by_their_own_listener(house: StockHouse, sku: str) -> None:
    await house.put(sku, 10)
    token = house.callers.service("orders", "inventory")
    holder = str(new_id())
    body = {"holder_id": holder, "lines": [{"sku": sku, "quantity": 1}]}

    held = await house.internal.post(RESERVATIONS, json=body, headers=token)
    refused = await house.internal.post(RESERVATIONS, json=body)
    released = await house.internal.delete(f"{RESERVATIONS}/{holder}", headers=token)

    assert (held.status_code, refused.status_code, released.status_code) == (201, 401, 200)
    assert (await house.stock(sku))["reserved"] == 0


async def test_the_broker_carries_questions_side_by_side(house: StockHouse, broker: Nats, sku: str) -> None:
    await house.put(sku, 10)
    client = await nats.connect(broker.url)
    try:

        async def ask(subject: str, question: Any) -> bytes:
            return (await client.request(f"{subject}.{house.running.instance}", json.encode(question), timeout=10)).data

        holder = new_id()
        question = Reserve(step_id=new_id(), holder_id=holder, lines=[Line(sku=sku, quantity=2)])
        held = decode(await ask(inventory.RESERVE, question), type=Reserved)
        done = decode(await ask(inventory.CONFIRM, Settle(step_id=new_id(), holder_id=holder)), type=Settled)
        odd = decode(await ask(inventory.RELEASE, {"step_id": "x"}), type=Settled)
        assert (held.outcome, done.outcome, odd.outcome, odd.reason) == ("RESERVED", "DONE", "REFUSED", "malformed")
    finally:
        await client.close()
    assert (await house.stock(sku))["on_hand"] == 8


async def test_a_product_makes_its_skus_known(house: StockHouse, broker: Nats, sku: str) -> None:
    product = new_id()
    event = ProductCreated(
        product_id=product,
        slug="mug",
        name="Mug",
        status="ACTIVE",
        base_price=Decimal(1),
        currency="EUR",
        variants=(Variant(variant_id=new_id(), sku=sku),),
        created_at=datetime.now(UTC),
    )
    identifier = new_id()
    data = seal(
        event,
        subject=event.SUBJECT,
        event_id=identifier,
        aggregate_id=product,
        aggregate_version=1,
        source="catalog",
        correlation_id="",
    )
    client = await nats.connect(broker.url)
    try:
        await client.jetstream().publish(event.SUBJECT, data, headers={"Nats-Msg-Id": str(identifier)})
    finally:
        await client.close()

    async def known() -> bool:
        return (await house.doors[0].get(f"/api/v1/inventory/{sku}")).status_code == 200

    await eventually(known, within_s=20, what="the SKU is known")
    short = await house.doors[0].post(RESERVATIONS, json={"lines": [{"sku": sku, "quantity": 1}]}, headers=house.staff)
    assert (short.status_code, code_of(short), short.json()["skus"]) == (409, "out_of_stock", [sku])
