"""Any order, any copies, any cut into batches: counters = recount of the base = view after a refresh (rule 14)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from careforall.kit.ids import new_id
from careforall.totals.domain import Gift, Totals, newest
from careforall.totals.errors import CurrencyMismatch

DONORS = ("donor-1", "donor-2", "donor-3")


def refunded(gift: Gift, version: int, amount: str) -> Gift:
    return msgspec.structs.replace(gift, version=version, refunded_amount=Decimal(amount), completed_at=None)


def disputed(gift: Gift, version: int, amount: str) -> Gift:
    return msgspec.structs.replace(gift, version=version, disputed_amount=Decimal(amount), completed_at=None)


def without_times(totals: Totals) -> Totals:
    return msgspec.structs.replace(totals, last_updated=None)


async def refresh(running: Any) -> None:
    await running.parts.views["campaign_totals"]()


async def assert_all_levels_equal(running: Any, history: Sequence[Gift]) -> None:
    """Compare with an independent count of the newest states."""
    for campaign in {gift.campaign_id for gift in history}:
        final = [gift for gift in newest(history) if gift.campaign_id == campaign]
        counted = await running.counters(campaign)
        assert counted.total_amount == sum(gift.amount for gift in final)
        assert counted.refunded_amount == sum(gift.refunded_amount for gift in final)
        assert counted.disputed_amount == sum(gift.disputed_amount for gift in final)
        assert counted.total_donations == len(final)
        assert counted.unique_donors == len({gift.donor_key for gift in final})
        assert counted.revision == sum(gift.version for gift in final)
        assert await running.recount(campaign) == counted
        assert await running.view(campaign) == counted


def random_history(gift: Callable[..., Gift], seed: int, gifts: int) -> list[Gift]:
    dice = random.Random(seed)
    campaigns = [new_id() for _ in range(3)]
    history = []
    for _ in range(gifts):
        given_ = gift(dice.choice(campaigns), dice.choice(DONORS), f"{dice.randint(1, 9999) / 100:.2f}")
        history.append(given_)
        history += [
            refunded(given_, version, str(min(given_.amount, Decimal(version)))) for version in range(3, 3 + dice.randint(0, 2))
        ]
        held = "0" if dice.random() < 1 / 2 else "0.01"
        history += [disputed(history[-1], version, held) for version in range(6, 6 + dice.randint(0, 2))]
    return history


@pytest.mark.parametrize("seed", range(6))
async def test_shuffled_and_doubled_events_end_in_the_same_counters(running: Any, gift: Callable[..., Gift], seed: int) -> None:
    dice = random.Random(seed)
    history = random_history(gift, seed, 60)
    copies = dice.sample(history * 3, k=len(history) * 3)
    while copies:
        size = dice.randint(1, 40)
        batch, copies = copies[:size], copies[size:]
        await running.fold(batch)
    await refresh(running)
    await assert_all_levels_equal(running, history)


async def test_concurrent_consumers_end_in_the_same_counters(running: Any, gift: Callable[..., Gift]) -> None:
    dice = random.Random(42)
    history = random_history(gift, 42, 80)
    batches = [dice.sample(history, k=60) for _ in range(8)]
    for start in range(0, len(batches), 4):
        await asyncio.gather(*(running.fold(batch) for batch in batches[start : start + 4]))
    await running.fold(history)
    await refresh(running)
    await assert_all_levels_equal(running, history)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(DONORS), st.integers(1, 500), st.integers(2, 5)), min_size=1, max_size=25
    ),
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=25),
)
async def test_property_any_history_in_any_cut(
    running: Any, gift: Callable[..., Gift], steps: list[tuple[int, str, int, int]], cuts: list[int]
) -> None:
    campaign = new_id()
    first = {number: gift(campaign, donor, f"{cents / 100:.2f}") for number, donor, cents, _ in reversed(steps)}
    history = [refunded(first[number], version, "0.01" if version > 2 else "0") for number, _, _, version in steps]
    gross = Decimal(0)
    left = list(history)
    for cut in cuts * len(history):
        batch, left = left[:cut], left[cut:]
        if not batch:
            break
        await running.fold(batch)
        now = await running.counters(campaign)
        assert now.total_amount >= gross
        assert await running.recount(campaign) == now
        gross = now.total_amount
    await refresh(running)
    await assert_all_levels_equal(running, history)


async def test_a_dispute_lowers_the_net_at_every_level_and_gives_it_back_when_won(
    running: Any, gift: Callable[..., Gift]
) -> None:
    campaign = new_id()
    completed = gift(campaign, amount="50.00")
    for version, held, net in ((3, "30.00", "20.00"), (4, "0.00", "50.00"), (5, "10.00", "40.00")):
        await running.fold([completed, disputed(completed, version, held)])
        await refresh(running)
        for totals in (await running.counters(campaign), await running.recount(campaign), await running.view(campaign)):
            assert (totals.total_amount, totals.net_amount) == (Decimal("50.00"), Decimal(net))
            assert (totals.total_donations, totals.unique_donors) == (1, 1)
    await assert_all_levels_equal(running, [completed, disputed(completed, 5, "10.00")])


async def test_a_refund_may_come_before_its_completion(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    completed = gift(campaign, amount="50.00")
    back = refunded(completed, 3, "20.00")
    await running.fold([back])
    early = await running.counters(campaign)
    await running.fold([completed])
    late = await running.counters(campaign)
    assert (early.total_amount, early.net_amount) == (Decimal("50.00"), Decimal("30.00"))
    assert without_times(early) == without_times(late)
    row = await running.database.fetchrow(
        "SELECT completed_at, version FROM completed_donations WHERE donation_id = $1", completed.donation_id
    )
    assert (row["completed_at"], row["version"]) == (completed.completed_at, 3)


async def test_a_full_refund_lowers_net_alone(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    completed = gift(campaign, amount="50.00")
    await running.fold([completed])
    await running.fold([refunded(completed, 3, "50.00")])
    totals = await running.counters(campaign)
    assert (totals.total_amount, totals.total_donations, totals.unique_donors) == (Decimal("50.00"), 1, 1)
    assert totals.net_amount == 0


async def test_a_donor_counts_once_however_often_they_give(running: Any, gift: Callable[..., Gift]) -> None:
    campaign, other = new_id(), new_id()
    gifts = [gift(campaign, "donor-1") for _ in range(5)] + [gift(campaign, "donor-2"), gift(other, "donor-1")]
    await running.fold(gifts[:2])
    await running.fold(gifts[2:])
    await running.fold(gifts)
    assert (await running.counters(campaign)).unique_donors == 2
    assert (await running.counters(other)).unique_donors == 1
    row = await running.database.fetchrow(
        "SELECT gifts FROM campaign_donors WHERE campaign_id = $1 AND donor_key = 'donor-1'", campaign
    )
    assert row["gifts"] == 5


async def test_another_currency_is_refused_whole(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign)])
    before = await running.counters(campaign)
    with pytest.raises(CurrencyMismatch):
        await running.fold([gift(campaign, currency="USD")])
    assert await running.counters(campaign) == before
    assert await running.recount(campaign) == before


async def test_the_database_refuses_gifts_without_an_amount(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    with pytest.raises(asyncpg.CheckViolationError):
        await running.fold([gift(campaign, amount="0.00")])
    assert (await running.counters(campaign)).total_donations == 0
