"""When a run says something, and what a figure has reached."""

import pytest

from careforall_bench.report import Baselines, figure
from careforall_bench.targets import TARGETS, Target, says_something, verdict


@pytest.mark.parametrize(
    ("seed", "one_each", "expected"),
    [(400, 8000, True), (240, 8000, True), (640, 8000, True), (230, 8000, False), (650, 8000, False), (400, 0, False)],
)
def test_a_run_says_something_only_while_its_baselines_lie_apart_as_usual(
    seed: float, one_each: float, *, expected: bool
) -> None:
    assert says_something(seed=seed, one_each=one_each) is expected


def test_a_floor_that_hangs_on_baselines_is_the_higher_of_both() -> None:
    donations = TARGETS["donations accepted"]
    assert donations.floor_in(seed=400, one_each=7000) == 8000
    assert donations.floor_in(seed=300, one_each=7000) == 7000
    assert donations.floor_in(seed=None, one_each=7000) is None


@pytest.mark.parametrize(("value", "expected"), [(12, "aim"), (10, "aim"), (9.9, "floor"), (5, "floor"), (4.9, "below")])
def test_rates_reach_their_aim_from_below(value: float, expected: str) -> None:
    assert verdict(Target(name="rate", unit="/s", floor=5, aim=10), value, floor=5) == expected


@pytest.mark.parametrize(("value", "expected"), [(3, "aim"), (5, "aim"), (6, "floor"), (10, "floor"), (10.1, "below")])
def test_times_reach_their_aim_from_above(value: float, expected: str) -> None:
    target = Target(name="time", unit="s", floor=10, aim=5, lower_is_better=True)
    assert verdict(target, value, floor=10) == expected


def test_an_aim_does_not_excuse_a_floor_of_this_run_that_lies_higher() -> None:
    assert verdict(TARGETS["donations accepted"], 13_000, floor=14_000) == "below"


def test_figures_without_demands_have_no_verdict() -> None:
    assert figure("one transaction each", 7000, unit="/s").verdict == ""


def test_figures_carry_their_ratios_to_the_baselines_of_the_same_run() -> None:
    baselines = Baselines(one_each=8000, donations=400)
    measure = figure("donations accepted", 12_000, baselines=baselines, seed=400)
    assert (measure.ratio_seed, measure.ratio_one_each, measure.floor) == (30, 1.5, 8000)
    assert measure.verdict == "aim"
