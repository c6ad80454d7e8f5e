"""Carts beside the real inventory: goods held at once are held there, and given back when they are taken out."""

from __future__ import annotations

import secrets
from typing import Any

from careforall.launch.servers import Nats
from careforall_testing.callers import signing_in
from careforall_testing.carts import ITEMS, CartHouse, guest
from careforall_testing.platform import platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls


async def test_inventory_holds_what_is_put_in_and_frees_what_is_taken_out(servers: ServerUrls, own_nats: Nats) -> None:
    sku = f"FLASH-{secrets.token_hex(4)}".upper()
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, ["carts", "inventory"]) as running, signing_in(running) as callers:
        house = CartHouse(running=running, callers=callers, second=running.client)
        await house.sell(sku, reservation_policy="AT_CART")

        async def stock() -> dict[str, Any]:
            answer = await running.client.get(f"/api/v1/inventory/{sku}", headers=callers.admin())
            found: dict[str, Any] = answer.json()
            return found

        async def put() -> bool:
            body = {"sku": sku, "on_hand": 3}
            answer = await running.client.put("/api/v1/admin/inventory", json=body, headers=callers.admin())
            return answer.is_success

        await eventually(put, within_s=20)
        cart = await house.add(sku, 2)
        assert (await stock())["reserved"] == 2
        short = await running.client.post(ITEMS, json={"sku": sku, "quantity": 2}, headers=guest(cart))
        assert (short.status_code, short.json()["code"]) == (409, "out_of_stock")
        gone = await running.client.delete(f"{ITEMS}/{cart['items'][0]['id']}", headers=guest(cart))
        assert gone.status_code == 200
        assert (await stock())["reserved"] == 0
