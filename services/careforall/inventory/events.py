"""Builds the events of this service out of the book; one place, so that every event says the same of the same state."""

from collections.abc import Mapping
from uuid import UUID, uuid5

from careforall.contracts.inventory import (
    LowStock,
    StockChanged,
    StockConfirmed,
    StockExpired,
    StockReleased,
    StockReserved,
    StockSnapshot,
    sku_id,
)
from careforall.inventory.book import Book, Told
from careforall.inventory.domain import Shelf, Status
from careforall.kit import outbox
from careforall.kit.context import NOBODY, Cause
from careforall.kit.envelope import Event
from careforall.kit.outbox import Outgoing

SOURCE = "inventory"
_KINDS: Mapping[Status, type[StockReserved | StockConfirmed | StockReleased | StockExpired]] = {
    "PENDING": StockReserved,
    "CONFIRMED": StockConfirmed,
    "RELEASED": StockReleased,
    "EXPIRED": StockExpired,
}


def of_book(book: Book) -> list[Outgoing]:
    """Return all events of a batch: what became of holds, then each changed SKU once, then what fell low."""
    return [
        *(_told(told) for told in book.told),
        *(changed(book, sku) for sku in sorted(book.changed_skus)),
        *(low(shelf) for shelf in book.fell_low()),
    ]


def changed(book: Book, sku: str) -> Outgoing:
    """Return the event of a SKU's new stock."""
    shelves = list(book.shelves_of(sku))
    on_hand, reserved = sum(one.on_hand for one in shelves), sum(one.reserved for one in shelves)
    event = StockChanged(sku=sku, on_hand=on_hand, reserved=reserved, available=on_hand - reserved)
    return _sealed(event, sku_id(sku), book.versions[sku], NOBODY)


def low(shelf: Shelf) -> Outgoing:
    """Return the event of a shelf that fell to its threshold."""
    event = LowStock(sku=shelf.sku, warehouse=shelf.warehouse, available=shelf.available, threshold=shelf.low_stock_threshold)
    return _sealed(event, uuid5(sku_id(shelf.sku), shelf.warehouse), shelf.version, NOBODY)


def snapshot(identifier: UUID, version: int, sku: str, on_hand: int, reserved: int) -> Outgoing:
    """Return the present stock of a SKU as an event."""
    event = StockSnapshot(sku=sku, on_hand=on_hand, reserved=reserved, available=on_hand - reserved)
    return _sealed(event, identifier, version, NOBODY)


def _told(told: Told) -> Outgoing:
    holder = told.holder
    event = _KINDS[told.status](holder_id=holder.id, saga_id=holder.saga_id, items=told.items, expires_at=told.expires_at)
    return _sealed(event, holder.id, holder.version, told.cause)


def _sealed(event: Event, aggregate_id: UUID, version: int, cause: Cause) -> Outgoing:
    return outbox.outgoing(event, aggregate_id=aggregate_id, aggregate_version=version, source=SOURCE, cause=cause)
