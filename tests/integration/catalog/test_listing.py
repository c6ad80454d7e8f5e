"""What visitors see: filters, pages and cursors, variants by attribute, the tree, and answers that are never out of date."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall_testing.shopping import ADMIN_CATEGORIES, ADMIN_PRODUCTS, CATEGORIES, PRODUCTS, ShopHouse, sku


async def shown(house: ShopHouse, **query: Any) -> dict[str, Any]:
    answer = await house.client.get(PRODUCTS, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [one["name"] for one in found["products"]]


async def test_a_category_holds_what_is_below_it(house: ShopHouse) -> None:
    root = await house.category("Garden")
    leaf = await house.category("Tools", root["slug"])
    await house.product(name="Spade", category=leaf["slug"])
    await house.product(name="Bench", category=root["slug"])
    assert names(await shown(house, category=root["slug"], sort="name")) == ["Bench", "Spade"]
    assert names(await shown(house, category=leaf["slug"])) == ["Spade"]
    tree = (await house.client.get(CATEGORIES)).json()["categories"]
    [found] = [one for one in tree if one["slug"] == root["slug"]]
    assert [(one["slug"], one["level"]) for one in found["children"]] == [(leaf["slug"], 1)]


async def test_prices_are_those_that_apply_now_and_of_the_variants_that_match(house: ShopHouse) -> None:
    brand = secrets.token_hex(4)
    variants = [
        {"sku": sku(), "attributes": {"size": "s"}},
        {"sku": sku(), "attributes": {"size": "l"}, "price_difference": "5.00"},
    ]
    await house.product(name="Shirt", brand=brand, base_price="20.00", sale_price="10.00", variants=variants)
    await house.product(name="Coat", brand=brand, base_price="80.00")
    found = await shown(house, brand=brand, max_price="15")
    assert [(one["price"], one["highest_price"], one["base_price"]) for one in found["products"]] == [("10.00", "15.00", "20.00")]
    assert names(await shown(house, brand=brand, min_price="15", max_price="15")) == ["Shirt"]
    assert names(await shown(house, brand=brand, **{"attr.size": "s", "min_price": "11"})) == []
    assert names(await shown(house, brand=brand, sort="price_desc")) == ["Coat", "Shirt"]
    facets = (await shown(house, brand=brand))["facets"]
    assert facets["attributes"] == {"size": [{"value": "l", "count": 1}, {"value": "s", "count": 1}]}
    assert (facets["price"]["min"], facets["price"]["max"]) == ("10.00", "80.00")
    assert facets["price"]["ranges"] == [
        {"min_price": "10.00", "max_price": "24.99", "count": 1},
        {"min_price": "50.00", "max_price": "99.99", "count": 1},
    ]


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ({"JPY": "1200"}, ("1200", "1200", "1000", None)),
        ({"KWD": "4.725"}, ("4.725", "4.725", "0.000", "9.999")),
        ({"EUR": "4.70", "KWD": "4.725"}, ("4.700", "4.725", "0.000", "9.999")),
    ],
    ids=["yen", "dinar", "mixed"],
)
async def test_prices_of_facets_have_the_digits_of_their_currency(
    house: ShopHouse, prices: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    brand = secrets.token_hex(4)
    for currency, price in prices.items():
        await house.product(brand=brand, base_price=price, currency=currency)
    price_facet = (await shown(house, brand=brand))["facets"]["price"]
    [in_range] = price_facet["ranges"]
    assert (price_facet["min"], price_facet["max"], in_range["min_price"], in_range["max_price"]) == expected


async def test_a_page_behind_the_last_still_says_what_the_results_cost(house: ShopHouse) -> None:
    brand = secrets.token_hex(4)
    for price, currency in (("4.70", "EUR"), ("9.725", "KWD")):
        await house.product(brand=brand, base_price=price, currency=currency)
    found = await shown(house, brand=brand, page=1)
    assert (found["products"], found["facets"]["price"]["min"], found["facets"]["price"]["max"]) == ([], "4.700", "9.725")


async def test_a_range_finds_what_it_counts_in_a_finer_currency_on_another_page(house: ShopHouse) -> None:
    brand = secrets.token_hex(4)
    for price, currency in (("9.995", "KWD"), ("24.999", "KWD"), ("10.00", "EUR")):
        await house.product(brand=brand, base_price=price, currency=currency)
    found = await shown(house, brand=brand, size=1)
    assert [one["currency"] for one in found["products"]] == ["EUR"]
    for one in found["facets"]["price"]["ranges"]:
        inside = await shown(house, brand=brand, min_price=one["min_price"], max_price=one["max_price"])
        assert inside["pagination"]["total"] == one["count"]


async def test_in_stock_follows_inventory(house: ShopHouse) -> None:
    brand, code = secrets.token_hex(4), sku()
    made = await house.product(brand=brand, variants=[{"sku": code}])
    assert names(await shown(house, brand=brand, in_stock="true")) == []
    await house.stock(code, 3)
    assert names(await shown(house, brand=brand, in_stock="true")) == ["Mug"]
    page = (await house.client.get(f"{PRODUCTS}/{made['id']}")).json()
    assert (page["in_stock"], page["variants"][0]["in_stock"]) == (True, True)
    await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"status": "OUT_OF_STOCK"})
    assert names(await shown(house, brand=brand, in_stock="true")) == []
    await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"status": "ACTIVE"})
    assert names(await shown(house, brand=brand, in_stock="true")) == ["Mug"]
    await house.stock(code, 0)
    assert names(await shown(house, brand=brand, in_stock="true")) == []


async def test_what_is_not_for_sale_is_not_shown(house: ShopHouse) -> None:
    brand = secrets.token_hex(4)
    hidden = await house.product(brand=brand, status="INACTIVE")
    removed = await house.product(brand=brand)
    await house.staff("DELETE", f"{ADMIN_PRODUCTS}/{removed['id']}")
    half = await house.product(brand=brand, variants=[{"sku": sku(), "active": False}, {"sku": sku()}])
    assert [one["id"] for one in (await shown(house, brand=brand))["products"]] == [half["id"]]
    for one in (hidden["id"], removed["id"], str(new_id()), "x"):
        assert (await house.client.get(f"{PRODUCTS}/{one}")).status_code == 404
    assert len((await house.client.get(f"{PRODUCTS}/{half['id']}")).json()["variants"]) == 1


@pytest.mark.parametrize("sort", ["newest", "price_asc", "price_desc", "rating", "name"])
async def test_pages_and_cursors_show_everything_once_in_the_same_order(house: ShopHouse, sort: str) -> None:
    brand = secrets.token_hex(4)
    for number in range(7):
        await house.product(name=f"Thing {number % 3}", brand=brand, base_price=f"{10 + number % 2}.00")
    everything = [one["id"] for one in (await shown(house, brand=brand, sort=sort, size=100))["products"]]
    pages, cursor = [], None
    for page in range(4):
        by_page = await shown(house, brand=brand, sort=sort, size=2, page=page)
        by_cursor = await shown(house, brand=brand, sort=sort, size=2, **({"cursor": cursor} if cursor else {}))
        assert by_cursor["products"] == by_page["products"]
        assert by_page["pagination"] | {"next_cursor": ""} == {"page": page, "size": 2, "total": 7, "pages": 4, "next_cursor": ""}
        pages += [one["id"] for one in by_page["products"]]
        cursor = by_cursor["pagination"]["next_cursor"]
    assert (pages, cursor) == (everything, None)
    assert (await shown(house, brand=brand, size=2, page=4))["products"] == []


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("min_price=5&max_price=4", "/max_price", "below_minimum"),
        ("min_price=-1", "/min_price", "invalid_value"),
        ("min_price=NaN", "/min_price", "invalid_value"),
        ("max_price=1e400000", "/max_price", "invalid_value"),
        ("max_price=much", "/max_price", "invalid_value"),
        ("rating=6", "/rating", "invalid_value"),
        ("page=-1", "/page", "invalid_value"),
        ("page=500&size=20", "/page", "too_deep"),
        ("page=99999999999999999999", "/page", "too_deep"),
        ("size=0", "/size", "invalid_value"),
        ("size=101", "/size", "invalid_value"),
        ("sort=cheapest", "/sort", "invalid_value"),
        ("in_stock=perhaps", "/in_stock", "invalid_value"),
        ("cursor=x", "/cursor", "invalid_cursor"),
        ("cursor=WyJwcmljZV9hc2MiLCAiMSIsICIwMTkzMWQyZS03YTZiLTdjM2QtOGU0Zi01YTZiN2M4ZDllMGYiXQ", "/cursor", "invalid_cursor"),
        ("category=%00", "/category", "invalid_value"),
        ("brand=%00", "/brand", "invalid_value"),
        ("color=%00", "/color", "invalid_value"),
        ("Color=red", "/Color", "unknown_parameter"),
        ("limit=2", "/limit", "unknown_parameter"),
        ("attr.=red", "/", "unknown_parameter"),
    ],
)
async def test_what_cannot_be_asked_is_named(house: ShopHouse, query: str, pointer: str, code: str) -> None:
    answer = await house.client.get(f"{PRODUCTS}?{query}")
    assert answer.status_code == 422, answer.text
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}


async def test_variants_are_chosen_by_attribute(house: ShopHouse) -> None:
    variants = [{"sku": sku(), "attributes": {"color": color, "size": size}} for color in ("red", "blue") for size in ("s", "m")]
    made = await house.product(variants=variants)
    path = f"{PRODUCTS}/{made['id']}/variants"

    async def chosen(query: str) -> list[str]:
        return [one["sku"] for one in (await house.client.get(f"{path}?{query}")).json()["items"]]

    assert await chosen("") == [one["sku"] for one in variants]
    assert await chosen("color=red&size=m") == [variants[1]["sku"]]
    assert await chosen("color=red&color=blue&size=s") == [variants[0]["sku"], variants[2]["sku"]]
    assert await chosen("color=green") == []
    assert (await house.client.get(f"{PRODUCTS}/{new_id()}/variants")).status_code == 404


async def test_an_answer_is_sent_again_only_when_it_changed(house: ShopHouse) -> None:
    made = await house.product(brand=secrets.token_hex(4))
    for path in (f"{PRODUCTS}/{made['id']}", f"{PRODUCTS}?brand={made['brand']}", CATEGORIES):
        first = await house.client.get(path)
        again = await house.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    tag = (await house.client.get(f"{PRODUCTS}/{made['id']}")).headers["etag"]
    answer = await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"name": "Cup"}, headers={"If-Match": tag})
    assert answer.status_code == 200, "the visitor's ETag names the version too"
    again = await house.client.get(f"{PRODUCTS}/{made['id']}", headers={"If-None-Match": tag})
    assert (again.status_code, again.json()["name"]) == (200, "Cup")


async def test_a_change_shows_at_once_in_every_process(house: ShopHouse) -> None:
    brand = secrets.token_hex(4)
    category = await house.category("Fresh")
    made = await house.product(brand=brand, category=category["slug"])
    for name in ("Cup", "Bowl"):
        await shown(house, brand=brand)
        await house.client.get(f"{PRODUCTS}/{made['id']}")
        await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"name": name})
        assert names(await shown(house, brand=brand)) == [name]
        assert (await house.client.get(f"{PRODUCTS}/{made['id']}")).json()["name"] == name
    await house.client.get(CATEGORIES)
    await house.staff("PATCH", f"{ADMIN_CATEGORIES}/{category['id']}", json={"name": "Ripe"})
    assert "Ripe" in (await house.client.get(CATEGORIES)).text


async def test_answers_come_out_of_redis(house: ShopHouse) -> None:
    made = await house.product()
    path = f"{PRODUCTS}/{made['id']}"
    for _ in range(3):
        await house.client.get(path)
    metrics = (await house.client.get("/metrics")).text
    [hits] = [line for line in metrics.splitlines() if "cache_hits_total{" in line and 'cache_type="product"' in line]
    assert float(hits.rpartition(" ")[2]) >= 2
