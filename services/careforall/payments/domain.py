"""Rules of payments without I/O: states and steps, and what a fact from a gateway means to an intent (`judge`).

`STEPS` is the one transition table: the code walks it, the guarded UPDATE is given it, the migration repeats it under a test.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

import msgspec

from careforall.contracts.payments import Method, PaymentStatus, SubjectType
from careforall.kit.context import Cause

RefundStatus = Literal["PENDING", "SUCCEEDED", "FAILED"]
DisputeStatus = Literal["OPEN", "WON", "LOST"]
AttemptStatus = Literal["INITIATED", "OPEN", "UNKNOWN", "SUCCEEDED", "FAILED"]
Outcome = Literal["processed", "ignored", "rejected"]
AlarmKind = Literal[
    "amount_mismatch",
    "captured_after_failed",
    "captured_without_gift",
    "captured_without_order",
    "dispute_exceeds_captured",
    "dispute_reversed",
    "double_capture",
    "key_reused",
    "refund_exceeds_captured",
    "refund_failed",
    "refund_of_disputed",
    "refund_reversed",
    "unapplied_not_refunded",
]

ANOTHER_AMOUNT: Final = "amount_mismatch"
"""The alarm of what a gateway tells with another amount or currency than ours."""
GENERIC = "generic"
"""The gateway name of what was only told through the generic endpoint; nobody can be asked about it."""

STEPS: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    "INITIATED": frozenset({"AUTHORIZED", "FAILED"}),
    "AUTHORIZED": frozenset({"CAPTURED", "FAILED", "REFUNDED"}),
    "CAPTURED": frozenset({"REFUNDED"}),
    "FAILED": frozenset(),
    "REFUNDED": frozenset(),
}
"""The state machine of a payment. AUTHORIZED to REFUNDED is a void; partial refunds keep CAPTURED."""

OPEN_ATTEMPTS: frozenset[AttemptStatus] = frozenset({"INITIATED", "OPEN", "UNKNOWN"})


def _paths(start: PaymentStatus) -> dict[PaymentStatus, tuple[PaymentStatus, ...]]:
    """Return the shortest walk from `start` to each state it can reach, money before failure."""
    found: dict[PaymentStatus, tuple[PaymentStatus, ...]] = {}
    waiting: list[tuple[PaymentStatus, tuple[PaymentStatus, ...]]] = [(start, ())]
    for status, path in waiting:
        for after in sorted(STEPS[status]):
            if after not in found:
                found[after] = (*path, after)
                waiting.append((after, found[after]))
    return found


OBJECT_ENDED = "object_ended"
"""Code of a decline after which the gateway's object cannot be paid any more: the next attempt makes a new one."""
PATHS: Mapping[PaymentStatus, Mapping[PaymentStatus, tuple[PaymentStatus, ...]]] = {status: _paths(status) for status in STEPS}
"""Walks along legal steps: `PATHS["INITIATED"]["CAPTURED"]` is (AUTHORIZED, CAPTURED)."""

REACHABLE: tuple[tuple[PaymentStatus, PaymentStatus], ...] = tuple((start, end) for start in STEPS for end in PATHS[start])
"""All pairs one guarded UPDATE may write: legal steps, and walks of several taken at once."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Our record that somebody is to pay an amount."""

    id: UUID
    subject_type: SubjectType
    subject_id: UUID
    campaign_id: UUID | None
    """Whom a gift is for; None for orders, and where nobody said."""
    amount: Decimal
    currency: str
    gateway: str
    status: PaymentStatus
    status_at: datetime
    version: int
    captured_amount: Decimal
    refunded_amount: Decimal
    disputed_amount: Decimal
    """What payers' banks hold back or took back: disputes OPEN or LOST."""
    declines: int
    captured_via: str
    gateway_object: str
    method: Method | None
    title: str
    user_id: UUID | None
    livemode: bool
    reason: str
    correlation_id: str
    traceparent: str | None
    expires_at: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def cause(self) -> Cause:
        """The gift or order that it was made for, whose trace tells all of it."""
        return Cause(correlation_id=self.correlation_id, traceparent=self.traceparent)


class Fee(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway keeps of a capture; its currency is the one it pays out in, which need not be the payer's."""

    amount: Decimal
    currency: str


class StateFact(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway says that the payment is in a state."""

    target: PaymentStatus
    at: datetime | None = None
    amount: Decimal | None = None
    currency: str | None = None
    reason: str = ""
    gateway_object: str = ""
    method: Method | None = None
    fee: Fee | None = None
    """None where it is not told: some gateways tell it with the capture, others only when asked."""


class DeclineFact(msgspec.Struct, frozen=True, kw_only=True):
    """One try was declined; the intent stays payable until its attempts are used up (rule 10)."""

    at: datetime | None = None
    reason: str = ""
    code: str = ""
    gateway_object: str = ""
    last: bool = False
    """This decline uses up the last attempt."""


class RefundFact(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway says how one refund stands; `known` is what we knew of it."""

    gateway_refund_id: str
    refund_id: UUID
    """Our own id of the row, made here if the refund is new to us."""
    amount: Decimal
    currency: str
    status: RefundStatus
    known: RefundStatus | None = None
    unapplied: bool = False
    """We know it as a refund of money that came after its intent had failed."""
    answered: bool = False
    """Whoever ordered it is waiting for this very answer."""
    parked: bool = False
    """What we knew was more than there was to refund, and does not count."""
    of_another_amount: bool = False
    """The money it is of was not what was asked for (see `DisputeFact`)."""
    at: datetime | None = None
    reason: str = ""
    gateway_object: str = ""


class DisputeFact(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway says how one dispute stands; `known` is what we knew of it."""

    gateway_dispute_id: str
    dispute_id: UUID | None = None
    """Our own id of the row, given where the fact is applied."""
    amount: Decimal
    currency: str
    status: DisputeStatus
    known: DisputeStatus | None = None
    known_amount: Decimal | None = None
    parked: bool = False
    """What we knew was more than there was to dispute, and does not count."""
    of_another_amount: bool = False
    """Another amount than asked for was captured: what hangs on that does not prove that ours was."""
    at: datetime | None = None
    reason: str = ""
    gateway_object: str = ""


class NoFact(msgspec.Struct, frozen=True, kw_only=True):
    """An event that says nothing about a payment's state, or nothing we understand."""

    reason: str = "unhandled_type"
    at: datetime | None = None


Fact = StateFact | DeclineFact | RefundFact | DisputeFact | NoFact


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact does: an outcome in words, the steps to take, and whether a person must look at it."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    steps: tuple[PaymentStatus, ...] = ()
    refunded: Decimal = Decimal(0)
    """Money that went back by this fact."""
    refund_settles: RefundStatus | None = None
    """What the refund row becomes; None leaves it alone."""
    disputed: Decimal = Decimal(0)
    """Money that a dispute holds back by this fact; below zero where it comes back."""
    dispute_becomes: DisputeStatus | None = None
    """What the dispute row becomes; None leaves it alone."""
    unapplied: Decimal = Decimal(0)
    """Money that came after the intent had failed and belongs to no payment; below zero where it went back (rule 10)."""
    declined: bool = False
    alarm: AlarmKind | Literal[""] = ""


def judge(intent: Intent, fact: Fact) -> Verdict:
    """Decide what a fact does to an intent, whatever came before it and in whatever order (rules 8 to 10, 13)."""
    match fact:
        case StateFact():
            return _judge_state(intent, fact)
        case RefundFact():
            return _judge_refund(intent, fact)
        case DeclineFact():
            return _judge_decline(intent, fact)
        case DisputeFact():
            return _judge_dispute(intent, fact)
        case NoFact():
            return Verdict(outcome="ignored", reason=fact.reason, message="This event changes no payment.")


def _judge_state(intent: Intent, fact: StateFact) -> Verdict:
    if _differs(intent, fact.amount, fact.currency):
        return _MISMATCH
    state, target = intent.status, fact.target
    if target == state:
        return _DOUBLE if _another_object(intent, fact) else _DUPLICATES[state]
    if target in STEPS[state] or (state, target) == ("INITIATED", "CAPTURED"):
        return Verdict(outcome="processed", steps=PATHS[state][target], refunded=_given_back(intent, target))
    if state in PATHS[target] and (fact.at is None or fact.at < intent.status_at):
        return Verdict(outcome="ignored", reason="out_of_order", message=f"The payment went on to {state} already.")
    too_late = (state, target) == ("FAILED", "CAPTURED")
    return Verdict(
        outcome="rejected",
        reason="invalid_transition",
        message=f"A payment cannot go from {state} to {target}.",
        alarm="captured_after_failed" if too_late else "",
        unapplied=intent.amount if too_late else Decimal(0),
    )


def _judge_decline(intent: Intent, fact: DeclineFact) -> Verdict:
    """A decline that comes after the money did says nothing new; one on an ended intent neither."""
    if intent.status != "INITIATED":
        return Verdict(outcome="ignored", reason="out_of_order", message=f"The payment went on to {intent.status} already.")
    return Verdict(outcome="processed", declined=True, steps=("FAILED",) if fact.last else ())


def _judge_refund(intent: Intent, fact: RefundFact) -> Verdict:
    """Refunds are facts with ids of their own: a settled one proves the capture, whichever was told first.

    Unless another amount is known to have been captured: that is for a person, and so is what goes back of it. One that was
    parked is judged again whenever it is told again: the right amount may have been captured meanwhile.
    """
    if fact.currency != intent.currency or not fact.amount.is_finite() or fact.amount <= 0:
        return _MISMATCH
    if fact.known == fact.status and not fact.parked:
        return _same_refund(fact)
    if fact.known in {"SUCCEEDED", "FAILED"} and fact.known != fact.status:
        return _after_settling(fact)
    if fact.status != "SUCCEEDED":
        return Verdict(outcome="processed", refund_settles=fact.status, alarm=_not_refunded(fact))
    return _judge_settled_refund(intent, fact)


def _same_refund(fact: RefundFact) -> Verdict:
    return Verdict(outcome="ignored", reason="duplicate_transition", message=f"This refund is {fact.status} already.")


def _not_refunded(fact: RefundFact) -> AlarmKind | Literal[""]:
    """Return the alarm of a refund that failed: its payer and whoever ordered it were told before that it is on its way."""
    if fact.status != "FAILED" or fact.known != "PENDING" or fact.answered:
        return ""
    return "unapplied_not_refunded" if fact.unapplied else "refund_failed"


def _judge_settled_refund(intent: Intent, fact: RefundFact) -> Verdict:
    if fact.unapplied:
        return Verdict(outcome="processed", refund_settles="SUCCEEDED", unapplied=-fact.amount)
    walk = _walk_to_captured(intent, fact)
    captured = intent.amount if walk else intent.captured_amount
    if intent.refunded_amount + fact.amount > captured:
        return _same_refund(fact) if fact.parked else _OVER_REFUNDED
    back = intent.refunded_amount + fact.amount
    return Verdict(
        outcome="processed",
        steps=(*walk, *(("REFUNDED",) if back == captured else ())),
        refunded=fact.amount,
        refund_settles="SUCCEEDED",
        alarm="refund_of_disputed" if back + intent.disputed_amount > captured else "",
    )


def _after_settling(fact: RefundFact) -> Verdict:
    if fact.status == "PENDING":
        return Verdict(outcome="ignored", reason="out_of_order", message=f"This refund is {fact.known} already.")
    return Verdict(
        outcome="ignored",
        reason="refund_reversed",
        message=f"This refund was {fact.known} and is now said to be {fact.status}: kept for a person to look at.",
        alarm="refund_reversed",
    )


def _judge_dispute(intent: Intent, fact: DisputeFact) -> Verdict:
    """Disputes are facts with ids of their own: any of them proves the capture, OPEN and LOST ones lower the net (rule 13).

    One above what is there is parked, and judged again whenever it is told again: a refund or dispute that made it too large may
    turn out to be gone.
    """
    if fact.currency != intent.currency or not fact.amount.is_finite() or fact.amount <= 0:
        return _MISMATCH
    if fact.known_amount is not None and fact.amount != fact.known_amount:
        return _MISMATCH
    if fact.known == fact.status and not fact.parked:
        return _same_dispute(fact)
    if fact.known in {"WON", "LOST"} and fact.known != fact.status:
        return _after_deciding(fact)
    walk = _walk_to_captured(intent, fact)
    counted = fact.amount if fact.known == "OPEN" and not fact.parked else Decimal(0)
    counts = Decimal(0) if fact.status == "WON" else fact.amount
    room = (intent.amount if walk else intent.captured_amount) - intent.refunded_amount - intent.disputed_amount
    if counts - counted > max(room, Decimal(0)):
        return _same_dispute(fact) if fact.known == fact.status else _over_disputed(fact)
    return Verdict(outcome="processed", steps=walk, disputed=counts - counted, dispute_becomes=fact.status)


def _same_dispute(fact: DisputeFact) -> Verdict:
    return Verdict(outcome="ignored", reason="duplicate_transition", message=f"This dispute is {fact.status} already.")


def _over_disputed(fact: DisputeFact) -> Verdict:
    return Verdict(
        outcome="ignored",
        reason="dispute_exceeds_captured",
        message="More is disputed than was captured and not refunded: kept for a person to look at.",
        alarm="dispute_exceeds_captured",
        dispute_becomes=fact.status,
    )


def _after_deciding(fact: DisputeFact) -> Verdict:
    if fact.status == "OPEN":
        return Verdict(outcome="ignored", reason="out_of_order", message=f"This dispute is {fact.known} already.")
    return Verdict(
        outcome="ignored",
        reason="dispute_reversed",
        message=f"This dispute was {fact.known} and is now said to be {fact.status}: kept for a person to look at.",
        alarm="dispute_reversed",
    )


def _walk_to_captured(intent: Intent, fact: RefundFact | DisputeFact) -> tuple[PaymentStatus, ...]:
    proved = intent.status in {"INITIATED", "AUTHORIZED"} and not fact.of_another_amount
    return PATHS[intent.status]["CAPTURED"] if proved else ()


def _given_back(intent: Intent, target: PaymentStatus) -> Decimal:
    """A captured payment said to be REFUNDED gave back all that was left; a void gives nothing back."""
    return intent.captured_amount - intent.refunded_amount if target == "REFUNDED" else Decimal(0)


def _differs(intent: Intent, amount: Decimal | None, currency: str | None) -> bool:
    if currency is not None and currency != intent.currency:
        return True
    return amount is not None and (not amount.is_finite() or amount != intent.amount)


def _another_object(intent: Intent, fact: StateFact) -> bool:
    """Whether a second object of a gateway captured what a first one had captured."""
    return fact.target == "CAPTURED" and paid_elsewhere(intent, fact.gateway_object)


def paid_elsewhere(intent: Intent, gateway_object: str) -> bool:
    """Whether a captured intent was paid by anything but this object of a gateway; what is told generically has no object."""
    named = bool(intent.gateway_object) or intent.captured_via == GENERIC
    return named and bool(gateway_object) and gateway_object != intent.gateway_object


def after(intent: Intent, fact: Fact, verdict: Verdict, *, via: str, now: datetime) -> Intent:
    """Return the intent after a processed fact; each step is a version, and so is a partial refund, a dispute or a decline."""
    steps = verdict.steps
    only_amount = 1 if _adds_version(verdict) else 0
    if not steps and not only_amount:
        return intent
    captures = "CAPTURED" in steps
    changed = msgspec.structs.replace(
        intent,
        version=intent.version + len(steps) + only_amount,
        declines=intent.declines + (1 if verdict.declined else 0),
        captured_amount=intent.amount if captures else intent.captured_amount,
        refunded_amount=intent.refunded_amount + verdict.refunded,
        disputed_amount=intent.disputed_amount + verdict.disputed,
    )
    if not steps:
        return changed
    object_told = getattr(fact, "gateway_object", "")
    return msgspec.structs.replace(
        changed,
        status=steps[-1],
        status_at=fact.at or now,
        captured_via=via if captures or "AUTHORIZED" in steps else intent.captured_via,
        gateway_object=object_told if object_told and (captures or "AUTHORIZED" in steps) else intent.gateway_object,
        method=getattr(fact, "method", None) or intent.method,
        reason=getattr(fact, "reason", "") if steps[-1] == "FAILED" else intent.reason,
    )


def _adds_version(verdict: Verdict) -> bool:
    """Whether something besides the steps is told: a decline, a dispute, or a refund that leaves money with us."""
    disputed = verdict.dispute_becomes is not None
    return verdict.declined or disputed or (verdict.refunded > 0 and "REFUNDED" not in verdict.steps)


_MISMATCH = Verdict(
    outcome="rejected",
    reason="amount_mismatch",
    message="Amount or currency are not those of the payment: kept, not applied.",
    alarm=ANOTHER_AMOUNT,
)
_OVER_REFUNDED = Verdict(
    outcome="ignored",
    reason="refund_exceeds_captured",
    message="More was refunded than captured: kept for a person to look at.",
    alarm="refund_exceeds_captured",
    refund_settles="SUCCEEDED",
)
_DOUBLE = Verdict(
    outcome="ignored",
    reason="duplicate_transition",
    message="Another object of the gateway captured this payment already: kept for a person to look at.",
    alarm="double_capture",
)
_DUPLICATES: Mapping[PaymentStatus, Verdict] = {
    status: Verdict(outcome="ignored", reason="duplicate_transition", message=f"The payment is {status} already.")
    for status in STEPS
}
