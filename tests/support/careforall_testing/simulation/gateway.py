"""The gateway: knows what truly happened to the money, and tells it twice, late, in any order, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments.domain import GENERIC, DeclineFact, DisputeFact, DisputeStatus, Fact, RefundFact, StateFact
from careforall_testing.simulation.faults import Faults
from careforall_testing.simulation.paying import Incoming

_AT = datetime(2030, 1, 1, tzinfo=UTC)
_MAX_DECLINES = 3
_LATEST = 3.0
_LONGEST_SKEW = 2.0

Truth = Literal["OPEN", "AUTHORIZED", "CAPTURED", "FAILED"]
Scene = Literal["authorise", "capture", "decline", "cancel", "refund", "dispute", "win", "lose"]


class Payment:
    """A payment as it truly is."""

    def __init__(self, payment_id: UUID, name: str, amount: Decimal, gateway: str) -> None:
        self.payment_id = payment_id
        self.name = name
        self.amount = amount
        self.gateway = gateway
        self.status: Truth = "OPEN"
        self.declines = 0
        self.refunds: list[tuple[str, Decimal]] = []
        self.dispute: tuple[Decimal, DisputeStatus] | None = None
        self.events = 0
        self.last_key = ""

    @property
    def refunded(self) -> Decimal:
        """What went back so far."""
        return sum((amount for _, amount in self.refunds), Decimal(0))

    @property
    def disputed(self) -> Decimal:
        """What the payer's bank holds back or took."""
        return self.dispute[0] if self.dispute is not None and self.dispute[1] != "WON" else Decimal(0)

    @property
    def askable(self) -> bool:
        """Whether this gateway answers questions; one behind the generic endpoint does not."""
        return self.gateway != GENERIC


class Letter(msgspec.Struct, frozen=True):
    """A webhook event on its way, not before `due`."""

    due: float
    event: Incoming


class Gateway:
    """All payments, and the events that are on their way to us."""

    def __init__(self, random: Random, faults: Callable[[], Faults], now: Callable[[], float]) -> None:
        self.payments: dict[UUID, Payment] = {}
        self.letters: list[Letter] = []
        self._random = random
        self._faults = faults
        self._now = now

    def open(self, payment_id: UUID, name: str, amount: Decimal, gateway: str) -> Payment:
        """Make the object that a payer can pay."""
        return self.payments.setdefault(payment_id, Payment(payment_id, name, amount, gateway))

    def play(self, payment: Payment) -> bool:
        """Let something happen to a payment; False when nothing can happen any more."""
        scenes = _scenes(payment)
        if not scenes:
            return False
        getattr(self, f"_{self._random.choice(scenes)}")(payment)
        return True

    def facts(self, payment: Payment) -> list[Fact]:
        """Answer a question: how the payment stands, each of its refunds, and its dispute."""
        if payment.status == "OPEN":
            return []
        found: list[Fact] = [StateFact(target=payment.status, amount=payment.amount, currency="EUR")]
        found += [self._refund_fact(name, amount) for name, amount in payment.refunds]
        return found + ([self._dispute_fact(payment, *payment.dispute)] if payment.dispute is not None else [])

    def next_letter(self) -> Letter | None:
        """Take a letter that is due, any of them."""
        due = [index for index, letter in enumerate(self.letters[:40]) if letter.due <= self._now()]
        if not due:
            return None
        index = self._random.choice(due)
        letter = self.letters[index]
        self.letters[index] = self.letters[-1]
        self.letters.pop()
        return letter

    def send(self, event: Incoming, within: float = _LATEST) -> None:
        """Put an event on its way."""
        self.letters.append(Letter(self._now() + self._random.random() * within, event))

    def _authorise(self, payment: Payment) -> None:
        payment.status = "AUTHORIZED"
        self._tell(payment, self._state(payment, "AUTHORIZED"))

    def _capture(self, payment: Payment) -> None:
        payment.status = "CAPTURED"
        self._tell(payment, self._state(payment, "CAPTURED"))

    def _decline(self, payment: Payment) -> None:
        payment.declines += 1
        if payment.declines == _MAX_DECLINES:
            payment.status = "FAILED"
        self._tell(payment, DeclineFact(reason="declined", at=self._moment()))

    def _cancel(self, payment: Payment) -> None:
        payment.status = "FAILED"
        self._tell(payment, self._state(payment, "FAILED"))

    def _refund(self, payment: Payment) -> None:
        left = payment.amount - payment.refunded
        amount = left if self._random.random() < 1 / 2 else min(left, Decimal(self._random.randint(1, 9)))
        name = f"{payment.name}/refund {len(payment.refunds) + 1}"
        payment.refunds.append((name, amount))
        if payment.gateway == GENERIC:
            payment.refunds[-1] = (name, left)
            self._tell(payment, self._state(payment, "REFUNDED"))
        else:
            self._tell(payment, self._refund_fact(name, amount))

    def _dispute(self, payment: Payment) -> None:
        self._judge(payment, payment.amount - payment.refunded, "OPEN")

    def _win(self, payment: Payment) -> None:
        self._judge(payment, payment.disputed, "WON")

    def _lose(self, payment: Payment) -> None:
        self._judge(payment, payment.disputed, "LOST")

    def _judge(self, payment: Payment, amount: Decimal, status: DisputeStatus) -> None:
        payment.dispute = (amount, status)
        self._tell(payment, self._dispute_fact(payment, amount, status))

    def _dispute_fact(self, payment: Payment, amount: Decimal, status: DisputeStatus) -> DisputeFact:
        return DisputeFact(
            gateway_dispute_id=f"{payment.name}/dispute", amount=amount, currency="EUR", status=status, at=self._moment()
        )

    def _refund_fact(self, name: str, amount: Decimal) -> RefundFact:
        return RefundFact(
            gateway_refund_id=name, refund_id=new_id(), amount=amount, currency="EUR", status="SUCCEEDED", at=self._moment()
        )

    def _state(self, payment: Payment, target: PaymentStatus) -> StateFact:
        return StateFact(target=target, amount=payment.amount, currency="EUR", at=self._moment())

    def _moment(self) -> datetime | None:
        """Return a timestamp that is skewed, or none: it may choose words, never effects."""
        if self._random.random() < 1 / 4:
            return None
        return _AT + timedelta(seconds=self._now() + self._random.uniform(-_LONGEST_SKEW, _LONGEST_SKEW))

    def _tell(self, payment: Payment, fact: Fact) -> None:
        """Send an event about a payment, with whatever goes wrong with events."""
        payment.events += 1
        faults, draw = self._faults(), self._random.random
        own_key = f"{payment.name}/event {payment.events}"
        reused = bool(payment.last_key) and draw() < faults.key_reused
        event = Incoming(
            id=new_id(),
            gateway=payment.gateway,
            key=payment.last_key if reused else own_key,
            event_key=own_key if reused else "",
            body=payment.events,
            payment_id=payment.payment_id,
            fact=fact,
        )
        payment.last_key = own_key
        if draw() >= faults.webhook_dropped:
            self.send(event)
        if draw() < faults.body_changed and isinstance(fact, StateFact):
            forged = msgspec.structs.replace(fact, amount=payment.amount + 1)
            self.send(msgspec.structs.replace(event, id=new_id(), body=-payment.events, fact=forged))
        while draw() < faults.webhook_doubled:
            self.send(msgspec.structs.replace(event, id=new_id()))


def _scenes(payment: Payment) -> list[Scene]:
    match payment.status:
        case "OPEN" if payment.askable:
            return ["authorise", "authorise", "capture", "capture", "capture", "decline", "cancel"]
        case "OPEN":
            return ["authorise", "capture", "capture", "cancel"]
        case "AUTHORIZED":
            return ["capture", "capture", "cancel"]
        case "CAPTURED":
            return _after_capture(payment)
        case _:
            return []


def _after_capture(payment: Payment) -> list[Scene]:
    """What is disputed is not refunded, unless the dispute was won."""
    if payment.dispute is not None and payment.dispute[1] == "OPEN":
        return ["win", "lose"]
    if payment.disputed or payment.refunded == payment.amount:
        return []
    return ["refund", "refund", "dispute"] if payment.askable and payment.dispute is None else ["refund"]
