"""What drills read of the shop behind its back: shelves, holds and orders; nothing is ever written."""

from __future__ import annotations

from collections.abc import Collection

import asyncpg
from msgspec import Struct

from careforall.drills.repository import ids


class Shelf(Struct, frozen=True, kw_only=True):
    """How the stock of a SKU stands, and who has it."""

    on_hand: int
    reserved: int
    held: int
    """Pieces held for somebody who may still buy them."""
    sold: int


class Sold(Struct, frozen=True, kw_only=True):
    """The orders of a SKU, and how many people have more than one."""

    placed: int
    pending: int
    confirmed: int
    repeated: int


async def for_sale(orders: asyncpg.Connection, sku: str) -> bool:
    """Whether orders know a SKU."""
    return bool(await orders.fetchval(_FOR_SALE, sku))


async def shelf(inventory: asyncpg.Connection, sku: str) -> Shelf:
    """Return how the stock of a SKU stands."""
    row = await inventory.fetchrow(_SHELF, sku)
    assert row is not None
    return Shelf(**row)


async def sold(orders: asyncpg.Connection, sku: str) -> Sold:
    """Count the orders of a SKU."""
    row = await orders.fetchrow(_SOLD, sku)
    assert row is not None
    return Sold(**row)


async def stored(orders: asyncpg.Connection, wanted: Collection[str]) -> int:
    """Count the orders that are in the database."""
    return int(await orders.fetchval(_STORED, ids(wanted)))


async def confirmed(orders: asyncpg.Connection, wanted: Collection[str]) -> set[str]:
    """Return the orders that were confirmed, whatever became of them later."""
    return {str(row["id"]) for row in await orders.fetch(_CONFIRMED, ids(wanted))}


_FOR_SALE = "SELECT EXISTS (SELECT FROM sold_items WHERE sku = $1)"
_SHELF = """
SELECT (SELECT coalesce(sum(on_hand), 0) FROM stock WHERE sku = $1) AS on_hand,
       (SELECT coalesce(sum(reserved), 0) FROM stock WHERE sku = $1) AS reserved,
       coalesce(sum(quantity) FILTER (WHERE status = 'PENDING'), 0) AS held,
       coalesce(sum(quantity - returned) FILTER (WHERE status = 'CONFIRMED'), 0) AS sold
FROM reservations
WHERE sku = $1
"""
_SOLD = """
SELECT count(*) AS placed,
       count(*) FILTER (WHERE status = 'PENDING') AS pending,
       count(*) FILTER (WHERE confirmed_at IS NOT NULL) AS confirmed,
       count(*) - count(DISTINCT user_id) AS repeated
FROM orders
WHERE id IN (SELECT order_id FROM order_lines WHERE sku = $1)
"""
_STORED = "SELECT count(*) FROM orders WHERE id = ANY($1::uuid[])"
_CONFIRMED = "SELECT id FROM orders WHERE id = ANY($1::uuid[]) AND confirmed_at IS NOT NULL"
