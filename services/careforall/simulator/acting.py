"""Acting on intents: calls of many callers share a transaction that locks their intents once, by id (rule 1).

Actions on one intent in one batch follow each other in memory, each meeting what the one before made of it; intents that somebody
else holds come again. A refused action gives its key up and leaves its neighbours alone.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from careforall.kit import claims, json
from careforall.kit.batch import BUSY, Busy, GroupCommit
from careforall.kit.claims import Key
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Problem
from careforall.kit.idempotency import Answer, Call
from careforall.simulator import objects, repository, repository_events
from careforall.simulator.actions import Action, Held, new_name
from careforall.simulator.domain import Change, Dispute, Draft, Intent, Refund
from careforall.simulator.errors import NoSuchObject
from careforall.simulator.objects import IntentObject
from careforall.simulator.repository_events import NewEvent
from careforall.simulator.switches import CallFault, Chances, Moment, call_fault, fate

_OK = 200
_PATIENCE_S = 1.0
"""How long a call waits for an intent that somebody else holds: as long as a transaction waits for a lock."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A call on its way into a batch: the draft of an intent to make, or an action on one that there is."""

    call: Call
    intent_id: str
    work: Draft | Action


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A committed answer, and what goes wrong with telling it."""

    answer: Answer
    fault: CallFault = CallFault()


class Acting:
    """Writes calls in shared transactions.

    Args:
        database: The company's books.
        base: Where its pages are, as absolute address.
        fee_points: What it keeps of a payment, in hundredths of a percent.
    """

    def __init__(self, database: Database, *, base: str, fee_points: int) -> None:
        self._base = base
        self._fee_points = fee_points
        self._batch: GroupCommit[Wanted, Done] = GroupCommit("simulator", database, self._write, deadline=_PATIENCE_S)

    async def submit(self, wanted: Wanted) -> Done:
        """Do what is wanted once per key, or return what its key was answered before.

        Raises:
            Problem: It was refused; nothing was written.
        """
        key = "\0".join(claims.key_of(wanted.call))
        return await self._batch.submit(wanted, key=key, fingerprint=wanted.call.fingerprint)

    async def drain(self) -> None:
        """Wait until every accepted call is answered."""
        await self._batch.drain()

    def show(self, intent: Intent) -> IntentObject:
        """Return an intent as it is shown to callers."""
        return objects.intent_object(intent, self._base, fee_points=self._fee_points)

    async def _write(self, connection: Connection, batch: Sequence[Wanted]) -> Sequence[Done | Exception | Busy]:
        known = await claims.claim(connection, [wanted.call for wanted in batch])
        fresh = [wanted for wanted in batch if claims.key_of(wanted.call) not in known]
        outcomes = await self._perform(connection, fresh) if fresh else {}
        await _settle(connection, fresh, outcomes)
        keys = [claims.key_of(wanted.call) for wanted in batch]
        return [outcomes[key] if key in outcomes else _replayed(known[key]) for key in keys]

    async def _perform(self, connection: Connection, fresh: Sequence[Wanted]) -> dict[Key, Done | Exception | Busy]:
        """Make what is to be made, and act under the locks of the intents that are meant."""
        drafts = {wanted.intent_id: wanted.work for wanted in fresh if isinstance(wanted.work, Draft)}
        made = await repository.insert_intents(connection, drafts) if drafts else {}
        meant = sorted({wanted.intent_id for wanted in fresh} - set(drafts))
        table = await _laid_out(connection, meant)
        outcomes = {
            claims.key_of(wanted.call): self._made(made[wanted.intent_id], table.moment)
            if isinstance(wanted.work, Draft)
            else self._outcome(wanted.intent_id, wanted.work, table)
            for wanted in fresh
        }
        await table.store(connection)
        return outcomes

    def _made(self, intent: Intent, moment: Moment) -> Done:
        return self._done(Change(intent=intent), moment.chances(intent.number, 0))

    def _outcome(self, intent_id: str, action: Action, table: "_Table") -> Done | Exception | Busy:
        """Act on an intent; one that somebody else holds comes again."""
        held = table.find(intent_id)
        if not isinstance(held, Held):
            return held
        try:
            changes = action(held)
        except Problem as refusal:
            return refusal
        for change in changes:
            table.put(change, self._events(held, change))
        return self._done(changes[-1] if changes else Change(intent=held.intent), held.chances)

    def _done(self, change: Change, chances: Chances) -> Done:
        """Answer a refund with itself, everything else with the intent."""
        shown = objects.refund_object(change.refund) if change.refund is not None else self.show(change.intent)
        return Done(answer=Answer(status=_OK, body=json.encode(shown)), fault=call_fault(chances))

    def _events(self, held: Held, change: Change) -> list[NewEvent]:
        events = []
        now = held.moment.now
        for kind in change.events:
            event_id = new_name("evt")
            body = objects.event_body(event_id, kind, change, base=self._base, now=now, fee_points=self._fee_points)
            plan = fate(held.chances, kind)
            events.append(NewEvent(id=event_id, type=kind, payment_intent=change.intent.id, body=body, fate=plan))
        return events


class _Table:
    """The locked intents of a batch, as its actions leave them one after the other.

    Args:
        held: Intents whose rows are ours.
        busy: Intents that exist and are held by somebody else.
        moment: What the actions are judged by.
    """

    def __init__(self, held: Mapping[str, Held], busy: Collection[str], moment: Moment) -> None:
        self.moment = moment
        self._held = dict(held)
        self._busy = busy
        self._intents: dict[str, Intent] = {}
        self._refunds: list[Refund] = []
        self._disputes: dict[str, Dispute] = {}
        self._events: list[NewEvent] = []

    def find(self, intent_id: str) -> Held | Exception | Busy:
        """Return an intent with what is known of it, why there is none, or that somebody else holds it."""
        if intent_id in self._busy:
            return BUSY
        return self._held.get(intent_id) or NoSuchObject(f"No such payment intent: {intent_id}")

    def put(self, change: Change, events: Sequence[NewEvent]) -> None:
        """Note a change, for the next action and for the books."""
        key = change.intent.id
        before = self._held[key]
        self._intents[key] = change.intent
        if change.refund is not None:
            self._refunds.append(change.refund)
        if change.dispute is not None and change.dispute != before.dispute:
            self._disputes[key] = change.dispute
        self._held[key] = replace(before, intent=change.intent, dispute=change.dispute or before.dispute)
        self._events += events

    async def store(self, connection: Connection) -> None:
        """Write what changed."""
        if self._intents:
            await repository.update_intents(connection, list(self._intents.values()))
        if self._refunds:
            await repository.insert_refunds(connection, self._refunds)
        if self._disputes:
            await repository.put_disputes(connection, list(self._disputes.values()))
        if self._events:
            await repository_events.insert_events(connection, self._events)


async def _laid_out(connection: Connection, ids: Sequence[str]) -> _Table:
    """Lock intents and read what decides about them; only what was paid can be disputed."""
    intents = await repository.lock_intents(connection, ids) if ids else []
    locked = {intent.id for intent in intents}
    skipped = [key for key in ids if key not in locked]
    busy = await repository.known_of(connection, skipped) if skipped else frozenset[str]()
    paid = [intent.id for intent in intents if intent.status == "succeeded"]
    disputes = await repository.disputes_of(connection, paid) if paid else {}
    moment = await repository.read_moment(connection)
    held = {one.id: Held(intent=one, dispute=disputes.get(one.id), moment=moment) for one in intents}
    return _Table(held, busy, moment)


async def _settle(connection: Connection, fresh: Sequence[Wanted], outcomes: Mapping[Key, Done | Exception | Busy]) -> None:
    """Store the answers of keys that are new, and free those of what is refused or comes again."""
    pairs = [(wanted.call, outcomes[claims.key_of(wanted.call)]) for wanted in fresh]
    await claims.settle(
        connection,
        [(call, one.answer) for call, one in pairs if isinstance(one, Done)],
        [call for call, one in pairs if not isinstance(one, Done)],
    )


def _replayed(said: Answer | Exception) -> Done | Exception:
    return Done(answer=said) if isinstance(said, Answer) else said
