"""Percentiles, merging and the choice of the middle run."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall_bench.figures import Outcome, latency_of, merge, middle, percentile


def outcome(latencies: list[float], *, seconds: float = 2.0, statuses: dict[int, int] | None = None) -> Outcome:
    return Outcome(
        started=len(latencies),
        seconds=seconds,
        cpu_seconds=0.5,
        statuses=statuses or {201: len(latencies)},
        errors={},
        tallies={"hit": len(latencies)},
        latencies=array("d", latencies).tobytes(),
    )


def test_percentile_is_the_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.01, 0.5, 0.9, 0.99, 1.0)] == [1, 50, 90, 99, 100]


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_percentile_refuses_shares_outside_the_range(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile([1.0], share)


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1), st.floats(min_value=0.01, max_value=1))
def test_at_least_the_share_of_values_is_not_above_the_percentile(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_latency_is_in_milliseconds_and_absent_when_nothing_finished() -> None:
    latency = latency_of([0.010, 0.020, 0.030])
    assert latency is not None
    assert latency.p50 == pytest.approx(20)
    assert latency.max == pytest.approx(30)
    assert latency_of([]) is None


def test_merged_processes_add_rates_and_counts_and_pool_latencies() -> None:
    load = merge([outcome([0.1] * 10), outcome([0.3] * 30, seconds=3.0)])
    assert load.finished == 40
    assert load.rate == pytest.approx(10 / 2 + 30 / 3)
    assert load.statuses == {201: 40}
    assert load.tallies == {"hit": 40}
    assert load.latency is not None
    assert load.latency.p50 == pytest.approx(300)
    assert load.client_microseconds == pytest.approx(1e6 / 40)


def test_refused_counts_answers_outside_2xx_and_broken_conversations() -> None:
    load = merge([outcome([0.1] * 3, statuses={201: 1, 503: 1, 429: 1})])
    assert load.refused == 2


def test_the_middle_run_is_the_one_with_the_median_rate() -> None:
    runs = [merge([outcome([0.1] * number)]) for number in (30, 10, 20)]
    assert middle(runs).finished == 20
