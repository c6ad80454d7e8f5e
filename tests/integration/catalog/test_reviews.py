"""Reviews: by buyers only, one each, shown when a moderator lets them pass; the rating of a product is always their recount."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
import pytest

from careforall.audit.verification.books import Platform, opened
from careforall.audit.verification.reviews import REVIEWS
from careforall.audit.verification.run import broken
from careforall.contracts.accounts import UserErased
from careforall.contracts.orders import OrderCancelled, OrderConfirmed, OrderDelivered, OrderLine, OrderStatus
from careforall.kit.ids import new_id
from careforall_testing.polling import eventually
from careforall_testing.shopping import ADMIN_PRODUCTS, PRODUCTS, ShopHouse

REVIEWS_PATH = "/api/v1/reviews"
QUEUE = "/api/v1/admin/reviews"
SEED = int(os.environ.get("CAREFORALL_TEST_SEED", "31"))


class Person:
    """Somebody signed in."""

    def __init__(self, house: ShopHouse) -> None:
        self.id = new_id()
        self.house = house
        self.headers = house.callers.user(user_id=self.id)

    async def ask(self, method: str, path: str, **body: Any) -> httpx2.Response:
        json = body if method in {"POST", "PATCH"} else None
        return await self.house.client.request(method, path, headers=self.headers, json=json)

    async def review(self, product: dict[str, Any], **body: Any) -> httpx2.Response:
        return await self.ask("POST", f"{PRODUCTS}/{product['id']}/reviews", **({"rating": 4} | body))

    async def written(self, product: dict[str, Any], **body: Any) -> dict[str, Any]:
        answer = await self.review(product, **body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def order(
    house: ShopHouse, person: Person, product: dict[str, Any], status: OrderStatus = "CONFIRMED", *, version: int = 2, **more: Any
) -> UUID:
    """Let orders say where an order of somebody is, and wait until the catalog knows."""
    order_id = more.get("order_id") or new_id()
    line = OrderLine(
        sku=product["variants"][0]["sku"],
        name="Mug",
        quantity=1,
        unit_price=Decimal(5),
        total=Decimal(5),
        status=more.get("line", "CONFIRMED"),
        product_id=UUID(product["id"]) if more.get("named", True) else None,
    )
    fields: dict[str, Any] = {
        "order_id": order_id,
        "order_number": "ORD-1",
        "intent_id": new_id(),
        "user_id": person.id,
        "status": status,
        "total": Decimal(5),
        "currency": "EUR",
        "lines": (line,),
    }
    kinds = {"DELIVERED": OrderDelivered, "CANCELLED": OrderCancelled}
    kind = kinds.get(status)
    event = kind(**fields) if kind else OrderConfirmed(**fields, confirmed_at=datetime.now(UTC))
    await house.say(event, order_id, version, source="orders")

    async def known() -> bool:
        async with house.running.database("catalog") as database:
            return bool(await database.fetchval("SELECT true FROM purchases WHERE order_id = $1", order_id))

    await eventually(known)
    return UUID(str(order_id))


async def buyer(house: ShopHouse, product: dict[str, Any]) -> Person:
    """Somebody who bought a product."""
    person = Person(house)
    await order(house, person, product)
    return person


async def decide(house: ShopHouse, review: dict[str, Any], word: str, **body: Any) -> dict[str, Any]:
    """Decide as staff."""
    answer = await house.staff("POST", f"{QUEUE}/{review['id']}/{word}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def rating(house: ShopHouse, product: dict[str, Any]) -> tuple[str, int]:
    """The rating that visitors see."""
    found = (await house.client.get(f"{PRODUCTS}/{product['id']}")).json()["rating"]
    return found["average"], found["count"]


async def wrong(house: ShopHouse) -> list[tuple[str, str]]:
    """What the invariants of the catalog find."""
    platform = Platform(dsns={"catalog": house.running.databases["catalog"]}, streams={}, subscriptions=())
    async with opened(platform) as books:
        outcomes = [await broken(books, one, datetime(1970, 1, 1, tzinfo=UTC)) for one in REVIEWS]
    return [(outcome.name, violation.key) for outcome in outcomes for violation in outcome.violations]


async def test_a_review_is_shown_and_counts_once_a_moderator_lets_it_pass(house: ShopHouse) -> None:
    product, category = await house.product(), await house.category("Rated")
    await house.staff("PATCH", f"{ADMIN_PRODUCTS}/{product['id']}", json={"category": category["slug"]})
    person = await buyer(house, product)
    made = await person.written(product, rating=4, title="Sturdy", text="Holds tea.\nAnd more.")
    assert (made["status"], made["version"], made["author_id"]) == ("PENDING", 1, str(person.id))
    path = f"{PRODUCTS}/{product['id']}/reviews"
    assert (await house.client.get(path)).json()["items"] == []
    assert (await house.client.get(f"{REVIEWS_PATH}/{made['id']}")).json()["code"] == "review_not_found"
    assert await rating(house, product) == ("0.00", 0)
    waiting = (await house.staff("GET", f"{QUEUE}?product_id={product['id']}")).json()["items"]
    assert [one["id"] for one in waiting] == [made["id"]]
    done = await decide(house, made, "approve", version=1)
    assert (done["status"], done["version"]) == ("APPROVED", 2)
    assert await rating(house, product) == ("4.00", 1)
    [shown] = (await house.client.get(path)).json()["items"]
    assert (shown["title"], shown["helpful"], "author_id" in shown) == ("Sturdy", 0, False)
    listed = (await house.client.get(f"{PRODUCTS}?category={category['slug']}&rating=4&sort=rating")).json()
    assert ([one["id"] for one in listed["products"]], listed["facets"]["rating"][3]["count"]) == ([product["id"]], 1)
    [*_, (kind, envelope)] = await house.events_of(product["id"])
    assert (kind, envelope["payload"]["rating_average"], envelope["payload"]["rating_count"]) == (
        "catalog.product_updated",
        "4.00",
        1,
    )
    told = [(kind, event["payload"]["status"], event["aggregate_version"]) for kind, event in await house.events_of(made["id"])]
    assert told == [("catalog.review_submitted", "PENDING", 1), ("catalog.review_approved", "APPROVED", 2)]
    again = await decide(house, made, "approve")
    assert (again["version"], await rating(house, product)) == (2, ("4.00", 1))


async def test_only_who_bought_it_may_review_a_product_and_once(house: ShopHouse) -> None:
    product, other = await house.product(), await house.product()
    stranger = Person(house)
    assert (await house.client.post(f"{PRODUCTS}/{product['id']}/reviews", json={"rating": 5})).status_code == 401
    refused = await stranger.review(product)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_a_buyer")
    person = await buyer(house, product)
    assert (await person.review(other)).json()["code"] == "not_a_buyer"
    assert (await person.review({"id": str(new_id())})).json()["code"] == "product_not_found"
    answers = await asyncio.gather(*(person.review(product, rating=rate) for rate in range(1, 6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_reviewed"}


async def test_what_was_called_off_was_not_bought_whatever_order_its_events_come_in(house: ShopHouse) -> None:
    product = await house.product()
    person, late, partly, by_sku = (Person(house) for _ in range(4))
    gone = await order(house, late, product, "CANCELLED", version=4)
    await order(house, late, product, "CONFIRMED", version=2, order_id=gone)
    await order(house, partly, product, line="CANCELLED")
    await order(house, by_sku, product, "DELIVERED", named=False)
    await order(house, person, product)  # told last: all before it are applied
    assert (await late.review(product)).json()["code"] == "not_a_buyer"
    assert (await partly.review(product)).json()["code"] == "not_a_buyer"
    assert (await by_sku.review(product)).status_code == 201


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"rating": 0}, "/rating", "invalid_value"),
        ({"rating": 6}, "/rating", "invalid_value"),
        ({"rating": 4.5}, "/rating", "invalid_value"),
        ({"rating": "5"}, "/rating", "invalid_value"),
        ({"title": "x" * 121}, "/title", "invalid_value"),
        ({"title": "a\nb"}, "/title", "invalid_character"),
        ({"text": "\x00"}, "/text", "invalid_character"),
        ({"text": "\u202eabc"}, "/text", "invalid_character"),
        ({"text": "4111 1111 1111 1111"}, "/text", "card_number"),
        ({"status": "APPROVED"}, "/status", "unknown_field"),
        ({"author_id": str(new_id())}, "/author_id", "unknown_field"),
    ],
)
async def test_a_field_that_cannot_be_accepted_is_named_and_nothing_is_written(
    house: ShopHouse, body: dict[str, Any], pointer: str, code: str
) -> None:
    product = await house.product()
    person = await buyer(house, product)
    answer = await person.review(product, **body)
    assert answer.status_code == 422, answer.text
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
    assert (await person.ask("GET", REVIEWS_PATH)).json()["items"] == []


async def test_an_author_changes_and_takes_back_their_own_and_nobody_else_may(house: ShopHouse) -> None:
    product = await house.product()
    person, other = await buyer(house, product), await buyer(house, product)
    made = await person.written(product, rating=5, title="Good")
    path = f"{REVIEWS_PATH}/{made['id']}"
    await decide(house, made, "approve")
    for method in ("PATCH", "DELETE"):
        refused = await other.ask(method, path)
        assert (refused.status_code, refused.json()["code"]) == (404, "review_not_found")
    stale = await person.ask("PATCH", path, rating=1, version=1)
    assert (stale.status_code, stale.json()["current_version"], await rating(house, product)) == (409, 2, ("5.00", 1))
    changed = await person.ask("PATCH", path, rating=1, version=2)
    assert (changed.json()["status"], changed.json()["title"], changed.headers["etag"]) == ("PENDING", "Good", '"3"')
    assert await rating(house, product) == ("0.00", 0)
    unread = await house.staff("POST", f"{QUEUE}/{made['id']}/approve", json={"version": 2})
    assert (unread.status_code, unread.json()["code"]) == (409, "version_conflict")
    await decide(house, made, "approve", version=3)
    assert await rating(house, product) == ("1.00", 1)
    assert (await person.ask("DELETE", path)).status_code == 204
    assert (await person.ask("GET", path)).status_code == 404
    assert await rating(house, product) == ("0.00", 0)
    async with house.running.database("catalog") as database:
        kept = await database.fetchrow("SELECT title, text FROM reviews WHERE id = $1::uuid", made["id"])
    assert kept is not None
    assert tuple(kept) == ("", "")
    assert (await person.review(product)).status_code == 201, "another may be written"


async def test_a_rejected_review_is_taken_down_and_its_author_learns_why(house: ShopHouse) -> None:
    product = await house.product()
    person = await buyer(house, product)
    made = await person.written(product)
    await decide(house, made, "approve")
    await decide(house, made, "reject", reason="Speaks of another product.")
    assert (await rating(house, product), (await Person(house).ask("GET", f"{REVIEWS_PATH}/{made['id']}")).status_code) == (
        ("0.00", 0),
        404,
    )
    [own] = (await person.ask("GET", REVIEWS_PATH)).json()["items"]
    assert (own["status"], own["reason"]) == ("REJECTED", "Speaks of another product.")
    for path in (QUEUE, f"{QUEUE}/{made['id']}/approve", f"{QUEUE}/{made['id']}/reject"):
        method = "GET" if path == QUEUE else "POST"
        assert (await person.ask(method, path)).status_code == 403
    assert (await house.staff("POST", f"{QUEUE}/{new_id()}/approve", json={})).status_code == 404


async def test_a_vote_counts_once_for_each_and_can_be_changed(house: ShopHouse) -> None:
    product = await house.product()
    person, voters = await buyer(house, product), [Person(house) for _ in range(6)]
    made = await person.written(product)
    votes = f"{REVIEWS_PATH}/{made['id']}/votes"
    assert (await voters[0].ask("POST", votes, helpful=True)).status_code == 404
    await decide(house, made, "approve")
    own = await person.ask("POST", votes, helpful=True)
    assert (own.status_code, own.json()["code"]) == (403, "own_review")
    assert (await house.client.post(votes, json={"helpful": True})).status_code == 401
    await asyncio.gather(*(one.ask("POST", votes, helpful=place % 2 == 0) for place, one in enumerate(voters) for _ in range(3)))
    assert (await voters[0].ask("POST", votes, helpful=True)).json() == {"helpful": 3, "unhelpful": 3, "yours": True}
    assert (await voters[0].ask("POST", votes, helpful=False)).json() == {"helpful": 2, "unhelpful": 4, "yours": False}
    assert (await voters[0].ask("POST", votes, helpful=None)).json() == {"helpful": 2, "unhelpful": 3, "yours": None}
    assert await wrong(house) == []


async def test_who_is_forgotten_leaves_neither_review_nor_vote(house: ShopHouse) -> None:
    product = await house.product()
    person, other = await buyer(house, product), await buyer(house, product)
    person.headers["Idempotency-Key"] = other.headers["Idempotency-Key"] = str(new_id())
    mine, theirs = await person.written(product, rating=1, text="Mine"), await other.written(product, rating=5)
    for one in (mine, theirs):
        await decide(house, one, "approve")
    await person.ask("POST", f"{REVIEWS_PATH}/{theirs['id']}/votes", helpful=True)
    assert await rating(house, product) == ("3.00", 2)
    await house.say(UserErased(user_id=person.id, email="x@example.org", donor_key="k"), person.id, 3, source="accounts")

    async def is_gone() -> bool:
        return await rating(house, product) == ("5.00", 1)

    await eventually(is_gone)
    [left] = (await house.client.get(f"{PRODUCTS}/{product['id']}/reviews")).json()["items"]
    assert (left["id"], left["helpful"]) == (theirs["id"], 0)
    async with house.running.database("catalog") as database:
        assert await database.fetchval(_LEFT, person.id) == 0
        kept = "SELECT count(*) FROM idempotency_keys WHERE scope LIKE '%|' || $1"
        assert [await database.fetchval(kept, str(one.id)) for one in (person, other)] == [0, 1], "answers quote what was written"
    assert await wrong(house) == []


async def test_reviews_are_paged_and_chosen_by_rating(house: ShopHouse) -> None:
    product = await house.product()
    people = [await buyer(house, product) for _ in range(5)]
    made = [await person.written(product, rating=1 + place % 2) for place, person in enumerate(people)]
    for one in made:
        await decide(house, one, "approve")
    path, found, cursor = f"{PRODUCTS}/{product['id']}/reviews?limit=2", [], ""
    while True:
        page = (await house.client.get(path + cursor)).json()
        found += [one["id"] for one in page["items"]]
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == [one["id"] for one in reversed(made)]
    assert [one["rating"] for one in (await house.client.get(f"{path}&rating=2")).json()["items"]] == [2, 2]


async def test_reviews_that_most_found_helpful_come_first_over_all_pages(house: ShopHouse) -> None:
    product = await house.product()
    people = [await buyer(house, product) for _ in range(5)]
    made = [await person.written(product) for person in people]
    voters = [Person(house) for _ in range(3)]
    for one, votes in zip(made, (1, 3, 0, 3, 2), strict=True):
        await decide(house, one, "approve")
        for voter in voters[:votes]:
            assert (await voter.ask("POST", f"{REVIEWS_PATH}/{one['id']}/votes", helpful=True)).is_success
    path, found, cursor = f"{PRODUCTS}/{product['id']}/reviews?sort=helpful&limit=2", [], ""
    while True:
        page = (await house.client.get(path + cursor)).json()
        found += [one["id"] for one in page["items"]]
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == [made[place]["id"] for place in (3, 1, 4, 0, 2)]
    refused = await house.client.get(f"{PRODUCTS}/{product['id']}/reviews?sort=loudest")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_value")


async def test_the_rating_is_a_recount_whatever_is_done_side_by_side(house: ShopHouse) -> None:
    pick = random.Random(SEED)
    product = await house.product()
    people = [await buyer(house, product) for _ in range(5)]
    made = [await person.written(product, rating=pick.randint(1, 5)) for person in people]

    def done(person: Person, review: dict[str, Any]) -> Callable[[], Awaitable[httpx2.Response]]:
        path = f"{REVIEWS_PATH}/{review['id']}"
        rate = pick.randint(1, 5)
        return pick.choice(
            [
                lambda: person.ask("PATCH", path, rating=rate),
                lambda: house.staff("POST", f"{QUEUE}/{review['id']}/approve", json={}),
                lambda: house.staff("POST", f"{QUEUE}/{review['id']}/reject", json={}),
                lambda: house.staff("PATCH", f"{ADMIN_PRODUCTS}/{product['id']}", json={"name": f"Mug {rate}"}),
            ]
        )

    steps = [done(*pick.choice(list(zip(people, made, strict=True)))) for _ in range(80)]
    room = asyncio.Semaphore(6)

    async def taken(step: Callable[[], Awaitable[httpx2.Response]]) -> int:
        async with room:
            return (await step()).status_code

    assert set(await asyncio.gather(*map(taken, steps))) <= {200, 409}, f"seed {SEED}"
    assert await wrong(house) == [], f"seed {SEED}"
    shown = (await house.client.get(f"{PRODUCTS}/{product['id']}/reviews")).json()["items"]
    assert (await rating(house, product))[1] == len(shown), f"seed {SEED}"


async def test_the_verification_sees_a_rating_or_votes_that_are_no_recount(house: ShopHouse) -> None:
    product = await house.product()
    person = await buyer(house, product)
    made = await person.written(product, rating=3)
    await decide(house, made, "approve")
    key = UUID(product["id"])
    for spoilt, mended, found in (
        ("UPDATE products SET rating_average = 4 WHERE id = $1", "UPDATE products SET rating_average = 3 WHERE id = $1", key),
        (
            "UPDATE product_ratings SET rating_sum = 4 WHERE product_id = $1",
            "UPDATE product_ratings SET rating_sum = 3 WHERE product_id = $1",
            key,
        ),
        (
            "UPDATE reviews SET helpful = 1 WHERE product_id = $1",
            "UPDATE reviews SET helpful = 0 WHERE product_id = $1",
            UUID(made["id"]),
        ),
    ):
        async with house.running.database("catalog") as database:
            await database.execute(spoilt, key)
            assert [one for _, one in await wrong(house)] == [str(found)]
            await database.execute(mended, key)
    assert await wrong(house) == []


_LEFT = """
SELECT (SELECT count(*) FROM review_votes WHERE user_id = $1) + (SELECT count(*) FROM purchases WHERE user_id = $1)
     + (SELECT count(*) FROM reviews WHERE author_id = $1 AND status <> 'REMOVED')
"""
