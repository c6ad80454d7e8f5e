"""Imports whose workers die, or are many: each row is applied once; and a catalogue that is exported and imported is the same."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from careforall.launch.servers import Nats
from careforall_testing.importing import EXPORT, counts, ended, errors, imported, order
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.shopping import ADMIN_PRODUCTS, ShopHouse, product, shop_house, sku

HEADER = "slug,sku,name,base_price,currency\n"
SEED = int(os.environ.get("CAREFORALL_TEST_SEED", "31"))
TEXTS = (
    "",
    "Mug",
    "=1+1",
    "'=1",
    "''",
    "-5",
    "@x",
    '"quoted", indeed',
    "two\r\nlines;",
    "ends\n",
    "Große Tasse, é",
    "a\tb",
    "+49",
)


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Nats]:
    with own_nats() as server:
        yield server


@pytest.fixture
async def fresh(servers: ServerUrls, own_broker: Nats) -> AsyncIterator[ShopHouse]:
    """A catalog of its own, to kill or to fill."""
    urls = ServerUrls(postgres=servers.postgres, nats=own_broker.url, redis=servers.redis)
    async with shop_house(urls, ["catalog"]) as found:
        yield found


def file_of(rows: int) -> tuple[str, list[str]]:
    """A file of so many rows, two of each product, and its SKUs."""
    codes = [sku(f"ROW{number}") for number in range(rows)]
    lines = [f"product-{place // 2},{code},Product {place // 2},5.00,EUR\n" for place, code in enumerate(codes)]
    return HEADER + "".join(lines), codes


async def told_once(house: ShopHouse, codes: list[str]) -> None:
    """Each variant is stored once, and each product told of once, as new."""
    async with house.running.database("catalog") as database:
        stored = [row["sku"] for row in await database.fetch("SELECT sku FROM variants ORDER BY sku")]
        events = await database.fetch("SELECT event_type, count(*) AS n FROM outbox GROUP BY event_type")
        assert stored == sorted(codes)
        assert {row["event_type"]: row["n"] for row in events} == {"catalog.product_created": len(codes) // 2}
        assert await database.fetchval("SELECT max(version) FROM products") == 1


@pytest.mark.parametrize("point", ["import.before_commit", "import.after_commit"])
async def test_a_worker_killed_in_the_middle_is_followed_by_one_that_goes_on(fresh: ShopHouse, point: str) -> None:
    content, codes = file_of(1000)
    await fresh.running.first.restart(CAREFORALL_CRASH_AT=f"{point}:3")
    ordered = await order(fresh, content)
    assert await fresh.running.first.wait_dead(timeout_s=60) == -signal.SIGKILL
    async with fresh.running.database("catalog") as database:
        row = await database.fetchrow("SELECT state, reached, created FROM product_imports")
        assert row is not None
        assert (row["state"], row["created"], row["reached"]) == ("RUNNING", *((400, 200) if "before" in point else (600, 300)))
        await database.execute("UPDATE product_imports SET leased_until = clock_timestamp()")  # instead of waiting for its end
    await fresh.running.first.restart(CAREFORALL_CRASH_AT="")
    found = await ended(fresh, ordered["id"])
    assert (found["state"], counts(found)) == ("COMPLETED", (1000, 0, 0, 0))
    await told_once(fresh, codes)


async def test_many_workers_apply_each_row_once(fresh: ShopHouse) -> None:
    content, codes = file_of(600)
    first = len(content.splitlines()) // 2
    parts = [HEADER + "".join(f"{line}\n" for line in half) for half in _halves(content.splitlines()[1:], first // 2 * 2)]
    await asyncio.gather(*(fresh.running.serve(["catalog"], role="consumers") for _ in range(2)))
    orders = await asyncio.gather(*(order(fresh, part) for part in [*parts, *parts]))
    found = [await ended(fresh, one["id"], within_s=60) for one in orders]
    assert {one["state"] for one in found} == {"COMPLETED"}, [errors(one) for one in found]
    assert sum(one["created"] for one in found) == 600
    assert sum(one["unchanged"] + one["failed"] for one in found) == 600
    await told_once(fresh, codes)


async def test_the_late_word_of_a_worker_that_was_given_up_counts_for_nothing(fresh: ShopHouse) -> None:
    content, codes = file_of(1000)
    ordered = await order(fresh, content)

    async def has_begun() -> bool:
        async with fresh.running.database("catalog") as database:
            return bool(await database.fetchval("SELECT reached > 0 FROM product_imports WHERE reached < products"))

    await eventually(has_begun, every_s=0.002)
    os.kill(fresh.running.first.pid, signal.SIGSTOP)
    async with fresh.running.database("catalog") as database:
        await database.execute("SET lock_timeout = '20s'")
        await database.execute(_CUT_OFF, fresh.running.first.pid)
        await database.execute("UPDATE product_imports SET leased_until = clock_timestamp() WHERE state = 'RUNNING'")
    other = await fresh.running.serve(["catalog"], role="consumers", wait=False)
    await eventually(lambda: _taken_over(fresh), within_s=40)
    os.kill(fresh.running.first.pid, signal.SIGCONT)
    found = await ended(fresh, ordered["id"])
    assert (found["state"], counts(found)) == ("COMPLETED", (1000, 0, 0, 0))
    await told_once(fresh, codes)
    await other.stop()


async def test_a_catalogue_that_is_exported_and_imported_is_the_same(
    fresh: ShopHouse, servers: ServerUrls, own_broker: Nats
) -> None:
    pick = random.Random(SEED)
    category = await fresh.category("Things")
    for number in range(40):
        await fresh.product(**_odd(pick, number, category["slug"]))
    exported = (await fresh.staff("GET", EXPORT)).text
    again = await imported(fresh, exported)
    assert (counts(again)[:2], counts(again)[3], again["errors"]) == ((0, 0), 0, []), f"seed {SEED}"
    cells = [cell for row in csv.reader(io.StringIO(exported, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))], f"seed {SEED}"
    urls = ServerUrls(postgres=servers.postgres, nats=own_broker.url, redis=servers.redis)
    async with shop_house(urls, ["catalog"]) as copy:
        body = {"name": "Things", "slug": category["slug"]}
        assert (await copy.staff("POST", "/api/v1/admin/categories", json=body)).status_code == 201
        found = await imported(copy, exported)
        assert (counts(found)[0], found["failed"], found["errors"]) == (found["rows"], 0, []), f"seed {SEED}"
        assert await _all(copy) == await _all(fresh), f"seed {SEED}"
        assert (await copy.staff("GET", EXPORT)).text == exported, f"seed {SEED}"


def _halves(lines: list[str], at: int) -> tuple[list[str], list[str]]:
    return lines[:at], lines[at:]


def _odd(pick: random.Random, number: int, category: str) -> dict[str, Any]:
    """A product with whatever may stand in its fields."""
    currency, places = pick.choice([("EUR", 2), ("JPY", 0), ("KWD", 3)])
    step = Decimal(1).scaleb(-places)

    def amount(low: int, high: int) -> str:
        return str((Decimal(pick.randint(low * 1000, high * 1000)) / 1000).quantize(step))

    images = [
        {
            "url": f"https://example.org/{number}/{place}.jpg",
            "alt": pick.choice(["", "=alt", "Two, words"]),
            "display_order": place if plain else pick.randint(0, 9),
            "is_primary": place == (0 if plain else 1),
        }
        for plain in [pick.random() < 0.5]
        for place in range(pick.randint(0, 3))
    ]
    variants = [
        {
            "sku": f"{pick.choice(['S', '=S', '-S', chr(39) + '=S'])}{number}-{place}",
            "price_difference": pick.choice(["0", f"-{step}", str(step)]),
            "active": pick.random() < 0.8,
            "attributes": {"color": pick.choice(["red", "=blue", "a,b"])} if pick.random() < 0.7 else {},
        }
        for place in range(pick.randint(0, 3))
    ]
    return product(
        name=pick.choice([text for text in TEXTS if text.isprintable() and text.strip()]),
        description=pick.choice(TEXTS),
        brand=pick.choice([text for text in TEXTS if text.isprintable()]),
        category=pick.choice([category, ""]),
        base_price=amount(20, 50),
        sale_price=pick.choice([None, amount(10, 20)]),
        currency=currency,
        status=pick.choice(["ACTIVE", "INACTIVE", "OUT_OF_STOCK"]),
        attributes={"material": pick.choice(["clay", "@glass"])} if pick.random() < 0.5 else {},
        reservation_policy=pick.choice(["AT_CHECKOUT", "AT_CART", "AT_PAYMENT"]),
        max_per_order=pick.randint(1, 10_000),
        shippable=pick.random() < 0.5,
        tax_category=pick.choice(["standard", "=odd"]),
        images=images,
        variants=variants,
    )


async def _all(house: ShopHouse) -> dict[str, Any]:
    """Every product by slug, without what is its own: ids, and the moment it was made."""
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        page = (await house.staff("GET", f"{ADMIN_PRODUCTS}?limit=100{cursor}")).json()
        for one in page["items"]:
            kept = {name: value for name, value in one.items() if name not in {"id", "created_at", "updated_at"}}
            for part in ("variants", "images"):
                kept[part] = [{name: value for name, value in item.items() if name != "id"} for item in one[part]]
            kept["images"].sort(key=lambda image: image["url"])
            found[one["slug"]] = kept
        if not page["next_cursor"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def _taken_over(house: ShopHouse) -> bool:
    async with house.running.database("catalog") as database:
        return bool(await database.fetchval("SELECT epoch > 1 FROM product_imports"))


_CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle in transaction' AND $1::integer > 0
"""
