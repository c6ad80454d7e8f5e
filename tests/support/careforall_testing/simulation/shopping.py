"""The checkout saga under the scheduler: drivers die at every step, owners remember step ids, payers and clocks interfere.

The saga's rules are the code's own (`orders.saga`); databases and processes are the simulation's. At rest every sale must have
its money and its stock on the same side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit.ids import id_at
from careforall.orders.saga import advance, begin
from careforall.orders.saga_words import (
    Answered,
    CancelAsked,
    Expired,
    Outcome,
    PayAsked,
    PaymentTold,
    Saga,
    SagaEvent,
    Step,
    step_id,
)
from careforall_testing.simulation.database import Database, DatabaseGone, Table, Transaction, UnknownCommit
from careforall_testing.simulation.faults import CALM, Faults
from careforall_testing.simulation.scheduler import Scheduler, Steps, Violation

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
_LEASE = 0.5
_BUYS = 0.9
_DRIVERS, _BUYERS = 3, 3
_STOCK = 40
_TROUBLES = ("crash", "failover", "lose_standby")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The choices on which it hangs; the defaults are what production does."""

    step_ids: Literal["of_the_saga", "fresh"] = "of_the_saga"
    fence: Literal["version", "absent"] = "version"
    answers: Literal["stored_with_effect", "forgotten"] = "stored_with_effect"


CORRECT = Rules()
BROKEN: Mapping[str, Rules] = {
    "a repeat of a step has an id of its own": Rules(step_ids="fresh"),
    "a driver that lost its saga goes on writing": Rules(fence="absent"),
    "owners forget what they have done": Rules(answers="forgotten"),
}
"""Mistakes by name, each of which a run must find."""


class Kept(msgspec.Struct, frozen=True):
    """A saga as stored."""

    saga: Saga
    version: int
    lease: float


Status = Literal["OPEN", "AUTHORIZED", "CAPTURED", "ENDED", "REFUNDED"]


class Intent(msgspec.Struct, frozen=True):
    """How the money of a sale stands, and how often it was moved."""

    status: Status = "OPEN"
    captures: int = 0
    refunds: int = 0


class Shopping:
    """The databases of orders, inventory and payments, and everybody who uses them."""

    def __init__(self, seed: int, rules: Rules, faults: Faults) -> None:
        self.faults = faults
        self.scheduler = Scheduler(Random(seed), mean_steps_between_troubles=faults.steps_between_troubles)
        self.scheduler.trouble = self._trouble
        self._rules = rules
        self._orders, self._stock, self._money = (
            Database(name, self.scheduler, lambda: self.faults) for name in ("orders", "inventory", "payments")
        )
        self.sagas: Table[UUID, Kept] = Table("saga_state")
        self.shelf: Table[str, int] = Table("stock")
        self.shelf.rows["on_hand"] = _STOCK
        self.held: Table[UUID, str] = Table("reservations")
        self.intents: Table[UUID, Intent] = Table("payment_intents")
        self.done: Table[UUID, Outcome] = Table("steps")
        self._fresh = 0
        self.closing = False
        self.started = 0
        self._ours = [self.scheduler.spawn(f"driver {number}", self._drive) for number in range(_DRIVERS)]
        for number in range(_BUYERS):
            self.scheduler.spawn(f"buyer {number}", self._buy)
        self.scheduler.spawn("payer", self._pay)
        self.scheduler.spawn("payments' events", self._tell)

    def rest(self) -> None:
        """Stop trouble and let everything come to an end.

        Raises:
            Violation: It does not, or not on one side.
        """
        self.faults, self.scheduler.trouble, self.closing = CALM, None, True
        limit = self.scheduler.step + 60_000
        while any(not kept.saga.ended for kept in self.sagas.rows.values()):
            if self.scheduler.step > limit:
                raise Violation("sagas do not end")
            self.scheduler.run(500)
        for identifier, kept in self.sagas.rows.items():
            self._check(identifier, kept.saga)
        sold = sum(1 for state in self.held.rows.values() if state == "SOLD")
        if self.shelf.rows["on_hand"] != _STOCK - sold:
            raise Violation(f"{self.shelf.rows['on_hand']} on hand of {_STOCK} with {sold} sold")

    def _check(self, identifier: UUID, saga: Saga) -> None:
        """A sale that went through is paid once and has its stock; any other has neither."""
        intent, state = self.intents.rows.get(identifier, Intent()), self.held.rows.get(identifier, "FREE")
        if intent.captures > 1 or intent.refunds > 1:
            raise Violation(f"{identifier} was captured {intent.captures} and refunded {intent.refunds} times")
        through = not saga.ending
        if through and (intent.status, state) != ("CAPTURED", "SOLD"):
            raise Violation(f"{identifier} went through with {intent.status} and {state}")
        if not through and (intent.status in {"AUTHORIZED", "CAPTURED"} or state != "FREE"):
            raise Violation(f"{identifier} went back with {intent.status} and {state}")

    def _buy(self) -> Steps[None]:
        while not self.closing:
            yield self.scheduler.random.random() * 0.4
            self.started += 1
            identifier = id_at(_EPOCH, self.scheduler.random.getrandbits(74))
            saga, _ = begin(Saga(id=identifier, type=self.scheduler.random.choice(("CHECKOUT", "DIRECT"))))
            yield from self._persist(partial(self._insert, identifier, saga))
            for _ in range(3):
                yield self.scheduler.random.random()
                card = self.scheduler.random.random() < 1 / 2
                buys = self.scheduler.random.random() < _BUYS
                event: SagaEvent = PayAsked(card=card) if buys else CancelAsked(reason="no")
                yield from self._hear(identifier, event)

    def _insert(self, identifier: UUID, saga: Saga) -> Steps[None]:
        def work(transaction: Transaction) -> Steps[None]:
            yield from transaction.lock(self.sagas, identifier)
            if transaction.get(self.sagas, identifier) is None:
                transaction.put(self.sagas, identifier, Kept(saga, 1, self.scheduler.now + _LEASE))

        yield from self._orders.run(work)

    def _persist(self, work: Callable[[], Steps[None]]) -> Steps[None]:
        """Write until it is known to be written."""
        while True:
            try:
                yield from work()
            except (DatabaseGone, UnknownCommit):
                yield 0.05
            else:
                return

    def _drive(self) -> Steps[None]:
        """Take over what nobody drives, and do the one step it is at."""
        while True:
            yield 0.05
            now = self.scheduler.now
            due = sorted(
                (identifier for identifier, kept in self.sagas.rows.items() if not kept.saga.ended and kept.lease <= now), key=int
            )
            if not due:
                continue
            identifier = self.scheduler.random.choice(due)
            try:
                yield from self._take_over(identifier)
            except (DatabaseGone, UnknownCommit):
                continue

    def _take_over(self, identifier: UUID) -> Steps[None]:
        def claim(transaction: Transaction) -> Steps[Kept | None]:
            yield from transaction.lock(self.sagas, identifier)
            kept = transaction.get(self.sagas, identifier)
            if kept is None or kept.saga.ended or kept.lease > self.scheduler.now:
                return None
            taken = Kept(kept.saga, kept.version + 1, self.scheduler.now + _LEASE)
            transaction.put(self.sagas, identifier, taken)
            return taken

        kept = yield from self._orders.run(claim)
        while kept is not None and not kept.saga.ended:
            if kept.saga.waits:
                event: SagaEvent = Expired()
            else:
                yield "saga.before_effect"
                step = kept.saga.step
                outcome = yield from self._ask(kept.saga, step)
                yield "saga.after_effect"
                event = Answered(step=step, outcome=outcome)
            kept = yield from self._record(identifier, kept, event)
            yield "saga.after_record"
            if kept is not None and kept.saga.waits:
                return

    def _record(self, identifier: UUID, read: Kept, event: SagaEvent) -> Steps[Kept | None]:
        """Write what came of a step, if the saga is still the one that was read."""

        def work(transaction: Transaction) -> Steps[Kept | None]:
            yield from transaction.lock(self.sagas, identifier)
            known = transaction.get(self.sagas, identifier)
            if known is None or (self._rules.fence == "version" and known.version != read.version):
                return None
            moved, _ = advance(read.saga, event)
            wait = 1.0 if moved.waits else _LEASE
            after = Kept(moved, known.version + 1, self.scheduler.now + wait)
            transaction.put(self.sagas, identifier, after)
            return after

        return (yield from self._orders.run(work))

    def _hear(self, identifier: UUID, event: SagaEvent) -> Steps[None]:
        """Let a saga hear of something from outside."""

        def work(transaction: Transaction) -> Steps[None]:
            yield from transaction.lock(self.sagas, identifier)
            kept = transaction.get(self.sagas, identifier)
            if kept is None:
                return
            moved, _ = advance(kept.saga, event)
            if moved is not kept.saga:
                transaction.put(self.sagas, identifier, Kept(moved, kept.version + 1, self.scheduler.now))

        try:
            yield from self._orders.run(work)
        except (DatabaseGone, UnknownCommit):
            return

    def _ask(self, saga: Saga, step: Step) -> Steps[Outcome]:
        """Ask the owner of a step; it does it once for each id, with the answer in the transaction of the effect."""
        identifier = step_id(saga.id, step, saga.attempts[step])
        if self._rules.step_ids == "fresh":
            self._fresh += 1
            identifier = step_id(identifier, "repeat", self._fresh + 1)
        effect = getattr(self, f"_do_{step}", None)
        database = self._money if step in {"authorise", "capture", "cancel", "refund"} else self._stock

        def work(transaction: Transaction) -> Steps[Outcome]:
            yield from transaction.lock(self.done, identifier)
            known = transaction.get(self.done, identifier)
            if known is not None:
                transaction.put(self.done, identifier, known)  # the touch: our own COMMIT proves the first one (rule 2)
                return known
            outcome: Outcome = "DONE"
            if effect is not None:
                outcome = yield from effect(transaction, saga.id)
            if self._rules.answers == "stored_with_effect":
                transaction.put(self.done, identifier, outcome)
            return outcome

        return (yield from database.run(work))

    def _do_reserve(self, transaction: Transaction, holder: UUID) -> Steps[Outcome]:
        yield from transaction.lock(self.shelf, "on_hand")
        yield from transaction.lock(self.held, holder)
        pending = sum(1 for state in self.held.rows.values() if state == "HELD")
        if pending >= (transaction.get(self.shelf, "on_hand") or 0):
            return "OUT_OF_STOCK"
        transaction.put(self.held, holder, "HELD")
        return "DONE"

    def _do_pin(self, transaction: Transaction, holder: UUID) -> Steps[Outcome]:
        yield from transaction.lock(self.held, holder)
        return "DONE" if transaction.get(self.held, holder) == "HELD" else "NOT_HELD"

    def _do_confirm(self, transaction: Transaction, holder: UUID) -> Steps[Outcome]:
        yield from transaction.lock(self.shelf, "on_hand")
        yield from transaction.lock(self.held, holder)
        state = transaction.get(self.held, holder)
        if state != "HELD":
            return "DONE" if state == "SOLD" and self._rules.answers == "stored_with_effect" else "NOT_HELD"
        transaction.put(self.held, holder, "SOLD")
        transaction.put(self.shelf, "on_hand", (transaction.get(self.shelf, "on_hand") or 0) - 1)
        return "DONE"

    def _do_release(self, transaction: Transaction, holder: UUID) -> Steps[Outcome]:
        yield from transaction.lock(self.held, holder)
        if transaction.get(self.held, holder) == "HELD":
            transaction.put(self.held, holder, "FREE")
        return "DONE"

    def _do_restock(self, transaction: Transaction, holder: UUID) -> Steps[Outcome]:
        yield from transaction.lock(self.shelf, "on_hand")
        yield from transaction.lock(self.held, holder)
        transaction.put(self.held, holder, "FREE")
        transaction.put(self.shelf, "on_hand", (transaction.get(self.shelf, "on_hand") or 0) + 1)
        return "DONE"

    def _do_authorise(self, transaction: Transaction, intent_id: UUID) -> Steps[Outcome]:
        intent = yield from self._locked(transaction, intent_id)
        if intent.status == "OPEN" and self.scheduler.random.random() < 1 / 4:
            return "DECLINED"
        if intent.status == "OPEN":
            transaction.put(self.intents, intent_id, Intent("AUTHORIZED"))
        return intent.status if intent.status in {"CAPTURED", "ENDED"} else "AUTHORIZED"

    def _do_capture(self, transaction: Transaction, intent_id: UUID) -> Steps[Outcome]:
        intent = yield from self._locked(transaction, intent_id)
        if intent.status in {"AUTHORIZED", "CAPTURED"}:
            taken = intent.captures + (1 if intent.status == "AUTHORIZED" or self._rules.step_ids == "fresh" else 0)
            transaction.put(self.intents, intent_id, Intent("CAPTURED", taken))
            return "CAPTURED"
        return "ENDED"

    def _do_cancel(self, transaction: Transaction, intent_id: UUID) -> Steps[Outcome]:
        intent = yield from self._locked(transaction, intent_id)
        if intent.status == "CAPTURED":
            return "CAPTURED"
        transaction.put(self.intents, intent_id, Intent("ENDED"))
        return "ENDED"

    def _do_refund(self, transaction: Transaction, intent_id: UUID) -> Steps[Outcome]:
        intent = yield from self._locked(transaction, intent_id)
        transaction.put(self.intents, intent_id, Intent("REFUNDED", intent.captures, intent.refunds + 1))
        return "DONE"

    def _locked(self, transaction: Transaction, intent_id: UUID) -> Steps[Intent]:
        yield from transaction.lock(self.intents, intent_id)
        return transaction.get(self.intents, intent_id) or Intent()

    def _pay(self) -> Steps[None]:
        """Somebody pays on the page: at once, or held first."""
        while True:
            yield 0.1
            waiting = sorted(
                (one for one, kept in self.sagas.rows.items() if kept.saga.announced and not kept.saga.ended), key=int
            )
            if not waiting or self.closing:
                continue
            intent_id = self.scheduler.random.choice(waiting)

            def work(transaction: Transaction, intent_id: UUID = intent_id) -> Steps[None]:
                intent = yield from self._locked(transaction, intent_id)
                if intent.status == "OPEN":
                    direct = self.scheduler.random.random() < 1 / 2
                    transaction.put(self.intents, intent_id, Intent("CAPTURED", 1) if direct else Intent("AUTHORIZED"))

            try:
                yield from self._money.run(work)
            except (DatabaseGone, UnknownCommit):
                continue

    def _tell(self) -> Steps[None]:
        """Payments' events: each is told again and again, late and in any order."""
        while True:
            yield 0.07
            known = sorted(self.intents.rows, key=int)
            if not known:
                continue
            intent_id = self.scheduler.random.choice(known)
            try:
                status = yield from self._money.run(partial(self._told, intent_id))
            except (DatabaseGone, UnknownCommit):
                continue
            if status == "AUTHORIZED" or status == "CAPTURED" or status == "ENDED":  # noqa: PLR1714 - narrows
                yield self.scheduler.random.random() * 0.2
                yield from self._hear(intent_id, PaymentTold(status=status))

    def _told(self, intent_id: UUID, transaction: Transaction) -> Steps[Status]:
        """Claim what is to be told by writing, as the relay does: only what is safe is told (rule 2)."""
        intent = yield from self._locked(transaction, intent_id)
        transaction.put(self.intents, intent_id, intent)
        return intent.status

    def _trouble(self) -> None:
        name = self.scheduler.random.choices(_TROUBLES, (60, 4, 12))[0]
        database = self.scheduler.random.choice((self._orders, self._stock, self._money))
        match name:
            case "crash":
                self.scheduler.crash(self.scheduler.random.choice(self._ours), self.scheduler.random.random())
            case "failover":
                database.failover()
            case _:
                database.lose_standby()


def run(seed: int, steps: int, *, rules: Rules = CORRECT, faults: Faults | None = None) -> tuple[str, Shopping]:
    """Run a seed and bring it to rest; return what was broken, or nothing."""
    shopping = Shopping(seed, rules, faults or Faults(steps_between_troubles=60))
    try:
        shopping.scheduler.run(steps)
        shopping.rest()
    except Violation as error:
        return f"seed {seed}: {error}", shopping
    return "", shopping
