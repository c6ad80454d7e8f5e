"""The donations service: accepting gifts in groups, and applying what payments says about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec

from careforall.donations import domain, events
from careforall.donations.consumers import consumers
from careforall.donations.domain import Donation, PaymentFact, Step
from careforall.donations.service import DonationsService
from careforall.kit.consumer import Consumer
from careforall.kit.context import Cause
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.kit.ids import new_id
from careforall_testing.simulation.consuming import Inbox, hand_over
from careforall_testing.simulation.database import Database, DatabaseGone, Table, Transaction, UnknownCommit
from careforall_testing.simulation.relaying import Outbox
from careforall_testing.simulation.scheduler import Scheduler, Steps, Violation
from careforall_testing.simulation.variants import Protocol

_AT = datetime(2030, 1, 1, tzinfo=UTC)
_NOTHING = Decimal(0)
_SETTLE_SECONDS = 0.7


class Gift(msgspec.Struct, frozen=True):
    """What a donor sends; a donor with a key may send it again."""

    label: str
    key: str | None
    campaign_id: UUID
    donor: str
    amount: Decimal
    gateway: str


class Pledge(msgspec.Struct, frozen=True):
    """A gift with the ids that the API process gave it before writing anything."""

    donation_id: UUID
    intent_id: UUID
    gift: Gift


class Giving:
    """Database, API and consumer of donations."""

    def __init__(self, scheduler: Scheduler, database: Database, protocol: Protocol) -> None:
        self.database = database
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.donations: Table[UUID, Donation] = Table("donations")
        self.history: Table[tuple[UUID, int], tuple[str | None, str]] = Table("donation_history")
        self.keys: Table[str, tuple[UUID, UUID]] = Table("idempotency_keys")
        self.by_intent: Table[UUID, UUID] = Table("donations.intent_id")
        self._scheduler = scheduler
        self._protocol = protocol
        self._heard: list[PaymentFact] = []
        self.consumer: Consumer = consumers(cast("DonationsService", self))[0]

    def accept(self, gifts: Sequence[Gift]) -> Steps[Sequence[tuple[UUID, UUID] | None]]:
        """Write gifts in one transaction, as the group commit does, and return (donation, intent) of each."""
        by_label: dict[str, Pledge] = {}
        for gift in gifts:
            by_label.setdefault(gift.label, _pledge(gift))
        pledges = [by_label[label] for label in sorted(by_label)]
        try:
            found = yield from self._settle(pledges)
        except (DatabaseGone, UnknownCommit):
            return [None] * len(gifts)
        return [found[gift.label] for gift in gifts]

    def _settle(self, pledges: Sequence[Pledge]) -> Steps[dict[str, tuple[UUID, UUID]]]:
        """Commit; after an unknown outcome write again under the same ids, whose own COMMIT settles it."""
        give_up: float | None = None
        while True:
            try:
                return (yield from self._once(pledges))
            except UnknownCommit:
                give_up = give_up or self._scheduler.now + _SETTLE_SECONDS
                if self._scheduler.now >= give_up:
                    raise
            except DatabaseGone:
                if give_up is None or self._scheduler.now >= give_up:
                    raise
            yield 0.05
            if self._protocol.unknown_commit == "new_ids":
                pledges = [_pledge(msgspec.structs.replace(pledge.gift, key=None)) for pledge in pledges]

    def _once(self, pledges: Sequence[Pledge]) -> Steps[dict[str, tuple[UUID, UUID]]]:
        return (yield from self.database.run(lambda transaction: self._write(transaction, pledges)))

    def _write(self, transaction: Transaction, pledges: Sequence[Pledge]) -> Steps[dict[str, tuple[UUID, UUID]]]:
        found: dict[str, tuple[UUID, UUID]] = {}
        for pledge in pledges:
            gift = pledge.gift
            answer = (pledge.donation_id, pledge.intent_id)
            if gift.key is not None:
                yield from transaction.lock(self.keys, gift.key)
                answer = transaction.get(self.keys, gift.key) or answer
                transaction.put(self.keys, gift.key, answer)
            found[gift.label] = answer
            if answer[0] == pledge.donation_id:
                yield from self._insert(transaction, pledge)
        yield "batch.before_commit"
        return found

    def _insert(self, transaction: Transaction, pledge: Pledge) -> Steps[None]:
        """Insert a donation with its first history row and its event; one that is there is touched."""
        yield from transaction.lock(self.donations, pledge.donation_id)
        known = transaction.get(self.donations, pledge.donation_id)
        if known is not None:
            transaction.put(self.donations, pledge.donation_id, known)
            return
        donation = _donation(pledge)
        transaction.put(self.donations, donation.id, donation)
        transaction.try_lock(self.by_intent, donation.intent_id)
        transaction.put(self.by_intent, donation.intent_id, donation.id)
        self._remember(transaction, donation, None)
        self.outbox.insert(transaction, [events.created(donation, Cause(correlation_id=pledge.gift.label))])

    async def apply(self, _: Connection, facts: Sequence[PaymentFact]) -> None:
        """Hear what production's consumer makes of messages (see `on_payments`)."""
        self._heard = list(facts)

    def on_payments(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[None]:
        """Apply payment events as `DonationsService.apply` does."""
        hand_over(self.consumer.handler, messages)
        facts = self._heard
        for donation_id in sorted({self._owner(fact) for fact in facts}, key=_number):
            yield from transaction.lock(self.donations, donation_id)
        for fact in sorted(facts, key=lambda fact: (fact.intent_id.int, fact.version)):
            donation = transaction.get(self.donations, self._owner(fact))
            assert donation is not None
            self._record(transaction, domain.walk(donation, fact))

    def _owner(self, fact: PaymentFact) -> UUID:
        owner = self.by_intent.rows.get(fact.intent_id)
        if owner is None:
            raise Violation(f"no donation has the intent {fact.intent_id} of {fact.event_type}")
        return owner

    def _record(self, transaction: Transaction, steps: Sequence[Step]) -> None:
        for step in steps:
            transaction.put(self.donations, step.donation.id, step.donation)
            self._remember(transaction, step.donation, step.from_status)
        self.outbox.insert(transaction, [events.stepped(step) for step in steps])

    def _remember(self, transaction: Transaction, donation: Donation, came_from: str | None) -> None:
        key = (donation.id, donation.version)
        if not transaction.try_lock(self.history, key) or transaction.get(self.history, key) is not None:
            raise Violation(f"version {donation.version} of donation {donation.id} was written twice")
        transaction.put(self.history, key, (came_from, donation.status))


def _pledge(gift: Gift) -> Pledge:
    return Pledge(new_id(), new_id(), gift)


def _donation(pledge: Pledge) -> Donation:
    gift = pledge.gift
    return Donation(
        id=pledge.donation_id,
        campaign_id=gift.campaign_id,
        intent_id=pledge.intent_id,
        donor_email=f"{gift.donor}@example.org",
        donor_key=gift.donor,
        donor_name=gift.label,
        user_id=None,
        anonymous=False,
        message="",
        amount=gift.amount,
        refunded_amount=_NOTHING,
        currency="EUR",
        gateway=gift.gateway,
        status="PENDING",
        version=1,
        payment_version=0,
        extra_data=None,
        created_at=_AT,
        updated_at=_AT,
        settled_at=None,
    )


def _number(identifier: UUID) -> int:
    return identifier.int
