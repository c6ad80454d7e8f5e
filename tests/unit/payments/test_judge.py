"""What a fact does to a payment: the table as a whole, and every order in which a history can arrive."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments import domain
from careforall.payments.domain import DeclineFact, Fact, Intent, RefundFact, StateFact, Verdict, judge

STATUSES: tuple[PaymentStatus, ...] = get_args(PaymentStatus)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE, LATER = NOW - timedelta(minutes=10), NOW + timedelta(minutes=10)
AMOUNT = Decimal("25.00")

LEGAL = {
    ("INITIATED", "AUTHORIZED"),
    ("INITIATED", "FAILED"),
    ("AUTHORIZED", "CAPTURED"),
    ("AUTHORIZED", "FAILED"),
    ("AUTHORIZED", "REFUNDED"),
    ("CAPTURED", "REFUNDED"),
}
"""Written down a second time on purpose: the page of the design, not the code."""

ANCESTORS: dict[str, set[str]] = {
    "INITIATED": set(),
    "AUTHORIZED": {"INITIATED"},
    "CAPTURED": {"INITIATED", "AUTHORIZED"},
    "FAILED": {"INITIATED", "AUTHORIZED"},
    "REFUNDED": {"INITIATED", "AUTHORIZED", "CAPTURED"},
}


def intent(status: PaymentStatus = "INITIATED", **changes: Any) -> Intent:
    captured = AMOUNT if status in {"CAPTURED", "REFUNDED"} else Decimal(0)
    facts: dict[str, Any] = {
        "id": new_id(),
        "subject_type": "DONATION",
        "subject_id": new_id(),
        "campaign_id": None,
        "amount": AMOUNT,
        "currency": "EUR",
        "gateway": "simulator",
        "status": status,
        "status_at": NOW,
        "version": 1,
        "captured_amount": captured,
        "refunded_amount": captured if status == "REFUNDED" else Decimal(0),
        "disputed_amount": Decimal(0),
        "declines": 0,
        "captured_via": "",
        "gateway_object": "",
        "method": None,
        "title": "",
        "user_id": None,
        "livemode": False,
        "reason": "",
        "correlation_id": "",
        "traceparent": None,
        "expires_at": LATER,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Intent(**{**facts, **changes})


def expected(state: str, target: str, at: datetime | None) -> tuple[str, str]:
    if state == target:
        return "ignored", "duplicate_transition"
    if (state, target) in LEGAL or (state, target) == ("INITIATED", "CAPTURED"):
        return "processed", ""
    if target in ANCESTORS[state] and (at is None or at < NOW):
        return "ignored", "out_of_order"
    return "rejected", "invalid_transition"


@pytest.mark.parametrize("at", [None, BEFORE, NOW, LATER])
@pytest.mark.parametrize("target", STATUSES)
@pytest.mark.parametrize("state", STATUSES)
def test_every_pair_of_states_has_its_outcome(state: PaymentStatus, target: PaymentStatus, at: datetime | None) -> None:
    verdict = judge(intent(state), StateFact(target=target, at=at))
    assert (verdict.outcome, verdict.reason) == expected(state, target, at)
    assert bool(verdict.message) == (verdict.outcome != "processed")
    assert [verdict.outcome == "processed"] == [bool(verdict.steps)]


def test_the_table_is_the_one_of_the_design() -> None:
    assert {(start, end) for start, ends in domain.STEPS.items() for end in ends} == LEGAL
    assert {(start, end) for end, starts in ANCESTORS.items() for start in starts} == set(domain.REACHABLE)


@pytest.mark.parametrize(("start", "end"), domain.REACHABLE)
def test_walks_take_legal_steps_only(start: PaymentStatus, end: PaymentStatus) -> None:
    walk = (start, *domain.PATHS[start][end])
    assert walk[-1] == end
    assert set(itertools.pairwise(walk)) <= LEGAL


def test_a_capture_on_an_initiated_payment_walks_both_steps() -> None:
    before = intent()
    fact = StateFact(target="CAPTURED", at=BEFORE)
    after = domain.after(before, fact, judge(before, fact), via="simulator", now=NOW)
    assert (after.status, after.version, after.captured_amount, after.status_at) == ("CAPTURED", 3, AMOUNT, BEFORE)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("24.99", "EUR"),
        ("25.01", "EUR"),
        ("25.00", "USD"),
        ("NaN", "EUR"),
        ("sNaN", "EUR"),
        ("Infinity", "EUR"),
        ("-25.00", "EUR"),
    ],
)
@pytest.mark.parametrize("state", STATUSES)
def test_another_amount_or_currency_is_never_applied(state: PaymentStatus, amount: str, currency: str) -> None:
    verdict = judge(intent(state), StateFact(target="CAPTURED", amount=Decimal(amount), currency=currency))
    assert (verdict.outcome, verdict.reason, verdict.alarm, verdict.steps) == (
        "rejected",
        "amount_mismatch",
        "amount_mismatch",
        (),
    )


def test_an_equal_amount_written_otherwise_is_ours() -> None:
    assert judge(intent(), StateFact(target="CAPTURED", amount=Decimal("25.000"), currency="EUR")).outcome == "processed"


def test_an_intent_never_leaves_failed_and_a_capture_on_it_alarms() -> None:
    verdict = judge(intent("FAILED"), StateFact(target="CAPTURED"))
    assert (verdict.outcome, verdict.alarm, verdict.steps) == ("rejected", "captured_after_failed", ())


def test_a_second_object_that_captures_alarms() -> None:
    captured = intent("CAPTURED", gateway_object="pi_1")
    assert judge(captured, StateFact(target="CAPTURED", gateway_object="pi_2")).alarm == "double_capture"
    assert judge(captured, StateFact(target="CAPTURED", gateway_object="pi_1")).alarm == ""


def test_a_gateway_that_captures_what_was_paid_elsewhere_alarms() -> None:
    captured = intent("CAPTURED", captured_via=domain.GENERIC)
    assert judge(captured, StateFact(target="CAPTURED", gateway_object="pi_2")).alarm == "double_capture"
    assert judge(captured, StateFact(target="CAPTURED")).alarm == ""


def test_a_decline_ends_the_try_and_only_the_last_one_ends_the_intent() -> None:
    declined = judge(intent(), DeclineFact(reason="no money"))
    assert (declined.outcome, declined.declined, declined.steps) == ("processed", True, ())
    assert judge(intent(), DeclineFact(last=True)).steps == ("FAILED",)
    for status in STATUSES[1:]:
        assert judge(intent(status), DeclineFact()).outcome == "ignored"


def refund(amount: str = "10.00", **changes: Any) -> RefundFact:
    facts = {
        "gateway_refund_id": "re_1",
        "refund_id": new_id(),
        "amount": Decimal(amount),
        "currency": "EUR",
        "status": "SUCCEEDED",
    }
    return RefundFact(**{**facts, **changes})


def test_a_settled_refund_proves_the_capture_before_it_was_told() -> None:
    verdict = judge(intent(), refund())
    assert (verdict.steps, verdict.refunded) == (("AUTHORIZED", "CAPTURED"), Decimal("10.00"))
    assert judge(intent("AUTHORIZED"), refund("25.00")).steps == ("CAPTURED", "REFUNDED")


@pytest.mark.parametrize("state", ["FAILED", "CAPTURED", "REFUNDED"])
def test_a_settled_refund_above_the_captured_amount_is_kept_and_alarms(state: PaymentStatus) -> None:
    verdict = judge(intent(state), refund("25.01"))
    assert (verdict.outcome, verdict.alarm, verdict.steps, verdict.refund_settles) == (
        "ignored",
        "refund_exceeds_captured",
        (),
        "SUCCEEDED",
    )


@pytest.mark.parametrize(
    ("known", "status", "outcome", "reason", "alarm"),
    [
        (None, "PENDING", "processed", "", ""),
        ("PENDING", "PENDING", "ignored", "duplicate_transition", ""),
        ("PENDING", "FAILED", "processed", "", "refund_failed"),
        ("PENDING", "SUCCEEDED", "processed", "", ""),
        ("SUCCEEDED", "SUCCEEDED", "ignored", "duplicate_transition", ""),
        ("SUCCEEDED", "PENDING", "ignored", "out_of_order", ""),
        ("SUCCEEDED", "FAILED", "ignored", "refund_reversed", "refund_reversed"),
        ("FAILED", "FAILED", "ignored", "duplicate_transition", ""),
        ("FAILED", "PENDING", "ignored", "out_of_order", ""),
        ("FAILED", "SUCCEEDED", "ignored", "refund_reversed", "refund_reversed"),
    ],
)
def test_every_pair_of_refund_states_has_its_outcome(known: Any, status: Any, outcome: str, reason: str, alarm: str) -> None:
    verdict = judge(intent("CAPTURED"), refund(known=known, status=status))
    assert (verdict.outcome, verdict.reason, verdict.alarm) == (outcome, reason, alarm)


def test_who_is_told_at_once_that_a_refund_is_refused_needs_no_alarm() -> None:
    assert judge(intent("CAPTURED"), refund(known="PENDING", status="FAILED", answered=True)).alarm == ""


MOVES: dict[str, tuple[set[str], str, Fact]] = {
    "decline": ({"INITIATED"}, "INITIATED", DeclineFact(at=NOW)),
    "hold": ({"INITIATED"}, "AUTHORIZED", StateFact(target="AUTHORIZED", at=NOW)),
    "charge": ({"INITIATED", "AUTHORIZED"}, "CAPTURED", StateFact(target="CAPTURED", at=NOW)),
    "cancel": ({"INITIATED", "AUTHORIZED"}, "FAILED", StateFact(target="FAILED", at=NOW)),
}


class Gateway:
    """A gateway that takes only legal steps and tells of each."""

    def __init__(self) -> None:
        self.status = "INITIATED"
        self.refunds: dict[str, str] = {}

    def take(self, step: str) -> Fact | None:
        """Take a step and tell of it; None where it is not possible."""
        if step not in MOVES:
            return self._refund(*step.split(":"))
        states, target, fact = MOVES[step]
        if self.status not in states:
            return None
        self.status = target
        return fact

    def _refund(self, name: str, status: str) -> Fact | None:
        before = self.refunds.get(name, "")
        going = sum(one != "FAILED" for one in self.refunds.values())
        opens = not before and self.status == "CAPTURED" and going * 10 + 10 <= AMOUNT
        if not (opens or (before == "PENDING" and status != "PENDING")):
            return None
        self.refunds[name] = status
        return refund(gateway_refund_id=name, status=status, at=NOW)


LONGEST = 6
STEPS = ("decline", "hold", "charge", "cancel", "re_1:PENDING", "re_1:SUCCEEDED", "re_1:FAILED", "re_2:PENDING", "re_2:SUCCEEDED")


def histories(length: int) -> Iterator[list[Fact]]:
    """All legal histories of exactly `length` events."""
    for steps in itertools.product(STEPS, repeat=length):
        gateway = Gateway()
        told = [gateway.take(step) for step in steps]
        if all(fact is not None for fact in told):
            yield [fact for fact in told if fact is not None]


def truth_of(history: Sequence[Fact]) -> tuple[str, Decimal]:
    states = {fact.target for fact in history if isinstance(fact, StateFact)}
    latest: dict[str, str] = {}
    for fact in history:
        if isinstance(fact, RefundFact):
            latest[fact.gateway_refund_id] = fact.status
    status = next((one for one in ("CAPTURED", "FAILED", "AUTHORIZED") if one in states), "INITIATED")
    return status, Decimal(10) * sum(status == "SUCCEEDED" for status in latest.values())


def folded(told: Iterable[Fact]) -> tuple[Intent, list[Verdict]]:
    """Apply facts in the order given, knowing refunds as rows do."""
    state, known, verdicts = intent(), dict[str, Any](), []
    for original in told:
        fact = original
        if isinstance(fact, RefundFact):
            fact = msgspec.structs.replace(fact, known=known.get(fact.gateway_refund_id))
        verdict = judge(state, fact)
        walk = (state.status, *verdict.steps)
        assert set(itertools.pairwise(walk)) <= LEGAL
        if isinstance(fact, RefundFact) and verdict.refund_settles:
            known[fact.gateway_refund_id] = verdict.refund_settles
        if verdict.outcome == "processed":
            state = domain.after(state, fact, verdict, via="simulator", now=NOW)
        verdicts.append(verdict)
    return state, verdicts


def skewed(history: Sequence[Fact], seed: int) -> list[Fact]:
    """The same facts by clocks that are up to ten minutes wrong."""
    chance = random.Random(seed)
    return [msgspec.structs.replace(fact, at=NOW + timedelta(seconds=chance.randint(-600, 600))) for fact in history]


@pytest.mark.parametrize("length", range(1, LONGEST + 1))
def test_every_order_of_every_legal_history_ends_in_the_gateways_state(length: int) -> None:
    seen = 0
    for number, history in enumerate(histories(length)):
        wanted = truth_of(history)
        for order in itertools.permutations(history):
            for told in (order, skewed(order, number)) if length < LONGEST else (skewed(order, number),):
                state, _ = folded(told)
                assert (state.status, state.refunded_amount) == wanted, [type(fact).__name__ for fact in told]
                seen += 1
    assert seen > 0


def test_repeats_of_everything_change_nothing() -> None:
    for history in histories(4):
        once, _ = folded(history)
        twice, _ = folded([*history, *history])
        assert (twice.status, twice.refunded_amount, twice.captured_amount) == (
            once.status,
            once.refunded_amount,
            once.captured_amount,
        )
