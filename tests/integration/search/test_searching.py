"""Search over HTTP: fresh within seconds, the same filters as the catalog, mistyped words, escaped highlights, and a rebuild."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from careforall_testing.polling import eventually
from careforall_testing.shopping import ADMIN_PRODUCTS, PRODUCTS, ShopHouse, sku

SEARCH = "/api/v1/search"


async def found(house: ShopHouse, q: str, **query: Any) -> dict[str, Any]:
    answer = await house.client.get(SEARCH, params={"q": q, **query})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def names(house: ShopHouse, q: str, **query: Any) -> list[str]:
    return [one["name"] for one in (await found(house, q, **query))["products"]]


async def becomes(house: ShopHouse, expected: list[str], q: str, **query: Any) -> None:
    """Wait until a search finds exactly this."""

    async def look() -> bool:
        return await names(house, q, **query) == expected

    await eventually(look, what=f"{expected} for {q}")


def brand() -> str:
    """A brand nobody has, made of letters."""
    return "b" + "".join(chr(ord("a") + int(digit, 16)) for digit in secrets.token_hex(6))


async def test_a_change_is_found_within_five_seconds(house: ShopHouse) -> None:
    mark = brand()
    started = time.monotonic()
    made = await house.product(name="Lantern", brand=mark)
    await becomes(house, ["Lantern"], mark)
    assert time.monotonic() - started < 5
    await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"name": "Torch"})
    await becomes(house, ["Torch"], mark)
    await house.staff("DELETE", f"{ADMIN_PRODUCTS}/{made['id']}")
    await becomes(house, [], mark)


async def test_stock_and_filters_are_those_of_the_catalog(house: ShopHouse) -> None:
    mark, code = brand(), sku()
    variants = [{"sku": code, "attributes": {"color": "red"}}, {"sku": sku(), "attributes": {"color": "blue"}}]
    await house.product(name="Kettle", brand=mark, variants=variants, sale_price="9.00")
    await house.product(name="Pan", brand=mark, base_price="40.00")
    await becomes(house, ["Kettle", "Pan"], mark, sort="name")
    await house.stock(code, 2)
    await becomes(house, ["Kettle"], mark, in_stock="true")
    for query in ({}, {"color": "red"}, {"max_price": "10"}, {"sort": "price_desc"}, {"in_stock": "true"}, {"color": "green"}):
        there = await found(house, mark, **{"sort": "newest", **query})
        here = (await house.client.get(PRODUCTS, params={"brand": mark, **query})).json()
        assert there["facets"] == here["facets"]
        assert [one["id"] for one in there["products"]] == [one["id"] for one in here["products"]]
        assert there["pagination"]["total"] == here["pagination"]["total"]
    assert await names(house, code) == ["Kettle"], "by SKU"


async def test_names_come_before_descriptions(house: ShopHouse) -> None:
    mark = brand()
    await house.product(name="Chair", description=f"Goes well with {mark}.")
    await house.product(name=f"{mark} table")
    await becomes(house, [f"{mark} table", "Chair"], mark)
    first = await found(house, mark, size=1)
    second = await found(house, mark, size=1, cursor=first["pagination"]["next_cursor"])
    assert [one["name"] for one in (*first["products"], *second["products"])] == [f"{mark} table", "Chair"]
    assert second["pagination"]["next_cursor"] is None
    assert await names(house, f"{mark} -table") == ["Chair"]


async def test_words_with_joiners_are_found_as_they_are_spelled(house: ShopHouse) -> None:
    mark = brand()
    spelled = f"خانه\N{ZERO WIDTH NON-JOINER}ها {mark}"
    await house.product(name=spelled, brand=f"👩\N{ZERO WIDTH JOINER}🚀 {mark}")
    await becomes(house, [spelled], spelled)
    assert await names(house, mark, brand=f"👩\N{ZERO WIDTH JOINER}🚀 {mark}") == [spelled]


async def test_a_mistyped_word_finds_what_was_meant(house: ShopHouse) -> None:
    mark = brand()
    await house.product(name=f"Umbrella {mark}")
    await becomes(house, [f"Umbrella {mark}"], mark)
    typed = mark[:5] + mark[6:]
    answer = await found(house, f"umbrela {typed}")
    assert (answer["did_you_mean"], [one["name"] for one in answer["products"]]) == (f"umbrella {mark}", [f"Umbrella {mark}"])
    assert (await found(house, mark))["did_you_mean"] is None
    assert (await found(house, "qzxjv wqkzy"))["products"] == []


async def test_two_mistyped_words_find_what_was_meant(house: ShopHouse) -> None:
    mark = brand()
    await house.product(name="Cotton shirt", brand=mark)
    await becomes(house, ["Cotton shirt"], mark)
    answer = await found(house, f"coton shrit {mark}")
    assert (answer["did_you_mean"], [one["name"] for one in answer["products"]]) == (f"cotton shirt {mark}", ["Cotton shirt"])


async def test_highlights_are_escaped(house: ShopHouse) -> None:
    mark = brand()
    await house.product(name=f"<b>Bold</b> {mark}", description=f"<script>alert(1)</script> & {mark}")
    await becomes(house, [f"<b>Bold</b> {mark}"], mark)
    [one] = (await found(house, mark))["products"]
    assert one["highlight"]["name"].endswith(f"Bold&lt;/b&gt; <mark>{mark}</mark>")
    assert f"<mark>{mark}</mark>" in one["highlight"]["description"]
    assert "<script" not in one["highlight"]["description"]


async def test_what_is_begun_is_completed(house: ShopHouse) -> None:
    mark = brand()
    await house.product(name=f"{mark.title()} Wagon")
    await becomes(house, [f"{mark.title()} Wagon"], mark)
    answer = await house.client.get(f"{SEARCH}/suggest", params={"q": mark[:8]})
    assert answer.json()["suggestions"] == [f"{mark.title()} Wagon", mark]
    assert (await house.client.get(f"{SEARCH}/suggest", params={"q": "%"})).json()["suggestions"] == []


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("", "/q", "required_field"),
        ("q=%20", "/q", "required_field"),
        ("q=%00", "/q", "invalid_character"),
        (f"q={'x' * 201}", "/q", "invalid_value"),
        ("q=mug&min_price=5&max_price=4", "/max_price", "below_minimum"),
        ("q=mug&page=99999", "/page", "too_deep"),
        ("q=mug&cursor=x", "/cursor", "invalid_cursor"),
    ],
)
async def test_what_cannot_be_asked_is_named(house: ShopHouse, query: str, pointer: str, code: str) -> None:
    answer = await house.client.get(f"{SEARCH}?{query}")
    assert answer.status_code == 422, answer.text
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}


@pytest.mark.parametrize("q", ["'", '"', "& | !", "a:*", "((", "\\", "-", "mug\u2019s", "%"])
async def test_signs_are_no_orders(house: ShopHouse, q: str) -> None:
    await found(house, q)


async def test_a_broken_index_is_made_anew_while_it_serves(house: ShopHouse) -> None:
    mark = brand()
    made = await house.product(name=f"Anvil {mark}")
    await becomes(house, [f"Anvil {mark}"], mark)
    async with house.running.database("search") as database:
        await database.execute("DELETE FROM documents WHERE id = $1::uuid", made["id"])
        await database.execute("DELETE FROM offers WHERE product_id = $1::uuid", made["id"])
    assert await names(house, mark) == []
    done = await house.running.cli("reindex")
    assert (done.status, "products indexed" in done.out) == (0, True), done.err
    assert await names(house, mark) == [f"Anvil {mark}"]
    await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"name": f"Hammer {mark}"})
    await becomes(house, [f"Hammer {mark}"], mark)
