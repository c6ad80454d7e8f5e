"""The demo's orders: half a year of them, as real ones look, in books that balance; loaded once, and beside a platform."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from careforall.cli.demo_people import DONOR
from careforall.cli.registry import NAMES
from careforall_testing.journey import PASSWORD, Journey
from careforall_testing.platform import platform
from careforall_testing.polling import eventually
from careforall_testing.servers import own_servers

pytestmark = pytest.mark.timeout(600)

STATES = {"CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "FAILED", "CANCELLED", "REFUNDED"}


async def test_the_demo_has_months_of_orders_and_its_books_balance() -> None:
    with own_servers() as servers:
        async with platform(servers.urls, databases_of=NAMES) as running:
            first = await running.cli("demo", "load", "--gifts", "20", typed=f"{PASSWORD}\n")
            assert (first.status, first.out.splitlines()[-1]) == (0, "demo orders: 150 of the last 180 days"), first.err
            await running.serve(NAMES)
            journey = Journey(running, servers)
            await journey.begin()
            orders = await _orders(journey, journey.admin)
            assert len(orders) == 150
            assert {one["status"] for one in orders} == STATES
            await _look_real(journey, orders)
            own = await _orders(journey, await journey.sign_in(DONOR))
            assert len(own) == 25
            assert {one["user_id"] for one in own} < {one["user_id"] for one in orders}
            await _balanced(journey)

            again = await running.cli("demo", "load", "--gifts", "20")
            assert again.out.splitlines()[-1] == "demo orders are there already"
            reset = await running.cli("demo", "reset", "--gifts", "5")
            assert reset.out.splitlines()[-1] == "demo orders are there already"
            more = await running.cli("demo", "load", "--gifts", "20", "--orders", "190")
            assert more.out.splitlines()[-1] == "demo orders: 40 of the last 180 days", more.err
            late = await _orders(journey, journey.admin)
            assert (len(late), {one["status"] for one in late}) == (190, STATES)
            await _look_real(journey, late)
            await _balanced(journey)


async def _orders(journey: Journey, who: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for page in (1, 2):
        answer = await journey.client.get("/api/v1/orders", params={"page": page, "limit": 100}, headers=who)
        found += answer.json()["orders"]
    return found


async def _look_real(journey: Journey, orders: list[dict[str, Any]]) -> None:
    """Times lie in the past and in order, old orders have come to their end, and what was taken is right."""
    now = datetime.now(UTC)
    placed = [datetime.fromisoformat(one["created_at"]) for one in orders]
    assert placed == sorted(placed, reverse=True)
    assert now - timedelta(days=182) < placed[-1] < now - timedelta(days=120)
    assert placed[0] < now
    old = [one for one, at in zip(orders, placed, strict=True) if at < now - timedelta(days=10)]
    assert {one["status"] for one in old} <= {"DELIVERED", "FAILED", "CANCELLED", "RETURNED", "REFUNDED"}
    for one in orders[::20]:
        whole = await journey.client.get(f"/api/v1/orders/{one['id']}", headers=journey.admin)
        times = [datetime.fromisoformat(step["time"]) for step in whole.json()["transitions"]]
        assert times[0] == datetime.fromisoformat(one["created_at"])
        assert all(before <= after for before, after in pairwise(times)), whole.text
        assert times[-1] <= now


async def _balanced(journey: Journey) -> None:
    async def look() -> bool:
        verified = await journey.platform.cli("verify", "--full")
        return verified.status == 0

    await eventually(look, within_s=90, what="books that balance")
