"""What integrators hear: each public event is stored once, in the order in which it can be read again for 30 days.

With it, in the same transaction, goes a delivery to each endpoint that wants it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from careforall.contracts import public
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message, decode_envelope
from careforall.kit.errors import FieldError, InvalidInput
from careforall.kit.ids import id_at, new_id
from careforall.kit.retention import until_empty
from careforall.sync import repository_endpoints, repository_events, repository_webhooks
from careforall.sync.domain_webhooks import KEPT_DAYS, LARGEST, PublicEvent, Stretch, fan_out, is_readable
from careforall.sync.errors import CursorExpired


class Publishing:
    """Stores public events and shows them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, connection: Connection, messages: Sequence[Message[Any]]) -> None:
        """Store a batch of events and what is to be delivered because of it, in the consumer's transaction."""
        events = [public_event(message) for message in messages]
        bodies = [(event, repository_events.encoded(event)) for event in events]
        await repository_events.lock(connection)
        numbers = await repository_events.append(connection, bodies)
        stored = [(numbers[event.id], event.id, event.type) for event in events if event.id in numbers]
        traces = {message.event_id: message.traceparent for message in messages}
        endpoints = await repository_endpoints.enabled(connection)
        await repository_webhooks.add(connection, fan_out(stored, endpoints, new_id, traces))

    async def read(self, after: int | None, types: Sequence[str], limit: int) -> Stretch:
        """Return events after a place, or the oldest there are; nothing that is stored later comes before what was read.

        Raises:
            InvalidInput: Naming a type that is not public.
            CursorExpired: Events in between may be missing.
        """
        refuse_types(types, "/type")
        async with self._database.connection() as connection:
            pruned, stretch = await repository_events.read(connection, min(after or 0, LARGEST), types, limit)
        if after is not None and not is_readable(after, pruned=pruned, last=stretch.newest):
            raise CursorExpired
        return stretch

    async def forget(self) -> None:
        """Forget what is older than it is kept; who reads is told before the first event is gone."""
        pruned = await self._database.run(repository_events.forget_place)
        await until_empty(self._database, repository_webhooks.OLD_DELIVERIES, pruned)
        await until_empty(self._database, repository_webhooks.OLD_TESTS, id_at(datetime.now(UTC) - timedelta(days=KEPT_DAYS), 0))
        await until_empty(self._database, repository_events.OLD_EVENTS, pruned)
        await self._database.run(lambda connection: repository_endpoints.forget(connection, pruned))


def public_event(message: Message[Any]) -> PublicEvent:
    """Return what of a message integrators hear."""
    return PublicEvent(
        id=message.event_id,
        type=message.event_type,
        timestamp=message.occurred_at,
        object_id=message.aggregate_id,
        sequence=message.aggregate_version,
        data=msgspec.Raw(public.shown(message.event_type, decode_envelope(message.data).payload)),
    )


def refuse_types(types: Sequence[str], pointer: str) -> None:
    """Refuse types that no integrator hears of.

    Raises:
        InvalidInput: Naming each.
    """
    errors = [
        FieldError(pointer=f"{pointer}/{index}", code="unknown_event", message=f"there is no public event {name!r}")
        for index, name in enumerate(types)
        if name not in public.SUBJECTS
    ]
    if errors:
        known = ", ".join(sorted(public.SUBJECTS))
        raise InvalidInput(f"{errors[0].message}; there are: {known}", errors=errors)
