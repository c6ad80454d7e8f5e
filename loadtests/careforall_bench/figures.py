"""Figures of a load: percentiles, rates and how outcomes of several processes become one; pure, used by all parts."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TypeVar

from msgspec import Struct

MILLISECONDS = 1000.0
SUCCESS = range(200, 300)
Key = TypeVar("Key", int, str)


class Outcome(Struct, frozen=True, kw_only=True):
    """What one generator process saw; latencies are seconds, packed as doubles, one per finished conversation."""

    started: int
    seconds: float
    cpu_seconds: float
    statuses: dict[int, int]
    errors: dict[str, int]
    tallies: dict[str, int]
    latencies: bytes
    kept: list[str] = []


class Latency(Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Load(Struct, frozen=True, kw_only=True):
    """What a whole load amounts to: finished conversations, their rate and latency."""

    started: int
    finished: int
    seconds: float
    rate: float
    latency: Latency | None
    statuses: dict[int, int]
    errors: dict[str, int]
    tallies: dict[str, int]
    client_microseconds: float
    kept: list[str] = []

    @property
    def refused(self) -> int:
        """Answers outside 2xx and conversations that broke off."""
        answers = sum(count for status, count in self.statuses.items() if status not in SUCCESS)
        return answers + sum(self.errors.values())


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of values in rising order: always a value that was seen."""
    if not ordered:
        raise ValueError("no values, no percentile")
    if not 0 < share <= 1:
        raise ValueError("a percentile's share lies in (0, 1]")
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def latency_of(values: Iterable[float]) -> Latency | None:
    """Percentiles in milliseconds of latencies in seconds; nothing measured, nothing said."""
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p90, p95, p99, most = (percentile(ordered, share) * MILLISECONDS for share in (0.5, 0.9, 0.95, 0.99, 1.0))
    return Latency(p50=p50, p90=p90, p95=p95, p99=p99, max=most)


def merge(outcomes: Sequence[Outcome]) -> Load:
    """One load of the outcomes of processes that ran side by side: rates add up, latencies are pooled."""
    latencies = array("d")
    for outcome in outcomes:
        latencies.frombytes(outcome.latencies)
    finished = len(latencies)
    return Load(
        started=sum(outcome.started for outcome in outcomes),
        finished=finished,
        seconds=max(outcome.seconds for outcome in outcomes),
        rate=sum(_rate(outcome) for outcome in outcomes),
        latency=latency_of(latencies),
        statuses=_sum(outcome.statuses for outcome in outcomes),
        errors=_sum(outcome.errors for outcome in outcomes),
        tallies=_sum(outcome.tallies for outcome in outcomes),
        client_microseconds=sum(outcome.cpu_seconds for outcome in outcomes) * 1e6 / max(1, finished),
        kept=[item for outcome in outcomes for item in outcome.kept],
    )


def middle(loads: Sequence[Load]) -> Load:
    """The run with the median rate (the lower one of an even number), whole, so that its figures belong together."""
    if not loads:
        raise ValueError("no runs, no middle")
    ordered = sorted(loads, key=lambda load: load.rate)
    return ordered[(len(ordered) - 1) // 2]


def middle_rate(rates: Sequence[float]) -> float:
    """Median of the rates of interleaved runs."""
    return float(median(rates))


def _rate(outcome: Outcome) -> float:
    finished = len(outcome.latencies) // array("d").itemsize
    return finished / outcome.seconds if outcome.seconds > 0 else 0.0


def _sum(counts: Iterable[dict[Key, int]]) -> dict[Key, int]:
    total: Counter[Key] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
