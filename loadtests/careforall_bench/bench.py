"""Runs the chosen measurements in one go, baselines and platform interleaved, and collects the report."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from careforall_bench import repository, scenarios, shop_scenarios
from careforall_bench.baselines import CURRENCY, Pair, SeedLoads, measure_pair, middle_one_each, valid_pair, warnings_about
from careforall_bench.costs import Meter
from careforall_bench.figures import Load, middle_rate
from careforall_bench.instance import Launched, Platform, PlatformError, connect
from careforall_bench.load import LoadError
from careforall_bench.one_each import DATABASE as ONE_EACH_DATABASE
from careforall_bench.one_each import OneEach, prepare
from careforall_bench.report import Baselines, Measure, Report, figure, now, rate_of, this_machine
from careforall_bench.scenarios import Setting, Sizes
from careforall_bench.seed_server import DATABASE as SEED_DATABASE
from careforall_bench.seed_server import seed_server
from careforall_bench.settling import wait_until_idle

BASELINES, DONATIONS, START = "baselines", "donations", "start"
SCENARIOS: dict[str, Callable[[Setting], Measure | list[Measure]]] = {
    "memory": scenarios.memory,
    "donations-512": scenarios.donations_many,
    "latency": scenarios.latency,
    "webhooks": scenarios.webhooks,
    "totals": scenarios.totals,
    "reservations": scenarios.reservations,
    "checkouts": shop_scenarios.checkouts,
    "add-to-cart": shop_scenarios.add_to_cart,
    "product-page": shop_scenarios.product_page,
    "search": shop_scenarios.search,
    "relay": scenarios.relay,
    "lives": scenarios.lives,
}
NAMES = (BASELINES, START, DONATIONS, *SCENARIOS)
WARM_UP_SECONDS = 1.0


class Bench:
    """One run: what was chosen, what was measured so far, what is wrong with it."""

    def __init__(self, *, pgbench: Path, chosen: Sequence[str], sizes: Sizes, quick: bool, tell: Callable[[str], None]) -> None:
        self._pgbench = pgbench
        self._chosen = frozenset(chosen or NAMES)
        self._sizes = sizes
        self._quick = quick
        self._tell = tell
        self._started_at = now()
        self._measures: list[Measure] = []
        self._warnings: list[str] = []
        self._pairs: list[Pair] = []
        self._baselines = Baselines()

    def on_server(self, postgres: str) -> Report:
        """Measure the baselines alone, on a given PostgreSQL server."""
        with self._yardsticks(postgres) as (seed, one_each):
            self._measure_pairs(seed, one_each, platform=None)
            self._measure_seed(seed, one_each)
        return self._report(postgres)

    def on_running(self, launched: Launched) -> Report:
        """Measure an instance that runs already."""
        return self._on(connect(launched))

    def on_new(self, launched: Launched) -> Report:
        """Start an instance, measure it, forget it."""
        try:
            self._start(launched)
            return self._on(connect(launched))
        finally:
            launched.down(purge=True)

    def _start(self, launched: Launched) -> None:
        self._tell("starting the platform")
        first = launched.up()
        if START in self._chosen:
            launched.down(purge=False)
            self._measures.append(figure("start, new data", first, unit="s"))
            self._measures.append(figure("start, warm", launched.up(), note="`up --detach` to its return, data there"))

    def _on(self, platform: Platform) -> Report:
        launched = platform.launched
        if "memory" in self._chosen:
            self._run("memory", launched)
        with self._yardsticks(platform.postgres) as (seed, one_each):
            if self._chosen - {START, "memory"}:
                self._measure_pairs(seed, one_each, platform=platform if DONATIONS in self._chosen else None)
                self._measure_seed(seed, one_each)
        for name in SCENARIOS:
            if name in self._chosen and name != "memory":
                self._run(name, launched)
        return self._report(platform.postgres)

    @contextmanager
    def _yardsticks(self, postgres: str) -> Iterator[tuple[SeedLoads, OneEach]]:
        one_each = prepare(self._pgbench, postgres)
        try:
            with seed_server(postgres) as port:
                yield SeedLoads(port=port), one_each
        finally:
            for database in (SEED_DATABASE, ONE_EACH_DATABASE):
                repository.drop_database(postgres, database)

    def _measure_pairs(self, seed: SeedLoads, one_each: OneEach, *, platform: Platform | None) -> None:
        """Baselines and the platform's burst in turns, so that a slow minute hits all of them."""
        seconds = self._sizes.baseline_seconds
        seed.donations(WARM_UP_SECONDS)
        campaigns = [] if platform is None else platform.campaigns(scenarios.CAMPAIGNS, currency=CURRENCY)
        bursts: list[Load] = []
        cost = ""
        if platform is not None:
            scenarios.burst(platform, campaigns, WARM_UP_SECONDS)
        for turn in range(self._sizes.rounds):
            self._tell(f"baselines and donations, round {turn + 1} of {self._sizes.rounds}")
            self._pairs.append(valid_pair(lambda: measure_pair(seed, one_each, seconds), self._tell))
            if platform is not None:
                meter = Meter(platform)
                bursts.append(scenarios.burst(platform, campaigns, self._sizes.burst_seconds))
                wait_until_idle(platform, deadline=scenarios.DRAIN_DEADLINE)
                cost = f"last round, lags zero again; {meter.told(bursts[-1].finished)}"
        self._note_pairs(bursts, cost)

    def _note_pairs(self, bursts: list[Load], cost: str) -> None:
        self._warnings += warnings_about(self._pairs)
        rate = middle_rate([pair.seed.rate for pair in self._pairs])
        self._baselines = Baselines(one_each=middle_one_each(self._pairs), donations=rate)
        runs = [pair.one_each for pair in self._pairs]
        one_each = figure("one transaction each", middle_rate(runs), unit="/s")
        self._measures.append(msgspec.structs.replace(one_each, runs=runs))
        self._measures.append(rate_of("seed design: donations", [pair.seed for pair in self._pairs]))
        if bursts:
            self._measures.append(rate_of("donations accepted", bursts, baselines=self._baselines, seed=rate, note=cost))

    def _measure_seed(self, seed: SeedLoads, one_each: OneEach) -> None:
        """What else the baselines do, once each."""
        self._tell("baselines: webhooks, totals, one statement each")
        seconds = self._sizes.baseline_seconds
        new, again = seed.webhooks(seconds)
        totals = seed.totals(seconds)
        hot, checkouts = one_each.reservations(seconds), one_each.checkouts(seconds)
        self._baselines = msgspec.structs.replace(
            self._baselines,
            webhooks_new=new.rate,
            webhooks_duplicate=again.rate,
            totals=totals.rate,
            reservations=hot,
            checkouts=checkouts,
        )
        self._measures += [
            figure("one statement each", one_each.statements(seconds), unit="/s"),
            figure("one transaction each, one hot SKU", hot, unit="/s"),
            figure("one transaction each, whole checkouts", checkouts, unit="/s"),
            rate_of("seed design: webhooks new", [new]),
            rate_of("seed design: webhooks duplicate", [again]),
            rate_of("seed design: totals reads", [totals]),
        ]

    def _run(self, name: str, launched: Launched) -> None:
        """One scenario, signed in anew; what goes wrong in it is said and does not take the others along."""
        self._tell(name)
        try:
            found = SCENARIOS[name](Setting(platform=connect(launched), sizes=self._sizes, baselines=self._baselines))
        except (PlatformError, LoadError) as error:
            self._warnings.append(f"{name} was not measured: {error}")
            return
        self._measures += found if isinstance(found, list) else [found]

    def _report(self, postgres: str) -> Report:
        refused = [f"{measure.name}: {measure.refused} refused" for measure in self._measures if measure.refused]
        return Report(
            started_at=self._started_at,
            quick=self._quick,
            valid=not warnings_about(self._pairs),
            warnings=[*self._warnings, *refused],
            machine=this_machine(repository.server_version(postgres)),
            measures=self._measures,
        )
