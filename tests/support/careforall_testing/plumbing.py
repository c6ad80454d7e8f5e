"""Pieces of the kit put together without a service: a database with a ledger of effects, a stream, a consumer that notes.

The tests of the kit stand on these; the bells they ring mean nothing, so that nothing but the plumbing is under test.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from careforall.kit import migrate, outbox
from careforall.kit.bus import Bus, Stream
from careforall.kit.consumer import Consumer, Runner
from careforall.kit.context import NOBODY
from careforall.kit.db import Connection, Database, PoolSettings
from careforall.kit.envelope import Event, Message, Posted, seal
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing
from careforall.kit.relay import Relay
from careforall.kit.timelines import Timelines
from careforall.kit.tracing import Tracing
from careforall_testing.databases import connection

EFFECTS = """
CREATE TABLE effects (
    id uuid PRIMARY KEY,
    key text UNIQUE,
    number integer CHECK (number >= 0),
    note text NOT NULL DEFAULT ''
)
"""


async def prepare(url: str) -> None:
    """Prepare a template: the kit's own tables, and one for effects."""
    await migrate.migrate(url, migrate.load("careforall.contracts"))
    async with connection(url) as database:
        await database.execute(EFFECTS)


@asynccontextmanager
async def opened(
    url: str, *, timelines: Timelines | None = None, tracing: Tracing | None = None, **settings: Any
) -> AsyncIterator[Database]:
    """An open `Database`, closed in the end."""
    database = Database(url, name="bells", settings=PoolSettings(**settings), timelines=timelines, tracing=tracing)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Bus]:
    """A connected `Bus`, closed in the end."""
    bus = Bus(url, name="bells")
    await bus.open(wait=10)
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def running(*work: Awaitable[None]) -> AsyncIterator[Sequence[asyncio.Future[None]]]:
    """Background work that is cancelled in the end; what it raised by itself is raised here."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


class Bells(Struct, frozen=True, kw_only=True):
    """A stream of its own with one kind of event."""

    name: str
    subject: str
    stream: Stream
    event: type[Event]

    def ring(self, number: int, **changes: Any) -> Outgoing:
        """One event as an outbox row; `changes` go to the envelope (event_id, aggregate_id)."""
        aggregate = changes.pop("aggregate_id", None) or new_id()
        event = msgspec.convert({"number": number}, self.event)
        return outbox.outgoing(
            event, aggregate_id=aggregate, aggregate_version=number, source="bells", cause=NOBODY, subject=self.subject, **changes
        )

    def sealed(self, number: int, *, event_id: UUID | None = None, version: int = 1) -> bytes:
        """One event as it travels."""
        event = msgspec.convert({"number": number}, self.event)
        data = seal(
            event,
            subject=self.subject,
            event_id=event_id or new_id(),
            aggregate_id=new_id(),
            aggregate_version=1,
            source="bells",
            correlation_id="",
        )
        return msgspec.json.encode(msgspec.json.decode(data) | {"version": version})


def bells() -> Bells:
    """A stream nobody else uses; it still has to be made (`Bus.ensure_streams`)."""
    name = f"bells{secrets.token_hex(4)}"
    subject = f"{name}.rang"
    event: Any = msgspec.defstruct(
        "BellRang", [("number", int)], bases=(Event,), frozen=True, kw_only=True, namespace={"SUBJECT": subject, "VERSION": 1}
    )
    stream = Stream(name=name.upper(), subjects=(f"{name}.>",), max_bytes=64 * 1024**2)
    return Bells(name=name, subject=subject, stream=stream, event=event)


async def store(database: Database, rows: Sequence[Outgoing]) -> None:
    """Commit outbox rows."""
    await database.run(lambda opened_connection: outbox.insert(opened_connection, rows))


async def publish(bus: Bus, subject: str, *payloads: bytes) -> None:
    """Put messages on a stream past the relay, each under an id of its own."""
    answers = await bus.publish_window([Posted(subject, str(new_id()), payload) for payload in payloads])
    assert all(type(answer).__name__ == "Ack" for answer in answers), answers


def relay_of(
    bell: Bells, database: Database, bus: Bus, *, tracing: Tracing | None = None, resting: Callable[[], bool] = lambda: False
) -> Relay:
    """A relay of these bells."""
    return Relay(bell.name, database, bus, tracing or Tracing("test"), stream=bell.stream.name, instance="test", resting=resting)


Handler = Callable[[Connection, Sequence[Message[Any]]], Awaitable[None]]


async def note(opened_connection: Connection, messages: Sequence[Message[Any]]) -> None:
    """The plainest handler: one row a message; a second one for the same message would be a second row."""
    await opened_connection.executemany(
        "INSERT INTO effects (id, number, note) VALUES ($1, $2, $3)",
        [(new_id(), message.event.number, str(message.event_id)) for message in messages],
    )


def runner_of(
    bell: Bells,
    database: Database,
    bus: Bus,
    handler: Handler = note,
    *,
    attempts: int = 1,
    batch: int = 64,
    tracing: Tracing | None = None,
) -> Runner:
    """A consumer of these bells that gives up early."""
    consumer = Consumer(
        name=f"{bell.name}-ear", stream=bell.stream.name, events=(bell.event,), handler=handler, attempts=attempts, batch=batch
    )
    return Runner(consumer, database, bus, tracing or Tracing("bells"))


async def numbers(database: Database) -> list[int]:
    """The numbers of all effects, sorted; a doubled effect shows as a doubled number."""
    return [row["number"] for row in await database.fetch("SELECT number FROM effects ORDER BY number")]


async def count(database: Database, table: str, where: str = "true") -> int:
    """How many rows a table has."""
    row = await database.fetchrow(f"SELECT count(*) AS rows FROM {table} WHERE {where}")
    return int(row["rows"]) if row else 0
