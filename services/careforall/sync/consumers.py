"""Messages in: who is to be forgotten, and all that integrators hear."""

from collections.abc import Sequence
from typing import Any

from careforall.contracts.accounts import UserErased
from careforall.contracts.donor import normalised
from careforall.contracts.public import PUBLIC
from careforall.contracts.streams import ACCOUNTS, ALL
from careforall.kit.bus import Stream
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Event, Message
from careforall.sync.publishing import Publishing
from careforall.sync.service import SyncService

_BATCH = 500


def consumers(service: SyncService, publishing: Publishing) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def accounts(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        causes = {normalised(message.event.email): message.cause for message in messages}
        for email in sorted(causes):
            await service.erase(connection, email, causes[email])

    return (
        Consumer(name="sync-accounts", stream=ACCOUNTS.name, events=(UserErased,), handler=accounts),
        *_publishing(publishing),
    )


def _publishing(publishing: Publishing) -> tuple[Consumer, ...]:
    """Return a durable for each stream that says anything public."""

    async def on_events(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await publishing.store(connection, messages)

    heard = {stream.name: tuple(event for event in PUBLIC if _is_of(event, stream)) for stream in ALL}
    return tuple(
        Consumer(name=f"sync-events-{stream.lower()}", stream=stream, events=events, handler=on_events, batch=_BATCH)
        for stream, events in heard.items()
        if events
    )


def _is_of(event: type[Event], stream: Stream) -> bool:
    return any(event.SUBJECT.startswith(subject.removesuffix(">")) for subject in stream.subjects)
