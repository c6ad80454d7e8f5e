"""Newest states, corrections and changes, without a database."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall.kit.ids import new_id
from careforall.totals.domain import ZERO, Change, Gift, Reading, Totals, changes, corrections, merged, newest
from careforall.totals.schemas import encode, shown

CAMPAIGN = UUID("01890000-0000-7000-8000-000000000001")
OTHER = UUID("01890000-0000-7000-8000-000000000002")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def gift(**changed: object) -> Gift:
    facts: dict[str, object] = {
        "donation_id": new_id(),
        "campaign_id": CAMPAIGN,
        "donor_key": "donor-1",
        "currency": "EUR",
        "amount": Decimal("10.00"),
        "refunded_amount": ZERO,
        "anonymous": False,
        "version": 2,
    }
    return Gift(**{**facts, **changed})  # type: ignore[arg-type]  # a test names only fields that exist


def test_the_newest_version_wins_whichever_comes_first() -> None:
    completed = gift(version=2, completed_at=NOON)
    refunded = msgspec.structs.replace(completed, version=3, refunded_amount=Decimal("4.00"), completed_at=None)
    expected = msgspec.structs.replace(refunded, completed_at=NOON)
    assert newest([completed, refunded]) == [expected]
    assert newest([refunded, completed]) == [expected]


def test_donations_are_taken_in_id_order() -> None:
    gifts = [gift() for _ in range(20)]
    shuffled = random.Random(7).sample(gifts, k=20)
    assert [found.donation_id for found in newest(shuffled)] == sorted(found.donation_id for found in gifts)


def test_an_older_version_changes_nothing() -> None:
    kept = gift(version=3, refunded_amount=Decimal("4.00"), completed_at=NOON)
    older = msgspec.structs.replace(kept, version=2, refunded_amount=ZERO)
    assert corrections({kept.donation_id: kept}, [older]) == []


def test_an_older_version_may_bring_the_time_of_completion() -> None:
    kept = gift(version=3)
    older = msgspec.structs.replace(kept, version=2, completed_at=NOON)
    [(before, after)] = corrections({kept.donation_id: kept}, [older])
    assert (before.completed_at, after.completed_at, after.version) == (None, NOON, 3)
    assert changes([], [(before, after)], {}) == []


def test_a_refund_moves_only_the_refunded_amount() -> None:
    before = gift(version=2)
    after = msgspec.structs.replace(before, version=3, refunded_amount=Decimal("4.00"))
    assert changes([], [(before, after)], {}) == [
        Change(campaign_id=CAMPAIGN, currency="EUR", refunded_amount=Decimal("4.00"), revision=1)
    ]


def test_a_batch_is_one_change_per_campaign_in_campaign_order() -> None:
    added = [gift(campaign_id=OTHER), gift(), gift(amount=Decimal("2.50"))]
    moved = changes(added, [], {CAMPAIGN: 1, OTHER: 1})
    assert [(move.campaign_id, move.total_amount, move.total_donations, move.unique_donors) for move in moved] == [
        (CAMPAIGN, Decimal("12.50"), 2, 1),
        (OTHER, Decimal("10.00"), 1, 1),
    ]


@given(versions=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 2**16))
def test_merging_does_not_depend_on_order(versions: list[int], seed: int) -> None:
    identifier = new_id()
    states = [
        gift(
            donation_id=identifier,
            version=version,
            refunded_amount=Decimal(version),
            completed_at=NOON + timedelta(hours=version) if version % 2 else None,
        )
        for version in versions
    ]
    shuffled = random.Random(seed).sample(states, k=len(states))
    folded = shuffled[0]
    for state in shuffled[1:]:
        folded = merged(folded, state)
    assert [folded] == newest(states)


def test_net_is_gross_without_refunds_and_disputes() -> None:
    totals = Totals(
        campaign_id=CAMPAIGN,
        currency="EUR",
        total_amount=Decimal(100),
        refunded_amount=Decimal(30),
        disputed_amount=Decimal(20),
    )
    assert totals.net_amount == Decimal(50)


@pytest.mark.parametrize(("currency", "amount"), [("EUR", "12.50"), ("JPY", "13"), ("KWD", "12.500")])
def test_amounts_have_the_decimal_places_of_their_currency(currency: str, amount: str) -> None:
    totals = Totals(campaign_id=CAMPAIGN, currency=currency, total_amount=Decimal(amount))
    assert shown(Reading(totals=totals, level="redis", cached_at=NOON)).total_amount == amount


def test_an_answer_has_exactly_the_promised_members() -> None:
    reading = Reading(totals=Totals(campaign_id=CAMPAIGN, currency="EUR"), level="base_table", cached_at=NOON)
    promised = [
        *("campaign_id", "currency", "total_amount", "refunded_amount", "net_amount", "total_donations", "unique_donors"),
        *("last_updated", "cache_level", "cached_at"),
    ]
    assert list(msgspec.json.decode(encode(reading))) == promised
    stale = msgspec.json.decode(encode(msgspec.structs.replace(reading, stale=True)))
    assert list(stale) == [*promised, "stale"]
    assert stale["stale"] is True
