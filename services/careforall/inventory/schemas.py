"""HTTP shapes of stock, reservations and warehouses. Input forbids unknown fields."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.contracts.inventory import Line
from careforall.inventory.domain import MovementKind, Shelf, Status

Sku = Annotated[str, Meta(max_length=200, description="Stock keeping unit, as the product's variant names it.")]
Version = Annotated[int, Meta(description="Version of the stock row that was read; 0: there is none yet.")]
Reason = Annotated[str, Meta(max_length=200)]


class StockRow(msgspec.Struct, frozen=True, kw_only=True):
    """Stock of a SKU in one warehouse."""

    sku: str
    warehouse: str
    on_hand: int
    reserved: int
    available: int
    low_stock_threshold: int
    version: int

    @classmethod
    def of(cls, shelf: Shelf) -> "StockRow":
        """Return a shelf as the API shows it."""
        return cls(
            sku=shelf.sku,
            warehouse=shelf.warehouse,
            on_hand=shelf.on_hand,
            reserved=shelf.reserved,
            available=shelf.available,
            low_stock_threshold=shelf.low_stock_threshold,
            version=shelf.version,
        )


class WarehouseStock(msgspec.Struct, frozen=True, kw_only=True):
    """A SKU's stock in one warehouse, as everybody may see it."""

    warehouse: str
    on_hand: int
    reserved: int
    available: int
    version: int


class StockOut(msgspec.Struct, frozen=True, kw_only=True):
    """Stock of a SKU, summed over its warehouses."""

    sku: str
    on_hand: int
    reserved: int
    available: int
    version: int
    warehouses: list[WarehouseStock]


class StockPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was counted. Without a warehouse: where the SKU lies, or the default one if it lies nowhere yet."""

    sku: Sku
    on_hand: int
    warehouse: str | None = None
    low_stock_threshold: int | None = None
    expected_version: Version | None = None


class Adjustment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change what is on hand by `delta`, and say why."""

    sku: Sku
    delta: int
    reason: Reason
    warehouse: str | None = None
    expected_version: Version | None = None


class LineIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of one SKU."""

    sku: Sku
    quantity: int


class NewReservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold all lines, or none. The holder is who confirms or releases: a checkout's saga, or a cart; made if not given."""

    lines: list[LineIn]
    holder_id: UUID | None = None
    seconds: int = 900
    region: Annotated[str, Meta(max_length=64, description="Where the parcel goes, for the nearest warehouse.")] = ""

    def plain_lines(self) -> list[Line]:
        """Return the lines as services send them to each other."""
        return [Line(sku=line.sku, quantity=line.quantity) for line in self.lines]


class HoldOut(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of a SKU in a warehouse, and what became of it."""

    reservation_id: UUID
    sku: str
    warehouse: str
    quantity: int
    returned: int
    status: Status
    expires_at: datetime
    pinned: bool


class ReservationOut(msgspec.Struct, frozen=True, kw_only=True):
    """All that a holder holds or held."""

    holder_id: UUID
    version: int
    items: list[HoldOut]


class MovementOut(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a stock row; `on_hand` and `reserved` say by how much."""

    id: UUID
    sku: str
    warehouse: str
    kind: MovementKind
    on_hand: int
    reserved: int
    holder_id: UUID | None
    cause: str
    at: datetime


class NewWarehouse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open a warehouse."""

    code: str
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    region: Annotated[str, Meta(max_length=64)] = ""
    country: Annotated[str, Meta(pattern="^([A-Z]{2})?(?!\\n)$", description="ISO 3166, two letters.")] = ""
    delivery_days: Annotated[int, Meta(ge=0, le=365)] = 3


class WarehousePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a warehouse; absent fields stay. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    region: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    country: Annotated[str, Meta(pattern="^([A-Z]{2})?(?!\\n)$")] | UnsetType = UNSET
    delivery_days: Annotated[int, Meta(ge=0, le=365)] | UnsetType = UNSET
