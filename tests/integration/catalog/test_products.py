"""Products as staff keep them: bad input field by field, versions in either style, unique SKUs, an event with every change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall_testing.shopping import ADMIN_PRODUCTS, ShopHouse, product, sku

IMAGE = {"url": "https://example.org/mug.jpg"}


def variant(**changes: Any) -> dict[str, Any]:
    return {"sku": sku()} | changes


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"name": ""}, "/name", "invalid_value"),
        ({"name": "  "}, "/name", "required_field"),
        ({"name": "a\x00"}, "/name", "invalid_character"),
        ({"name": "x" * 201}, "/name", "invalid_value"),
        ({"description": "\x00"}, "/description", "invalid_character"),
        ({"description": "4111 1111 1111 1111"}, "/description", "card_number"),
        ({"brand": "\u202ex"}, "/brand", "invalid_character"),
        ({"base_price": "0"}, "/base_price", "not_positive"),
        ({"base_price": "-1"}, "/base_price", "not_positive"),
        ({"base_price": "1.001"}, "/base_price", "too_many_decimals"),
        ({"base_price": "NaN"}, "/base_price", "not_a_number"),
        ({"base_price": "1e30"}, "/base_price", "too_large"),
        ({"sale_price": "12.51"}, "/sale_price", "above_base_price"),
        ({"sale_price": "-1"}, "/sale_price", "not_positive"),
        ({"currency": "eur"}, "/currency", "unknown_currency"),
        ({"currency": "JPY"}, "/base_price", "too_many_decimals"),
        ({"status": "DRAFT"}, "/status", "invalid_value"),
        ({"slug": "Mug!"}, "/slug", "invalid_slug"),
        ({"category": "nowhere"}, "/category", "unknown_category"),
        ({"category": "a\x00"}, "/category", "unknown_category"),
        ({"attributes": {"Color": "red"}}, "/attributes", "invalid_attribute"),
        ({"attributes": {"color": ""}}, "/attributes/color", "required_field"),
        ({"attributes": {"color": "\x00"}}, "/attributes/color", "invalid_character"),
        ({"variants": [{}]}, "/variants/0/sku", "required_field"),
        ({"variants": [variant(sku="a\x00")]}, "/variants/0/sku", "invalid_sku"),
        ({"variants": [variant(sku=" a")]}, "/variants/0/sku", "invalid_sku"),
        ({"variants": [variant(sku="same"), variant(sku="same")]}, "/variants/1/sku", "duplicate_entry"),
        ({"variants": [variant(price_difference="-12.50")]}, "/variants/0/price_difference", "price_not_positive"),
        ({"variants": [variant(price_difference="0.001")]}, "/variants/0/price_difference", "too_many_decimals"),
        ({"variants": [variant(price_difference="NaN")]}, "/variants/0/price_difference", "not_a_number"),
        ({"variants": [variant(stock=7)]}, "/variants/0/stock", "unknown_field"),
        ({"variants": [variant() for _ in range(101)]}, "/variants", "invalid_value"),
        ({"images": [{"url": "javascript:alert(1)"}]}, "/images/0/url", "invalid_url"),
        ({"images": [{"url": "https://"}]}, "/images/0/url", "invalid_url"),
        ({"images": [IMAGE | {"display_order": -1}]}, "/images/0/display_order", "invalid_value"),
        ({"images": [IMAGE | {"is_primary": True}] * 2}, "/images", "several_primary"),
        ({"max_per_order": 0}, "/max_per_order", "invalid_value"),
        ({"seller_id": "x"}, "/seller_id", "unknown_field"),
        ({"rating_average": "5"}, "/rating_average", "unknown_field"),
        ({"version": 7}, "/version", "unknown_field"),
    ],
)
async def test_a_field_that_cannot_be_accepted_is_named_and_nothing_is_stored(
    house: ShopHouse, changes: dict[str, Any], pointer: str, code: str
) -> None:
    async with house.running.database("catalog") as database:
        before = await database.fetchval("SELECT (SELECT count(*) FROM products) + (SELECT count(*) FROM outbox)")
        answer = await house.staff("POST", ADMIN_PRODUCTS, json=product(**changes))
        assert answer.status_code == 422, answer.text
        assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
        after = await database.fetchval("SELECT (SELECT count(*) FROM products) + (SELECT count(*) FROM outbox)")
        assert after == before


async def test_a_product_is_created_whole_and_told_of_whole(house: ShopHouse) -> None:
    root = await house.category("Kitchen")
    leaf = await house.category("Mugs", root["slug"])
    variants = [variant(attributes={"color": "red"}, price_difference="-1.00"), variant(attributes={"color": "blue"})]
    images = [IMAGE | {"display_order": 2}, {"url": "https://example.org/front.jpg", "is_primary": True, "display_order": 9}]
    made = await house.product(
        name="Große Tasse",
        sale_price=9.5,
        category=leaf["slug"],
        variants=variants,
        images=images,
        attributes={"material": "clay"},
    )
    assert (made["slug"].startswith("groe-tasse"), made["version"], made["status"]) == (True, 1, "ACTIVE")
    assert (made["base_price"], made["sale_price"], made["price"]) == ("12.50", "9.50", "9.50")
    assert [(one["sku"], one["price"]) for one in made["variants"]] == [
        (variants[0]["sku"], "8.50"),
        (variants[1]["sku"], "9.50"),
    ]
    assert made["category_path"] == [root["slug"], leaf["slug"]]
    [(kind, envelope)] = await house.events_of(made["id"])
    told = envelope["payload"]
    assert (kind, envelope["aggregate_version"]) == ("catalog.product_created", 1)
    assert told["category_path"] == made["category_path"]
    assert told["image_url"] == "https://example.org/front.jpg"
    assert [one["sku"] for one in told["variants"]] == [one["sku"] for one in variants]


async def test_a_sku_belongs_to_one_variant_for_ever(house: ShopHouse) -> None:
    first = await house.product()
    taken = first["variants"][0]["sku"]
    for _ in range(2):
        answer = await house.staff("POST", ADMIN_PRODUCTS, json=product(variants=[variant(), variant(sku=taken)]))
        assert (answer.status_code, answer.json()["code"]) == (409, "duplicate_entry")
        assert answer.json()["errors"][0]["pointer"] == "/variants/1/sku"
        other = await house.product()
        answer = await house.staff("POST", f"{ADMIN_PRODUCTS}/{other['id']}/variants", json={"sku": taken})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (409, "/sku")
        await house.staff("DELETE", f"{ADMIN_PRODUCTS}/{first['id']}")


async def test_of_many_who_ask_for_one_sku_at_once_one_gets_it(house: ShopHouse) -> None:
    wanted = sku()
    bodies = [product(name=f"Racer {number}", variants=[variant(sku=wanted)]) for number in range(8)]
    answers = await asyncio.gather(*(house.staff("POST", ADMIN_PRODUCTS, json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"duplicate_entry"}


async def test_versions_in_either_style_keep_changes_apart(house: ShopHouse) -> None:
    made = await house.product()
    path = f"{ADMIN_PRODUCTS}/{made['id']}"
    changed = await house.staff("PATCH", path, json={"name": "Cup", "version": 1})
    assert (changed.status_code, changed.json()["version"], changed.headers["etag"]) == (200, 2, '"2"')
    stale = await house.staff("PATCH", path, json={"name": "Jar"}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (409, "version_conflict", 2)
    assert (await house.staff("DELETE", path, headers={"If-Match": '"1"'})).status_code == 409
    replaced = await house.staff(
        "PUT", path, json=product(name="Bowl", variants=[{"sku": made["variants"][0]["sku"]}], version=2)
    )
    assert (replaced.json()["name"], replaced.json()["slug"]) == ("Bowl", made["slug"])
    assert replaced.json()["variants"][0]["id"] == made["variants"][0]["id"]
    kinds = [(kind, envelope["aggregate_version"]) for kind, envelope in await house.events_of(made["id"])]
    assert kinds == [("catalog.product_created", 1), ("catalog.product_updated", 2), ("catalog.product_updated", 3)]


async def test_a_removed_product_is_gone_and_stays_known_as_inactive(house: ShopHouse) -> None:
    made = await house.product()
    path = f"{ADMIN_PRODUCTS}/{made['id']}"
    assert (await house.staff("DELETE", path)).status_code == 204
    for answer in (await house.staff("GET", path), await house.staff("PATCH", path, json={}), await house.staff("DELETE", path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "product_not_found")
    kind, envelope = (await house.events_of(made["id"]))[-1]
    assert (kind, envelope["payload"]["status"], envelope["aggregate_version"]) == ("catalog.product_removed", "INACTIVE", 2)
    assert (await house.product(name="Anew", slug=made["slug"]))["slug"] == made["slug"]


async def test_variants_and_images_are_kept_one_by_one(house: ShopHouse) -> None:
    made = await house.product(images=[IMAGE | {"is_primary": True}])
    path = f"{ADMIN_PRODUCTS}/{made['id']}"
    added = (await house.staff("POST", f"{path}/variants", json=variant(price_difference="2"))).json()
    second = added["variants"][1]
    assert (second["price"], added["version"]) == ("14.50", 2)
    answer = await house.staff("PATCH", f"{path}/variants/{second['id']}", json={"price_difference": "-13"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/price_difference")
    assert (await house.staff("PATCH", f"{path}/variants/{new_id()}", json={})).json()["code"] == "variant_not_found"
    assert len((await house.staff("DELETE", f"{path}/variants/{second['id']}")).json()["variants"]) == 1
    front = {"url": "https://example.org/front.jpg", "is_primary": True}
    images = (await house.staff("POST", f"{path}/images", json=front)).json()["images"]
    assert [image["is_primary"] for image in sorted(images, key=lambda image: image["url"])] == [True, False]
    old = next(image for image in images if not image["is_primary"])
    images = (await house.staff("PATCH", f"{path}/images/{old['id']}", json={"is_primary": True})).json()["images"]
    assert [image["id"] for image in images if image["is_primary"]] == [old["id"]]
    assert (await house.staff("DELETE", f"{path}/images/{new_id()}")).json()["code"] == "image_not_found"
    assert len((await house.staff("DELETE", f"{path}/images/{old['id']}")).json()["images"]) == 1


async def test_two_variants_may_swap_their_skus(house: ShopHouse) -> None:
    made = await house.product(variants=[variant(), variant()])
    first, second = made["variants"]
    await house.staff(
        "PATCH", f"{ADMIN_PRODUCTS}/{made['id']}", json={"variants": [{"sku": second["sku"]}, {"sku": first["sku"]}]}
    )
    found = (await house.staff("GET", f"{ADMIN_PRODUCTS}/{made['id']}")).json()
    assert [one["id"] for one in found["variants"]] == [second["id"], first["id"]]


async def test_creating_again_under_the_same_key_creates_nothing(house: ShopHouse) -> None:
    body, headers = product(), {**house.callers.admin(), "Idempotency-Key": str(new_id())}
    first, again = [await house.client.post(ADMIN_PRODUCTS, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(("part", "body"), [("variants", variant()), ("images", IMAGE)])
async def test_a_part_added_again_under_the_same_key_is_there_once(house: ShopHouse, part: str, body: dict[str, Any]) -> None:
    made = (await house.client.post(ADMIN_PRODUCTS, json=product(), headers=house.callers.admin())).json()
    url, headers = f"{ADMIN_PRODUCTS}/{made['id']}/{part}", {**house.callers.admin(), "Idempotency-Key": str(new_id())}
    first, again = [await house.client.post(url, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert (first.headers["etag"], again.headers["etag"], again.headers["idempotent-replayed"]) == ('"2"', '"2"', "true")
    found = (await house.staff("GET", f"{ADMIN_PRODUCTS}/{made['id']}")).json()
    assert len(found[part]) == len(made[part]) + 1


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("identifier", ["x", "00000000-0000-0000-0000-000000000000", "01931d2e-7a6b-7c3d-8e4f-5a6b7c8d9e0f"])
async def test_an_id_of_nothing_is_a_404(house: ShopHouse, method: str, identifier: str) -> None:
    body = {"json": product()} if method in {"PUT", "PATCH"} else {}
    assert (await house.staff(method, f"{ADMIN_PRODUCTS}/{identifier}", **body)).status_code == 404


async def test_only_staff_keep_products(house: ShopHouse) -> None:
    assert (await house.client.post(ADMIN_PRODUCTS, json=product())).status_code == 401
    assert (await house.client.post(ADMIN_PRODUCTS, json=product(), headers=house.callers.user())).status_code == 403
