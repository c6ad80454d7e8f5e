"""What the metrics and `careforall verify` say when stock is not what it should be."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from careforall.kit.ids import new_id
from careforall_testing.servers import ServerUrls
from careforall_testing.stock import Stockroom, stockroom

NO_CHECKS = "SET LOCAL session_replication_role = replica"


@pytest.fixture
async def tampered(room_url: str, servers: ServerUrls) -> AsyncIterator[Stockroom]:
    """Stock whose books were balanced: somebody holds 2 of 10, somebody bought 1, and one of it came back."""
    async with stockroom(room_url, servers.redis) as room:
        await room.put("MUG", 10)
        await room.reserve(new_id(), MUG=2)
        buyer = new_id()
        await room.reserve(buyer, MUG=1)
        await room.confirm(buyer)
        await room.restock(buyer, MUG=1)
        assert await room.violations() == []
        yield room


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("UPDATE stock SET reserved = 1", {"reserved_is_held", "movements_add_up"}),
        ("UPDATE stock SET on_hand = 9", {"movements_add_up"}),
        ("UPDATE reservations SET quantity = 3 WHERE status = 'PENDING'", {"reserved_is_held", "holds_follow_movements"}),
        ("UPDATE reservations SET returned = 0", {"holds_follow_movements"}),
        ("UPDATE reservations SET status = 'EXPIRED' WHERE status = 'PENDING'", {"reserved_is_held", "holds_follow_movements"}),
        ("UPDATE reservations SET expires_at = now() - interval '6 minutes'", {"overdue_holds_expire"}),
        ("DELETE FROM stock_movements WHERE kind = 'receipt'", {"movements_add_up"}),
        ("ALTER TABLE stock DROP CONSTRAINT stock_never_oversold; UPDATE stock SET reserved = 11", None),
    ],
)
async def test_every_drift_is_found_and_named(tampered: Stockroom, sql: str, found: set[str] | None) -> None:
    async with tampered.database.connection() as connection, connection.transaction():
        await connection.execute(NO_CHECKS)
        await connection.execute(sql)

    names = {one.partition(":")[0].removeprefix("stock.") for one in await tampered.violations()}

    assert names == (found or {"within_bounds", "reserved_is_held", "movements_add_up"})


async def test_the_metrics_tell_of_holds_and_drift(tampered: Stockroom) -> None:
    def value(name: str) -> float | None:
        return REGISTRY.get_sample_value(f"inventory_{name}")

    await tampered.service.observe()
    assert [value(name) for name in ("pending_holds", "reserved_units", "overdue_holds", "stock_drift")] == [1, 2, 0, 0]
    await tampered.database.run(lambda connection: connection.execute("UPDATE stock SET reserved = 5"))
    await tampered.database.run(lambda connection: connection.execute("UPDATE reservations SET expires_at = now()"))
    await tampered.service.observe()
    assert [value(name) for name in ("pending_holds", "reserved_units", "overdue_holds", "stock_drift")] == [1, 5, 1, 1]
