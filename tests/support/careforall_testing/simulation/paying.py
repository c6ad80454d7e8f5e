"""The payments service: making intents, taking webhooks in, asking the gateway. Production judges every fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec

from careforall.kit.consumer import Consumer
from careforall.kit.envelope import Message
from careforall.payments import events
from careforall.payments.consumers import consumers
from careforall.payments.domain import ANOTHER_AMOUNT, GENERIC, REACHABLE, Fact, Intent
from careforall.payments.effects import Effects, Source
from careforall.payments.ledger import Entry
from careforall.payments.records import Changes, Dispute, Refund
from careforall.payments.service import PaymentsService
from careforall_testing.simulation.consuming import Inbox
from careforall_testing.simulation.database import Database, DatabaseGone, Table, Transaction, UnknownCommit
from careforall_testing.simulation.relaying import Outbox
from careforall_testing.simulation.scheduler import Scheduler, Steps, Violation
from careforall_testing.simulation.variants import Protocol

_AT = datetime(2030, 1, 1, tzinfo=UTC)
_NOTHING = Decimal(0)
_MAX_ATTEMPTS = 3

OK, REJECTED, NOT_FOUND, REUSED = 200, 400, 404, 422


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A verified webhook event; `event_key` is the gateway's own id where a header named another key."""

    id: UUID
    gateway: str
    key: str
    event_key: str
    body: int
    payment_id: UUID
    fact: Fact


class Stored(msgspec.Struct, frozen=True):
    """A known event under one of its keys."""

    event: Incoming
    outcome: str
    status: int


class _Conflict(Exception):
    """Another process stored one of these events first."""


class Paying:
    """Database, consumer and webhook intake of payments."""

    def __init__(self, scheduler: Scheduler, database: Database, protocol: Protocol) -> None:
        self.database = database
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.intents: Table[UUID, Intent] = Table("payment_intents")
        self.transitions: Table[tuple[UUID, int], tuple[str, str]] = Table("payment_transitions")
        self.refunds: Table[UUID, Refund] = Table("refunds")
        self.refunds_of: Table[UUID, tuple[UUID, ...]] = Table("refunds.intent_id")
        self.disputes: Table[tuple[UUID, str], Dispute] = Table("disputes")
        self.disputes_of: Table[UUID, tuple[tuple[UUID, str], ...]] = Table("disputes.intent_id")
        self.mismatched: Table[UUID, bool] = Table("payment_alarms of another amount")
        self.entries: Table[tuple[UUID, str, str], Entry] = Table("ledger_entries")
        self.events: Table[tuple[str, str], Stored] = Table("webhook_events")
        self.early: Table[UUID, tuple[tuple[str, str], ...]] = Table("webhook_events.payment_id")
        self.announced: Table[UUID, None] = Table("advisory locks of new intents")
        self._scheduler = scheduler
        self._protocol = protocol
        self.consumer: Consumer = consumers(cast("PaymentsService", self))[0]

    def on_donations(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[None]:
        """Make the intents of accepted gifts and apply what was said of them before they were here."""
        wanted = sorted((_intent(message) for message in messages), key=lambda intent: intent.id.int)
        for intent in wanted if self._protocol.new_intents == "announced" else ():
            yield from transaction.lock(self.announced, intent.id)
        for intent in wanted:
            yield from transaction.lock(self.intents, intent.id)
            if transaction.get(self.intents, intent.id) is not None:
                continue
            transaction.put(self.intents, intent.id, intent)
            self.outbox.insert(transaction, [events.created(intent)])
            yield "payments.intent_inserted"
            yield from self._apply_early(transaction, intent)

    def take(self, items: Sequence[Incoming]) -> Steps[Sequence[int | None]]:
        """Decide about webhook events in one transaction; None means "try again"."""
        try:
            return (yield from self.database.run(lambda transaction: self._write(transaction, items)))
        except (DatabaseGone, UnknownCommit, _Conflict):
            return [None] * len(items)

    def record(self, payment_id: UUID, facts: Iterable[Fact]) -> Steps[None]:
        """Apply what a gateway answered, if the intent is still as it was when it was asked (rule 12)."""
        seen = self.intents.rows.get(payment_id)
        if seen is None:
            return
        yield "reconciler.asked"

        def work(transaction: Transaction) -> Steps[None]:
            yield from transaction.lock(self.intents, payment_id)
            intent = transaction.get(self.intents, payment_id)
            if intent is None or intent.version != seen.version:
                return
            effects = self._effects(transaction, [payment_id])
            source = Source(via="simulator", cause="asked", event_id=None, received_at=self._at())
            for fact in facts:
                effects.apply(intent, fact, source)
            yield from self._store(transaction, effects.changes)

        yield from self.database.run(work)

    def _write(self, transaction: Transaction, items: Sequence[Incoming]) -> Steps[Sequence[int | None]]:
        batch = sorted(items, key=lambda item: item.id.int)
        held, absent = yield from self._hold(transaction, [item.payment_id for item in batch])
        yield "webhook.locked"
        yield from self._touch(transaction, batch)
        effects = self._effects(transaction, list(held))
        statuses: dict[UUID, int | None] = {}
        for item in batch:
            statuses[item.id] = yield from self._decide(transaction, effects, item, held, absent)
        yield from self._store(transaction, effects.changes)
        yield "webhook.before_commit"
        return [statuses[item.id] for item in items]

    def _hold(self, transaction: Transaction, payment_ids: Iterable[UUID]) -> Steps[tuple[dict[UUID, Intent], set[UUID]]]:
        """Lock intents that are free, and keep absent ones from being created; the rest is busy."""
        held: dict[UUID, Intent] = {}
        absent: set[UUID] = set()
        wanted = sorted(set(payment_ids), key=lambda one: one.int)
        for payment_id in wanted:
            intent = self.intents.rows.get(payment_id)
            if intent is not None and transaction.try_lock(self.intents, payment_id):
                held[payment_id] = self.intents.rows[payment_id]
        yield "webhook.intents_locked"
        for payment_id in wanted:
            if payment_id in held or not transaction.try_lock(self.announced, payment_id):
                continue
            if transaction.get(self.intents, payment_id) is None:
                absent.add(payment_id)
        return held, absent

    def _touch(self, transaction: Transaction, batch: Sequence[Incoming]) -> Steps[None]:
        for key in sorted({key for item in batch for key in _keys(item)}):
            if key in self.events.rows:
                yield from transaction.lock(self.events, key)
                row = transaction.get(self.events, key)
                if row is not None:
                    transaction.put(self.events, key, row)

    def _decide(
        self, transaction: Transaction, effects: Effects, item: Incoming, held: dict[UUID, Intent], absent: set[UUID]
    ) -> Steps[int | None]:
        """Decide about one event: a repeat, a key reused, something new, something early, or busy."""
        known = None if self._protocol.webhook_keys == "forgotten" else self._known(transaction, item)
        if known is not None:
            return known.status if known.event.body == item.body else REUSED
        intent = held.get(item.payment_id)
        if intent is not None:
            outcome, status = self._judged(effects, intent, item)
            yield from self._keep(transaction, item, Stored(item, outcome, status))
            return status
        if item.payment_id not in absent:
            return None
        yield from self._keep(transaction, item, Stored(item, "EARLY", NOT_FOUND))
        yield from transaction.lock(self.early, item.payment_id)
        keys = transaction.get(self.early, item.payment_id) or ()
        transaction.put(self.early, item.payment_id, (*keys, (item.gateway, item.key)))
        return NOT_FOUND

    def _known(self, transaction: Transaction, item: Incoming) -> Stored | None:
        known = transaction.get(self.events, (item.gateway, item.key))
        if known is not None or not item.event_key:
            return known
        told = transaction.get(self.events, (item.gateway, item.event_key))
        if told is not None and transaction.try_lock(self.events, (item.gateway, item.key)):
            transaction.put(self.events, (item.gateway, item.key), told)
        return told

    def _keep(self, transaction: Transaction, item: Incoming, row: Stored) -> Steps[None]:
        """Store an event under its keys; who loses a key to another process must not have had an effect."""
        for key in _keys(item):
            before = transaction.get(self.events, key)
            yield from transaction.lock(self.events, key)
            if transaction.get(self.events, key) is not before:
                raise _Conflict
            if before is None:
                transaction.put(self.events, key, row)

    def _judged(self, effects: Effects, intent: Intent, item: Incoming) -> tuple[str, int]:
        source = Source(via=item.gateway, cause=item.key, event_id=item.id, received_at=self._at())
        verdict = effects.apply(intent, item.fact, source)
        status = REJECTED if verdict.outcome == "rejected" and item.gateway == GENERIC else OK
        return verdict.outcome.upper(), status

    def _apply_early(self, transaction: Transaction, intent: Intent) -> Steps[None]:
        keys = transaction.get(self.early, intent.id)
        if not keys:
            return
        effects = self._effects(transaction, [intent.id])
        for key in keys:
            row = transaction.get(self.events, key)
            if row is None or row.outcome != "EARLY" or row.event.payment_id != intent.id:
                continue
            outcome, status = self._judged(effects, intent, row.event)
            for known in _keys(row.event):
                yield from transaction.lock(self.events, known)
                transaction.put(self.events, known, Stored(row.event, outcome, status))
        yield from self._store(transaction, effects.changes)

    def _effects(self, transaction: Transaction, payment_ids: Sequence[UUID]) -> Effects:
        refunds = [transaction.get(self.refunds, one) for owner in payment_ids for one in self.refunds_of.rows.get(owner, ())]
        disputes = [transaction.get(self.disputes, one) for owner in payment_ids for one in self.disputes_of.rows.get(owner, ())]
        return Effects(
            attempts={},
            refunds=[refund for refund in refunds if refund is not None],
            disputes=[dispute for dispute in disputes if dispute is not None],
            fees=(),
            mismatched=[owner for owner in payment_ids if transaction.get(self.mismatched, owner)],
            max_attempts=_MAX_ATTEMPTS,
        )

    def _store(self, transaction: Transaction, changes: Changes) -> Steps[None]:
        """Write what was collected, under the constraints that the real tables have."""
        for payment_id, step in changes.intents.items():
            before, after = step.before, step.after
            if before.status != after.status and (before.status, after.status) not in REACHABLE:
                raise Violation(f"payment {payment_id} went from {before.status} to {after.status}")
            if after.refunded_amount > after.captured_amount:
                raise Violation(f"payment {payment_id} gave back more than it captured")
            transaction.put(self.intents, payment_id, after)
        for row in changes.transitions:
            key = (row.payment_id, row.version)
            if not transaction.try_lock(self.transitions, key) or transaction.get(self.transitions, key) is not None:
                raise Violation(f"version {row.version} of payment {row.payment_id} was written twice")
            transaction.put(self.transitions, key, (row.from_status, row.to_status))
        for entry in changes.entries:
            booked = (entry.payment_id, entry.kind, entry.cause_key)
            if not transaction.try_lock(self.entries, booked) or transaction.get(self.entries, booked) is not None:
                raise Violation(f"{entry.kind} {entry.cause_key} of payment {entry.payment_id} was booked twice")
            if sum(line.amount for line in entry.lines):
                raise Violation(f"{entry.kind} of payment {entry.payment_id} does not add up to zero")
            transaction.put(self.entries, booked, entry)
        for refund in changes.refunds.values():
            yield from transaction.lock(self.refunds, refund.id)
            yield from transaction.lock(self.refunds_of, refund.intent_id)
            transaction.put(self.refunds, refund.id, refund)
            known = transaction.get(self.refunds_of, refund.intent_id) or ()
            if refund.id not in known:
                transaction.put(self.refunds_of, refund.intent_id, (*known, refund.id))
        for dispute in changes.disputes.values():
            yield from self._store_dispute(transaction, dispute)
        for payment_id in _told_otherwise(changes):
            yield from transaction.lock(self.mismatched, payment_id)
            transaction.put(self.mismatched, payment_id, True)
        self.outbox.insert(transaction, changes.outbox)

    def _store_dispute(self, transaction: Transaction, dispute: Dispute) -> Steps[None]:
        key = (dispute.intent_id, dispute.gateway_dispute_id)
        yield from transaction.lock(self.disputes, key)
        yield from transaction.lock(self.disputes_of, dispute.intent_id)
        before = transaction.get(self.disputes, key)
        if before is not None and (before.id != dispute.id or before.status not in {"OPEN", dispute.status}):
            raise Violation(f"dispute {key} of payment {dispute.intent_id} went from {before.status} to {dispute.status}")
        transaction.put(self.disputes, key, dispute)
        known = transaction.get(self.disputes_of, dispute.intent_id) or ()
        if key not in known:
            transaction.put(self.disputes_of, dispute.intent_id, (*known, key))

    def _at(self) -> datetime:
        return _AT + timedelta(seconds=self._scheduler.now)


def _told_otherwise(changes: Changes) -> list[UUID]:
    wrong = [alarm for alarm in changes.alarms if alarm.kind == ANOTHER_AMOUNT and alarm.gateway != GENERIC]
    return [alarm.payment_id for alarm in wrong if alarm.payment_id is not None]


def _keys(item: Incoming) -> list[tuple[str, str]]:
    return [(item.gateway, key) for key in (item.key, item.event_key) if key]


def _intent(message: Message[Any]) -> Intent:
    event = message.event
    return Intent(
        id=event.intent_id,
        subject_type="DONATION",
        subject_id=event.donation_id,
        campaign_id=event.campaign_id,
        amount=event.amount,
        currency=event.currency,
        gateway=event.gateway,
        status="INITIATED",
        status_at=_AT,
        version=1,
        captured_amount=_NOTHING,
        refunded_amount=_NOTHING,
        disputed_amount=_NOTHING,
        declines=0,
        captured_via="",
        gateway_object="",
        method=None,
        title="",
        user_id=None,
        livemode=False,
        reason="",
        correlation_id=message.correlation_id,
        traceparent=None,
        expires_at=_AT,
        created_at=_AT,
        updated_at=_AT,
    )
