"""The checkout saga in seeded runs: drivers die at every step, and every sale ends with money and stock on one side.

SIMULATION_SEED gives the first seed, so that a failure is replayed.
"""

import os

import pytest

from careforall_testing.simulation.faults import BAD_WIRES, Faults
from careforall_testing.simulation.shopping import BROKEN, run

FIRST_SEED = int(os.environ.get("SIMULATION_SEED", "1"))
STEPS = 4000
CLIMATES = {"dense trouble": Faults(steps_between_troubles=40), "usual trouble": Faults(), "bad wires": BAD_WIRES}
SEEDS = 15
WITHIN_SEEDS = 100


@pytest.mark.parametrize("climate", CLIMATES)
def test_every_sale_ends_on_one_side(climate: str) -> None:
    print(f"{climate}: seeds {FIRST_SEED} to {FIRST_SEED + SEEDS - 1}")  # noqa: T201 - shown when the test fails
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        failure, shopping = run(seed, STEPS, faults=CLIMATES[climate])
        assert not failure
        ends = [kept.saga for kept in shopping.sagas.rows.values()]
        assert any(not saga.ending for saga in ends)
        assert any(saga.ending for saga in ends)


def test_a_seed_replays_exactly() -> None:
    first, second = (run(FIRST_SEED, STEPS)[1].sagas.rows for _ in range(2))
    assert first == second


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_saga_is_found(mistake: str) -> None:
    failures = (run(seed, STEPS, rules=BROKEN[mistake])[0] for seed in range(1, WITHIN_SEEDS + 1))
    assert next((failure for failure in failures if failure), ""), f"{mistake} was not found with {WITHIN_SEEDS} seeds"
