"""The rules of giving without I/O: every pair of states, every order of payment facts, what a campaign accepts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall.contracts.donations import CampaignStatus, DonationStatus
from careforall.donations import domain
from careforall.donations.domain import LEGAL_STEPS, Campaign, Donation, PaymentFact
from careforall.kit.errors import InvalidInput
from careforall.kit.ids import new_id

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
AMOUNT = Decimal("100.00")
STATES: tuple[DonationStatus, ...] = get_args(DonationStatus)
KIND_OF = {"COMPLETED": "captured", "FAILED": "ended", "REFUNDED": "refunded"}


def donation(status: DonationStatus = "PENDING", **changes: Any) -> Donation:
    facts: dict[str, Any] = {
        "id": new_id(),
        "campaign_id": new_id(),
        "intent_id": new_id(),
        "donor_email": "donor1@example.org",
        "donor_key": "k",
        "donor_name": "",
        "user_id": None,
        "anonymous": False,
        "message": "",
        "amount": AMOUNT,
        "refunded_amount": AMOUNT if status == "REFUNDED" else Decimal(0),
        "currency": "EUR",
        "gateway": "simulator",
        "status": status,
        "version": 1,
        "payment_version": 0,
        "extra_data": None,
        "created_at": NOW,
        "updated_at": NOW,
        "settled_at": None,
    }
    return Donation(**(facts | changes))


def fact(kind: Any, version: int = 1, refunded: Decimal = AMOUNT) -> PaymentFact:
    return PaymentFact(
        intent_id=new_id(),
        event_id=new_id(),
        event_type=kind,
        version=version,
        kind=kind,
        at=NOW,
        total_refunded=refunded if kind == "refunded" else Decimal(0),
        total_disputed=refunded if kind == "disputed" else Decimal(0),
    )


def fold(start: Donation, facts: Sequence[PaymentFact]) -> tuple[Donation, list[tuple[DonationStatus, DonationStatus]]]:
    """Apply facts one after the other; the donation in the end, and every step it took."""
    steps = []
    for one in facts:
        for step in domain.walk(start, one):
            steps.append((step.from_status, step.donation.status))
            start = step.donation
    return start, steps


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_every_pair_of_states_is_a_legal_step_or_none(before: DonationStatus, after: DonationStatus) -> None:
    if after == "PENDING":
        assert after not in LEGAL_STEPS[before], "nothing leads back"
        return
    step = domain.step(donation(before), fact(KIND_OF[after]))
    assert (step is not None) == (after in LEGAL_STEPS[before])
    if step is not None:
        assert (step.from_status, step.donation.status, step.donation.version) == (before, after, 2)


@pytest.mark.parametrize("kind", ["captured", "ended", "refunded"])
@pytest.mark.parametrize("before", STATES)
def test_a_repeated_fact_changes_nothing(before: DonationStatus, kind: str) -> None:
    same = fact(kind)
    once, _ = fold(donation(before), [same])
    assert domain.walk(once, same) == []


HISTORIES: dict[str, tuple[list[tuple[str, str]], DonationStatus, str]] = {
    "captured": ([("captured", "0")], "COMPLETED", "0"),
    "ended": ([("ended", "0")], "FAILED", "0"),
    "partly refunded": ([("captured", "0"), ("refunded", "40.00")], "COMPLETED", "40.00"),
    "refunded in two parts": ([("captured", "0"), ("refunded", "40.00"), ("refunded", "100.00")], "REFUNDED", "100.00"),
    "refunded in three parts": (
        [("captured", "0"), ("refunded", "10.00"), ("refunded", "20.00"), ("refunded", "100.00")],
        "REFUNDED",
        "100.00",
    ),
    "refunded at once": ([("captured", "0"), ("refunded", "100.00")], "REFUNDED", "100.00"),
    "refunded beyond the amount": ([("captured", "0"), ("refunded", "120.00")], "REFUNDED", "100.00"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_rule_05_every_order_of_a_legal_history_ends_in_the_same_state(name: str) -> None:
    events, status, refunded = HISTORIES[name]
    facts = [fact(kind, version, Decimal(total)) for version, (kind, total) in enumerate(events, start=1)]
    for order in permutations(facts):
        end, steps = fold(donation(), order)
        assert (end.status, end.refunded_amount) == (status, Decimal(refunded)), [one.kind for one in order]
        assert all(after == before or after in LEGAL_STEPS[before] for before, after in steps)
        assert end.version == 1 + len(steps)
        assert end.payment_version <= len(facts)


DISPUTED: dict[str, tuple[list[tuple[str, str]], tuple[DonationStatus, str, str]]] = {
    "open": ([("captured", "0"), ("disputed", "100.00")], ("COMPLETED", "0", "100.00")),
    "won": ([("captured", "0"), ("disputed", "100.00"), ("disputed", "0")], ("COMPLETED", "0", "0")),
    "lost": ([("captured", "0"), ("disputed", "60.00"), ("disputed", "60.00")], ("COMPLETED", "0", "60.00")),
    "refunded before": ([("captured", "0"), ("refunded", "40.00"), ("disputed", "60.00")], ("COMPLETED", "40.00", "60.00")),
    "won, then refunded": (
        [("captured", "0"), ("disputed", "100.00"), ("disputed", "0"), ("refunded", "100.00")],
        ("REFUNDED", "100.00", "0"),
    ),
    "beyond the amount": ([("captured", "0"), ("disputed", "120.00")], ("COMPLETED", "0", "100.00")),
}


@pytest.mark.parametrize("name", DISPUTED)
def test_rule_13_every_order_of_a_disputed_history_ends_in_the_same_state(name: str) -> None:
    events, expected = DISPUTED[name]
    facts = [fact(kind, version, Decimal(total)) for version, (kind, total) in enumerate(events, start=3)]
    for order in permutations(facts):
        end, steps = fold(donation(), [*order, *order])
        found = (end.status, end.refunded_amount, end.disputed_amount)
        assert found == (expected[0], Decimal(expected[1]), Decimal(expected[2])), [one.kind for one in order]
        assert all(after == before or after in LEGAL_STEPS[before] for before, after in steps)
        assert end.net_amount == AMOUNT - end.refunded_amount - end.disputed_amount


def test_a_dispute_changes_no_status_and_reaches_no_failed_gift() -> None:
    for status in ("COMPLETED", "REFUNDED"):
        [step] = domain.walk(donation(status), fact("disputed"))
        assert (step.donation.status, step.donation.version, step.donation.disputed_amount) == (status, 2, AMOUNT)
    assert domain.walk(donation("FAILED"), fact("disputed")) == []


def test_a_snapshot_says_nothing_new_of_a_dispute_unless_the_amount_differs() -> None:
    told = msgspec.structs.replace(fact("disputed", 5, Decimal(0)), retold=True)
    assert domain.walk(donation("COMPLETED"), told) == []
    [step] = domain.walk(donation("COMPLETED", disputed_amount=AMOUNT, dispute_version=4), told)
    assert (step.donation.disputed_amount, step.donation.dispute_version) == (Decimal(0), 5)


@given(
    st.lists(
        st.tuples(st.sampled_from(["captured", "refunded"]), st.integers(1, 100), st.integers(1, 9)), min_size=1, max_size=8
    ),
    st.randoms(use_true_random=False),
)
def test_rule_05_any_facts_doubled_and_shuffled_end_where_they_end_in_order(
    events: list[tuple[str, int, int]], random: Any
) -> None:
    facts = [fact(kind, version, Decimal(cents)) for kind, cents, version in events]
    expected, _ = fold(donation(), facts)
    shuffled = [*facts, *facts]
    random.shuffle(shuffled)
    found, steps = fold(donation(), shuffled)
    assert (found.status, found.refunded_amount) == (expected.status, expected.refunded_amount)
    assert all(after == before or after in LEGAL_STEPS[before] for before, after in steps)


@given(st.lists(st.sampled_from(["captured", "ended", "refunded"]), max_size=8))
def test_an_ended_intent_never_undoes_a_completed_gift_and_the_refund_never_exceeds_it(kinds: list[str]) -> None:
    end, steps = fold(donation(), [fact(kind, version) for version, kind in enumerate(kinds, start=1)])
    visited = [after for _, after in steps]
    assert not ({"COMPLETED", "FAILED"} <= set(visited))
    assert 0 <= end.refunded_amount <= end.amount
    assert end.refunded_amount == 0 or end.status in {"COMPLETED", "REFUNDED"}


def campaign(**changes: Any) -> Campaign:
    facts: dict[str, Any] = {
        "id": new_id(),
        "title": "Wells",
        "story": "",
        "goal": Decimal(1000),
        "currency": "EUR",
        "status": "LIVE",
        "starts_at": None,
        "ends_at": None,
        "suggested_amounts": [],
        "minimum": None,
        "maximum": None,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Campaign(**(facts | changes))


@pytest.mark.parametrize("status", get_args(CampaignStatus))
def test_only_live_campaigns_are_open(status: CampaignStatus) -> None:
    assert campaign(status=status).is_open(NOW) == (status == "LIVE")


@pytest.mark.parametrize(
    ("starts", "ends", "is_open"),
    [(None, None, True), (0, None, True), (1, None, False), (None, 1, True), (None, 0, False), (-1, 1, True), (1, 2, False)],
)
def test_a_campaign_is_open_from_its_start_until_before_its_end(starts: int | None, ends: int | None, *, is_open: bool) -> None:
    moments = [None if offset is None else NOW + timedelta(seconds=offset) for offset in (starts, ends)]
    assert campaign(starts_at=moments[0], ends_at=moments[1]).is_open(NOW) == is_open


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        ("4.99", None, "below_minimum"),
        ("50.01", None, "above_maximum"),
        ("10.001", None, "too_many_decimals"),
        ("10", "USD", "foreign_currency"),
        ("10", "XXQ", "unknown_currency"),
    ],
)
def test_a_campaign_refuses_what_it_does_not_collect(amount: str, currency: str | None, code: str) -> None:
    limited = campaign(minimum=Decimal(5), maximum=Decimal(50))
    with pytest.raises(InvalidInput) as refused:
        domain.accepted_amount(limited, amount, currency)
    assert [error.code for error in refused.value.errors] == [code]


@pytest.mark.parametrize("amount", ["5", "5.00", "50.00", "12.34"])
def test_a_campaign_accepts_its_limits_themselves(amount: str) -> None:
    limited = campaign(minimum=Decimal(5), maximum=Decimal(50))
    assert domain.accepted_amount(limited, amount, "EUR") == Decimal(amount)


def test_no_step_of_a_campaign_leads_out_of_its_end() -> None:
    assert domain.CAMPAIGN_STEPS["ENDED"] == frozenset()
    assert all("DRAFT" not in after for after in domain.CAMPAIGN_STEPS.values())


def test_states_are_values_and_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        donation().status = "COMPLETED"  # type: ignore[misc]  # that is the point
    assert msgspec.structs.replace(donation(), status="FAILED").status == "FAILED"
