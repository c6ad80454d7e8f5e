"""Turns facts into rows: the one place where a verdict becomes transitions, refunds, disputes, bookings, alarms and events.

Called by the webhook intake, by whoever asked a gateway, and by the expiry job; each inside a transaction that holds the intent.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments import domain, events, ledger
from careforall.payments.domain import (
    ANOTHER_AMOUNT,
    GENERIC,
    OPEN_ATTEMPTS,
    DeclineFact,
    DisputeFact,
    Fact,
    Intent,
    NoFact,
    RefundFact,
    StateFact,
    Verdict,
)
from careforall.payments.metrics import ALARMS
from careforall.payments.records import Alarm, Attempt, Changes, Dispute, Refund, Transition

_PAID: frozenset[PaymentStatus] = frozenset({"AUTHORIZED", "CAPTURED"})


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Who says a fact: which gateway, by what, and which stored event if it was one."""

    via: str
    cause: str
    event_id: UUID | None
    received_at: datetime


class Effects:
    """Applies facts to locked intents and collects what is to be written.

    Args:
        attempts: The newest attempt of each intent, where there is one.
        refunds: All refunds of intents that refund facts are about.
        disputes: All disputes of intents that dispute facts are about.
        fees: The intents, of those that facts tell fees of, whose fee is booked.
        mismatched: The intents, of those that refunds and disputes are about, of which another amount was captured.
        max_attempts: Declines after which an intent fails.
    """

    def __init__(
        self,
        *,
        attempts: dict[UUID, Attempt],
        refunds: Iterable[Refund],
        disputes: Iterable[Dispute],
        fees: Iterable[UUID],
        mismatched: Iterable[UUID] = (),
        max_attempts: int,
    ) -> None:
        self.changes = Changes()
        self._attempts = attempts
        self._refunds = {refund.id: refund for refund in refunds}
        self._by_gateway_id = {(one.intent_id, one.gateway_refund_id): one for one in self._refunds.values()}
        self._disputes = {(one.intent_id, one.gateway_dispute_id): one for one in disputes}
        self._fees = set(fees)
        self._mismatched = set(mismatched)
        self._max_attempts = max_attempts

    def now(self, intent: Intent) -> Intent:
        """Return an intent as it stands after the facts applied so far."""
        step = self.changes.intents.get(intent.id)
        return step.after if step else intent

    def apply(self, read: Intent, fact: Fact, source: Source) -> Verdict:
        """Apply one fact and return what it did."""
        before = self.now(read)
        fact = self._completed(before, fact)
        verdict = domain.judge(before, fact)
        self._alarm(before, fact, verdict, source)
        if _is_another_amount(fact, verdict):
            self._mismatched.add(before.id)
        if verdict.refund_settles is not None and isinstance(fact, RefundFact):
            self._settle_refund(before, fact, verdict, source)
        if verdict.dispute_becomes is not None and isinstance(fact, DisputeFact):
            self._put_dispute(before, fact, verdict, source)
        if verdict.unapplied > 0 and isinstance(fact, StateFact):
            self._hold_unapplied(before, fact, verdict, source)
        if verdict.outcome == "processed":
            self._step(before, fact, verdict, source)
        self._book_fee(self.now(read), fact, source)
        return verdict

    def _completed(self, intent: Intent, fact: Fact) -> Fact:
        """Add what only our rows know: whether a decline is the last allowed one, and how we knew a refund or dispute."""
        if isinstance(fact, DeclineFact):
            return msgspec.structs.replace(fact, last=intent.declines + 1 >= self._max_attempts)
        if isinstance(fact, RefundFact | DisputeFact) and intent.id in self._mismatched:
            fact = msgspec.structs.replace(fact, of_another_amount=True)
        if isinstance(fact, RefundFact):
            known = self._by_gateway_id.get((intent.id, fact.gateway_refund_id)) or self._refunds.get(fact.refund_id)
            if known is not None and known.intent_id == intent.id:
                return msgspec.structs.replace(
                    fact, refund_id=known.id, known=known.status, unapplied=known.unapplied, parked=known.parked
                )
            if known is not None:
                return msgspec.structs.replace(fact, refund_id=new_id())
        if isinstance(fact, DisputeFact):
            return _known_dispute(fact, self._disputes.get((intent.id, fact.gateway_dispute_id)))
        return fact

    def _step(self, before: Intent, fact: Fact, verdict: Verdict, source: Source) -> None:
        after = domain.after(before, fact, verdict, via=source.via, now=source.received_at)
        refund_id = self._refund_of(before, fact, verdict, source)
        self.changes.put(before, after)
        self.changes.transitions += _transitions(before, fact, verdict, source)
        self.changes.outbox += events.told(before, after, fact, verdict, refund_id=refund_id, now=source.received_at)
        at = fact.at or source.received_at
        self.changes.entries += ledger.bookings(before, after, fact, verdict, via=source.via, refund_id=refund_id, at=at)
        self._note_attempt(before, fact, verdict, source)

    def _refund_of(self, intent: Intent, fact: Fact, verdict: Verdict, source: Source) -> UUID | None:
        """Return the refund behind money that went back; a payment said to be REFUNDED as a whole gets a row made here."""
        if isinstance(fact, RefundFact):
            return fact.refund_id
        if not verdict.refunded:
            return None
        whole = Refund(
            id=new_id(),
            intent_id=intent.id,
            gateway=source.via,
            gateway_refund_id=f"whole_{source.event_id or intent.id}",
            amount=verdict.refunded,
            status="SUCCEEDED",
            reason=source.cause[:200],
        )
        self._put_refund(whole)
        return whole.id

    def _settle_refund(self, intent: Intent, fact: RefundFact, verdict: Verdict, source: Source) -> None:
        ours = self._refunds.get(fact.refund_id)
        row = ours or Refund(
            id=fact.refund_id,
            intent_id=intent.id,
            gateway=source.via,
            gateway_refund_id=fact.gateway_refund_id,
            amount=fact.amount,
            status=fact.status,
            reason=fact.reason[:200],
        )
        settled = verdict.refund_settles or row.status
        parked = verdict.outcome != "processed"
        self._put_refund(msgspec.structs.replace(row, gateway_refund_id=fact.gateway_refund_id, status=settled, parked=parked))

    def _put_refund(self, refund: Refund) -> None:
        self._refunds[refund.id] = refund
        self._by_gateway_id[(refund.intent_id, refund.gateway_refund_id)] = refund
        self.changes.refunds[refund.id] = refund

    def _hold_unapplied(self, intent: Intent, fact: StateFact, verdict: Verdict, source: Source) -> None:
        """Book money that came too late, and order its refund; once for each object that captured, however often it is told."""
        key = f"unapplied|{intent.id}|{source.via}|{fact.gateway_object}"
        if any(refund.request_key == key for refund in self._refunds.values()):
            return
        at = fact.at or source.received_at
        self.changes.entries += ledger.bookings(intent, intent, fact, verdict, via=source.via, refund_id=None, at=at)
        self._put_refund(
            Refund(
                id=new_id(),
                intent_id=intent.id,
                gateway=source.via,
                gateway_refund_id=None,
                amount=verdict.unapplied,
                status="PENDING",
                reason="captured after the payment had failed",
                requested_by="payments",
                request_key=key,
                unapplied=True,
                gateway_object=fact.gateway_object,
            )
        )

    def _book_fee(self, intent: Intent, fact: Fact, source: Source) -> None:
        """Book what the gateway keeps, once: also by a fact that is old news in everything else."""
        fee = ledger.fee_of(intent, fact, via=source.via)
        if fee is not None and intent.id not in self._fees:
            self._fees.add(intent.id)
            self.changes.entries.append(ledger.fee_booking(intent, fee, via=source.via, at=fact.at or source.received_at))

    def _put_dispute(self, intent: Intent, fact: DisputeFact, verdict: Verdict, source: Source) -> None:
        key = (intent.id, fact.gateway_dispute_id)
        at = fact.at or source.received_at
        row = self._disputes.get(key) or Dispute(
            id=fact.dispute_id or new_id(),
            intent_id=intent.id,
            gateway=source.via,
            gateway_dispute_id=fact.gateway_dispute_id,
            amount=fact.amount,
            status=fact.status,
            reason=fact.reason[:200],
            opened_at=at,
        )
        parked, settled_at = verdict.outcome != "processed", None if fact.status == "OPEN" else at
        self._disputes[key] = msgspec.structs.replace(row, status=fact.status, parked=parked, settled_at=settled_at)
        self.changes.disputes[row.id] = self._disputes[key]

    def _alarm(self, intent: Intent, fact: Fact, verdict: Verdict, source: Source) -> None:
        if not verdict.alarm:
            return
        ALARMS[verdict.alarm].inc()
        detail = f"{source.cause}: {getattr(fact, 'amount', None)} {getattr(fact, 'currency', None)} {verdict.message}"
        key = str(source.event_id or getattr(fact, "refund_id", intent.id))
        self.changes.alarms.append(
            Alarm(kind=verdict.alarm, gateway=source.via, subject_key=key, payment_id=intent.id, detail=detail[:500])
        )

    def _note_attempt(self, intent: Intent, fact: Fact, verdict: Verdict, source: Source) -> None:
        """Keep the attempt in step with what its gateway says."""
        if isinstance(fact, DeclineFact):
            self._put_attempt(_declined(intent, self._attempts.get(intent.id), fact, source))
            return
        status = _attempt_after(verdict)
        if status is None or isinstance(fact, NoFact):
            return
        last = self._attempts.get(intent.id)
        if source.via == GENERIC:
            self._put_attempt(Attempt(intent_id=intent.id, number=0, gateway=GENERIC, status=status, reason=fact.reason))
        elif last is not None:
            named = fact.gateway_object or last.gateway_object
            reason = fact.reason if isinstance(fact, StateFact) else last.reason
            self._put_attempt(msgspec.structs.replace(last, status=status, gateway_object=named, reason=reason))

    def _put_attempt(self, attempt: Attempt) -> None:
        if attempt.number:
            self._attempts[attempt.intent_id] = attempt
        self.changes.attempts[attempt.intent_id, attempt.number] = attempt


def _is_another_amount(fact: Fact, verdict: Verdict) -> bool:
    return isinstance(fact, StateFact) and fact.target == "CAPTURED" and verdict.alarm == ANOTHER_AMOUNT


def _known_dispute(fact: DisputeFact, known: Dispute | None) -> DisputeFact:
    if known is None:
        return msgspec.structs.replace(fact, dispute_id=new_id())
    return msgspec.structs.replace(fact, dispute_id=known.id, known=known.status, known_amount=known.amount, parked=known.parked)


def _attempt_after(verdict: Verdict) -> domain.AttemptStatus | None:
    """What the steps a fact caused say about the open attempt: whoever tells of money, a late dispute too, says that it came."""
    if verdict.steps and verdict.steps[-1] == "FAILED":
        return "FAILED"
    return "SUCCEEDED" if not _PAID.isdisjoint(verdict.steps) else None


def _declined(intent: Intent, last: Attempt | None, fact: DeclineFact, source: Source) -> Attempt:
    """The open attempt fails; a decline without one is a try we only heard of."""
    if last is not None and last.status in OPEN_ATTEMPTS:
        named = fact.gateway_object or last.gateway_object
        return msgspec.structs.replace(last, status="FAILED", gateway_object=named, reason=fact.reason, code=fact.code)
    return Attempt(
        intent_id=intent.id,
        number=last.number + 1 if last else 1,
        gateway=source.via,
        status="FAILED",
        gateway_object=fact.gateway_object,
        redirect_url=last.redirect_url if last and last.gateway_object == fact.gateway_object else "",
        reason=fact.reason,
        code=fact.code,
    )


def _transitions(intent: Intent, fact: Fact, verdict: Verdict, source: Source) -> list[Transition]:
    version = intent.version + (1 if verdict.declined else 0)
    status = intent.status
    found: list[Transition] = []
    for step in verdict.steps:
        version += 1
        found.append(
            Transition(
                payment_id=intent.id,
                from_status=status,
                to_status=step,
                version=version,
                cause=source.cause,
                event_id=source.event_id,
                event_time=fact.at,
            )
        )
        status = step
    return found
