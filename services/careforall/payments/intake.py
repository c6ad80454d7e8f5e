"""The batch of the webhook intake: one shared transaction decides about many events (rules 1, 2, 8, 9).

Statements, in order: lock the intents that are free, touch known events, judge in memory, then write each table once. An event
whose intent is held by somebody else is queued again and delays no neighbour.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog

from careforall.kit import crash, json
from careforall.kit.batch import BUSY, Busy
from careforall.kit.db import Connection
from careforall.kit.http import problem
from careforall.payments import repository, repository_events
from careforall.payments.domain import GENERIC, Fact, Intent, NoFact, Verdict
from careforall.payments.effects import Effects, Source
from careforall.payments.errors import EventKeyReused, PaymentNotFound
from careforall.payments.gateways.translators import READERS
from careforall.payments.metrics import ALARMS
from careforall.payments.recording import effects_of
from careforall.payments.records import Alarm, EventRow
from careforall.payments.repository_events import Key

log = structlog.get_logger(__name__)

OK, REJECTED, NOT_FOUND, REUSED = 200, 400, 404, 422


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A verified event on its way into a batch."""

    id: UUID
    gateway: str
    key: str
    event_key: str
    """The key of the gateway's own event id where a header named another one; else empty."""
    body: bytes
    body_hash: bytes
    event_type: str
    payment_id: UUID | None
    gateway_object: str
    fact: Fact | None
    flawed: tuple[int, bytes] | None = None
    received_at: datetime


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway is told, byte for byte; only lasting answers may be remembered elsewhere."""

    status: int
    body: bytes
    lasting: bool = True
    replayed: bool = False
    word: str = ""


class _Processed(msgspec.Struct, frozen=True):
    status: str
    old_status: str
    new_status: str
    version: int


class _Refused(msgspec.Struct, frozen=True):
    status: str
    reason: str
    message: str


UNKNOWN_PAYMENT = Answer(status=NOT_FOUND, body=problem.render(PaymentNotFound(), "")[2], lasting=False, word="unknown")
_KEPT = Answer(
    status=OK,
    body=json.encode(_Refused("ignored", "unknown_payment", "Kept until the payment is known.")),
    lasting=False,
    word="unknown",
)
_OTHER_BODY = Answer(
    status=OK,
    body=json.encode(_Refused("ignored", "idempotency_key_reused", "This event came with another body before.")),
    lasting=False,
    word="key_reused",
)
_REUSED = Answer(status=REUSED, body=problem.render(EventKeyReused(), "")[2], lasting=False, word="key_reused")


class Intake:
    """Writes batches of events.

    Args:
        max_attempts: Declines after which an intent fails.
    """

    def __init__(self, *, max_attempts: int) -> None:
        self._max_attempts = max_attempts

    async def write(self, connection: Connection, items: Sequence[Incoming]) -> Sequence[Answer | Exception | Busy]:
        """Write a batch and return each event's answer."""
        batch = _Batch(await self._resolved(connection, items))
        await self._read(connection, batch)
        for item in batch.items:
            batch.outcomes[item.id] = batch.decide(item)
        await self._store(connection, batch)
        crash.point("webhook.before_commit")
        return [batch.outcomes[item.id] for item in items]

    async def apply_early(self, connection: Connection, intents: Sequence[Intent]) -> None:
        """Apply the events that came before their intents, in the transaction that creates these."""
        rows = await repository_events.early_events(connection, [intent.id for intent in intents])
        if not rows:
            return
        batch = _Batch([_reread(row) for row in {row["id"]: row for row in rows}.values()])
        batch.intents = {intent.id: intent for intent in intents}
        batch.effects = await self._effects(connection, batch)
        for item in batch.items:
            assert item.payment_id is not None
            batch.judged(item, batch.intents[item.payment_id])
        await repository_events.settle_events(connection, _settled(rows, batch.events))
        await repository.write(connection, batch.effects.changes)

    async def _resolved(self, connection: Connection, items: Sequence[Incoming]) -> list[Incoming]:
        """Find the intents of events that name only the gateway's own object."""
        nameless = [item.gateway_object for item in items if item.payment_id is None and item.gateway_object]
        if not nameless:
            return list(items)
        owners = await repository.intents_of_objects(connection, nameless)
        return [
            msgspec.structs.replace(item, payment_id=owners.get(item.gateway_object)) if item.payment_id is None else item
            for item in items
        ]

    async def _read(self, connection: Connection, batch: "_Batch") -> None:
        wanted = {item.payment_id for item in batch.items if item.payment_id is not None and item.fact is not None}
        batch.intents = await repository.lock_intents(connection, list(wanted))
        missing = wanted - batch.intents.keys()
        if missing:
            await _sort_out_missing(connection, batch, missing)
        batch.known = await repository_events.touch_events(connection, batch.keys())
        batch.effects = await self._effects(connection, batch)

    async def _effects(self, connection: Connection, batch: "_Batch") -> Effects:
        """Read what the facts of a batch need besides the intents."""
        askable = [intent.id for item, intent in batch.told() if item.gateway != GENERIC]
        facts = [(intent, item.fact) for item, intent in batch.told() if item.fact is not None]
        return await effects_of(connection, facts, attempts_of=askable, max_attempts=self._max_attempts)

    async def _store(self, connection: Connection, batch: "_Batch") -> None:
        """Write events first: who loses a key to another process must not have had an effect."""
        if batch.events or batch.bodies:
            stored = await repository_events.insert_events(connection, batch.events, batch.bodies)
            if stored != len(batch.events):
                raise asyncpg.SerializationError("another process stored one of these events first")
        await repository.write(connection, batch.effects.changes)


class _Batch:
    """One batch on its way through the statements."""

    def __init__(self, items: Sequence[Incoming]) -> None:
        self.items = sorted(items, key=lambda item: item.id.int)
        self.outcomes: dict[UUID, Answer | Busy] = {}
        self.intents: dict[UUID, Intent] = {}
        self.absent: set[UUID] = set()
        self.known: dict[Key, EventRow] = {}
        self.events: list[EventRow] = []
        self.bodies: list[tuple[UUID, str, bytes]] = []
        self.effects = Effects(attempts={}, refunds=(), disputes=(), fees=(), max_attempts=1)

    def keys(self) -> list[Key]:
        """Return every key that may be known."""
        found = [(item.gateway, item.key) for item in self.items]
        return found + [(item.gateway, item.event_key) for item in self.items if item.event_key]

    def told(self) -> list[tuple[Incoming, Intent]]:
        """Return the events whose intents are here, with these."""
        found = [(item, self.intents.get(item.payment_id)) for item in self.items if item.payment_id is not None]
        return [(item, intent) for item, intent in found if intent is not None]

    def decide(self, item: Incoming) -> Answer | Busy:
        """Decide about one event: a repeat, a key reused, or something new."""
        known = self._known(item)
        if known is not None:
            return self._repeat(item, known)
        if item.flawed is not None:
            answer = Answer(status=item.flawed[0], body=item.flawed[1], word="malformed")
            return self._keep(item, answer, "MALFORMED", "malformed")
        if item.payment_id is None and isinstance(item.fact, NoFact):
            return self._keep(item, _nothing(item.fact), "IGNORED", item.fact.reason)
        intent = self.intents.get(item.payment_id) if item.payment_id is not None else None
        if intent is not None:
            return self.judged(item, intent)
        if item.payment_id is None or item.payment_id in self.absent:
            return self._keep(item, UNKNOWN_PAYMENT if item.gateway == GENERIC else _KEPT, "EARLY", "unknown_payment")
        return BUSY

    def judged(self, item: Incoming, intent: Intent) -> Answer:
        """Apply an event to its intent."""
        assert item.fact is not None
        before = self.effects.now(intent)
        source = Source(
            via=item.gateway, cause=f"{item.gateway} {item.event_type}"[:200], event_id=item.id, received_at=item.received_at
        )
        verdict = self.effects.apply(intent, item.fact, source)
        answer = _answer(item, verdict, before, self.effects.now(intent))
        return self._keep(item, answer, verdict.outcome.upper(), verdict.reason)

    def _known(self, item: Incoming) -> EventRow | None:
        """Return the event of this key; of the gateway's own id too, whose answer the new key then shares."""
        known = self.known.get((item.gateway, item.key))
        if known is None and item.event_key and (told := self.known.get((item.gateway, item.event_key))) is not None:
            known = msgspec.structs.replace(told, dedupe_key=item.key)
            if told.body_hash == item.body_hash:
                self._add(known)
        return known

    def _repeat(self, item: Incoming, known: EventRow) -> Answer:
        if known.body_hash != item.body_hash:
            return self._reused(item, known)
        lasting = known.outcome != "EARLY"
        return Answer(status=known.http_status, body=known.answer, lasting=lasting, replayed=lasting, word=known.outcome.lower())

    def _reused(self, item: Incoming, known: EventRow) -> Answer:
        """Keep and report another body under a known key; it is not applied, and no gateway is made to repeat it for days."""
        ALARMS["key_reused"].inc()
        log.error("webhook key reused with another body", gateway=item.gateway, event_id=str(item.id), first=str(known.id))
        self.bodies.append((item.id, item.gateway, item.body))
        self.effects.changes.alarms.append(
            Alarm(
                kind="key_reused",
                gateway=item.gateway,
                subject_key=item.key,
                payment_id=item.payment_id,
                body_hash=item.body_hash,
                detail=f"body {item.id} differs from {known.id}",
            )
        )
        return _REUSED if item.gateway == GENERIC else _OTHER_BODY

    def _keep(self, item: Incoming, answer: Answer, outcome: str, reason: str) -> Answer:
        row = EventRow(
            gateway=item.gateway,
            dedupe_key=item.key,
            id=item.id,
            body_hash=item.body_hash,
            event_type=item.event_type,
            payment_id=item.payment_id,
            outcome=outcome,
            reason=reason,
            http_status=answer.status,
            answer=answer.body,
            event_time=item.fact.at if item.fact is not None else None,
        )
        self._add(row)
        if item.event_key:
            self._add(msgspec.structs.replace(row, dedupe_key=item.event_key))
        self.bodies.append((item.id, item.gateway, item.body))
        return answer

    def _add(self, row: EventRow) -> None:
        if (row.gateway, row.dedupe_key) not in self.known:
            self.events.append(row)
        self.known[row.gateway, row.dedupe_key] = row


async def _sort_out_missing(connection: Connection, batch: _Batch, missing: set[UUID]) -> None:
    """Tell absent intents from held ones, and keep the absent from being created before our events are stored."""
    held = await repository.hold_absent(connection, list(missing))
    batch.absent = held - await repository.existing_intents(connection, list(held))


def _answer(item: Incoming, verdict: Verdict, before: Intent, after: Intent) -> Answer:
    if verdict.outcome == "processed":
        body = json.encode(_Processed("processed", before.status, after.status, after.version))
        return Answer(status=OK, body=body, word="processed")
    status = REJECTED if verdict.outcome == "rejected" and item.gateway == GENERIC else OK
    return Answer(
        status=status, body=json.encode(_Refused(verdict.outcome, verdict.reason, verdict.message)), word=verdict.outcome
    )


def _nothing(fact: NoFact) -> Answer:
    body = json.encode(_Refused("ignored", fact.reason, "This event changes no payment."))
    return Answer(status=OK, body=body, word="ignored")


def _reread(row: Any) -> Incoming:
    """Translate a kept event again; it was understood when it came."""
    told = READERS[row["gateway"]](row["body"])
    return Incoming(
        id=row["id"],
        gateway=row["gateway"],
        key=row["dedupe_key"],
        event_key="",
        body=row["body"],
        body_hash=row["body_hash"],
        event_type=row["event_type"],
        payment_id=row["payment_id"],
        gateway_object=told.gateway_object,
        fact=told.fact or NoFact(),
        received_at=row["received_at"],
    )


def _settled(rows: Sequence[Any], judged: Sequence[EventRow]) -> list[EventRow]:
    """Give every key of an event the one answer it got."""
    answers = {row.id: row for row in judged}
    return [msgspec.structs.replace(answers[row["id"]], gateway=row["gateway"], dedupe_key=row["dedupe_key"]) for row in rows]
