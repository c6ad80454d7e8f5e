"""Open in-app streams of this process: who listens, and how a hint from the sender reaches them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from litestar.response.sse import ServerSentEventMessage

from careforall.kit import tasks
from careforall.kit.errors import TooManyRequests, Unavailable
from careforall.notifications.domain import Reader
from careforall.notifications.errors import InvalidTicket
from careforall.notifications.service import NotificationsService

HEARTBEAT = 15.0
STREAMS_EACH = 20
"""Streams that one person may have open in one process: windows and devices of theirs, not a crowd that wears it down."""

HasEnded = Callable[[UUID, float], bool]
"""Whether what was issued to a user at a time (seconds since the epoch) is worth nothing any more."""


class Streams:
    """The open streams of one process, woken by hints and, should one be lost, by their own heartbeat."""

    def __init__(self, has_ended: HasEnded) -> None:
        self._has_ended = has_ended
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    async def close(self) -> None:
        """End all streams; browsers connect again, to another process if this one goes."""
        self._closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def hear(self, payload: bytes) -> None:
        """Wake the streams of the users named in a hint."""
        for user_id in msgspec.json.decode(payload, type=list[str]):
            for event in self._waiting.get(user_id, ()):
                event.set()

    def admit(self, reader: Reader) -> None:
        """Refuse whoever has no session any more, such as somebody suspended since they asked for a ticket, or too many streams.

        Raises:
            InvalidTicket: They have none.
            TooManyRequests: They have too many streams open.
        """
        if self._left(reader) <= 0:
            raise InvalidTicket("This session has ended, sign in again. API keys have no stream.")
        if len(self._waiting.get(str(reader.user_id), ())) >= STREAMS_EACH:
            raise TooManyRequests(f"At most {STREAMS_EACH} streams are open for one person.", retry_after=int(HEARTBEAT))

    async def follow(
        self, service: NotificationsService, reader: Reader, after: UUID | None
    ) -> AsyncGenerator[ServerSentEventMessage, None]:
        """Yield new messages until the reader's session ends; without `after` only those from now on."""
        last = after if after is not None else await service.newest_in_inbox(reader.user_id)
        event = asyncio.Event()
        self._waiting.setdefault(str(reader.user_id), set()).add(event)
        try:
            while not self._closed and (left := self._left(reader)) > 0:
                async for message in self._new(service, reader.user_id, last):
                    last = UUID(str(message.id))
                    yield message
                if not await self._woken(event, min(HEARTBEAT, left)):
                    yield ServerSentEventMessage(data=None, comment="still here")
        finally:
            self._leave(str(reader.user_id), event)

    def _left(self, reader: Reader) -> float:
        """Return the seconds that the reader's session has left: none once it was ended."""
        ended = self._has_ended(reader.user_id, reader.issued_at.timestamp())
        return 0.0 if ended else (reader.until - datetime.now(UTC)).total_seconds()

    async def _new(
        self, service: NotificationsService, user_id: UUID, last: UUID
    ) -> AsyncGenerator[ServerSentEventMessage, None]:
        try:
            items = await service.inbox_after(user_id, last)
        except Unavailable:
            return  # the database comes back, and the next heartbeat looks again
        for item in items:
            yield ServerSentEventMessage(event="message", id=str(item.id), data=msgspec.json.encode(item).decode())

    async def _woken(self, event: asyncio.Event, seconds: float) -> bool:
        woken = await tasks.set_within(event, seconds)
        event.clear()
        return woken

    def _leave(self, user_id: str, event: asyncio.Event) -> None:
        waiting = self._waiting.get(user_id, set())
        waiting.discard(event)
        if not waiting:
            self._waiting.pop(user_id, None)
