"""The demo's warehouses and stock may be loaded as often as one likes."""

from __future__ import annotations

from careforall.cli.demo_stock import WAREHOUSES, stock_up
from careforall_testing.stock import Stockroom


async def test_stocking_up_again_changes_nothing(room: Stockroom) -> None:
    skus = [f"DEMO-{index}" for index in range(8)]

    put = await stock_up(room.service, skus)
    again = await stock_up(room.service, skus)

    assert (list(put), again) == (skus, {})
    assert {one.code for one in await room.service.warehouses()} == {"main", *(one.code for one in WAREHOUSES)}
    assert [await room.numbers(sku) for sku in skus] == [(put[sku], 0) for sku in skus]
