"""All SQL of inventory besides the batch's own (`repository_book`): reads, warehouses, and what the timed work needs."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from careforall.inventory.domain import Warehouse
from careforall.inventory.schemas import HoldOut, MovementOut, ReservationOut, StockOut, StockRow, WarehouseStock
from careforall.kit.db import Connection


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The stock of a SKU over all warehouses."""

    id: UUID
    sku: str
    version: int
    on_hand: int
    reserved: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the metrics tell of the stock."""

    pending: int
    units: int
    overdue: int
    drift: int
    low: int


async def stock_of(connection: Connection, skus: Sequence[str]) -> list[StockOut]:
    """Return the stock of those SKUs that are known, in SKU order."""
    found: dict[str, tuple[int, list[WarehouseStock]]] = {}
    for row in await connection.fetch(_STOCK, skus):
        _, rows = found.setdefault(row["sku"], (row["sku_version"], []))
        if row["warehouse"] is not None:
            rows.append(
                WarehouseStock(**{name: row[name] for name in ("warehouse", "on_hand", "reserved", "available", "version")})
            )
    return [_summed(sku, version, rows) for sku, (version, rows) in found.items()]


async def available(connection: Connection, skus: Sequence[str]) -> dict[str, int]:
    """Return what may be reserved of those SKUs that are known."""
    return {row["sku"]: row["available"] for row in await connection.fetch(_AVAILABLE, skus)}


async def low_stock(connection: Connection, after: UUID | None, limit: int) -> list[tuple[UUID, StockRow]]:
    """Return rows at or below their threshold with the id of their SKU, whole SKUs in id order."""
    rows = await connection.fetch(_LOW_STOCK, after, limit)
    return [(row["id"], StockRow(**{name: row[name] for name in StockRow.__struct_fields__})) for row in rows]


async def movements(
    connection: Connection, sku: str, warehouse: str | None, before: UUID | None, limit: int
) -> list[MovementOut]:
    """Return what happened to the stock of a SKU, newest first."""
    return [MovementOut(**row) for row in await connection.fetch(_MOVEMENTS, sku, warehouse, before, limit)]


async def reservation(connection: Connection, holder_id: UUID) -> ReservationOut | None:
    """Return all that a holder holds or held."""
    rows = await connection.fetch(_RESERVATION, holder_id)
    if not rows:
        return None
    items = [HoldOut(**{name: row[name] for name in HoldOut.__struct_fields__}) for row in rows]
    return ReservationOut(holder_id=holder_id, version=rows[0]["version"], items=items)


async def warehouses(connection: Connection) -> list[Warehouse]:
    """Return all warehouses, by code."""
    return [Warehouse(**row) for row in await connection.fetch(_WAREHOUSES)]


async def warehouse_for_update(connection: Connection, code: str) -> Warehouse | None:
    """Lock a warehouse."""
    row = await connection.fetchrow(_WAREHOUSE_FOR_UPDATE, code)
    return Warehouse(**row) if row else None


async def insert_warehouse(connection: Connection, warehouse: Warehouse) -> bool:
    """Store a new warehouse; return whether its code was free."""
    return bool(await connection.fetchval(_INSERT_WAREHOUSE, *_values(warehouse)))


async def update_warehouse(connection: Connection, warehouse: Warehouse) -> None:
    """Store a warehouse's new state."""
    await connection.execute(_UPDATE_WAREHOUSE, *_values(warehouse))


async def overdue_skus(connection: Connection, limit: int) -> list[str]:
    """Return SKUs of the holds that ran out longest ago."""
    return [row["sku"] for row in await connection.fetch(_OVERDUE_SKUS, limit)]


async def figures(connection: Connection) -> Figures:
    """Count what the metrics tell, in one snapshot."""
    row = await connection.fetchrow(_FIGURES)
    assert row is not None
    return Figures(**row)


async def snapshot(connection: Connection, after: UUID | None, limit: int) -> list[Snapshot]:
    """Return the present stock of SKUs in id order."""
    return [Snapshot(**row) for row in await connection.fetch(_SNAPSHOT, after, limit)]


def _summed(sku: str, version: int, rows: list[WarehouseStock]) -> StockOut:
    return StockOut(
        sku=sku,
        on_hand=sum(row.on_hand for row in rows),
        reserved=sum(row.reserved for row in rows),
        available=sum(row.available for row in rows),
        version=version,
        warehouses=rows,
    )


def _values(warehouse: Warehouse) -> tuple[Any, ...]:
    return msgspec.structs.astuple(warehouse)


_STOCK = """
SELECT k.sku, k.version AS sku_version, s.warehouse, s.on_hand, s.reserved, s.available, s.version
FROM skus AS k
LEFT JOIN stock AS s ON s.sku = k.sku
WHERE k.sku = ANY($1::text[])
ORDER BY k.sku, s.warehouse
"""
_AVAILABLE = """
SELECT k.sku, coalesce(sum(s.available), 0)::bigint AS available
FROM skus AS k
LEFT JOIN stock AS s ON s.sku = k.sku
WHERE k.sku = ANY($1::text[])
GROUP BY k.sku
"""
_LOW_STOCK = """
SELECT k.id, s.sku, s.warehouse, s.on_hand, s.reserved, s.available, s.low_stock_threshold, s.version
FROM skus AS k
JOIN stock AS s ON s.sku = k.sku
WHERE s.available <= s.low_stock_threshold AND ($1::uuid IS NULL OR k.id > $1)
ORDER BY k.id
FETCH FIRST $2 ROWS WITH TIES
"""
_MOVEMENTS = """
SELECT id, sku, warehouse, kind, on_hand, reserved, holder_id, cause, at
FROM stock_movements
WHERE sku = $1 AND ($2::text IS NULL OR warehouse = $2) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
"""
_RESERVATION = """
SELECT h.version, r.id AS reservation_id, r.sku, r.warehouse, r.quantity, r.returned, r.status, r.expires_at, r.pinned
FROM holders AS h
JOIN reservations AS r ON r.holder_id = h.id
WHERE h.id = $1
ORDER BY r.sku, r.warehouse
"""
_WAREHOUSE = "SELECT id, code, name, region, country, delivery_days, version FROM warehouses"
_WAREHOUSES = _WAREHOUSE + " ORDER BY code"
_WAREHOUSE_FOR_UPDATE = _WAREHOUSE + " WHERE code = $1 FOR UPDATE"
_INSERT_WAREHOUSE = """
INSERT INTO warehouses (id, code, name, region, country, delivery_days, version)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (code) DO NOTHING
RETURNING true
"""
_UPDATE_WAREHOUSE = """
UPDATE warehouses
SET name = $3, region = $4, country = $5, delivery_days = $6, version = $7, updated_at = clock_timestamp()
WHERE id = $1 AND code = $2
"""
_OVERDUE_SKUS = """
SELECT DISTINCT sku
FROM (
    SELECT sku
    FROM reservations
    WHERE status = 'PENDING' AND NOT pinned AND expires_at <= (SELECT clock_timestamp())
    ORDER BY expires_at
    LIMIT $1
) AS overdue
ORDER BY sku
"""
OLD_STEPS = """
DELETE FROM steps
WHERE step_id IN (SELECT step_id FROM steps WHERE at < (SELECT clock_timestamp()) - make_interval(days => $1) LIMIT $2)
"""
"""Forgets answers older than so many days; for `until_empty`."""
_FIGURES = """
WITH held AS (
    SELECT sku, warehouse, sum(quantity) AS quantity, count(*) AS number,
           count(*) FILTER (WHERE NOT pinned AND expires_at <= clock_timestamp()) AS overdue
    FROM reservations
    WHERE status = 'PENDING'
    GROUP BY sku, warehouse
)
SELECT coalesce(sum(h.number), 0)::bigint AS pending,
       coalesce(sum(s.reserved), 0)::bigint AS units,
       coalesce(sum(h.overdue), 0)::bigint AS overdue,
       count(*) FILTER (WHERE coalesce(s.reserved, 0) <> coalesce(h.quantity, 0)) AS drift,
       count(*) FILTER (WHERE s.available <= s.low_stock_threshold) AS low
FROM stock AS s
FULL JOIN held AS h ON h.sku = s.sku AND h.warehouse = s.warehouse
"""
_SNAPSHOT = """
SELECT k.id, k.sku, k.version, coalesce(sum(s.on_hand), 0)::bigint AS on_hand,
       coalesce(sum(s.reserved), 0)::bigint AS reserved
FROM skus AS k
LEFT JOIN stock AS s ON s.sku = k.sku
WHERE $1::uuid IS NULL OR k.id > $1
GROUP BY k.id, k.sku, k.version
ORDER BY k.id
LIMIT $2
"""
