"""What the demo's shop has in stock: two warehouses, and as many units of each SKU as its place in the list decides."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from careforall.inventory.domain import Warehouse
from careforall.inventory.schemas import NewWarehouse, StockPut
from careforall.inventory.service import InventoryService
from careforall.kit.db import Connection

WAREHOUSES = (
    NewWarehouse(code="berlin", name="Berlin", region="north", country="DE", delivery_days=2),
    NewWarehouse(code="vienna", name="Vienna", region="south", country="AT", delivery_days=3),
)
_AMOUNTS = (120, 40, 8, 300, 3, 75, 0)
"""By turns: plenty, a few, nearly gone and sold out, so that each shows somewhere."""


async def open_warehouses(service: InventoryService) -> None:
    """Open the demo's warehouses; those that are open stay as they are."""
    known = {one.code for one in await service.warehouses()}
    for new in WAREHOUSES:
        if new.code not in known:
            await service.database.run(_opening(service, new))


async def stock_up(service: InventoryService, skus: Sequence[str]) -> Mapping[str, int]:
    """Put stock of SKUs that lie nowhere yet, most in the first warehouse and a third in the second; return what was put.

    For the loader of demo products: call it with the SKUs of their variants, as often as you like.
    """
    await open_warehouses(service)
    lying = {one.sku for one in await service.stocks(list(skus)) if one.warehouses}
    wanted = {sku: _AMOUNTS[index % len(_AMOUNTS)] for index, sku in enumerate(skus) if sku not in lying}
    counted = [
        StockPut(sku=sku, on_hand=part, warehouse=warehouse.code)
        for sku, amount in wanted.items()
        for warehouse, part in zip(WAREHOUSES, (amount - amount // 3, amount // 3), strict=True)
    ]
    # Side by side, so that they share transactions.
    await asyncio.gather(*(service.count(one, None) for one in counted))
    return wanted


def _opening(service: InventoryService, new: NewWarehouse) -> Callable[[Connection], Awaitable[Warehouse]]:
    async def opening(connection: Connection) -> Warehouse:
        return await service.open_warehouse(connection, new)

    return opening
