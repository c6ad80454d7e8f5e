"""The hourly look at orders on a real PostgreSQL: each finding is found, counted and named, and a healthy shop has none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from careforall.orders.reconciling import Reconciling
from careforall_testing.offline_shop import OfflineShop, offline_shop
from careforall_testing.servers import ServerUrls

NONE = {"stale_holds": 0, "without_stock": 0, "without_payment": 0, "parked": 0}


@pytest.fixture
async def healthy(servers: ServerUrls) -> AsyncIterator[OfflineShop]:
    """A shop in which somebody is at the till, and orders were sold, called off and not paid."""
    async with offline_shop(servers) as shop:
        await shop.stock("MUG", 10)
        await shop.checkout(MUG=1)
        for outcome in ("SOLD", "CANCELLED", "DECLINED"):
            await shop.order(outcome, MUG=1)
        yield shop


async def test_a_healthy_shop_has_no_findings(healthy: OfflineShop) -> None:
    assert await Reconciling(healthy.orders).look() == NONE
    assert _metrics() == NONE


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("UPDATE saga_state SET completed_steps = array_remove(completed_steps, 'confirm') WHERE @sold@", "without_stock"),
        ("UPDATE saga_state SET completed_steps = array_remove(completed_steps, 'capture') WHERE @sold@", "without_payment"),
        ("UPDATE saga_state SET parked_at = now() WHERE current_step = 'ready'", "parked"),
    ],
)
async def test_each_finding_is_counted_and_named(healthy: OfflineShop, damage: str, kind: str) -> None:
    sold = "id = (SELECT saga_id FROM orders WHERE paid_by = 'PAYMENT' AND status = 'SHIPPED')"
    async with healthy.orders.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE orders SET status = 'SHIPPED' WHERE status = 'DELIVERED'")
        assert await connection.execute(damage.replace("@sold@", sold)) == "UPDATE 1"

    assert await Reconciling(healthy.orders).look() == NONE | {kind: 1}
    assert _metrics() == NONE | {kind: 1}


async def test_stock_held_for_half_an_hour_without_an_order_is_given_back(healthy: OfflineShop) -> None:
    young, old = await healthy.checkout(MUG=2), await healthy.checkout(MUG=3)
    on_hand, reserved = await healthy.shelf("MUG")
    async with healthy.orders.connection() as connection:
        await connection.execute(_AGE, [young.saga.id], 29)
        await connection.execute(_AGE, [old.saga.id], 31)
    assert await healthy.driver.sweep() == 0, "its own time is not over"
    reconciling = Reconciling(healthy.orders)
    assert await reconciling.look() == NONE | {"stale_holds": 1}

    assert await healthy.driver.sweep() == 1

    assert await healthy.shelf("MUG") == (on_hand, reserved - 3)
    ended, kept = await healthy.till.store.load(old.saga.id), await healthy.till.store.load(young.saga.id)
    assert ended is not None
    assert (ended.saga.status, ended.saga.ending) == ("COMPENSATED", "expired")
    assert kept is not None
    assert kept.saga.stage == "ready"
    assert await reconciling.look() == NONE
    assert _metrics() == NONE


def _metrics() -> dict[str, float | None]:
    return {kind: REGISTRY.get_sample_value("orders_reconciliation_findings", {"kind": kind}) for kind in NONE}


_AGE = """
UPDATE saga_state
SET created_at = created_at - make_interval(mins => $2)
WHERE id = ANY($1::uuid[])
"""
