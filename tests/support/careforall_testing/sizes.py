"""How big fault tests are: small by default, the sizes of the published figures with CAREFORALL_TEST_FULL=1."""

from __future__ import annotations

import os

from msgspec import Struct


class Sizes(Struct, frozen=True, kw_only=True):
    """Sizes of one run; times in seconds."""

    per_second: float = 15
    outage_s: float = 20
    broker_outage_s: float = 20
    prepared: int = 60
    rounds: int = 1
    restarts: int = 1
    people: int = 3
    fuzz_examples: int = 4
    poison: int = 2
    good: int = 15
    storm_events: int = 150
    buyers: int = 2000
    units: int = 400
    histories: int = 12
    races: int = 50


FULL = Sizes(
    per_second=60,
    outage_s=60,
    broker_outage_s=600,
    prepared=2000,
    rounds=20,
    restarts=20,
    people=12,
    fuzz_examples=100,
    poison=10,
    good=2000,
    storm_events=10_000,
    buyers=50_000,
    units=10_000,
    histories=1000,
    races=1000,
)


def sizes() -> Sizes:
    """The sizes of this run."""
    return FULL if os.environ.get("CAREFORALL_TEST_FULL") == "1" else Sizes()
