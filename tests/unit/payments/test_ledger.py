"""What is booked: each movement of money once, in entries that add up to nothing, and just what the payment says."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from careforall.kit.ids import new_id
from careforall.payments.domain import DeclineFact, DisputeFact, Fact, RefundFact, StateFact
from careforall.payments.ledger import Entry
from careforall_testing.desk import AMOUNT, NOTHING, NOW, Desk, intent

CAMPAIGN = UUID("01960000-0000-7000-8000-000000000001")
CAPTURED = StateFact(target="CAPTURED", at=NOW, gateway_object="pi_1")


def refund(name: str = "re_1", amount: str = "10.00", **changes: Any) -> RefundFact:
    facts = {"gateway_refund_id": name, "refund_id": new_id(), "amount": Decimal(amount), "currency": "EUR"}
    return RefundFact(**{"status": "SUCCEEDED", **facts, **changes})


def dispute(status: Any = "OPEN", amount: str = "15.00", name: str = "dp_1") -> DisputeFact:
    return DisputeFact(gateway_dispute_id=name, amount=Decimal(amount), currency="EUR", status=status)


def fresh(**changes: Any) -> Desk:
    return Desk(intent("INITIATED", version=1, campaign_id=CAMPAIGN, **changes))


def balance(entries: Sequence[Entry], account: str) -> Decimal:
    return sum((line.amount for entry in entries for line in entry.lines if line.account == account), NOTHING)


def lines(entry: Entry) -> dict[str, Decimal]:
    return {line.account: line.amount for line in entry.lines}


def test_a_gift_and_what_becomes_of_it() -> None:
    desk = fresh()
    desk.tell([CAPTURED, refund(), dispute(), dispute("WON"), dispute("LOST", name="dp_2")])
    assert [(entry.kind, lines(entry)) for entry in desk.entries] == [
        ("CAPTURE", {"gateway:simulator": AMOUNT, f"campaign:{CAMPAIGN}": -AMOUNT}),
        ("REFUND", {"refunds": Decimal(10), "gateway:simulator": Decimal(-10)}),
        ("DISPUTE", {"disputes": Decimal(15), "gateway:simulator": Decimal(-15)}),
        ("DISPUTE_WON", {"gateway:simulator": Decimal(15), "disputes": Decimal(-15)}),
        ("DISPUTE", {"disputes": Decimal(15), "gateway:simulator": Decimal(-15)}),
    ]
    assert {entry.campaign_id for entry in desk.entries} == {CAMPAIGN}
    assert {entry.occurred_at for entry in desk.entries} == {NOW}


def test_income_belongs_to_a_campaign_to_gifts_at_large_or_to_sales() -> None:
    for changes, account in (
        ({"campaign_id": CAMPAIGN}, f"campaign:{CAMPAIGN}"),
        ({"campaign_id": None}, "donations"),
        ({"campaign_id": None, "subject_type": "ORDER"}, "sales"),
    ):
        desk = Desk(intent("INITIATED", **changes))
        desk.tell([CAPTURED])
        assert balance(desk.entries, account) == -AMOUNT


def test_one_fact_that_tells_of_two_movements_books_both() -> None:
    desk = fresh()
    desk.tell([refund(amount="25.00")])
    assert [entry.kind for entry in desk.entries] == ["CAPTURE", "REFUND"]
    assert balance(desk.entries, "gateway:simulator") == NOTHING


def test_what_moves_no_money_books_nothing() -> None:
    desk = fresh()
    desk.tell([DeclineFact(), StateFact(target="AUTHORIZED"), StateFact(target="REFUNDED"), StateFact(target="CAPTURED")])
    assert (desk.intent.status, desk.entries) == ("REFUNDED", [])
    paid = fresh()
    paid.tell([CAPTURED, dispute(), dispute("LOST"), refund(status="PENDING"), refund("re_2", "99.00"), CAPTURED])
    assert [entry.kind for entry in paid.entries] == ["CAPTURE", "DISPUTE"]


def test_rule_10_money_that_comes_too_late_is_held_apart_and_sent_back_once() -> None:
    desk = fresh()
    late = StateFact(target="CAPTURED", at=NOW, gateway_object="pi_2")
    desk.tell([StateFact(target="FAILED"), late, late, late])
    assert desk.intent.status == "FAILED"
    [ordered] = desk.refunds.values()
    assert (ordered.status, ordered.amount, ordered.unapplied, ordered.gateway_object) == ("PENDING", AMOUNT, True, "pi_2")
    assert [entry.kind for entry in desk.entries] == ["UNAPPLIED"]
    assert balance(desk.entries, "unapplied") == -AMOUNT
    version = desk.intent.version
    told = refund("re_9", "25.00", refund_id=ordered.id)
    desk.tell([told, told])
    assert [entry.kind for entry in desk.entries] == ["UNAPPLIED", "UNAPPLIED_REFUND"]
    assert (balance(desk.entries, "unapplied"), balance(desk.entries, "gateway:simulator")) == (NOTHING, NOTHING)
    assert (desk.intent.status, desk.intent.version, desk.intent.refunded_amount) == ("FAILED", version, NOTHING)
    assert [refund.status for refund in desk.refunds.values()] == ["SUCCEEDED"]


def test_each_object_that_captures_too_late_is_money_of_its_own() -> None:
    desk = fresh()
    desk.tell([StateFact(target="FAILED"), *(StateFact(target="CAPTURED", gateway_object=name) for name in ("pi_1", "pi_2"))])
    assert balance(desk.entries, "unapplied") == -2 * AMOUNT
    assert len(desk.refunds) == 2


def test_late_money_that_cannot_be_sent_back_alarms() -> None:
    desk = fresh()
    desk.tell([StateFact(target="FAILED"), CAPTURED])
    [ordered] = desk.refunds.values()
    desk.tell([refund("re_9", "25.00", refund_id=ordered.id, status="FAILED")])
    assert desk.alarms == ["captured_after_failed", "unapplied_not_refunded"]
    assert balance(desk.entries, "unapplied") == -AMOUNT


FACTS = st.one_of(
    st.sampled_from([StateFact(target=target) for target in ("AUTHORIZED", "CAPTURED", "FAILED", "REFUNDED")]),
    st.builds(
        lambda name, status: refund(name, {"re_1": "10.00", "re_2": "15.00", "re_3": "25.00"}[name], status=status),
        st.sampled_from(["re_1", "re_2", "re_3"]),
        st.sampled_from(["PENDING", "SUCCEEDED", "FAILED"]),
    ),
    st.builds(
        lambda name, status: dispute(status, {"dp_1": "15.00", "dp_2": "20.00"}[name], name),
        st.sampled_from(["dp_1", "dp_2"]),
        st.sampled_from(["OPEN", "WON", "LOST"]),
    ),
    st.sampled_from([DeclineFact(), StateFact(target="CAPTURED", gateway_object="pi_2")]),
)


@given(st.lists(FACTS, max_size=14), st.booleans())
def test_every_sequence_of_facts_leaves_a_ledger_that_says_what_the_payment_says(facts: list[Fact], settles: bool) -> None:
    desk = fresh()
    desk.tell(facts)
    if settles:
        desk.tell([refund(f"late {row.id}", "25.00", refund_id=row.id) for row in desk.refunds.values() if row.unapplied])
    after, held = desk.intent, -balance(desk.entries, "unapplied")
    assert all(sum(line.amount for line in entry.lines) == 0 and len(entry.lines) > 1 for entry in desk.entries)
    clearing = sum((balance(desk.entries, f"gateway:{name}") for name in ("simulator", "generic")), NOTHING)
    assert clearing == after.captured_amount - after.refunded_amount - after.disputed_amount + held
    assert balance(desk.entries, f"campaign:{CAMPAIGN}") == -after.captured_amount
    assert balance(desk.entries, "refunds") == after.refunded_amount
    assert balance(desk.entries, "disputes") == after.disputed_amount
    assert held == sum(row.amount for row in desk.refunds.values() if row.unapplied and row.status != "SUCCEEDED")
    assert not held or after.status == "FAILED"
    keys = [(entry.kind, entry.cause_key) for entry in desk.entries]
    assert len(set(keys)) == len(keys), "each effect is booked once"
