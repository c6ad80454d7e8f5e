"""Any order of reserving, settling, counting and passing time leaves stock as a small model says, and the books in balance.

The machine runs without Redis: stock is exact all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import Struct, field

from careforall.contracts.inventory import Line, Reserved
from careforall.inventory.errors import BelowReserved, SkuNotFound
from careforall.kit.ids import new_id
from careforall_testing.databases import Databases
from careforall_testing.stock import Stockroom, stock_database, stockroom

NO_REDIS = "redis://127.0.0.1:1/0"
SKUS = ("MUG", "CUP")
WAREHOUSES = ("main", "north")
HOLDERS = tuple(UUID(int=number + 1) for number in range(5))
SHORT, LONG, PASSING = 500, 5000, 1000
"""Seconds; far enough apart that the seconds a run takes decide nothing."""


class Had(Struct):
    """What a holder has of a SKU in a warehouse."""

    quantity: int
    status: str = "PENDING"
    returned: int = 0


class Account(Struct):
    """All that a holder has; its pending holds end together."""

    has: dict[tuple[str, str], Had] = field(default_factory=dict)
    left: int = 0
    pinned: bool = False

    def pending(self) -> dict[tuple[str, str], Had]:
        return {key: had for key, had in self.has.items() if had.status == "PENDING"}

    @property
    def overdue(self) -> bool:
        return bool(self.pending()) and not self.pinned and self.left <= 0


class Model:
    """Stock as it should be."""

    def __init__(self) -> None:
        self.on_hand: dict[tuple[str, str], int] = {}
        self.accounts: dict[UUID, Account] = {}

    def account(self, holder: UUID) -> Account:
        return self.accounts.setdefault(holder, Account())

    def reserved(self, key: tuple[str, str]) -> int:
        return sum(account.pending()[key].quantity for account in self.accounts.values() if key in account.pending())

    def available(self, sku: str) -> int:
        return sum(number - self.reserved(key) for key, number in self.on_hand.items() if key[0] == sku)

    def expire(self, skus: set[str], holder: UUID | None = None) -> None:
        """What ran out of these SKUs, or is this holder's, is free again; a holder's holds end together."""
        for identifier, account in self.accounts.items():
            touched = identifier == holder or any(sku in skus for sku, _ in account.pending())
            if account.overdue and touched:
                self.settle(account, "EXPIRED")

    def settle(self, account: Account, status: str) -> bool:
        pending = account.pending()
        for key, had in pending.items():
            had.status = status
            if status == "CONFIRMED":
                self.on_hand[key] -= had.quantity
        return bool(pending)

    def hold(self, holder: UUID, held: Reserved, seconds: int) -> None:
        account = self.account(holder)
        if not account.pending():
            account.left, account.pinned = seconds, False
        account.left = max(account.left, seconds)
        for item in held.items:
            had = account.has.setdefault((item.sku, item.warehouse), Had(quantity=0))
            had.quantity, had.status = item.quantity, "PENDING"

    def pass_time(self, seconds: int) -> None:
        for account in self.accounts.values():
            account.left -= seconds


class Stock(RuleBasedStateMachine):
    """Asks the service and the model alike."""

    databases: Databases

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.room: Stockroom = self.run(self._open())
        self.last: tuple[UUID, UUID, Mapping[str, int], int, Reserved] | None = None

    async def _open(self) -> Stockroom:
        url = await self.stack.enter_async_context(stock_database(self.databases))
        room = await self.stack.enter_async_context(stockroom(url, NO_REDIS))
        await room.open_warehouse("north", region="north", delivery_days=2)
        return room

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @rule(sku=st.sampled_from(SKUS), warehouse=st.sampled_from(WAREHOUSES), on_hand=st.integers(0, 12))
    def put(self, sku: str, warehouse: str, on_hand: int) -> None:
        if on_hand < self.model.reserved((sku, warehouse)):
            with pytest.raises(BelowReserved):
                self.run(self.room.put(sku, on_hand, warehouse))
        else:
            self.run(self.room.put(sku, on_hand, warehouse))
            self.model.on_hand[sku, warehouse] = on_hand
        self.model.expire({sku})

    @rule(sku=st.sampled_from(SKUS), warehouse=st.sampled_from(WAREHOUSES), delta=st.integers(-4, 6).filter(bool))
    def adjust(self, sku: str, warehouse: str, delta: int) -> None:
        key = (sku, warehouse)
        after = self.model.on_hand.get(key, 0) + delta
        if not any(known == sku for known, _ in self.model.on_hand):
            with pytest.raises(SkuNotFound):
                self.run(self.room.adjust(sku, delta, warehouse))
        elif after < self.model.reserved(key):
            with pytest.raises(BelowReserved):
                self.run(self.room.adjust(sku, delta, warehouse))
        else:
            self.run(self.room.adjust(sku, delta, warehouse))
            self.model.on_hand[key] = after
        self.model.expire({sku})

    @rule(
        holder=st.sampled_from(HOLDERS),
        lines=st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 5)), min_size=1, max_size=3),
        seconds=st.sampled_from((SHORT, LONG)),
        region=st.sampled_from(("", "north")),
    )
    def reserve(self, holder: UUID, lines: list[tuple[str, int]], seconds: int, region: str) -> None:
        demand = {sku: sum(quantity for name, quantity in lines if name == sku) for sku, _ in lines}
        step = new_id()
        wanted = [Line(sku=sku, quantity=quantity) for sku, quantity in demand.items()]
        held = self.run(self.room.reserve(holder, *wanted, step=step, seconds=seconds, region=region))
        self._check_reserved(holder, demand, seconds, held)
        self.last = (step, holder, demand, seconds, held) if not region else None

    def _check_reserved(self, holder: UUID, demand: Mapping[str, int], seconds: int, held: Reserved) -> None:
        self.model.expire(set(demand), holder)
        known = {sku for sku, _ in self.model.on_hand}
        short = sorted(sku for sku, quantity in demand.items() if self.model.available(sku) < quantity)
        if demand.keys() - known:
            assert held.outcome == "UNKNOWN_SKU"
        elif short:
            assert (held.outcome, held.short) == ("OUT_OF_STOCK", short)
        elif held.outcome == "REFUSED":
            assert held.reason == "already_sold"
            assert any(had.status == "CONFIRMED" for had in self.model.account(holder).has.values())
        else:
            assert held.outcome == "RESERVED"
            self._hold(holder, demand, seconds, held)

    def _hold(self, holder: UUID, demand: Mapping[str, int], seconds: int, held: Reserved) -> None:
        before = {key: had.quantity for key, had in self.model.account(holder).pending().items()}
        more: dict[str, int] = {}
        for item in held.items:
            more[item.sku] = more.get(item.sku, 0) + item.quantity - before.get((item.sku, item.warehouse), 0)
        assert {sku: quantity for sku, quantity in more.items() if quantity} == dict(demand)
        self.model.hold(holder, held, seconds)

    @precondition(lambda self: self.last is not None)
    @rule()
    def ask_the_last_step_again(self) -> None:
        assert self.last is not None
        step, holder, demand, seconds, held = self.last
        wanted = [Line(sku=sku, quantity=quantity) for sku, quantity in demand.items()]
        again = self.run(self.room.reserve(holder, *wanted, step=step, seconds=seconds))
        assert again == held or held.outcome == "REFUSED"
        if held.outcome == "REFUSED":  # refusals of the question itself are judged anew
            self._check_reserved(holder, demand, seconds, again)
            self.last = None
        else:
            self.model.expire(set(demand), holder)

    @rule(sku=st.sampled_from(SKUS), quantity=st.integers(1, 3), buyers=st.integers(2, 8))
    def many_at_once(self, sku: str, quantity: int, buyers: int) -> None:
        holders = [new_id() for _ in range(buyers)]
        found = self.run(_together(self.room, holders, sku, quantity))
        self.model.expire({sku})
        fit = min(buyers, self.model.available(sku) // quantity)
        served = [(holder, held) for holder, held in zip(holders, found, strict=True) if held.outcome == "RESERVED"]
        assert len(served) == fit
        for holder, held in served:
            self._hold(holder, {sku: quantity}, SHORT, held)

    @rule(holder=st.sampled_from(HOLDERS))
    def confirm(self, holder: UUID) -> None:
        account = self.model.account(holder)
        done = self.model.settle(account, "CONFIRMED") or any(had.status == "CONFIRMED" for had in account.has.values())
        assert self.run(self.room.confirm(holder)).outcome == ("DONE" if done else "NOT_HELD")

    @rule(holder=st.sampled_from(HOLDERS))
    def release(self, holder: UUID) -> None:
        done = self.model.settle(self.model.account(holder), "RELEASED")
        assert self.run(self.room.release(holder)).outcome == ("DONE" if done else "NOT_HELD")

    @rule(holder=st.sampled_from(HOLDERS), seconds=st.sampled_from((SHORT, LONG)), pinned=st.booleans())
    def extend(self, holder: UUID, seconds: int, pinned: bool) -> None:
        account = self.model.account(holder)
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        done = bool(account.pending())
        assert self.run(self.room.extend(holder, until, pinned=pinned)).outcome == ("DONE" if done else "NOT_HELD")
        if done:
            account.left, account.pinned = seconds, pinned

    @rule(holder=st.sampled_from(HOLDERS), sku=st.sampled_from(SKUS), quantity=st.integers(1, 4))
    def restock(self, holder: UUID, sku: str, quantity: int) -> None:
        account = self.model.account(holder)
        sold = {key: had for key, had in account.has.items() if key[0] == sku and had.status == "CONFIRMED"}
        done = sum(had.quantity - had.returned for had in sold.values()) >= quantity
        assert self.run(self.room.restock(holder, Line(sku=sku, quantity=quantity))).outcome == ("DONE" if done else "NOT_HELD")
        for key, had in sorted(sold.items()) if done else ():
            taken = min(quantity, had.quantity - had.returned)
            had.returned += taken
            self.model.on_hand[key] += taken
            quantity -= taken
        self.model.expire(set(), holder)

    @rule()
    def time_passes(self) -> None:
        self.run(self.room.age_all(PASSING))
        self.model.pass_time(PASSING)

    @rule()
    def sweep(self) -> None:
        self.run(self.room.service.sweep())
        self.model.expire(set(SKUS))

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        assert self.run(_shelves(self.room)) == {
            key: (number, self.model.reserved(key)) for key, number in self.model.on_hand.items()
        }
        assert self.run(_holds(self.room)) == {
            (holder, *key): (had.quantity, had.status, had.returned)
            for holder, account in self.model.accounts.items()
            for key, had in account.has.items()
        }
        assert [one for one in self.run(self.room.violations()) if "overdue" not in one] == []


async def _together(room: Stockroom, holders: list[UUID], sku: str, quantity: int) -> list[Reserved]:
    return await asyncio.gather(*(room.reserve(holder, Line(sku=sku, quantity=quantity), seconds=SHORT) for holder in holders))


async def _shelves(room: Stockroom) -> dict[tuple[str, str], tuple[int, int]]:
    rows = await room.database.fetch("SELECT sku, warehouse, on_hand, reserved FROM stock")
    return {(row["sku"], row["warehouse"]): (row["on_hand"], row["reserved"]) for row in rows}


async def _holds(room: Stockroom) -> dict[tuple[UUID, str, str], tuple[int, str, int]]:
    rows = await room.database.fetch("SELECT holder_id, sku, warehouse, quantity, status, returned FROM reservations")
    return {(row["holder_id"], row["sku"], row["warehouse"]): (row["quantity"], row["status"], row["returned"]) for row in rows}


@pytest.mark.timeout(240)
def test_stock_is_as_the_model_says(databases: Databases) -> None:
    class Machine(Stock):
        pass

    Machine.databases = databases
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=35,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
