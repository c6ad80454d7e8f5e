"""The large catalogue of the measurements is one that catalog and search take for their own."""

from __future__ import annotations

import asyncio

import pytest

from careforall_bench import repository_catalogue as catalogue
from careforall_testing.servers import ServerUrls
from careforall_testing.shopping import PRODUCTS, shop_house

pytestmark = pytest.mark.timeout(180)
NUMBER = 1000


async def test_filled_products_are_shown_and_found_and_leave_nothing_behind(servers: ServerUrls) -> None:
    async with shop_house(servers, ["catalog", "search"]) as shop:
        places = shop.running.databases["catalog"], shop.running.databases["search"]
        for _ in range(2):
            await asyncio.to_thread(catalogue.fill, *places, NUMBER)
        ids = await asyncio.to_thread(catalogue.some_ids, places[0], 3)
        assert len(set(ids)) == 3
        shown = (await shop.client.get(f"{PRODUCTS}/{ids[0]}")).json()
        assert (shown["status"], shown["currency"], len(shown["variants"])) == ("ACTIVE", "EUR", 1)

        found = (await shop.client.get("/api/v1/search", params={"q": "steel kettle"})).json()
        assert found["pagination"]["total"] == 10
        assert sum(brand["count"] for brand in found["facets"]["brand"]) == 10
        assert {product["name"].rpartition(" ")[0].split(" ", 1)[1] for product in found["products"]} == {"Steel Kettle"}
        listed = (await shop.client.get(PRODUCTS, params={"brand": "Brand 7"})).json()
        assert listed["pagination"]["total"] == NUMBER / 40

        await asyncio.to_thread(catalogue.forget, *places, NUMBER)
        assert (await shop.client.get(f"{PRODUCTS}/{ids[0]}")).status_code == 404
        assert (await shop.client.get("/api/v1/search", params={"q": "kettle"})).json()["pagination"]["total"] == 0
