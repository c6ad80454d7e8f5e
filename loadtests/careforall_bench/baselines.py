"""Measures the two baselines side by side and judges whether this machine is quiet enough to compare anything with them."""

import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from careforall_bench.figures import Load, middle_rate
from careforall_bench.load import run_load
from careforall_bench.one_each import OneEach
from careforall_bench.plan import ONE_AMOUNT, Donations, Plan, Repeat, Script, Webhooks
from careforall_bench.targets import LEAST_SEED_SHARE, MOST_SEED_SHARE, says_something

HOST = "127.0.0.1"
CURRENCY = "USD"
CAMPAIGNS = ["00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"]
TRIES = 3


class Pair(Struct, frozen=True, kw_only=True):
    """One run of each baseline, close in time."""

    seed: Load
    one_each: float

    @property
    def share(self) -> float:
        """The seed design's rate as a part of the benchmark client's."""
        return self.seed.rate / self.one_each if self.one_each else math.inf

    @property
    def valid(self) -> bool:
        """Whether the pair lies where it does on a quiet machine."""
        return says_something(seed=self.seed.rate, one_each=self.one_each)


class SeedLoads(Struct, frozen=True, kw_only=True):
    """Loads on a running seed design."""

    port: int

    def donations(self, seconds: float, *, keep: bool = False) -> Load:
        """New gifts, each with its idempotency key."""
        script = Donations(
            path="/donations", campaigns=CAMPAIGNS, currency=CURRENCY, token=new_token(), keep=keep, idempotent=True
        )
        return self._run(script, seconds)

    def webhooks(self, seconds: float) -> tuple[Load, Load]:
        """Messages for gifts made before: first time and again."""
        intents = self.donations(seconds, keep=True).kept
        script = Webhooks(
            path="/webhook",
            secret=new_token(),
            intents=intents,
            amount=ONE_AMOUNT,
            currency=CURRENCY,
            token=new_token(),
            timestamp=datetime.now(UTC).isoformat(),
        )
        new = self._run(script, seconds * 4, count=len(intents))
        return new, self._run(script, seconds * 4, count=len(intents))

    def totals(self, seconds: float) -> Load:
        """Sums over the gifts made before."""
        return self._run(Repeat(paths=[f"/totals/campaigns/{campaign}" for campaign in CAMPAIGNS]), seconds)

    def _run(self, script: Script, seconds: float, *, count: int | None = None) -> Load:
        plan = Plan(host=HOST, port=self.port, script=script, seconds=seconds)
        return run_load(plan if count is None else limited(plan, count))


def measure_pair(seed: SeedLoads, one_each: OneEach, seconds: float) -> Pair:
    """Run both baselines, one after the other."""
    return Pair(seed=seed.donations(seconds), one_each=one_each.transactions(seconds))


def valid_pair(measure: Callable[[], Pair], tell: Callable[[str], None]) -> Pair:
    """Repeat the pair until it says something, three times at most; the last one counts."""
    pair = measure()
    for _ in range(TRIES - 1):
        if pair.valid:
            break
        tell(f"baselines lie {pair.share:.3f} apart, outside {LEAST_SEED_SHARE} to {MOST_SEED_SHARE}: measuring them again")
        pair = measure()
    return pair


def warnings_about(pairs: list[Pair]) -> list[str]:
    """What to say of pairs that stayed outside the range."""
    shares = [f"{pair.share:.3f}" for pair in pairs if not pair.valid]
    if not shares:
        return []
    return [
        (
            f"this run says nothing: seed design / one transaction each was {', '.join(shares)}, outside {LEAST_SEED_SHARE} to "
            f"{MOST_SEED_SHARE}; something else keeps the machine busy, or it is not like the one the range was found on"
        )
    ]


def middle_one_each(pairs: list[Pair]) -> float:
    """The benchmark client's rate over the interleaved runs."""
    return middle_rate([pair.one_each for pair in pairs])


def limited(plan: Plan, count: int) -> Plan:
    """The same closed loop with a number of conversations after which it ends."""
    return Plan(
        host=plan.host,
        port=plan.port,
        script=plan.script,
        seconds=plan.seconds,
        connections=min(plan.connections, count),
        count=count,
    )


def new_token() -> str:
    """A mark that no other load's donors and events carry."""
    return uuid.uuid4().hex[:12]
