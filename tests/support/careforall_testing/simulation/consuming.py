"""The batch consumer with its inbox, step by step as `careforall.kit.consumer` takes them, around production's decoder."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from typing import Protocol as Interface
from uuid import UUID

from careforall.kit import consumer as kit
from careforall.kit.consumer import Decoder, Refusal
from careforall.kit.envelope import Message
from careforall_testing.simulation.broker import Delivery, Stream
from careforall_testing.simulation.database import Database, DatabaseGone, Table, Transaction, UnknownCommit
from careforall_testing.simulation.scheduler import Scheduler, Steps, Violation
from careforall_testing.simulation.variants import Protocol

_BATCH = 6
_FETCH_WAIT = 0.2

Effect = Callable[[Transaction, Sequence[Message[Any]]], Steps[None]]
"""Applies new messages in an open transaction."""


class Inbox:
    """The inbox of one database, and a count of effects that only the simulation has."""

    def __init__(self) -> None:
        self.rows: Table[tuple[str, UUID], bool] = Table("inbox")
        self.effects: Table[tuple[str, UUID], int] = Table("effects")


class Consumer:
    """One process that consumes a durable; `effect` is what its service does with new messages."""

    def __init__(
        self,
        scheduler: Scheduler,
        definition: kit.Consumer,
        stream: Stream,
        database: Database,
        inbox: Inbox,
        effect: Effect,
        protocol: Protocol,
    ) -> None:
        self.name = definition.name
        self.subjects = frozenset(definition.filters())
        self._scheduler = scheduler
        self._stream = stream
        self._database = database
        self._inbox = inbox
        self._effect = effect
        self._protocol = protocol
        self._decoder = Decoder(definition)

    def run(self) -> Steps[None]:
        """Fetch, apply, acknowledge, for ever."""
        while True:
            deliveries = self._stream.fetch(self.name, self.subjects, _BATCH)
            if not deliveries:
                yield _FETCH_WAIT
                continue
            yield "consumer.fetched"
            messages = [self._decoded(delivery) for delivery in deliveries]
            messages.sort(key=_order)
            if self._protocol.acknowledge == "before_commit":
                yield from self._acknowledge(deliveries)
            yield from self._commit(messages)
            yield "consumer.after_commit_before_ack"
            if self._protocol.acknowledge == "after_commit":
                yield from self._acknowledge(deliveries)

    def _decoded(self, delivery: Delivery) -> Message[Any]:
        decoded = self._decoder.decode(delivery.stored.data, deliveries=delivery.deliveries)
        if isinstance(decoded, Refusal):
            raise Violation(f"{self.name} refused a message: {decoded.reason}")
        return decoded

    def _acknowledge(self, deliveries: Sequence[Delivery]) -> Steps[None]:
        for delivery in deliveries:
            self._stream.acknowledge(delivery)
            yield "consumer.ack"

    def _commit(self, messages: Sequence[Message[Any]]) -> Steps[None]:
        """Run the effect; hold the batch while the database is away or keeps an outcome to itself."""
        while True:
            try:
                yield from self._once(messages)
            except (DatabaseGone, UnknownCommit):
                self._scheduler.note("consumer waits for its database")
                yield self._scheduler.random.uniform(0.2, 1.0)
            else:
                return

    def _once(self, messages: Sequence[Message[Any]]) -> Steps[None]:
        match self._protocol.inbox:
            case "in_the_effect" | "absent":
                yield from self._database.run(lambda transaction: self._apply(transaction, messages))
            case "before_the_effect":
                new = yield from self._database.run(lambda transaction: self._claim(transaction, messages))
                yield from self._database.run(lambda transaction: self._affect(transaction, new))
            case "after_the_effect":
                new = [message for message in messages if (self.name, message.event_id) not in self._inbox.rows.rows]
                yield from self._database.run(lambda transaction: self._affect(transaction, new))
                yield from self._database.run(lambda transaction: self._claim(transaction, messages))

    def _apply(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[None]:
        claimed = messages if self._protocol.inbox == "absent" else (yield from self._claim(transaction, messages))
        yield from self._affect(transaction, claimed)

    def _claim(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[Sequence[Message[Any]]]:
        """Insert inbox rows, touch those that are there, and return the messages that are new."""
        fresh: set[UUID] = set()
        rows = self._inbox.rows
        for event_id in sorted({message.event_id for message in messages}, key=_number):
            key = (self.name, event_id)
            if self._protocol.inbox_repeat == "read" and transaction.get(rows, key):
                continue
            if not transaction.try_lock(rows, key):
                yield from transaction.lock(rows, key)
            if transaction.get(rows, key) is None:
                fresh.add(event_id)
            transaction.put(rows, key, True)
        yield "consumer.claimed"
        if self._protocol.batch_copies == "kept":
            return [message for message in messages if message.event_id in fresh]
        return list({message.event_id: message for message in messages if message.event_id in fresh}.values())

    def _affect(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[None]:
        if not messages:
            return
        effects = self._inbox.effects
        for message in messages:
            key = (self.name, message.event_id)
            if not transaction.try_lock(effects, key):
                yield from transaction.lock(effects, key)
            transaction.put(effects, key, (transaction.get(effects, key) or 0) + 1)
        yield from self._effect(transaction, messages)
        yield "consumer.before_commit"


class Handed(Interface):
    """A coroutine function of a production consumer, as the simulation calls it."""

    def __call__(self, connection: Any, messages: Sequence[Message[Any]], /) -> Any:
        """Return the handler's coroutine."""


def hand_over(handler: Handed, messages: Sequence[Message[Any]]) -> None:
    """Run a production handler whose service only listens: it must end without waiting for anything."""
    coroutine: Coroutine[Any, Any, None] = handler(None, messages)
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise Violation("a handler waited for something while it only mapped messages")


def _order(message: Message[Any]) -> int:
    return message.event_id.int


def _number(identifier: UUID) -> int:
    return identifier.int
