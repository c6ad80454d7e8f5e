"""HTTP shapes of the events that integrators read."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class EventOut(msgspec.Struct, frozen=True, kw_only=True):
    """An event, as webhooks bring it.

    `id` is the `webhook-id`; of two events about one `object_id` the later has the higher `sequence`; `data` is its public part.
    """

    id: UUID
    type: str
    timestamp: datetime
    object_id: UUID
    sequence: int
    data: dict[str, Any]


class EventsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order in which they were stored; `next_cursor` is always there: ask again with it for what comes later."""

    items: list[EventOut]
    next_cursor: str


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The same, of events as they were stored."""

    items: list[msgspec.Raw]
    next_cursor: str
