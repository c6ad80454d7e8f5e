"""Products from CSV files: created, changed and refused row by row, told of like every change, and nothing by a dry run."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from careforall.kit.ids import new_id
from careforall_testing.importing import CSV, EXPORT, IMPORT, IMPORTS, counts, ended, errors, imported, order
from careforall_testing.polling import eventually
from careforall_testing.shopping import ADMIN_PRODUCTS, PRODUCTS, ShopHouse, sku

HEADER = "sku,name,base_price,currency\n"


def unique(word: str) -> str:
    return f"{word}-{secrets.token_hex(5)}"


async def test_rows_become_products_that_visitors_find_and_others_hear_of(house: ShopHouse) -> None:
    category = await house.category("Mugs")
    slug, red, blue, single = unique("big-mug"), sku("RED"), sku("BLUE"), sku("ONE")
    file = (
        "slug,sku,name,category,brand,base_price,sale_price,currency,attr.material,variant_attr.color,price_difference,images\r\n"
        f"{slug},{red},Große Tasse,{category['slug']},Fairfield,12.50,9.90,EUR,clay,red,,https://example.org/a.jpg\r\n"
        f',{single},"Plate, flat",{category["slug"]},,7,,EUR,,,,\r\n'
        f"{slug},{blue},,,,,,,,blue,-1.00,\r\n"
    )
    found = await imported(house, "\ufeff" + file)
    assert (found["state"], counts(found), found["errors"], found["progress"]) == ("COMPLETED", (3, 0, 0, 0), [], 100.0)
    shown = (await house.client.get(f"{PRODUCTS}?category={category['slug']}&sort=price_asc")).json()["products"]
    assert [(one["name"], one["price"], one["highest_price"]) for one in shown] == [
        ("Plate, flat", "7.00", "7.00"),
        ("Große Tasse", "8.90", "9.90"),
    ]
    whole = (await house.client.get(f"{PRODUCTS}/{shown[1]['id']}")).json()
    assert [(one["sku"], one["attributes"]) for one in whole["variants"]] == [(red, {"color": "red"}), (blue, {"color": "blue"})]
    assert (whole["slug"], whole["attributes"], whole["images"][0]["is_primary"]) == (slug, {"material": "clay"}, True)
    [(kind, envelope)] = await house.events_of(whole["id"])
    assert (kind, envelope["correlation_id"]) == ("catalog.product_created", f"import {found['id']}")


async def test_what_is_known_is_changed_by_the_columns_that_are_there_and_by_no_other(house: ShopHouse) -> None:
    made = await house.product(name="Mug", description="Old", brand="Fairfield", attributes={"material": "clay", "origin": "DE"})
    code = made["variants"][0]["sku"]
    again = f"sku,base_price,description,attr.material\n{code},13.00,,glass\n"
    assert counts(await imported(house, again)) == (0, 1, 0, 0)
    assert counts(await imported(house, again)) == (0, 0, 1, 0)
    found = (await house.staff("GET", f"{ADMIN_PRODUCTS}/{made['id']}")).json()
    assert (found["base_price"], found["description"], found["brand"], found["version"]) == ("13.00", "", "Fairfield", 2)
    assert found["attributes"] == {"material": "glass", "origin": "DE"}
    assert [kind for kind, _ in await house.events_of(made["id"])] == ["catalog.product_created", "catalog.product_updated"]
    more = sku("MORE")
    assert counts(await imported(house, f"slug,sku,base_price\n{made['slug']},{more},\n{made['slug']},{code},\n")) == (1, 0, 1, 0)
    found = (await house.staff("GET", f"{ADMIN_PRODUCTS}/{made['id']}")).json()
    assert ([one["sku"] for one in found["variants"]], found["variants"][0]["id"]) == ([code, more], made["variants"][0]["id"])


@pytest.mark.parametrize(
    ("column", "cell", "wrong"),
    [
        ("name", "", ("name", "required_field")),
        ("name", "  ", ("name", "required_field")),
        ("name", "a\x00b", ("name", "invalid_character")),
        ("name", "x" * 201, ("name", "too_long")),
        ("name", "4111 1111 1111 1111", ("name", "card_number")),
        ("base_price", "", ("base_price", "required_field")),
        ("base_price", "1.001", ("base_price", "too_many_decimals")),
        ("base_price", "-1", ("base_price", "not_positive")),
        ("base_price", "0", ("base_price", "not_positive")),
        ("base_price", '"1,50"', ("base_price", "not_a_number")),
        ("base_price", "1_0", ("base_price", "not_a_number")),
        ("base_price", "١٢", ("base_price", "not_a_number")),
        ("base_price", "NaN", ("base_price", "not_a_number")),
        ("base_price", "1e999999", ("base_price", "too_large")),
        ("base_price", "9" * 100_000, ("base_price", "not_a_number")),
        ("base_price", "9" * 20, ("base_price", "too_large")),
        ("sale_price", "12.51", ("sale_price", "above_base_price")),
        ("currency", "eur", ("currency", "unknown_currency")),
        ("currency", "XTS", ("currency", "unknown_currency")),
        ("currency", "JPY", ("base_price", "too_many_decimals")),
        ("category", "nowhere", ("category", "unknown_category")),
        ("category", "a\x00", ("category", "unknown_category")),
        ("status", "DRAFT", ("status", "invalid_value")),
        ("max_per_order", "0", ("max_per_order", "invalid_value")),
        ("max_per_order", "ten", ("max_per_order", "invalid_value")),
        ("shippable", "perhaps", ("shippable", "invalid_value")),
        ("slug", "Big Mug!", ("slug", "invalid_slug")),
        ("sku", " a", ("sku", "invalid_sku")),
        ("sku", "", ("sku", "required_field")),
        ("price_difference", "-12.50", ("price_difference", "price_not_positive")),
        ("price_difference", "NaN", ("price_difference", "not_a_number")),
        ("attr.color", "x" * 101, ("attr.color", "too_long")),
        ("variant_attr.color", "\x00", ("variant_attr.color", "invalid_character")),
        ("images", "javascript:alert(1)", ("images", "invalid_url")),
        ("images", '"[{""url"": 7}]"', ("images", "invalid_value")),
        ("images", "https://example.org/a " * 51, ("images", "too_many")),
    ],
)
async def test_a_cell_that_cannot_be_accepted_is_named_and_its_neighbours_are_taken(
    house: ShopHouse, column: str, cell: str, wrong: tuple[str, str]
) -> None:
    good = {"sku": sku(), "name": "Mug", "base_price": "12.50", "currency": "EUR"}
    bad = good | {"sku": sku()} | {column: cell}
    rows = [",".join(row.get(name, "") for name in bad) for row in (good, bad, good | {"sku": sku()})]
    found = await imported(house, "\n".join([",".join(bad), *rows]))
    assert (counts(found), errors(found)) == ((2, 0, 0, 1), [(3, *wrong)])
    async with house.running.database("catalog") as database:
        assert not await database.fetchval("SELECT count(*) FROM variants WHERE sku = $1", bad["sku"])


async def test_a_product_is_taken_whole_or_not_at_all(house: ShopHouse) -> None:
    taken = (await house.product())["variants"][0]["sku"]
    gone = await house.product()
    await house.staff("DELETE", f"{ADMIN_PRODUCTS}/{gone['id']}")
    first, second, twice, foreign = (unique(word) for word in ("first", "second", "twice", "foreign"))
    codes = [sku() for _ in range(6)]
    found = await imported(
        house,
        "slug,sku,name,base_price,currency\n"
        f"{first},{codes[0]},Mug,5.00,EUR\n"
        f"{first},{codes[1]},Mug,6.00,EUR\n"
        f"{second},{codes[2]},Cup,5.00,EUR\n"
        f"{twice},{codes[3]},Jar,5.00,EUR\n"
        f"{twice},{codes[2]},,,\n"
        f"{foreign},{taken},Pot,5.00,EUR\n"
        f",{gone['variants'][0]['sku']},Pan,5.00,EUR\n",
    )
    assert errors(found) == [
        (2, "", "product_refused"),
        (3, "base_price", "differs"),
        (5, "", "product_refused"),
        (6, "sku", "duplicate_entry"),
        (7, "sku", "duplicate_entry"),
        (8, "sku", "duplicate_entry"),
    ]
    assert counts(found) == (1, 0, 0, 6)
    async with house.running.database("catalog") as database:
        stored = await database.fetch("SELECT slug FROM products WHERE slug = ANY($1::text[])", [first, second, twice, foreign])
    assert [row["slug"] for row in stored] == [second]


async def test_a_row_without_slug_takes_none_that_the_file_gives_to_another(house: ShopHouse) -> None:
    name = unique("Name").lower()
    found = await imported(
        house, f"slug,sku,name,base_price,currency\n,{sku()},{name},5,EUR\n{name},{sku()},{name},5,EUR\n,{sku()},{name},5,EUR\n"
    )
    assert counts(found) == (3, 0, 0, 0)
    async with house.running.database("catalog") as database:
        slugs = [row["slug"] for row in await database.fetch("SELECT slug FROM products WHERE name = $1", name)]
    assert (len(set(slugs)), name in slugs) == (3, True)


async def test_a_dry_run_tells_what_would_be_and_changes_nothing(house: ShopHouse) -> None:
    known = (await house.product())["variants"][0]["sku"]
    file = f"{HEADER}{sku()},Mug,5.00,EUR\n{known},Mug,6.00,EUR\n{sku()},Mug,five,EUR\n"
    async with house.running.database("catalog") as database:
        before = await database.fetchval(_EVERYTHING)
        dry = await imported(house, file, dry_run=True)
        assert await database.fetchval(_EVERYTHING) == before
        assert (dry["dry_run"], dry["state"], counts(dry)) == (True, "COMPLETED", (1, 1, 0, 1))
        wet = await imported(house, file)
        assert (counts(wet), wet["errors"]) == (counts(dry), dry["errors"])
        assert await database.fetchval(_EVERYTHING) != before
        assert not await database.fetchval("SELECT count(*) FROM product_import_files"), "files go with their imports"


async def test_a_sku_that_somebody_else_takes_meanwhile_fails_its_row_alone(house: ShopHouse) -> None:
    wanted = [sku() for _ in range(7)]
    other = await house.product()
    file = "slug," + HEADER + "".join(f"{unique('mug')},{one},Mug,5.00,EUR\n" for one in wanted)
    databases = house.running.database("catalog"), house.running.database("catalog")
    async with databases[0] as watching, databases[1] as database, database.transaction():
        await database.execute(_TAKE, new_id(), other["id"], wanted[3])
        ordered = await order(house, file)
        await eventually(lambda: _is_waiting(watching), what="the import waits for the SKU")
    found = await ended(house, ordered["id"])
    assert (counts(found), errors(found)) == ((6, 0, 0, 1), [(5, "sku", "duplicate_entry")])


async def test_errors_are_paged_and_kept_up_to_a_limit_but_all_are_counted(house: ShopHouse) -> None:
    found = await imported(house, HEADER + "".join(f"{sku()},Mug,free,EUR\n" for _ in range(1100)))
    assert (found["state"], counts(found), found["error_count"]) == ("COMPLETED", (0, 0, 0, 1100), 1100)
    lines, cursor = [one["line"] for one in found["errors"]], found["next_cursor"]
    while cursor:
        page = (await house.staff("GET", f"{IMPORTS}/{found['id']}?limit=90&cursor={cursor}")).json()
        lines, cursor = lines + [one["line"] for one in page["errors"]], page["next_cursor"]
    assert sorted(lines) == list(range(2, 1002))
    listed = (await house.staff("GET", f"{IMPORTS}?limit=1")).json()["items"]
    assert (listed[0]["id"], listed[0]["processed"]) == (found["id"], 1100)


async def test_an_import_can_be_stopped_and_what_it_did_stays(house: ShopHouse) -> None:
    async with _held_up(house):
        ordered = await order(house, f"{HEADER}{sku()},Mug,5.00,EUR\n")
        stopped = await house.staff("POST", f"{IMPORTS}/{ordered['id']}/cancel")
        assert (stopped.status_code, stopped.json()["state"]) == (200, "CANCELLED")
    again = await house.staff("POST", f"{IMPORTS}/{ordered['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "import_ended")
    assert counts(await ended(house, ordered["id"])) == (0, 0, 0, 0)
    for path in (f"{IMPORTS}/{new_id()}", f"{IMPORTS}/x"):
        assert (await house.staff("GET", path)).status_code == 404
    assert (await house.staff("POST", f"{IMPORTS}/{new_id()}/cancel")).json()["code"] == "import_not_found"


async def test_the_same_file_under_the_same_key_is_one_import(house: ShopHouse) -> None:
    headers = CSV | house.callers.admin() | {"Idempotency-Key": str(new_id())}
    file = f"{HEADER}{sku()},Mug,5.00,EUR\n".encode()
    first, again = [await house.client.post(IMPORT, content=file, headers=headers) for _ in range(2)]
    assert (first.status_code, again.content, again.headers["location"]) == (202, first.content, first.headers["location"])
    other = await house.client.post(IMPORT, content=b"sku\nx\n", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", CSV, 422, "invalid_value"),
        (b"sku,stock\n1,2\n", CSV, 422, "invalid_value"),
        (b"[]", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        (b"sku\na\n", {"Content-Type": "text/csv; charset=latin-1"}, 415, "unsupported_media_type"),
        (b"sku\na\n", CSV | {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"x" * (10 * 1024**2 + 1), CSV, 413, "body_too_large"),
    ],
)
async def test_what_is_no_file_of_products_is_refused_and_leaves_nothing(
    house: ShopHouse, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    async with house.running.database("catalog") as database:
        before = await database.fetchval("SELECT count(*) FROM product_imports")
        answer = await house.staff("POST", IMPORT, content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert await database.fetchval("SELECT count(*) FROM product_imports") == before


async def test_only_staff_may_bring_in_or_take_out_files(house: ShopHouse) -> None:
    big = b"x" * 200_000
    for method, path in (("POST", IMPORT), ("GET", IMPORTS), ("GET", EXPORT), ("POST", f"{IMPORTS}/{new_id()}/cancel")):
        content, headers = (big, CSV) if path == IMPORT else (None, {})
        for caller, status in (({}, 401), (house.callers.user(), 403)):
            answer = await house.client.request(method, path, content=content, headers=headers | caller)
            assert answer.status_code == status


async def test_the_command_line_brings_in_a_file_and_tells_what_was_wrong(house: ShopHouse, tmp_path: Path) -> None:
    file, wanted = tmp_path / "products.csv", sku()
    file.write_text(f"{HEADER}{wanted},Mug,5.00,EUR\n{sku()},Mug,free,EUR\n")
    dry = await house.running.cli("import-products", str(file), "--dry-run")
    assert (dry.status, dry.err) == (1, "")
    assert dry.out.splitlines() == [
        '  line 3: base_price: not_a_number: write the amount as "25.00", with a point and without thousands separators',
        "dry run, nothing was changed: completed: 2 rows: 1 created, 0 updated, 0 unchanged, 1 failed",
    ]
    file.write_text(f"{HEADER}{wanted},Mug,5.00,EUR\n")
    for outcome in ("1 created, 0 updated, 0 unchanged", "0 created, 0 updated, 1 unchanged"):
        done = await house.running.cli("import-products", str(file))
        assert (done.status, done.out) == (0, f"completed: 1 rows: {outcome}, 0 failed\n")
    file.write_text("sku,stock\n")
    refused = await house.running.cli("import-products", str(file))
    assert (refused.status, refused.out) == (2, "")
    assert "column 2 has no name that is known here" in refused.err


@asynccontextmanager
async def _held_up(house: ShopHouse) -> AsyncIterator[None]:
    """Let no import of the house begin."""
    async with house.running.database("catalog") as database, database.transaction():
        await database.execute("SELECT pg_advisory_xact_lock(hashtext('catalog.categories'))")
        yield
        await asyncio.sleep(0)


async def _is_waiting(database: asyncpg.Connection) -> bool:
    return bool(await database.fetchval(_WAITING))


_TAKE = """
INSERT INTO variants (id, product_id, display_order, sku, attributes, price_difference, active)
VALUES ($1, $2, 7, $3, '{}', 0, true)
"""
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO variants%'
"""
_EVERYTHING = """
SELECT md5(concat(
    (SELECT string_agg(p::text, '' ORDER BY id) FROM products AS p),
    (SELECT string_agg(v::text, '' ORDER BY id) FROM variants AS v),
    (SELECT string_agg(i::text, '' ORDER BY id) FROM images AS i), (SELECT string_agg(s::text, '' ORDER BY sku) FROM stock AS s),
    (SELECT string_agg(o::text, '' ORDER BY product_id, place) FROM offers AS o),
    (SELECT string_agg(id::text, '' ORDER BY id) FROM outbox), (SELECT generation FROM list_generation)
))
"""
