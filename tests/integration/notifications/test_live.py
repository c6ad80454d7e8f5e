"""The open stream of an inbox: woken by hints, resumed after an event, ended with the session."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from litestar.response.sse import ServerSentEventMessage

from careforall.kit.db import Database
from careforall.kit.errors import TooManyRequests, Unavailable
from careforall.kit.http.identity import Principal, Verifier
from careforall.kit.ids import NIL, new_id
from careforall.notifications.channels.in_app import InApp
from careforall.notifications.domain import Draft, Reader
from careforall.notifications.errors import InvalidTicket
from careforall.notifications.live import STREAMS_EACH, Streams
from careforall.notifications.rendering import Renderer
from careforall.notifications.sender import Sender

_HOLD_BACK = "UPDATE notifications SET leased_until = 'infinity'"
_LET_GO = "UPDATE notifications SET leased_until = NULL WHERE leased_until = 'infinity'"


def never(_: UUID, __: float) -> bool:
    """Nobody is suspended."""
    return False


def reading(user: UUID, left: timedelta = timedelta(minutes=1)) -> Reader:
    """Somebody who has just signed in."""
    return Reader(user_id=user, issued_at=datetime.now(UTC), until=datetime.now(UTC) + left)


async def notice(story: Any, database: Database, renderer: Renderer, user: UUID, heard: list[set[str]]) -> None:
    await write(story, user)
    await Sender(database, InApp(database, batch=10, hint=heard.append), renderer, max_retries=1).run()


async def write(story: Any, user: UUID) -> None:
    await story.service.send(
        Draft(
            cause_event_id=new_id(),
            subject_id=user,
            template="notice",
            channel="IN_APP",
            recipient=str(user),
            language="en",
            payload={"title": "Hello", "text": "A word to you."},
        )
    )


async def test_a_hint_brings_the_message_at_once_and_a_resumed_stream_what_was_missed(
    story: Any, database: Database, renderer: Renderer
) -> None:
    user, heard = new_id(), []  # type: UUID, list[set[str]]
    streams = Streams(never)
    reader = reading(user)
    stream = streams.follow(story.service, reader, None)
    waiting = asyncio.ensure_future(anext(stream))
    await notice(story, database, renderer, new_id(), [])
    while not waiting.done():
        await notice(story, database, renderer, user, heard)
        await streams.hear(msgspec.json.encode(sorted(heard[-1])))
        await asyncio.wait({waiting}, timeout=0.5)
    first = waiting.result()
    await stream.aclose()

    assert first.event == "message"
    assert msgspec.json.decode(str(first.data))["title"] == "Hello"
    resumed = streams.follow(story.service, reader, NIL)
    assert (await anext(resumed)).event == "message"
    await resumed.aclose()


async def test_a_message_that_comes_late_is_not_skipped(story: Any, database: Database, renderer: Renderer) -> None:
    user = new_id()
    reader = reading(user)
    await write(story, user)
    await database.run(lambda connection: connection.execute(_HOLD_BACK))
    await notice(story, database, renderer, user, [])
    stream = Streams(never).follow(story.service, reader, NIL)
    first = await anext(stream)
    await stream.aclose()

    await database.run(lambda connection: connection.execute(_LET_GO))
    await notice(story, database, renderer, new_id(), [])
    resumed = Streams(never).follow(story.service, reader, UUID(str(first.id)))
    late = await anext(resumed)
    await resumed.aclose()
    assert late.event == "message"
    assert str(late.id) < str(first.id)
    assert await story.service.newest_in_inbox(user) == UUID(str(late.id))


async def test_a_stream_ends_with_the_session(story: Any) -> None:
    reader = reading(new_id(), timedelta(seconds=0.3))

    async with asyncio.timeout(5):
        messages = [message async for message in Streams(never).follow(story.service, reader, None)]
    assert all(message.data is None for message in messages)


async def _nobody(_: str = "") -> Any:
    raise Unavailable


async def test_a_suspension_ends_streams_and_tickets(story: Any, database: Database, renderer: Renderer) -> None:
    user, verifier = new_id(), Verifier(_nobody, _nobody)
    streams = Streams(verifier.ended)
    now = datetime.now(UTC).timestamp()
    token = Principal(user_id=user, email="donor1@example.org", role="USER", issued_at=now, expires_at=now + 600)
    reader = await story.service.reader(token, None)
    ticket = await story.service.ticket(token)
    streams.admit(reader)
    stream = streams.follow(story.service, reader, NIL)
    await notice(story, database, renderer, user, [])
    assert (await anext(stream)).event == "message"

    verifier.revoke(user)
    await notice(story, database, renderer, user, [])
    await streams.hear(msgspec.json.encode([str(user)]))

    async with asyncio.timeout(5):
        assert [message async for message in stream] == []
    for late in (reader, await story.service.reader(None, ticket)):
        with pytest.raises(InvalidTicket):
            streams.admit(late)
    streams.admit(reading(user))


async def test_a_process_that_stops_ends_its_streams(story: Any) -> None:
    streams = Streams(never)

    async def read() -> list[ServerSentEventMessage]:
        return [message async for message in streams.follow(story.service, reading(new_id()), NIL)]

    reader = asyncio.ensure_future(read())
    await asyncio.sleep(0.1)  # lets it begin, as a rule; one that begins later ends at once
    await streams.close()
    assert all(message.data is None for message in await asyncio.wait_for(reader, 5))


async def test_one_person_has_so_many_streams_and_no_more(story: Any) -> None:
    streams, reader = Streams(never), reading(new_id())
    opened = []
    for _ in range(STREAMS_EACH):
        streams.admit(reader)
        stream = streams.follow(story.service, reader, NIL)
        opened.append((stream, asyncio.ensure_future(anext(stream))))
        await asyncio.sleep(0)  # lets it begin

    with pytest.raises(TooManyRequests):
        streams.admit(reader)
    streams.admit(reading(new_id()))
    for stream, waiting in opened:
        waiting.cancel()
        await asyncio.wait({waiting})
        await stream.aclose()
    streams.admit(reader)
