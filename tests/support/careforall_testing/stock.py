"""An inventory service in this process, on a database of its own: what tests of stock share.

async with stockroom(url, redis) as room:
    await room.put("SKU", 10)
    held = await room.reserve(new_id(), SKU=3)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from careforall.audit.verification.stock import STOCK
from careforall.contracts import inventory
from careforall.contracts.inventory import Extend, Line, Reserve, Reserved, Restock, Settle, Settled
from careforall.inventory.asks import queries
from careforall.inventory.hints import Hints
from careforall.inventory.keeping import Keeping
from careforall.inventory.schemas import Adjustment, NewWarehouse, StockPut, StockRow
from careforall.inventory.service import InventoryService
from careforall.kit import json, migrate
from careforall.kit.cache import Cache
from careforall.kit.db import Database, PoolSettings
from careforall.kit.ids import new_id
from careforall_testing.databases import Databases

T = TypeVar("T")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Stockroom:
    """The service, with the questions others ask it."""

    def __init__(self, database: Database, cache: Cache, *, default_warehouse: str = "main") -> None:
        self.database = database
        hints = Hints(cache)
        self.keeping = Keeping(database, hints, default_warehouse=default_warehouse, batch_size=512, flights=1)
        self.service = InventoryService(database, self.keeping, hints)
        self.hints = hints
        self.cache = cache
        self._queries = queries(self.service)

    async def ask(self, subject: str, question: msgspec.Struct, kind: type[T]) -> T:
        """Ask as another service does."""
        return msgspec.json.decode(await self._queries[subject](json.encode(question)), type=kind)

    async def reserve(
        self,
        holder: UUID,
        *lines: Line,
        step: UUID | None = None,
        seconds: int = 900,
        region: str = "",
        takes: Sequence[UUID] = (),
        **demand: int,
    ) -> Reserved:
        """Ask for stock."""
        question = Reserve(
            step_id=step or new_id(),
            holder_id=holder,
            lines=_lines(lines, demand),
            seconds=seconds,
            region=region,
            takes=list(takes),
        )
        return await self.ask(inventory.RESERVE, question, Reserved)

    async def confirm(self, holder: UUID, *, step: UUID | None = None) -> Settled:
        """Ask that what is held is sold."""
        return await self.ask(inventory.CONFIRM, Settle(step_id=step or new_id(), holder_id=holder), Settled)

    async def release(self, holder: UUID, *, step: UUID | None = None) -> Settled:
        """Ask that what is held is given back."""
        return await self.ask(inventory.RELEASE, Settle(step_id=step or new_id(), holder_id=holder), Settled)

    async def extend(self, holder: UUID, until: datetime, *, pinned: bool = False) -> Settled:
        """Ask that what is held stays held."""
        question = Extend(step_id=new_id(), holder_id=holder, until=until, pinned=pinned)
        return await self.ask(inventory.EXTEND, question, Settled)

    async def restock(self, holder: UUID, *lines: Line, step: UUID | None = None, **demand: int) -> Settled:
        """Ask that sold stock goes back on its shelf."""
        question = Restock(step_id=step or new_id(), holder_id=holder, lines=_lines(lines, demand), cause="returned")
        return await self.ask(inventory.RESTOCK, question, Settled)

    async def put(self, sku: str, on_hand: int, warehouse: str | None = None, **more: Any) -> StockRow:
        """Say what was counted."""
        answer = await self.service.count(
            StockPut(sku=sku, on_hand=on_hand, warehouse=warehouse, **more), more.get("expected_version")
        )
        return msgspec.json.decode(answer.body, type=StockRow)

    async def adjust(self, sku: str, delta: int, warehouse: str | None = None) -> StockRow:
        """Say that it is more or less."""
        adjustment = Adjustment(sku=sku, delta=delta, reason="found", warehouse=warehouse)
        return msgspec.json.decode((await self.service.adjust(adjustment, None, None)).body, type=StockRow)

    async def open_warehouse(self, code: str, *, region: str = "", country: str = "", delivery_days: int = 3) -> None:
        """Open a warehouse."""
        new = NewWarehouse(code=code, name=code, region=region, country=country, delivery_days=delivery_days)
        await self.database.run(lambda connection: self.service.open_warehouse(connection, new))

    async def age(self, holder: UUID, seconds: int) -> None:
        """Let time pass for what a holder holds, and with it the hints of a second ago."""
        await self.database.run(lambda connection: connection.execute(_AGE, holder, seconds))
        await self.hints.drain()
        for row in await self.database.fetch("SELECT sku FROM reservations WHERE holder_id = $1", holder):
            await self.cache.drop(f"inventory:soldout:{row['sku']}")

    async def age_all(self, seconds: int) -> None:
        """Let time pass for everybody."""
        await self.database.run(lambda connection: connection.execute(_AGE_ALL, seconds))

    async def numbers(self, sku: str) -> tuple[int, int]:
        """What is on hand and reserved of a SKU."""
        found = await self.service.stock(sku)
        return found.on_hand, found.reserved

    async def value(self, sql: str, *args: object) -> Any:
        """Read one value."""
        row = await self.database.fetchrow(sql, *args)
        return None if row is None else row[0]

    async def statuses(self, holder: UUID) -> list[str]:
        """In which states the holds of a holder are."""
        rows = await self.database.fetch("SELECT status FROM reservations WHERE holder_id = $1 ORDER BY sku, warehouse", holder)
        return [row["status"] for row in rows]

    async def told(self, aggregate: UUID) -> list[str]:
        """The events of an aggregate, in order."""
        rows = await self.database.fetch("SELECT event_type FROM outbox WHERE aggregate_id = $1 ORDER BY id", aggregate)
        return [row["event_type"] for row in rows]

    async def violations(self) -> list[str]:
        """What `careforall verify` would say is wrong with the stock."""
        return [
            f"{one.name}: {row['key']} {row['detail']}" for one in STOCK for row in await self.database.fetch(one.sql, LONG_AGO)
        ]

    async def close(self) -> None:
        """Answer what is under way."""
        await self.keeping.drain()
        await self.hints.drain()


@asynccontextmanager
async def stockroom(url: str, redis_url: str, **settings: Any) -> AsyncIterator[Stockroom]:
    """The service on a migrated database."""
    wanted = {"max_size": 4, "acquire_timeout": 10, "connect_timeout": 10, "command_timeout": 30, "lock_timeout_ms": 10_000}
    database = Database(url, name="inventory", settings=PoolSettings(**{**wanted, **settings}))
    await database.open()
    cache = Cache(redis_url, prefix=f"{new_id()}:", pause=0.2)
    room = Stockroom(database, cache)
    try:
        yield room
    finally:
        await room.close()
        await cache.close()
        await database.close()


@asynccontextmanager
async def stock_database(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of one's own."""

    async def prepare(url: str) -> None:
        await migrate.migrate(url, migrate.load("careforall.inventory"))

    async with databases.clone(await databases.template("service_inventory", prepare)) as url:
        yield url


def quantities(held: Reserved) -> Mapping[str, int]:
    """How much is held in each warehouse."""
    found: dict[str, int] = {}
    for item in held.items:
        found[item.warehouse] = found.get(item.warehouse, 0) + item.quantity
    return found


def outcomes(answers: Sequence[Reserved]) -> Mapping[str, int]:
    """How often each outcome came."""
    found: dict[str, int] = {}
    for answer in answers:
        found[answer.outcome] = found.get(answer.outcome, 0) + 1
    return found


def _lines(lines: Sequence[Line], demand: Mapping[str, int]) -> list[Line]:
    return [*lines, *(Line(sku=sku, quantity=quantity) for sku, quantity in demand.items())]


_AGE = "UPDATE reservations SET expires_at = expires_at - make_interval(secs => $2) WHERE holder_id = $1 AND status = 'PENDING'"
_AGE_ALL = "UPDATE reservations SET expires_at = expires_at - make_interval(secs => $1) WHERE status = 'PENDING'"
