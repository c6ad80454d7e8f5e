"""How slow the slowest answers of services are, from the counters on their /metrics over the last half minute."""

import time
from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from careforall_operator.k8s import Kube
from careforall_operator.scrape import Page, pages

METRIC = "http_request_duration_seconds"
LOOK_EVERY = 10.0
LOOKS = 4
"""So many looks span the window; until there are two nothing is known."""
SHARE = 0.99

Buckets = dict[float, float]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Answers counted by the time they took, for each pod, by (service, pod)."""

    at: float
    counts: Mapping[tuple[str, str], Buckets]


class Latency:
    """Remembers a few looks; after a restart it is blind for one of them."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=LOOKS)

    async def look(self, kube: Kube) -> dict[str, float]:
        """Return the milliseconds within which 99 of 100 answers came, by service; services that say nothing are left out."""
        now = time.monotonic()
        if not self._looks or now - self._looks[-1].at >= LOOK_EVERY:
            self._looks.append(counted(await pages(kube, [METRIC]), at=now))
        first, last = self._looks[0], self._looks[-1]
        return {} if first is last else slowest(first, last)


def counted(found: Iterable[Page], *, at: float) -> Look:
    """Add up what pods say over all their endpoints."""
    counts: dict[tuple[str, str], Buckets] = {}
    for page in found:
        if page.samples is None:
            continue
        buckets = counts.setdefault((page.service, page.pod), {})
        for one in page.samples:
            if one.name == f"{METRIC}_bucket":
                limit = float(one.labels["le"])
                buckets[limit] = buckets.get(limit, 0.0) + one.value
    return Look(at=at, counts=counts)


def slowest(first: Look, last: Look) -> dict[str, float]:
    """Return the 99th percentile of each service between two looks, in milliseconds; 0 where nobody asked."""
    between: dict[str, Buckets] = {}
    for (service, pod), counts in last.counts.items():
        if (before := first.counts.get((service, pod))) is None:
            continue
        total = between.setdefault(service, {})
        for limit, count in counts.items():
            # A container that was started again counts from zero.
            total[limit] = total.get(limit, 0.0) + max(count - before.get(limit, 0.0), 0.0)
    return {service: 1000 * percentile(buckets) for service, buckets in between.items()}


def percentile(buckets: Buckets, share: float = SHARE) -> float:
    """Return the seconds within which this share of answers came, evenly spread within a bucket; the last limit beyond it."""
    limits = sorted(buckets)
    if not limits or buckets[limits[-1]] == 0:
        return 0.0
    wanted = share * buckets[limits[-1]]
    lower, below = 0.0, 0.0
    for limit in limits:
        if buckets[limit] >= wanted:
            if limit == float("inf"):
                return lower
            return lower + (limit - lower) * (wanted - below) / (buckets[limit] - below)
        lower, below = limit, buckets[limit]
    return lower
