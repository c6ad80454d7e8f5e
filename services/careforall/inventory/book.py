"""The page of the stock book that one batch has open: it does what is asked and notes every change on the way.

Everything that changes stock goes through here, so each change of a row has its movement, its version and its event. Filled from
the database under locks, and written back in one go; nothing in here waits for anybody.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from careforall.contracts.inventory import Held, Reserved, Settled
from careforall.inventory.domain import (
    Action,
    AdjustStock,
    ConfirmHold,
    CountStock,
    ExpireOverdue,
    ExtendHold,
    Hold,
    Holder,
    Movement,
    MovementKind,
    ReleaseHold,
    ReserveStock,
    ReturnSold,
    Shelf,
    Status,
    Warehouse,
    checked_on_hand,
    spread,
)
from careforall.inventory.errors import AlreadySold, BelowReserved, SkuNotFound, WarehouseNotFound
from careforall.kit.context import NOBODY, Cause
from careforall.kit.errors import InvalidInput, VersionConflict
from careforall.kit.ids import new_id

_DONE = Settled(outcome="DONE")
_NOT_HELD = Settled(outcome="NOT_HELD")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a holder's holds: to be an event."""

    status: Status
    holder: Holder
    """As it was then."""
    items: tuple[Held, ...]
    expires_at: datetime | None
    cause: Cause


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What was read for a batch under its locks."""

    now: datetime
    """The database's clock, read after the locks were held (rule 4)."""
    skus: Mapping[str, int]
    """Version by SKU, of all that are known and locked."""
    shelves: Sequence[Shelf]
    holders: Sequence[Holder]
    holds: Sequence[Hold]


class Book:
    """Does actions on what was read, and collects what is to be written.

    Args:
        page: What was read.
        warehouses: All there are, by code.
        default_warehouse: Where stock goes that lies nowhere yet.
    """

    def __init__(self, page: Page, *, warehouses: Mapping[str, Warehouse], default_warehouse: str) -> None:
        self.now = page.now
        self.versions = dict(page.skus)
        self._shelves: dict[str, dict[str, Shelf]] = {sku: {} for sku in page.skus}
        for shelf in page.shelves:
            self._shelves[shelf.sku][shelf.warehouse] = shelf
        self._holders = {holder.id: holder for holder in page.holders}
        self._holds: dict[UUID, dict[tuple[str, str], Hold]] = {}
        for hold in page.holds:
            self._holds.setdefault(hold.holder_id, {})[hold.sku, hold.warehouse] = hold
        self._before = {(shelf.sku, shelf.warehouse): shelf.available for shelf in page.shelves}
        self._available = {sku: sum(shelf.available for shelf in shelves.values()) for sku, shelves in self._shelves.items()}
        self._warehouses = warehouses
        self._default = default_warehouse
        self._changed_shelves: dict[tuple[str, str], Shelf] = {}
        self._changed_holds: dict[tuple[UUID, str, str], Hold] = {}
        self.changed_skus: set[str] = set()
        self.refused = 0
        """Demands that could not be met."""
        self.lacking: set[str] = set()
        """What such demands found too little of."""
        self._closed = False
        self.movements: list[Movement] = []
        self.told: list[Told] = []

    @property
    def changed_shelves(self) -> list[Shelf]:
        """Stock rows to write, in key order."""
        return [self._changed_shelves[key] for key in sorted(self._changed_shelves)]

    @property
    def changed_holds(self) -> list[Hold]:
        """Reservations to write, in key order."""
        return sorted(self._changed_holds.values(), key=_key)

    def shelves_of(self, sku: str) -> Iterable[Shelf]:
        """Return where a SKU lies."""
        return self._shelves.get(sku, {}).values()

    def available(self, sku: str) -> int:
        """Return what may be reserved of a SKU over all warehouses."""
        return self._available.get(sku, 0)

    def fell_low(self) -> list[Shelf]:
        """Return the shelves that this batch brought to their threshold."""
        return [
            shelf
            for shelf in self.changed_shelves
            if shelf.is_low and self._before.get((shelf.sku, shelf.warehouse), 0) > shelf.low_stock_threshold
        ]

    def was_sold_out(self, sku: str) -> bool:
        """Whether nothing of a SKU was available before this batch."""
        return sum(self._before.get((sku, shelf.warehouse), 0) for shelf in self.shelves_of(sku)) == 0

    def close(self) -> bool:
        """Close the committed book; return whether it was open, so that of many callers one tells of it."""
        was_open, self._closed = not self._closed, True
        return was_open

    def act(self, action: Action, cause: Cause) -> Reserved | Settled | Shelf:
        """Do what is asked, or raise a refusal and change nothing."""
        match action:
            case ReserveStock():
                return self._reserve(action, cause)
            case CountStock() | AdjustStock():
                return self._count(action) if isinstance(action, CountStock) else self._adjust(action)
            case ExpireOverdue():
                return _DONE
            case _:
                return self._settle(action, cause)

    def expire_overdue(self) -> None:
        """Expire every holder whose unpinned hold ran out, whole; one with stock that is not locked here has to wait."""
        for holder_id, holds in self._holds.items():
            pending = _pending(holds.values())
            overdue = any(hold.expires_at <= self.now and not hold.pinned for hold in pending)
            if overdue and all(hold.sku in self.versions for hold in pending):
                self._give_back(holder_id, "EXPIRED", "expired", NOBODY)

    def _reserve(self, action: ReserveStock, cause: Cause) -> Reserved:
        if unknown := sorted(sku for sku in action.demand if sku not in self.versions):
            return Reserved(outcome="UNKNOWN_SKU", holder_id=action.holder_id, short=unknown)
        if short := self._short(action):
            self.refused += 1
            self.lacking.update(short)
            return Reserved(outcome="OUT_OF_STOCK", holder_id=action.holder_id, short=short)
        self._refuse_sold(action)
        for taken in action.takes:
            self._give_back(taken, "RELEASED", "taken over", cause)
        parts = [
            part
            for sku, quantity in sorted(action.demand.items())
            for part in spread(list(self.shelves_of(sku)), quantity, action.region)
        ]
        holder = self._holders.setdefault(action.holder_id, Holder(id=action.holder_id, saga_id=action.saga_id))
        expires_at = self.now + timedelta(seconds=action.seconds)
        for shelf, quantity in parts:
            self._hold(holder, shelf, quantity, expires_at)
        items, expires_at = self._prolonged(holder, expires_at)
        self._tell("PENDING", holder, items, expires_at, cause)
        return Reserved(
            outcome="RESERVED",
            holder_id=holder.id,
            items=list(items),
            expires_at=expires_at,
            delivery_days=max(shelf.delivery_days for shelf, _ in parts),
        )

    def _short(self, action: ReserveStock) -> list[str]:
        """Return the SKUs of which too little is free, counting what the holders have in whose place the new one steps."""
        free = {sku: self.available(sku) for sku in action.demand}
        for taken in action.takes:
            for hold in _pending(self._holds.get(taken, {}).values()):
                if hold.sku in free:
                    free[hold.sku] += hold.quantity
        return [sku for sku, quantity in sorted(action.demand.items()) if free[sku] < quantity]

    def _refuse_sold(self, action: ReserveStock) -> None:
        """Refuse a holder who has bought of these SKUs: what is sold cannot be held again."""
        for hold in self._holds.get(action.holder_id, {}).values():
            if hold.sku in action.demand and hold.status == "CONFIRMED":
                raise AlreadySold(sku=hold.sku)

    def _hold(self, holder: Holder, shelf: Shelf, quantity: int, expires_at: datetime) -> None:
        holds = self._holds.setdefault(holder.id, {})
        hold = holds.get((shelf.sku, shelf.warehouse))
        if hold is None:
            hold = holds[shelf.sku, shelf.warehouse] = Hold(
                id=new_id(), holder_id=holder.id, sku=shelf.sku, warehouse=shelf.warehouse, quantity=0, expires_at=expires_at
            )
        elif hold.status != "PENDING":
            hold.status, hold.quantity, hold.pinned, hold.expires_at = "PENDING", 0, False, expires_at
        hold.quantity += quantity
        self._note(hold)
        self._move(shelf, "reserve", 0, quantity, holder.id, "reserved")

    def _prolonged(self, holder: Holder, expires_at: datetime) -> tuple[tuple[Held, ...], datetime]:
        """Give all that a holder holds one end, the later one, and return it all."""
        pending = _pending(self._holds[holder.id].values())
        end = max([expires_at, *(hold.expires_at for hold in pending)])
        pinned = any(hold.pinned for hold in pending)
        for hold in pending:
            if hold.expires_at != end or hold.pinned != pinned:
                hold.expires_at, hold.pinned = end, pinned
                self._note(hold)
        return _held(pending), end

    def _settle(self, action: ConfirmHold | ReleaseHold | ExtendHold | ReturnSold, cause: Cause) -> Settled:
        match action:
            case ConfirmHold():
                return self._confirm(action, cause)
            case ReleaseHold():
                return self._give_back(action.holder_id, "RELEASED", action.cause or "released", cause)
            case ExtendHold():
                return self._extend(action)
            case ReturnSold():
                return self._return(action)

    def _confirm(self, action: ConfirmHold, cause: Cause) -> Settled:
        holds = self._holds.get(action.holder_id, {}).values()
        pending = _pending(holds)
        if not pending:
            return _DONE if any(hold.status == "CONFIRMED" for hold in holds) else _NOT_HELD
        for hold in pending:
            hold.status = "CONFIRMED"
            self._note(hold)
            shelf = self._shelves[hold.sku][hold.warehouse]
            self._move(shelf, "ship", -hold.quantity, -hold.quantity, hold.holder_id, action.cause or "confirmed")
        self._tell("CONFIRMED", self._holders[action.holder_id], _held(pending), None, cause)
        return _DONE

    def _give_back(self, holder_id: UUID, status: Status, why: str, cause: Cause) -> Settled:
        pending = _pending(self._holds.get(holder_id, {}).values())
        if not pending:
            return _NOT_HELD
        for hold in pending:
            hold.status = status
            self._note(hold)
            self._move(self._shelves[hold.sku][hold.warehouse], "release", 0, -hold.quantity, holder_id, why)
        self._tell(status, self._holders[holder_id], _held(pending), None, cause)
        return _DONE

    def _extend(self, action: ExtendHold) -> Settled:
        pending = _pending(self._holds.get(action.holder_id, {}).values())
        for hold in pending:
            hold.expires_at, hold.pinned = action.until, action.pinned
            self._note(hold)
        return _DONE if pending else _NOT_HELD

    def _return(self, action: ReturnSold) -> Settled:
        sold = [hold for hold in self._holds.get(action.holder_id, {}).values() if hold.status == "CONFIRMED"]
        left = dict.fromkeys(action.demand, 0)
        for hold in sold:
            if hold.sku in left:
                left[hold.sku] += hold.quantity - hold.returned
        if any(left[sku] < quantity for sku, quantity in action.demand.items()):
            return _NOT_HELD
        for sku, quantity in sorted(action.demand.items()):
            self._put_back([hold for hold in sold if hold.sku == sku], quantity, action.cause or "returned")
        return _DONE

    def _put_back(self, sold: Iterable[Hold], quantity: int, why: str) -> None:
        for hold in sorted(sold, key=lambda hold: hold.warehouse):
            if taken := min(quantity, hold.quantity - hold.returned):
                hold.returned += taken
                quantity -= taken
                self._note(hold)
                self._move(self._shelves[hold.sku][hold.warehouse], "return", taken, 0, hold.holder_id, why)

    def _count(self, action: CountStock) -> Shelf:
        shelf = self._shelf(action.sku, action.warehouse)
        _expect(shelf, action.expected_version)
        if action.on_hand < shelf.reserved:
            raise BelowReserved(f"{shelf.reserved} are reserved: wait, or release them first.", reserved=shelf.reserved)
        kind: MovementKind = "adjust" if shelf.version else "receipt"
        if action.low_stock_threshold is not None:
            shelf.low_stock_threshold = action.low_stock_threshold
        self._place(shelf)
        self._move(shelf, kind, action.on_hand - shelf.on_hand, 0, None, "counted")
        return msgspec.structs.replace(shelf)

    def _adjust(self, action: AdjustStock) -> Shelf:
        if action.sku not in self.versions:
            raise SkuNotFound(f"Put stock of {action.sku} first, or make the product.")
        shelf = self._shelf(action.sku, action.warehouse)
        _expect(shelf, action.expected_version)
        after = shelf.on_hand + action.delta
        if after < shelf.reserved:
            raise BelowReserved(
                f"{shelf.on_hand} are on hand and {shelf.reserved} of them reserved.",
                on_hand=shelf.on_hand,
                reserved=shelf.reserved,
            )
        checked_on_hand(after, "/delta")
        self._place(shelf)
        self._move(shelf, "receipt" if action.delta > 0 else "adjust", action.delta, 0, None, action.reason)
        return msgspec.structs.replace(shelf)

    def _shelf(self, sku: str, warehouse: str | None) -> Shelf:
        """Return the shelf that is meant, or a new one that `_place` puts into the book."""
        known = self._shelves.get(sku, {})
        if warehouse is None and len(known) > 1:
            raise InvalidInput.field("/warehouse", "warehouse_required", f"it lies in several: {', '.join(sorted(known))}")
        code = warehouse or next(iter(known), self._default)
        if code in known:
            return known[code]
        if code not in self._warehouses:
            raise WarehouseNotFound(f"There is no warehouse {code}: make it first.", warehouse=code)
        found = self._warehouses[code]
        return Shelf(
            sku=sku,
            warehouse=code,
            region=found.region,
            country=found.country,
            delivery_days=found.delivery_days,
            low_stock_threshold=LOW_STOCK,
        )

    def _place(self, shelf: Shelf) -> None:
        """Note a shelf as changed, even if only its threshold did."""
        self._shelves[shelf.sku][shelf.warehouse] = shelf
        self._touch(shelf)

    def _move(self, shelf: Shelf, kind: MovementKind, on_hand: int, reserved: int, holder_id: UUID | None, why: str) -> None:
        if not on_hand and not reserved:
            return
        shelf.on_hand += on_hand
        shelf.reserved += reserved
        self._available[shelf.sku] += on_hand - reserved
        self._touch(shelf)
        self.movements.append(Movement(new_id(), shelf.sku, shelf.warehouse, kind, on_hand, reserved, holder_id, why))

    def _touch(self, shelf: Shelf) -> None:
        """Give a shelf and its SKU their next version, once a batch."""
        key = (shelf.sku, shelf.warehouse)
        if key in self._changed_shelves:
            return
        if shelf.sku not in self.changed_skus:
            self.changed_skus.add(shelf.sku)
            self.versions[shelf.sku] += 1
        shelf.version += 1
        self._changed_shelves[key] = shelf

    def _note(self, hold: Hold) -> None:
        self._changed_holds[hold.holder_id, hold.sku, hold.warehouse] = hold

    def _tell(self, status: Status, holder: Holder, items: tuple[Held, ...], expires_at: datetime | None, cause: Cause) -> None:
        holder.version += 1
        told = Told(status=status, holder=msgspec.structs.replace(holder), items=items, expires_at=expires_at, cause=cause)
        self.told.append(told)


LOW_STOCK = 5
"""Threshold of a shelf for which nobody set one."""


def _key(hold: Hold) -> tuple[int, str, str]:
    return hold.holder_id.int, hold.sku, hold.warehouse


def _pending(holds: Iterable[Hold]) -> list[Hold]:
    return [hold for hold in holds if hold.status == "PENDING"]


def _held(holds: Sequence[Hold]) -> tuple[Held, ...]:
    return tuple(Held(reservation_id=hold.id, sku=hold.sku, warehouse=hold.warehouse, quantity=hold.quantity) for hold in holds)


def _expect(shelf: Shelf, version: int | None) -> None:
    if version is not None and version != shelf.version:
        raise VersionConflict(shelf.version)
