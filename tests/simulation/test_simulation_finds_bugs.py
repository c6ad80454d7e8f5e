"""The simulation finds mistakes: each broken protocol fails within a bounded number of seeds, and its seed replays."""

import pytest

from careforall_testing.simulation.faults import RELAY_STORM, Faults
from careforall_testing.simulation.runs import Report, run
from careforall_testing.simulation.variants import BROKEN, CORRECT

STEPS = 4000
WITHIN_SEEDS = 200
CLIMATES = {"a relay marks for a stream that is gone": RELAY_STORM}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_protocol_is_found(mistake: str) -> None:
    found = _first_failure(mistake)

    assert found is not None, f"{mistake} was not found with {WITHIN_SEEDS} seeds"
    assert found.last_events
    again = run(found.seed, STEPS, protocol=BROKEN[mistake], faults=CLIMATES.get(mistake))
    assert (again.failure, again.last_events, again.digest) == (found.failure, found.last_events, found.digest)


@pytest.mark.parametrize("mistake", BROKEN)
def test_the_seed_that_finds_it_is_no_false_alarm(mistake: str) -> None:
    found = _first_failure(mistake)

    assert found is not None
    assert not run(found.seed, STEPS, protocol=CORRECT, faults=CLIMATES.get(mistake)).failure


def _first_failure(mistake: str) -> Report | None:
    faults = CLIMATES.get(mistake, Faults())
    reports = (run(seed, STEPS, protocol=BROKEN[mistake], faults=faults) for seed in range(1, WITHIN_SEEDS + 1))
    return next((report for report in reports if report.failure), None)
