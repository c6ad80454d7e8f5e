"""What integrators are told, without I/O: the event as they see it, and where a reader of the list stands."""

from datetime import datetime
from uuid import UUID

import msgspec

KEPT_DAYS = 30
LARGEST = 2**63 - 1
"""Beyond any number of an event."""


class PublicEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as integrators get it, by webhook and in the list alike: the very same bytes."""

    id: UUID
    type: str
    timestamp: datetime
    object_id: UUID
    sequence: int
    """Version of the object after the event: of two events of an object the later has the higher one."""
    data: msgspec.Raw


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in the list."""

    number: int
    body: bytes


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader gets: events in order, the place they have reached, and the newest event there is."""

    events: list[StoredEvent]
    reached: int
    newest: int


def is_readable(after: int, *, pruned: int, last: int) -> bool:
    """Whether all events after a place are still there; a place that was never reached belongs to another database."""
    return pruned <= after <= last
