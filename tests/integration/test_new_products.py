"""What was made a moment ago counts at once, also where no event has left its owner yet: nobody relays or consumes here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest

from careforall.contracts.catalog import PRODUCTS_OF, ProductsAsked
from careforall.kit.bus import BrokerUnavailable
from careforall.kit.learning import Learning
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import platform
from careforall_testing.servers import own_servers
from careforall_testing.shopping import ADMIN_PRODUCTS, product, sku

SERVICES = ("catalog", "carts", "pricing", "orders", "inventory")


class Counter:
    """A shop whose services hear nothing from each other unless they ask."""

    def __init__(self, client: httpx2.AsyncClient, callers: Callers) -> None:
        self.client = client
        self.admin = callers.admin()
        self.buyer = callers.user()

    async def posted(self, path: str, body: dict[str, Any], who: dict[str, str]) -> httpx2.Response:
        """Post as somebody."""
        return await self.client.post(path, json=body, headers=who)

    async def offered(self) -> str:
        """Put a new product of one SKU on the shelf, and return the SKU."""
        name = sku("NEW")
        created = await self.posted(ADMIN_PRODUCTS, product(variants=[{"sku": name}]), self.admin)
        assert created.status_code == 201, created.text
        counted = await self.client.put("/api/v1/admin/inventory", json={"sku": name, "on_hand": 5}, headers=self.admin)
        assert counted.status_code in {200, 201}, counted.text
        return name


@pytest.fixture(scope="module")
async def counter() -> AsyncIterator[Counter]:
    with own_servers() as servers:
        async with platform(servers.urls, SERVICES, role="api") as running, signing_in(running) as callers:
            yield Counter(running.client, callers)


async def test_goods_of_this_moment_go_into_a_cart(counter: Counter) -> None:
    new = await counter.offered()
    put = await counter.posted("/api/v1/cart/items", {"sku": new, "quantity": 2}, counter.buyer)
    assert (put.status_code, put.json()["items"][0]["sku"]) == (201, new), put.text


async def test_goods_of_this_moment_have_a_price(counter: Counter) -> None:
    new = await counter.offered()
    quoted = await counter.posted("/api/v1/pricing/quote", {"items": [{"sku": new, "quantity": 2}]}, counter.buyer)
    assert (quoted.status_code, quoted.json()["total"]) == (200, "25.00"), quoted.text


async def test_goods_of_this_moment_can_be_ordered(counter: Counter) -> None:
    new = await counter.offered()
    ordered = await counter.posted("/api/v1/orders", {"items": [{"sku": new, "qty": 2}]}, counter.buyer)
    assert (ordered.status_code, ordered.json()["total"]) == (201, "25.00"), ordered.text


async def test_a_coupon_of_this_moment_counts_in_a_cart(counter: Counter) -> None:
    put = await counter.posted("/api/v1/cart/items", {"sku": await counter.offered(), "quantity": 1}, counter.buyer)
    assert put.status_code == 201, put.text
    code = sku("COUPON").upper()
    none = await counter.posted("/api/v1/cart/coupons", {"code": code}, counter.buyer)
    assert (none.status_code, none.json()["code"]) == (422, "coupon_unknown"), none.text
    made = await counter.posted("/api/v1/admin/coupons", {"code": code, "percent": "10"}, counter.admin)
    assert made.status_code == 201, made.text
    added = await counter.posted("/api/v1/cart/coupons", {"code": code.lower()}, counter.buyer)
    assert (added.status_code, added.json()["coupons"]) == (201, [code]), added.text


async def test_what_the_catalog_does_not_know_either_is_refused_everywhere(counter: Counter) -> None:
    none = sku("NONE")
    put = await counter.posted("/api/v1/cart/items", {"sku": none, "quantity": 1}, counter.buyer)
    ordered = await counter.posted("/api/v1/orders", {"items": [{"sku": none, "qty": 1}]}, counter.buyer)
    assert [(one.status_code, one.json()["errors"][0]["code"]) for one in (put, ordered)] == [(422, "unknown_sku")] * 2


async def test_a_copy_asks_once_and_only_for_what_it_lacks() -> None:
    copy, asked = {"OLD"}, []

    async def present(keys: Any) -> set[str]:
        return copy & set(keys)

    async def ask(subject: str, payload: bytes) -> bytes:
        assert subject == PRODUCTS_OF
        asked.append(msgspec.json.decode(payload, type=ProductsAsked).skus)
        return b"[]"

    async def fold(_: list[str]) -> None:
        copy.update(asked[-1])

    learning = Learning(ask, PRODUCTS_OF, list[str], present=present, question=lambda skus: ProductsAsked(skus=skus), fold=fold)
    for _ in range(3):
        await asyncio.gather(*(learning.ensure(["OLD", "NEW"]) for _ in range(100)))
    assert asked == [["NEW"]]


async def test_where_the_owner_is_away_the_copy_stays_as_it_is() -> None:
    async def present(_: Any) -> set[str]:
        return set()

    async def away(_: str, __: bytes) -> bytes:
        raise BrokerUnavailable

    async def fold(_: list[str]) -> None:
        raise AssertionError("nothing was told")

    learning = Learning(away, PRODUCTS_OF, list[str], present=present, question=lambda skus: ProductsAsked(skus=skus), fold=fold)
    await learning.ensure(["NEW"])
