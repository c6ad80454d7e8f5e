"""The floors and aims that measured figures stand beside, and the rule that says whether a run says anything at all."""

from msgspec import Struct

LEAST_SEED_SHARE, MOST_SEED_SHARE = 0.03, 0.08
ONE_EACH, SEED = "one transaction each", "seed design"
FLOORS_ONE_EACH = 8_900.0
"""Single transactions a second of the machine whose rates the floors are: what its rates mean elsewhere hangs on it."""


class Target(Struct, frozen=True, kw_only=True):
    """What a figure has to reach; `least_*` are multiples of the baselines measured in the same run."""

    name: str
    unit: str
    floor: float | None = None
    aim: float | None = None
    going: float | None = None
    least_seed: float | None = None
    least_one_each: float | None = None
    lower_is_better: bool = False

    def floor_in(self, *, seed: float | None, one_each: float | None) -> float | None:
        """The floor of this run; nothing when it hangs on a baseline that was not measured."""
        if self.least_seed is None and self.least_one_each is None:
            return self.floor
        if seed is None or one_each is None:
            return None
        return max(seed * (self.least_seed or 0), one_each * (self.least_one_each or 0))


TARGETS = {
    target.name: target
    for target in (
        Target(name="donations accepted", unit="/s", aim=12_000, least_seed=20, least_one_each=1),
        Target(name="donations accepted, 512 connections", unit="/s", going=20_000),
        Target(name="whole lives settled", unit="/s", floor=800, aim=2_500, going=4_000),
        Target(name="webhooks new", unit="/s", floor=5_000, aim=10_000, going=16_000),
        Target(name="webhooks new, 256 connections", unit="/s", floor=5_000, aim=10_000, going=16_000),
        Target(name="webhooks duplicate", unit="/s", floor=9_000, aim=30_000, going=42_000),
        Target(name="totals reads", unit="/s", floor=12_000, aim=36_000, going=50_000),
        Target(name="reservations, one hot SKU", unit="/s", floor=8_000, aim=15_000, going=25_000),
        Target(name="reservations, one hot SKU, 512 connections", unit="/s", floor=8_000, aim=15_000, going=25_000),
        Target(name="complete checkouts", unit="/s", floor=300, aim=1_000, going=2_000),
        Target(name="complete checkouts, 256 buyers", unit="/s", floor=300, aim=1_000, going=2_000),
        Target(name="cart additions, p99 at 200/s", unit="ms", floor=100, lower_is_better=True),
        Target(name="product page, p99 at 200/s", unit="ms", floor=500, lower_is_better=True),
        Target(name="search, p95 at 20/s", unit="ms", floor=200, lower_is_better=True),
        Target(name="relay events", unit="/s", floor=20_000, aim=60_000, going=100_000),
        Target(name="p99 at half of the floor", unit="ms", floor=50, aim=20, going=10, lower_is_better=True),
        Target(name="memory", unit="MB", floor=900, aim=500, going=350, lower_is_better=True),
        Target(name="start, warm", unit="s", floor=15, aim=8, going=4, lower_is_better=True),
    )
}


def plain(name: str, unit: str) -> Target:
    """A figure that nothing is demanded of, such as a baseline."""
    return TARGETS.get(name) or Target(name=name, unit=unit)


def says_something(*, seed: float, one_each: float) -> bool:
    """Whether the two baselines lie as far apart as they do on a quiet machine."""
    return one_each > 0 and LEAST_SEED_SHARE <= seed / one_each <= MOST_SEED_SHARE


def verdict(target: Target, value: float, *, floor: float | None) -> str:
    """`aim`, `floor` or `below`; empty when nothing is demanded."""
    if target.aim is not None and _reaches(value, target.aim, lower=target.lower_is_better):
        above_floor = floor is None or _reaches(value, floor, lower=target.lower_is_better)
        return "aim" if above_floor else "below"
    if floor is None:
        return ""
    return "floor" if _reaches(value, floor, lower=target.lower_is_better) else "below"


def _reaches(value: float, mark: float, *, lower: bool) -> bool:
    return value <= mark if lower else value >= mark
