"""What a dispute does to a payment: every pair of its states, every order of a history, and what is too much to be true."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, get_args

import pytest

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments.domain import DisputeFact, Fact, RefundFact, StateFact, judge
from careforall.payments.effects import Effects, Source
from careforall.payments.records import Attempt
from careforall_testing.desk import AMOUNT, NOTHING, NOW, Desk, intent

STATUSES: tuple[PaymentStatus, ...] = get_args(PaymentStatus)


def dispute(amount: str = "15.00", **changes: Any) -> DisputeFact:
    facts = {"gateway_dispute_id": "dp_1", "amount": Decimal(amount), "currency": "EUR", "status": "OPEN"}
    return DisputeFact(**{**facts, **changes})


@pytest.mark.parametrize(
    ("known", "status", "outcome", "reason", "moves"),
    [
        (None, "OPEN", "processed", "", "15.00"),
        (None, "LOST", "processed", "", "15.00"),
        (None, "WON", "processed", "", "0"),
        ("OPEN", "OPEN", "ignored", "duplicate_transition", "0"),
        ("OPEN", "LOST", "processed", "", "0"),
        ("OPEN", "WON", "processed", "", "-15.00"),
        ("LOST", "OPEN", "ignored", "out_of_order", "0"),
        ("LOST", "LOST", "ignored", "duplicate_transition", "0"),
        ("LOST", "WON", "ignored", "dispute_reversed", "0"),
        ("WON", "OPEN", "ignored", "out_of_order", "0"),
        ("WON", "LOST", "ignored", "dispute_reversed", "0"),
        ("WON", "WON", "ignored", "duplicate_transition", "0"),
    ],
)
def test_every_pair_of_dispute_states_has_its_outcome(known: Any, status: Any, outcome: str, reason: str, moves: str) -> None:
    held = Decimal("15.00") if known in {"OPEN", "LOST"} else NOTHING
    verdict = judge(intent(disputed_amount=held), dispute(known=known, status=status))
    assert (verdict.outcome, verdict.reason, verdict.disputed) == (outcome, reason, Decimal(moves))
    assert verdict.alarm == ("dispute_reversed" if reason == "dispute_reversed" else "")
    assert (verdict.dispute_becomes is not None) == (outcome == "processed")


@pytest.mark.parametrize("status", ["OPEN", "LOST", "WON"])
def test_a_dispute_proves_the_capture_before_it_was_told(status: Any) -> None:
    assert judge(intent("INITIATED"), dispute(status=status)).steps == ("AUTHORIZED", "CAPTURED")
    assert judge(intent("AUTHORIZED"), dispute(status=status)).steps == ("CAPTURED",)


def test_a_dispute_that_proves_the_capture_ends_the_attempt_that_made_it() -> None:
    unpaid = intent("INITIATED")
    tried = Attempt(intent_id=unpaid.id, number=1, gateway="simulator", status="OPEN", gateway_object="pi_1")
    effects = Effects(attempts={unpaid.id: tried}, refunds=(), disputes=(), fees=(), max_attempts=3)
    effects.apply(unpaid, dispute(dispute_id=new_id()), Source(via="simulator", cause="told", event_id=None, received_at=NOW))
    assert effects.changes.attempts[unpaid.id, 1].status == "SUCCEEDED"


def test_a_dispute_is_a_version_and_an_event_and_no_state() -> None:
    desk = Desk(intent())
    for version, status in ((4, "OPEN"), (5, "LOST")):
        after = desk.tell([dispute(status=status)])
        assert (after.status, after.version, after.disputed_amount) == ("CAPTURED", version, Decimal("15.00"))
    assert desk.events == ["payments.disputed"] * 2
    assert desk.net == Decimal("10.00")


@pytest.mark.parametrize("status", ["OPEN", "LOST"])
@pytest.mark.parametrize(
    ("state", "changes", "amount"),
    [
        ("CAPTURED", {}, "25.01"),
        ("CAPTURED", {"refunded_amount": Decimal(15)}, "10.01"),
        ("CAPTURED", {"disputed_amount": Decimal(15)}, "10.01"),
        ("INITIATED", {}, "25.01"),
        ("FAILED", {}, "0.01"),
        ("REFUNDED", {}, "0.01"),
    ],
)
def test_more_than_there_is_to_dispute_is_parked_and_alarms(state: Any, changes: Any, amount: str, status: Any) -> None:
    desk = Desk(before := intent(state, **changes))
    after = desk.tell([dispute(amount, status=status), dispute(amount, status=status)])
    assert after == before
    assert desk.alarms == ["dispute_exceeds_captured"]
    assert [(row.status, row.parked) for row in desk.disputes.values()] == [(status, True)]


def test_a_parked_dispute_counts_once_it_is_told_again_and_fits() -> None:
    desk = Desk(intent())
    desk.tell([dispute("25.00"), dispute("20.00", gateway_dispute_id="dp_2")])
    assert desk.intent.disputed_amount == Decimal("25.00")
    desk.tell([dispute("25.00", status="WON"), dispute("20.00", gateway_dispute_id="dp_2")])
    assert desk.intent.disputed_amount == Decimal("20.00")
    assert {row.gateway_dispute_id: row.parked for row in desk.disputes.values()} == {"dp_1": False, "dp_2": False}


def test_a_parked_dispute_that_is_won_is_settled_and_held_nothing() -> None:
    desk = Desk(intent(refunded_amount=Decimal(20)))
    desk.tell([dispute("25.00"), dispute("25.00", status="WON")])
    assert desk.intent.disputed_amount == NOTHING
    assert [(row.status, row.parked) for row in desk.disputes.values()] == [("WON", False)]


def test_a_later_refund_does_not_park_a_dispute_that_counts() -> None:
    desk = Desk(intent())
    desk.tell([dispute("25.00"), refund("re_1", "10.00"), dispute("25.00", status="LOST")])
    assert (desk.intent.refunded_amount, desk.intent.disputed_amount) == (Decimal("10.00"), Decimal("25.00"))
    assert desk.alarms == ["refund_of_disputed"]


@pytest.mark.parametrize(
    ("amount", "currency"), [("15.00", "USD"), ("NaN", "EUR"), ("sNaN", "EUR"), ("-1.00", "EUR"), ("0", "EUR")]
)
@pytest.mark.parametrize("state", STATUSES)
def test_another_currency_or_no_amount_is_never_applied(state: PaymentStatus, amount: str, currency: str) -> None:
    verdict = judge(intent(state), dispute(amount, currency=currency))
    assert (verdict.outcome, verdict.reason, verdict.alarm) == ("rejected", "amount_mismatch", "amount_mismatch")


def test_a_known_dispute_with_another_amount_is_not_applied() -> None:
    desk = Desk(intent())
    desk.tell([dispute("15.00"), dispute("16.00", status="WON")])
    assert (desk.intent.disputed_amount, desk.alarms) == (Decimal("15.00"), ["amount_mismatch"])


def refund(name: str, amount: str = "10.00") -> RefundFact:
    return RefundFact(
        gateway_refund_id=name, refund_id=new_id(), amount=Decimal(amount), currency="EUR", status="SUCCEEDED", at=NOW
    )


class Gateway:
    """A gateway that disputes what is left, and refunds nothing that is disputed."""

    def __init__(self) -> None:
        self.captured = False
        self.refunds: list[str] = []
        self.dispute: DisputeFact | None = None

    @property
    def left(self) -> Decimal:
        return AMOUNT - 10 * len(self.refunds)

    def take(self, step: str) -> Fact | None:
        """Take a step and tell of it; None where it is not possible."""
        match step:
            case "charge" if not self.captured:
                self.captured = True
                return StateFact(target="CAPTURED", at=NOW)
            case "re_1" | "re_2" if self.captured and step not in self.refunds and self._may_refund:
                self.refunds.append(step)
                return refund(step)
            case "OPEN" if self.captured and self.dispute is None:
                self.dispute = dispute(str(self.left), at=NOW)
                return self.dispute
            case "WON" | "LOST" if self.dispute is not None and self.dispute.status == "OPEN":
                self.dispute = dispute(str(self.dispute.amount), status=step, at=NOW)
                return self.dispute
            case _:
                return None

    @property
    def _may_refund(self) -> bool:
        return self.left >= 10 and (self.dispute is None or self.dispute.status == "WON")

    @property
    def truth(self) -> tuple[Decimal, Decimal]:
        held = self.dispute.amount if self.dispute is not None and self.dispute.status != "WON" else NOTHING
        return Decimal(10) * len(self.refunds), held


STEPS = ("charge", "re_1", "re_2", "OPEN", "WON", "LOST")


def histories(length: int) -> Iterator[tuple[Gateway, Sequence[Fact]]]:
    """All legal histories of exactly `length` events."""
    for steps in itertools.product(STEPS, repeat=length):
        gateway = Gateway()
        told = [gateway.take(step) for step in steps]
        if all(fact is not None for fact in told):
            yield gateway, [fact for fact in told if fact is not None]


@pytest.mark.parametrize("length", range(1, 6))
def test_every_order_of_every_legal_history_ends_in_the_gateways_state(length: int) -> None:
    seen = 0
    for gateway, history in histories(length):
        for order in itertools.permutations(history):
            desk = Desk(intent("INITIATED", version=1))
            after = desk.tell([*order, *order[:2]])
            told = [getattr(fact, "status", "CAPTURED") for fact in order]
            assert (after.refunded_amount, after.disputed_amount) == gateway.truth, told
            assert after.captured_amount == AMOUNT
            assert after.version == 1 + len(desk.events), "each version has its event"
            seen += 1
    assert seen > 0
