"""What inventory says, and what the checkout asks of it.

Steps of a checkout are asked for and answered at once (request and reply). Each carries a `step_id` made from saga and step:
asked again with the same id, inventory answers as the first time and does nothing twice.
"""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID, uuid5

import msgspec

from careforall.kit.envelope import Event

_SKUS = UUID("6f1c3b52-8f0a-5d2e-9b07-2f6d0a4c9e11")


def sku_id(sku: str) -> UUID:
    """Return the name-based id under which events speak of a SKU."""
    return uuid5(_SKUS, sku)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one SKU."""

    sku: str
    quantity: int


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What is held where; one SKU may be held in several warehouses."""

    reservation_id: UUID
    sku: str
    warehouse: str
    quantity: int


class StockChanged(Event, frozen=True, kw_only=True):
    """Stock of a SKU over all warehouses after a change; the aggregate is the SKU, by its name-based id."""

    SUBJECT: ClassVar[str] = "inventory.stock_changed"

    sku: str
    on_hand: int
    reserved: int
    available: int


class StockSnapshot(Event, frozen=True, kw_only=True):
    """The present stock of a SKU, sent again for projections."""

    SUBJECT: ClassVar[str] = "inventory.stock_snapshot"

    sku: str
    on_hand: int
    reserved: int
    available: int


class LowStock(Event, frozen=True, kw_only=True):
    """What is available of a SKU in a warehouse fell to its threshold."""

    SUBJECT: ClassVar[str] = "inventory.low_stock"

    sku: str
    warehouse: str
    available: int
    threshold: int


class _Reservation(Event, frozen=True, kw_only=True):
    """State of all that one holder (a checkout's saga, or a cart) holds; the aggregate is the holder."""

    holder_id: UUID
    saga_id: UUID | None = None
    items: tuple[Held, ...]
    expires_at: datetime | None = None


class StockReserved(_Reservation, frozen=True, kw_only=True):
    """Stock is held until `expires_at`."""

    SUBJECT: ClassVar[str] = "inventory.reserved"


class StockConfirmed(_Reservation, frozen=True, kw_only=True):
    """Held stock is sold."""

    SUBJECT: ClassVar[str] = "inventory.confirmed"


class StockReleased(_Reservation, frozen=True, kw_only=True):
    """Held stock is given back."""

    SUBJECT: ClassVar[str] = "inventory.released"


class StockExpired(_Reservation, frozen=True, kw_only=True):
    """The hold ran out; the stock is free again."""

    SUBJECT: ClassVar[str] = "inventory.expired"


RESERVE = "ask.inventory.reserve"
"""Request subject: `Reserve` to `Reserved`."""
EXTEND = "ask.inventory.extend"
"""Request subject: `Extend` to `Settled`."""
CONFIRM = "ask.inventory.confirm"
"""Request subject: `Settle` to `Settled`."""
RELEASE = "ask.inventory.release"
"""Request subject: `Settle` to `Settled`."""
RESTOCK = "ask.inventory.restock"
"""Request subject: `Restock` to `Settled`."""
AVAILABILITY = "query.inventory.availability"
"""Request subject: `AvailabilityAsked` to `Availability`."""
SOLD_OUT = "query.inventory.sold_out"
"""Request subject: `AvailabilityAsked` to `SoldOut`."""


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all lines, or none."""

    step_id: UUID
    holder_id: UUID
    saga_id: UUID | None = None
    lines: list[Line]
    seconds: int = 900
    region: str = ""
    """Where the parcel goes, for the nearest warehouse; empty: any."""
    takes: list[UUID] = []
    """Holders in whose place this one steps, such as those of the cart that is bought: what they hold is free for it."""


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `short` names each SKU that lacks, and nothing is held then.

    REFUSED: the question itself is at fault, `reason` is the code of the refusal; asked again it is refused again.
    """

    outcome: Literal["RESERVED", "OUT_OF_STOCK", "UNKNOWN_SKU", "REFUSED"]
    holder_id: UUID | None = None
    items: list[Held] = []
    expires_at: datetime | None = None
    short: list[str] = []
    delivery_days: int | None = None
    """Estimated days until delivery, of the slowest warehouse used."""
    reason: str = ""


class Extend(msgspec.Struct, frozen=True, kw_only=True):
    """Keep a PENDING hold until `until`; `pinned` holds are never expired by a sweep (rule 15)."""

    step_id: UUID
    holder_id: UUID
    until: datetime
    pinned: bool = False


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Confirm or release all that a holder holds."""

    step_id: UUID
    holder_id: UUID
    cause: str = ""


class Restock(msgspec.Struct, frozen=True, kw_only=True):
    """Put sold stock back on the shelf where it came from."""

    step_id: UUID
    holder_id: UUID
    lines: list[Line]
    cause: str = ""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. NOT_HELD: the hold had expired or been released, or never was; nothing changed.

    Confirming what is confirmed is DONE. REFUSED: the question itself is at fault, `reason` is the code of the refusal.
    """

    outcome: Literal["DONE", "NOT_HELD", "REFUSED"]
    reason: str = ""


class AvailabilityAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Whose stock is asked about."""

    skus: list[str]


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Available by SKU; an unknown SKU is left out."""

    available: dict[str, int]


class SoldOut(msgspec.Struct, frozen=True, kw_only=True):
    """Of which SKUs nothing was left a moment ago; a hint, by which a flood of buyers may be turned away and nobody let in."""

    skus: list[str]
