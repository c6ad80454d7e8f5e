"""The relay, step by step as `careforall.kit.relay` takes them, and the outbox it empties."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from careforall.kit.outbox import Outgoing
from careforall_testing.simulation.broker import Stream
from careforall_testing.simulation.database import Database, DatabaseGone, Session, Table, Transaction, UnknownCommit
from careforall_testing.simulation.scheduler import Scheduler, Steps
from careforall_testing.simulation.variants import Protocol

_BATCH = 12
_IDLE_POLL = 0.25
_LEAD_POLL = 0.1
_CHECK_STREAM_EVERY = 1.0
_STATE = "state"


class RelayState(msgspec.Struct, frozen=True):
    """The one row of `relay_state`: locked by every claim, and by whoever notices a wiped stream."""

    claims: int = 0
    stream: int | None = None


class Outbox:
    """The outbox tables of one database."""

    def __init__(self) -> None:
        self.rows: Table[UUID, Outgoing] = Table("outbox")
        self.pending: Table[UUID, Outgoing] = Table("outbox.pending")
        self.state: Table[str, RelayState] = Table("relay_state")

    def insert(self, transaction: Transaction, rows: Sequence[Outgoing]) -> None:
        """Store events in the transaction that changes state."""
        for row in rows:
            transaction.try_lock(self.rows, row.id)
            transaction.try_lock(self.pending, row.id)
            transaction.put(self.rows, row.id, row)
            transaction.put(self.pending, row.id, row)

    @property
    def stream_known(self) -> int | None:
        """The creation time of the stream that was last noticed."""
        state = self.state.rows.get(_STATE)
        return state.stream if state else None

    def replay(self, transaction: Transaction) -> Steps[None]:
        """Make published rows pending again, under the same ids."""
        for row in list(self.rows.rows.values()):
            if row.id not in self.pending.rows:
                yield from transaction.lock(self.pending, row.id)
                transaction.put(self.pending, row.id, row)


class Relay:
    """One process that relays a database, or waits for the one that does."""

    def __init__(self, scheduler: Scheduler, database: Database, outbox: Outbox, stream: Stream, protocol: Protocol) -> None:
        self._scheduler = scheduler
        self._database = database
        self._outbox = outbox
        self._stream = stream
        self._protocol = protocol
        self._checked_stream: int | None = None

    def run(self) -> Steps[None]:
        """Relay for ever; losing the database only pauses it."""
        while True:
            try:
                yield from self._lead()
            except (DatabaseGone, UnknownCommit):
                self._scheduler.note("relay pauses")
            yield self._scheduler.random.uniform(0.2, 0.6)

    def _lead(self) -> Steps[None]:
        session = Session(self._database)
        try:
            while not session.try_lead():
                yield _LEAD_POLL
            checked = -_CHECK_STREAM_EVERY
            while session.alive:
                if self._scheduler.now - checked >= _CHECK_STREAM_EVERY:
                    yield from self._check_stream()
                    checked = self._scheduler.now
                yield from self._drain(session)
                yield _IDLE_POLL
        finally:
            session.close()

    def _drain(self, session: Session) -> Steps[None]:
        session.check()
        if not self._outbox.pending.rows:
            return
        acknowledged: list[UUID] = []
        while True:
            rows = yield from self._turn(acknowledged)
            if not rows:
                return
            yield "relay.after_claim"
            acknowledged, lost = yield from self._publish(rows)
            yield "relay.after_ack_before_mark"
            if lost:
                yield from self._turn(acknowledged)
                yield self._scheduler.random.uniform(0.05, 0.1)
                acknowledged = []

    def _turn(self, acknowledged: Sequence[UUID]) -> Steps[list[Outgoing]]:
        """Mark the last batch and claim the next in one writing transaction."""

        def work(transaction: Transaction) -> Steps[list[Outgoing]]:
            pending = self._outbox.pending
            if self._protocol.relay_claim == "writes":
                yield from self._claim(transaction)
            for event_id in acknowledged:
                yield from transaction.lock(pending, event_id)
                transaction.delete(pending, event_id)
            yield "relay.claim"
            transaction.check()
            gone = set(acknowledged)
            left = [event_id for event_id in pending.rows if event_id not in gone]
            left.sort(key=_order)
            return [pending.rows[event_id] for event_id in left[:_BATCH]]

        return (yield from self._database.run(work))

    def _claim(self, transaction: Transaction) -> Steps[None]:
        """Prove what is read durable, and that nobody else noticed a wiped stream since we looked."""
        yield from transaction.lock(self._outbox.state, _STATE)
        state = transaction.get(self._outbox.state, _STATE) or RelayState()
        if self._protocol.relay_fence == "stream" and state.stream != self._checked_stream:
            raise DatabaseGone
        transaction.put(self._outbox.state, _STATE, RelayState(state.claims + 1, state.stream))

    def _publish(self, rows: Sequence[Outgoing]) -> Steps[tuple[list[UUID], int]]:
        """Publish a window; acknowledgements come for some and not for others."""
        acknowledged: list[UUID] = []
        sent: list[UUID] = []
        for row in rows:
            yield "relay.publish"
            if self._stream.publish(row.event_type, row.id, row.payload):
                acknowledged.append(row.id)
            sent.append(row.id)
        if self._protocol.relay_marks == "sent":
            return sent, 0
        return acknowledged, len(rows) - len(acknowledged)

    def _check_stream(self) -> Steps[None]:
        """Notice a wiped stream by its creation time and send everything again."""
        created = self._stream.created
        yield "relay.check_stream"

        def work(transaction: Transaction) -> Steps[None]:
            yield from transaction.lock(self._outbox.state, _STATE)
            state = transaction.get(self._outbox.state, _STATE) or RelayState()
            if state.stream == created:
                return
            transaction.put(self._outbox.state, _STATE, RelayState(state.claims, created))
            if state.stream is not None:
                self._scheduler.note("stream was wiped, sending again", self._stream.name)
                yield from self._outbox.replay(transaction)

        yield from self._database.run(work)
        self._checked_stream = created


def _order(event_id: UUID) -> int:
    return event_id.int
