"""Use cases of inventory: what checkouts ask, what staff count, and what everybody may read."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET
from uuid_utils.compat import uuid5

from careforall.contracts.inventory import Reserved
from careforall.inventory import domain, events, repository, repository_book
from careforall.inventory.domain import (
    AdjustStock,
    ConfirmHold,
    CountStock,
    ExpireOverdue,
    ReleaseHold,
    ReserveStock,
    Warehouse,
)
from careforall.inventory.errors import NotHeld, ReservationNotFound, SkuNotFound, WarehouseNotFound
from careforall.inventory.hints import Hints
from careforall.inventory.keeping import OK, Asked, Keeping
from careforall.inventory.schemas import (
    Adjustment,
    MovementOut,
    NewReservation,
    NewWarehouse,
    ReservationOut,
    StockOut,
    StockPut,
    StockRow,
    WarehousePatch,
)
from careforall.kit.context import NOBODY, Cause, current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import DuplicateEntry, FieldError, InvalidInput, VersionConflict
from careforall.kit.idempotency import Answer, Call
from careforall.kit.ids import new_id
from careforall.kit.metrics import LOW_STOCK_ROWS, OVERDUE_HOLDS, PENDING_HOLDS, RESERVED_UNITS, STOCK_DRIFT
from careforall.kit.outbox import Outgoing
from careforall.kit.retention import until_empty
from careforall.kit.text import refuse_texts, text_error

_STEPS = UUID("0d5be2f6-3c8e-5f0a-8a55-6b9d1e2c7f43")
"""Namespace of the steps that HTTP callers' idempotency keys stand for."""
_SWEPT = 1000


class InventoryService:
    """What the API, other services and the timed work call."""

    def __init__(self, database: Database, keeping: Keeping, hints: Hints) -> None:
        self.database = database
        self._keeping = keeping
        self._hints = hints

    async def do(self, asked: Asked) -> Answer:
        """Do a step, or return what it was answered before.

        A reservation of one SKU that was sold out a moment ago is refused early, without a look at the stock, unless it may use
        what others hold for it.
        """
        action = asked.action
        if isinstance(action, ReserveStock) and len(action.demand) == 1 and not action.takes:
            sku = next(iter(action.demand))
            if await self._hints.refuses(sku):
                short = Reserved(outcome="OUT_OF_STOCK", holder_id=action.holder_id, short=[sku])
                return await self._keeping.refuse(asked, short)
        return await self._keeping.ask(asked)

    async def reserve(self, new: NewReservation, call: Call | None, cause: Cause) -> Answer:
        """Hold all lines of a caller's request, or none; a repeat under the same key is answered the same."""
        step_id = _step_id(call)
        action = ReserveStock(
            holder_id=new.holder_id or uuid5(step_id, "holder"),
            demand=domain.demand_of(new.plain_lines()),
            seconds=domain.checked_seconds(new.seconds),
            region=new.region,
        )
        return await self.do(Asked(step_id, call.fingerprint if call else b"", action, cause))

    async def confirm(self, holder_id: UUID) -> ReservationOut:
        """Sell what is held; confirming again changes nothing."""
        answer = await self._keeping.ask(Asked(new_id(), b"", ConfirmHold(holder_id=holder_id), current()))
        found = await self.reservation(holder_id)
        if answer.status != OK:
            raise NotHeld
        return found

    async def release(self, holder_id: UUID) -> ReservationOut:
        """Give back what is held; what is given back already stays so."""
        answer = await self._keeping.ask(Asked(new_id(), b"", ReleaseHold(holder_id=holder_id), current()))
        found = await self.reservation(holder_id)
        if answer.status != OK and any(item.status == "CONFIRMED" for item in found.items):
            raise NotHeld("It is sold: return it instead.")
        return found

    async def count(self, put: StockPut, version: int | None) -> Answer:
        """Set what is on hand; the row is made where there is none."""
        threshold = put.low_stock_threshold
        action = CountStock(
            sku=domain.checked_sku(put.sku),
            on_hand=domain.checked_on_hand(put.on_hand),
            warehouse=_code(put.warehouse),
            low_stock_threshold=None if threshold is None else domain.checked_on_hand(threshold, "/low_stock_threshold"),
            expected_version=version,
        )
        return await self._keeping.ask(Asked(new_id(), b"", action, current()))

    async def adjust(self, adjustment: Adjustment, call: Call | None, version: int | None) -> Answer:
        """Change what is on hand, once per key."""
        refuse_texts(text_error("/reason", adjustment.reason, limit=200))
        if not adjustment.reason.strip():
            raise InvalidInput.field("/reason", "required_field", "say why")
        action = AdjustStock(
            sku=domain.checked_sku(adjustment.sku),
            delta=domain.checked_delta(adjustment.delta),
            reason=adjustment.reason,
            warehouse=_code(adjustment.warehouse),
            expected_version=version,
        )
        return await self._keeping.ask(Asked(_step_id(call), call.fingerprint if call else b"", action, current()))

    async def sold_out(self, skus: Sequence[str]) -> list[str]:
        """Return the SKUs that were sold out a moment ago; what Redis does not know is not among them."""
        return await self._hints.sold_out(_possible(skus))

    async def available(self, skus: Sequence[str]) -> dict[str, int]:
        """Return what may be reserved of those SKUs that are known."""
        async with self.database.connection() as connection:
            return await repository.available(connection, _possible(skus))

    async def stock(self, sku: str) -> StockOut:
        """Return the stock of a SKU."""
        found = await self.stocks([sku])
        if not found:
            raise SkuNotFound
        return found[0]

    async def stocks(self, skus: Sequence[str]) -> list[StockOut]:
        """Return the stock of those SKUs that are known."""
        async with self.database.connection() as connection:
            return await repository.stock_of(connection, _possible(skus))

    async def low_stock(self, after: UUID | None, limit: int) -> list[tuple[UUID, StockRow]]:
        """Return rows at or below their threshold."""
        async with self.database.connection() as connection:
            return await repository.low_stock(connection, after, limit)

    async def movements(self, sku: str, warehouse: str | None, before: UUID | None, limit: int) -> list[MovementOut]:
        """Return what happened to the stock of a SKU, newest first."""
        await self.stock(sku)
        async with self.database.connection() as connection:
            return await repository.movements(connection, sku, _code(warehouse), before, limit)

    async def reservation(self, holder_id: UUID) -> ReservationOut:
        """Return all that a holder holds or held."""
        async with self.database.connection() as connection:
            found = await repository.reservation(connection, holder_id)
        if found is None:
            raise ReservationNotFound
        return found

    async def warehouses(self) -> list[Warehouse]:
        """Return all warehouses."""
        async with self.database.connection() as connection:
            return await repository.warehouses(connection)

    async def open_warehouse(self, connection: Connection, new: NewWarehouse) -> Warehouse:
        """Open a warehouse in the caller's transaction."""
        warehouse = Warehouse(
            id=new_id(),
            code=domain.checked_code(new.code, "/code"),
            name=new.name,
            region=new.region,
            country=new.country,
            delivery_days=new.delivery_days,
            version=1,
        )
        _refuse_names(warehouse)
        if not await repository.insert_warehouse(connection, warehouse):
            raise DuplicateEntry(errors=[FieldError(pointer="/code", code="duplicate_entry", message="already taken")])
        return warehouse

    async def change_warehouse(self, code: str, patch: WarehousePatch, version: int | None) -> Warehouse:
        """Change a warehouse; `version` is the one the caller has read, if they said."""
        fields = {name: getattr(patch, name) for name in patch.__struct_fields__ if name != "version"}
        changes = {name: value for name, value in fields.items() if value is not UNSET}

        async def work(connection: Connection) -> Warehouse:
            found = await repository.warehouse_for_update(connection, domain.checked_code(code, "/code"))
            if found is None:
                raise WarehouseNotFound
            if version is not None and version != found.version:
                raise VersionConflict(found.version)
            changed = msgspec.structs.replace(found, **changes, version=found.version + 1)
            _refuse_names(changed)
            await repository.update_warehouse(connection, changed)
            return changed

        return await self.database.run(work)

    async def know(self, connection: Connection, skus: Sequence[str]) -> None:
        """Learn of SKUs in the caller's transaction."""
        await repository_book.make_skus(connection, _possible(skus))

    async def sweep(self) -> None:
        """Expire what ran out, oldest first, until nothing is overdue."""
        while True:
            async with self.database.connection() as connection:
                skus = await repository.overdue_skus(connection, _SWEPT)
            if not skus:
                return
            await self._keeping.ask(Asked(new_id(), b"", ExpireOverdue(skus=tuple(skus)), NOBODY))

    async def forget_steps(self, days: int) -> None:
        """Forget the answers of old steps, in small bites."""
        await until_empty(self.database, repository.OLD_STEPS, days)

    async def observe(self) -> None:
        """Set the metrics about stock."""
        async with self.database.connection() as connection:
            found = await repository.figures(connection)
        PENDING_HOLDS.set(found.pending)
        RESERVED_UNITS.set(found.units)
        OVERDUE_HOLDS.set(found.overdue)
        STOCK_DRIFT.set(found.drift)
        LOW_STOCK_ROWS.set(found.low)

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present stock of SKUs as events, for projections that start anew."""
        found = await repository.snapshot(connection, after, limit)
        return [events.snapshot(one.id, one.version, one.sku, one.on_hand, one.reserved) for one in found]


def _step_id(call: Call | None) -> UUID:
    """Return the step that a caller's idempotency key stands for, or a new one."""
    return uuid5(_STEPS, f"{call.scope}\0{call.key}") if call else new_id()


def _code(warehouse: str | None) -> str | None:
    return None if warehouse is None else domain.checked_code(warehouse, "/warehouse")


def _possible(skus: Sequence[str]) -> list[str]:
    """Leave out what cannot be a SKU and so names nothing that exists."""
    return [sku for sku in skus if domain.sku_error("/skus", sku) is None]


def _refuse_names(warehouse: Warehouse) -> None:
    refuse_texts(text_error("/name", warehouse.name, limit=100), text_error("/region", warehouse.region, limit=64))
