"""A process dies while an order is called off, or a return approved: neither is there without the saga that pays back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from careforall.orders.aftercare import named
from careforall_testing.platform import Served, client_of
from careforall_testing.polling import eventually
from careforall_testing.shop import SERVICES, Shop, running_shop

NEIGHBOURS = tuple(name for name in SERVICES if name != "orders")

Asking = tuple[str, dict[str, str], dict[str, str]]
"""A path, a body, and who asks."""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with running_shop(NEIGHBOURS, databases_of=SERVICES, CAREFORALL_SAGA_LEASE_SECONDS="2") as opened:
        await opened.platform.serve(["orders"], role="worker")
        yield opened


async def test_a_paid_order_is_called_off_with_its_refund_or_not_at_all(shop: Shop) -> None:
    buyer = await shop.sign_up("buyer1@example.org")
    async with _dying_till(shop) as victim:
        order = await _bought(shop, buyer, "MUG-DIES-1")
        asking: Asking = (f"/api/v1/orders/{order['id']}/cancel", {"reason": "too late"}, buyer)
        await _dies_before_its_saga(shop, victim, f"cancel|{order['id']}", *asking)
    await eventually(lambda: _whole(shop, order), within_s=30, what="called off with its money, or not at all")


async def test_a_return_is_approved_with_its_refund_or_not_at_all(shop: Shop) -> None:
    buyer = await shop.sign_up("buyer2@example.org")
    async with _dying_till(shop) as victim:
        order = await _bought(shop, buyer, "MUG-DIES-2")
        path = f"/api/v1/orders/{order['id']}"
        await shop.front.post(f"{path}/ship", json={"carrier": "Post", "tracking": "T-1"}, headers=shop.admin)
        asked = await shop.front.post(f"{path}/return", json={"reason": "DAMAGED"}, headers=buyer)
        found = asked.json()["id"]
        asking: Asking = (f"/api/v1/admin/returns/{found}/approve", {}, {**shop.admin, "Idempotency-Key": "approve-1"})
        await _dies_before_its_saga(shop, victim, f"return|{found}", *asking)
    await eventually(lambda: _whole(shop, order), within_s=30, what="approved with its money, or not at all")


@asynccontextmanager
async def _dying_till(shop: Shop) -> AsyncIterator[Served]:
    victim = await shop.platform.serve(["orders"], role="api")
    async with client_of(victim.url) as dying:
        shop.front = dying
        yield victim


async def _bought(shop: Shop, buyer: dict[str, str], sku: str) -> dict[str, Any]:
    await shop.stock(sku, 5)
    return await shop.bought(buyer, {sku: 3})


async def _dies_before_its_saga(
    shop: Shop, victim: Served, name: str, path: str, body: dict[str, str], who: dict[str, str]
) -> None:
    """Ask for something, kill the process while it waits to write the saga of that, and let sagas be written again."""
    async with shop.platform.database("orders") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(_IN_THE_WAY, named(name))
        asking = asyncio.ensure_future(shop.front.post(path, json=body, headers=who))
        await eventually(lambda: _saga_waits(shop), within_s=30, what="the saga is being written")
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(httpx2.HTTPError):
            await asking
        await transaction.rollback()


async def _saga_waits(shop: Shop) -> bool:
    async with shop.platform.database("orders") as connection:
        return bool(await connection.fetchval(_WAITS))


async def _whole(shop: Shop, order: dict[str, Any]) -> bool:
    """Whether nothing goes back, or all the money did."""
    async with shop.platform.database("orders") as connection:
        if not await connection.fetchval(_GOES_BACK, order["id"]):
            return True
    payment = await shop.payment(order["payment"]["intent_id"])
    return bool(payment["refunded_amount"] == order["total"])


_GOES_BACK = """
SELECT EXISTS (SELECT 1 FROM orders WHERE id = $1::text::uuid AND status IN ('CANCELLED', 'RETURNED'))
    OR EXISTS (SELECT 1 FROM order_returns WHERE order_id = $1::text::uuid AND status <> 'PENDING')
"""
_IN_THE_WAY = """
INSERT INTO saga_state (id, type, status, current_step, payload, code_version, user_id, turn)
VALUES ($1, 'CANCEL', 'FAILED', 'end', '{}', 1, $1, $1)
"""
_WAITS = """
SELECT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO saga_state%'
)
"""
