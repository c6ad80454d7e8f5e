"""A pair of baselines outside the range is measured again, three times at most, and then warned about."""

import pytest

from careforall_bench.baselines import Pair, valid_pair, warnings_about
from careforall_bench.figures import Load
from careforall_bench.one_each import PgbenchError, rate_in


def pair(share: float) -> Pair:
    seed = Load(
        started=1,
        finished=1,
        seconds=1,
        rate=share * 8000,
        latency=None,
        statuses={},
        errors={},
        tallies={},
        client_microseconds=1,
    )
    return Pair(seed=seed, one_each=8000)


@pytest.mark.parametrize(
    ("shares", "measured", "warned"),
    [([0.05], 1, False), ([0.2, 0.05], 2, False), ([0.2, 0.01, 0.05], 3, False), ([0.2, 0.2, 0.2, 0.05], 3, True)],
)
def test_a_pair_is_repeated_until_it_says_something(shares: list[float], measured: int, *, warned: bool) -> None:
    left, told = list(shares), list[str]()
    found = valid_pair(lambda: pair(left.pop(0)), told.append)
    assert len(shares) - len(left) == measured
    assert len(told) == measured - 1
    assert bool(warnings_about([found])) is warned


def test_the_warning_says_that_the_run_says_nothing() -> None:
    assert warnings_about([pair(0.05)]) == []
    assert "says nothing" in warnings_about([pair(0.05), pair(0.2)])[0]
    assert "0.200" in warnings_about([pair(0.05), pair(0.2)])[0]


def test_the_rate_of_the_benchmark_client_is_read_from_its_output() -> None:
    output = "number of failed transactions: 0 (0.000%)\ntps = 6476.12 (without initial connection time)\n"
    assert rate_in(output) == 6476.12


def test_a_run_in_which_the_benchmark_client_stood_still_is_measured_again() -> None:
    stood_still = "number of transactions actually processed: 0\nnumber of failed transactions: 0 (NaN%)\n"
    assert rate_in(stood_still) == 0
    pairs = [Pair(seed=pair(0.05).seed, one_each=rate_in(stood_still)), pair(0.05)]
    told: list[str] = []
    assert valid_pair(lambda: pairs.pop(0), told.append).valid
    assert len(told) == 1


@pytest.mark.parametrize("output", ["", "number of failed transactions: 3 (0.1%)\ntps = 6476.12 (without ...)\n"])
def test_a_run_of_the_benchmark_client_that_failed_is_no_baseline(output: str) -> None:
    with pytest.raises(PgbenchError):
        rate_in(output)
