"""The tree of categories: slugs, levels, moves that carry along what is below, and products told of anew."""

from __future__ import annotations

import pytest

from careforall_testing.shopping import ADMIN_CATEGORIES, ShopHouse


async def test_a_category_has_a_level_and_a_path(house: ShopHouse) -> None:
    root = await house.category("Home")
    leaf = await house.category("Beds", root["slug"])
    assert (root["level"], root["path"], root["parent"]) == (0, [root["slug"]], None)
    assert (leaf["level"], leaf["path"], leaf["parent"]) == (1, [root["slug"], leaf["slug"]], root["slug"])


@pytest.mark.parametrize(
    ("body", "status", "pointer", "code"),
    [
        ({"name": ""}, 422, "/name", "invalid_value"),
        ({"name": "a\x00"}, 422, "/name", "invalid_character"),
        ({"name": "Odd", "slug": "Odd Slug"}, 422, "/slug", "invalid_slug"),
        ({"name": "Lost", "parent": "nowhere"}, 422, "/parent", "unknown_category"),
        ({"name": "Odd", "level": 3}, 422, "/level", "unknown_field"),
    ],
    ids=str,
)
async def test_bad_categories_are_refused(
    house: ShopHouse, body: dict[str, object], status: int, pointer: str, code: str
) -> None:
    answer = await house.staff("POST", ADMIN_CATEGORIES, json=body)
    assert answer.status_code == status
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}


async def test_a_slug_is_taken_once(house: ShopHouse) -> None:
    first = await house.category("Once")
    answer = await house.staff("POST", ADMIN_CATEGORIES, json={"name": "Twice", "slug": first["slug"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (409, "/slug")


async def test_a_move_carries_along_what_is_below_and_tells_of_the_products(house: ShopHouse) -> None:
    old, new = await house.category("Old"), await house.category("New")
    middle = await house.category("Middle", old["slug"])
    leaf = await house.category("Leaf", middle["slug"])
    made = await house.product(category=leaf["slug"])
    answer = await house.staff("PATCH", f"{ADMIN_CATEGORIES}/{middle['id']}", json={"parent": new["slug"], "version": 1})
    assert (answer.status_code, answer.json()["path"]) == (200, [new["slug"], middle["slug"]])
    kind, envelope = (await house.events_of(made["id"]))[-1]
    assert (kind, envelope["aggregate_version"]) == ("catalog.product_updated", 2)
    assert envelope["payload"]["category_path"] == [new["slug"], middle["slug"], leaf["slug"]]


async def test_a_category_never_ends_up_below_itself(house: ShopHouse) -> None:
    root = await house.category("Root")
    leaf = await house.category("Twig", root["slug"])
    for parent in (root["slug"], leaf["slug"]):
        answer = await house.staff("PATCH", f"{ADMIN_CATEGORIES}/{root['id']}", json={"parent": parent})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "own_descendant")


async def test_only_an_empty_category_is_deleted(house: ShopHouse) -> None:
    root = await house.category("Full")
    leaf = await house.category("Used", root["slug"])
    made = await house.product(category=leaf["slug"])
    for one in (root, leaf):
        answer = await house.staff("DELETE", f"{ADMIN_CATEGORIES}/{one['id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "category_in_use")
    await house.staff("DELETE", f"/api/v1/admin/products/{made['id']}")
    for one in (leaf, root):
        assert (await house.staff("DELETE", f"{ADMIN_CATEGORIES}/{one['id']}")).status_code == 204


async def test_the_tree_is_not_endlessly_deep(house: ShopHouse) -> None:
    last = await house.category("Deep")
    for _ in range(7):
        last = await house.category("Deeper", last["slug"])
    answer = await house.staff("POST", ADMIN_CATEGORIES, json={"name": "Too deep", "parent": last["slug"]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "too_deep")
