"""Rules of stock without I/O: what may be asked, from which warehouses a demand is served, what is done in which order."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.inventory import Line
from careforall.kit.errors import FieldError, InvalidInput

Status = Literal["PENDING", "CONFIRMED", "RELEASED", "EXPIRED"]
MovementKind = Literal["receipt", "adjust", "reserve", "release", "ship", "return"]

MAX_QUANTITY = 1_000_000
"""Of one SKU in one request."""
MAX_ON_HAND = 100_000_000
MAX_LINES = 100
MAX_SECONDS = 7 * 86_400
_SKU = 64
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class Warehouse(msgspec.Struct, frozen=True, kw_only=True):
    """Where stock lies."""

    id: UUID
    code: str
    name: str
    region: str
    country: str
    """ISO 3166, two letters, or empty."""
    delivery_days: int
    version: int


class Shelf(msgspec.Struct, kw_only=True):
    """Stock of a SKU in a warehouse, as it changes within a batch."""

    sku: str
    warehouse: str
    region: str = ""
    country: str = ""
    delivery_days: int = 0
    on_hand: int = 0
    reserved: int = 0
    low_stock_threshold: int
    version: int = 0
    """0 while it is not stored yet."""

    @property
    def available(self) -> int:
        """What may be reserved."""
        return self.on_hand - self.reserved

    @property
    def is_low(self) -> bool:
        """Whether somebody should order more."""
        return self.available <= self.low_stock_threshold


class Hold(msgspec.Struct, kw_only=True):
    """What a holder holds of a SKU in a warehouse, as it changes within a batch."""

    id: UUID
    holder_id: UUID
    sku: str
    warehouse: str
    quantity: int
    returned: int = 0
    status: Status = "PENDING"
    expires_at: datetime
    pinned: bool = False


class Holder(msgspec.Struct, kw_only=True):
    """A saga or a cart that holds stock; version 0 while it is not stored yet."""

    id: UUID
    saga_id: UUID | None = None
    version: int = 0


class Movement(msgspec.Struct, frozen=True):
    """One change of a stock row, with its cause."""

    id: UUID
    sku: str
    warehouse: str
    kind: MovementKind
    on_hand: int
    reserved: int
    holder_id: UUID | None
    cause: str


class ReserveStock(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all of a demand (quantity by SKU), or nothing."""

    holder_id: UUID
    saga_id: UUID | None = None
    demand: Mapping[str, int]
    seconds: int
    region: str = ""
    takes: tuple[UUID, ...] = ()
    """Holders whose holds end where this demand is met; otherwise they keep them."""


class ConfirmHold(msgspec.Struct, frozen=True, kw_only=True):
    """What is held is sold."""

    holder_id: UUID
    cause: str = ""


class ReleaseHold(msgspec.Struct, frozen=True, kw_only=True):
    """What is held is given back."""

    holder_id: UUID
    cause: str = ""


class ExtendHold(msgspec.Struct, frozen=True, kw_only=True):
    """What is held stays held until a time; pinned, until somebody settles it."""

    holder_id: UUID
    until: datetime
    pinned: bool


class ReturnSold(msgspec.Struct, frozen=True, kw_only=True):
    """Put sold stock back where it came from."""

    holder_id: UUID
    demand: Mapping[str, int]
    cause: str = ""


class CountStock(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody counted: so much is on hand."""

    sku: str
    on_hand: int
    warehouse: str | None = None
    low_stock_threshold: int | None = None
    expected_version: int | None = None


class AdjustStock(msgspec.Struct, frozen=True, kw_only=True):
    """On hand changes by so much."""

    sku: str
    delta: int
    reason: str
    warehouse: str | None = None
    expected_version: int | None = None


class ExpireOverdue(msgspec.Struct, frozen=True, kw_only=True):
    """Expire what ran out of these SKUs; every batch does so for its own SKUs, this names more."""

    skus: tuple[str, ...]


Action = ReserveStock | ConfirmHold | ReleaseHold | ExtendHold | ReturnSold | CountStock | AdjustStock | ExpireOverdue
_ORDER = (ReleaseHold, ReturnSold, CountStock, AdjustStock, ConfirmHold, ExtendHold, ExpireOverdue, ReserveStock)
_RANKS = {kind: rank for rank, kind in enumerate(_ORDER)}
_EXPIRY = _RANKS[ExpireOverdue]


def rank(action: Action) -> int:
    """Return when a batch does this: what frees stock first, then what settles holds, then reservations."""
    return _RANKS[type(action)]


def after_expiry(action: Action) -> bool:
    """Whether overdue holds are expired before this; one that is confirmed or extended in the same batch is not (rule 16)."""
    return rank(action) >= _EXPIRY


def skus_of(action: Action) -> Iterable[str]:
    """Return the SKUs an action names."""
    match action:
        case ReserveStock():
            return action.demand
        case CountStock() | AdjustStock():
            return (action.sku,)
        case ExpireOverdue():
            return action.skus
        case _:
            return ()


def holders_of(action: Action) -> Sequence[UUID]:
    """Return the holders an action is about."""
    match action:
        case CountStock() | AdjustStock() | ExpireOverdue():
            return ()
        case ReserveStock():
            return (action.holder_id, *action.takes)
        case _:
            return (action.holder_id,)


def spread(shelves: Sequence[Shelf], quantity: int, region: str) -> list[tuple[Shelf, int]]:
    """Return which shelves serve a quantity, nearest first; nothing where they cannot.

    Near is the parcel's own region or country; among equally near ones a shelf that serves all of it goes first, so that a
    parcel is split only where it must be.
    """
    if len(shelves) == 1:
        return [(shelves[0], quantity)] if shelves[0].available >= quantity else []
    near = region.casefold()
    wanted: list[tuple[Shelf, int]] = []
    left = quantity
    for shelf in sorted(shelves, key=lambda one: _distance(one, quantity, near)):
        if (taken := min(left, shelf.available)) > 0:
            wanted.append((shelf, taken))
            left -= taken
    return [] if left else wanted


def _distance(shelf: Shelf, quantity: int, near: str) -> tuple[bool, bool, int, str]:
    is_near = bool(near) and near in {shelf.region.casefold(), shelf.country.casefold()}
    return not is_near, shelf.available < quantity, shelf.delivery_days, shelf.warehouse


def demand_of(lines: Sequence[Line]) -> dict[str, int]:
    """Return the quantity by SKU, equal SKUs summed.

    Raises:
        InvalidInput: Naming each line at fault.
    """
    if not 1 <= len(lines) <= MAX_LINES:
        raise InvalidInput.field("/lines", "wrong_number_of_lines", f"send 1 to {MAX_LINES} lines")
    errors: list[FieldError] = []
    demand: dict[str, int] = {}
    for index, line in enumerate(lines):
        errors += [error for error in (sku_error(f"/lines/{index}/sku", line.sku),) if error]
        if line.quantity < 1:
            errors.append(_field(f"/lines/{index}/quantity", "quantity_not_positive", "at least 1"))
        demand[line.sku] = demand.get(line.sku, 0) + line.quantity
        if demand[line.sku] > MAX_QUANTITY:
            errors.append(_field(f"/lines/{index}/quantity", "quantity_too_large", f"at most {MAX_QUANTITY} of a SKU"))
    _refuse(errors)
    return demand


def checked_seconds(seconds: int) -> int:
    """Return for how long to hold.

    Raises:
        InvalidInput: `invalid_duration`.
    """
    if not 1 <= seconds <= MAX_SECONDS:
        raise InvalidInput.field("/seconds", "invalid_duration", f"hold for 1 to {MAX_SECONDS} seconds")
    return seconds


def checked_sku(sku: str, pointer: str = "/sku") -> str:
    """Return a SKU that may be.

    Raises:
        InvalidInput: `invalid_sku`.
    """
    _refuse([error for error in (sku_error(pointer, sku),) if error])
    return sku


def sku_error(pointer: str, sku: str) -> FieldError | None:
    """Return why a text is no SKU, or None where it may be one."""
    if 1 <= len(sku) <= _SKU and sku.isprintable() and sku == sku.strip():
        return None
    return _field(pointer, "invalid_sku", f"1 to {_SKU} printable characters, no space at either end")


def checked_on_hand(on_hand: int, pointer: str = "/on_hand") -> int:
    """Return how much may lie on a shelf.

    Raises:
        InvalidInput: `quantity_negative` or `quantity_too_large`.
    """
    if on_hand < 0:
        raise InvalidInput.field(pointer, "quantity_negative", "at least 0")
    if on_hand > MAX_ON_HAND:
        raise InvalidInput.field(pointer, "quantity_too_large", f"at most {MAX_ON_HAND}")
    return on_hand


def checked_delta(delta: int) -> int:
    """Return by how much stock may be adjusted.

    Raises:
        InvalidInput: `delta_zero` or `quantity_too_large`.
    """
    if delta == 0:
        raise InvalidInput.field("/delta", "delta_zero", "say by how much: 5 or -5")
    if abs(delta) > MAX_ON_HAND:
        raise InvalidInput.field("/delta", "quantity_too_large", f"at most {MAX_ON_HAND}")
    return delta


def checked_code(code: str, pointer: str) -> str:
    """Return a warehouse code that may be.

    Raises:
        InvalidInput: `invalid_warehouse`.
    """
    if not _CODE.fullmatch(code):
        raise InvalidInput.field(pointer, "invalid_warehouse", "1 to 32 letters, digits, - and _, such as main or berlin-2")
    return code


def _refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)


def _field(pointer: str, code: str, message: str) -> FieldError:
    return FieldError(pointer=pointer, code=code, message=message)
