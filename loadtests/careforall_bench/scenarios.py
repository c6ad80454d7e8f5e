"""What is measured on the platform: one function per figure of the target table, each with the run's sizes and baselines."""

import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from careforall.kit.ids import new_id
from careforall_bench import processes, repository
from careforall_bench.baselines import CURRENCY, limited, new_token
from careforall_bench.costs import Meter
from careforall_bench.figures import Load
from careforall_bench.instance import API, Platform, PlatformError
from careforall_bench.load import run_load
from careforall_bench.plan import ONE_AMOUNT, Donations, Lives, Plan, Repeat, Reservations, Script, Webhooks
from careforall_bench.report import Baselines, Measure, figure, rate_of, with_load
from careforall_bench.settling import DONATIONS, Settled, settled, wait_for_lives, wait_until_idle

AMOUNTS = (ONE_AMOUNT, "10.00", "12.50", "25.00", "50.00", "99.95")
DONATION_PATH, WEBHOOK_PATH, TOTALS_PATH = f"{API}/donations", f"{API}/payments/webhook", f"{API}/totals/campaigns"
RESERVATION_PATH = f"{API}/inventory/reservations"
PLENTY = 50_000_000
CAMPAIGNS = 20
HIT = '"cache_level":"redis"'
HOT_READS, COLD_READS = 97, 3
HALF, GENTLER = 0.5, 0.8
LIVES_TRIES = 6
DRAIN_SHARE, SETTLING_SECONDS = 0.1, 30
IDLE_SAMPLES = 5
LOOK_SECONDS = 0.1
DRAIN_DEADLINE = 120.0
PREPARING_SECONDS = 120.0
FEW, MANY = 64, 512
MANY_MESSAGES = 256
LIVING = 1024


class Sizes(Struct, frozen=True, kw_only=True):
    """How long and how much."""

    rounds: int = 3
    baseline_seconds: float = 5
    burst_seconds: float = 10
    lives_seconds: float = 30
    webhooks: int = 60_000
    backlog: int = 100_000
    products: int = 200_000


FULL = Sizes()
QUICK = Sizes(rounds=1, baseline_seconds=2, burst_seconds=3, lives_seconds=5, webhooks=10_000, backlog=10_000, products=20_000)


class Setting(Struct, frozen=True, kw_only=True):
    """What a scenario gets: the platform, its sizes and what the baselines reached in this run."""

    platform: Platform
    sizes: Sizes
    baselines: Baselines


def burst(platform: Platform, campaigns: Sequence[str], seconds: float, *, connections: int = FEW) -> Load:
    """Gifts at saturation, everything on."""
    return run_load(plan_of(platform, _gifts(campaigns), seconds, connections=connections))


def donations_many(setting: Setting) -> Measure:
    """The same burst by many callers."""
    platform = setting.platform
    campaigns = _campaigns(platform)
    meter = Meter(platform)
    load = burst(platform, campaigns, setting.sizes.burst_seconds, connections=MANY)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    return rate_of(f"donations accepted, {MANY} connections", [load], note=f"lags zero again; {meter.told(load.finished)}")


def latency(setting: Setting) -> Measure:
    """Gifts at half of the floor's rate, open loop; latency counts from the time each was due."""
    one_each = setting.baselines.one_each
    if one_each is None:
        raise PlatformError("the rate hangs on the baseline: measure one-each in the same run")
    floor = max(one_each, 20 * (setting.baselines.donations or 0))
    plan = plan_of(setting.platform, _gifts(_campaigns(setting.platform)), setting.sizes.burst_seconds, rate=HALF * floor)
    load = run_load(plan)
    wait_until_idle(setting.platform, deadline=DRAIN_DEADLINE)
    if load.latency is None:
        raise PlatformError("no gift was accepted at half of the floor's rate")
    note = f"open loop at {HALF * floor:,.0f}/s, {load.rate:,.0f}/s finished"
    return with_load(figure("p99 at half of the floor", load.latency.p99, note=note), load)


def webhooks(setting: Setting) -> list[Measure]:
    """Bursts of signed messages for intents that have arrived: first time, then every one again; others first time by many."""
    platform, seed = setting.platform, setting.baselines
    intents = _intents(platform, setting.sizes.webhooks)
    half = len(intents) // 2
    telling = plan_of(platform, _messages(platform, intents[:half]), setting.sizes.burst_seconds)
    new, cost_new = _told(platform, limited(telling, half))
    again, cost_again = _told(platform, limited(telling, new.finished))
    crowd = replace(telling, script=_messages(platform, intents[half:]), connections=MANY_MESSAGES)
    many, cost_many = _told(platform, limited(crowd, len(intents) - half))
    return [
        rate_of("webhooks new", [new], baselines=seed, seed=seed.webhooks_new, note=cost_new),
        rate_of("webhooks duplicate", [again], baselines=seed, seed=seed.webhooks_duplicate, note=cost_again),
        rate_of(f"webhooks new, {MANY_MESSAGES} connections", [many], baselines=seed, seed=seed.webhooks_new, note=cost_many),
    ]


def _intents(platform: Platform, number: int) -> list[str]:
    """So many payment intents of new gifts, or what the time allows, once payments knows them all."""
    plan = plan_of(platform, _gifts(_campaigns(platform), amounts=(ONE_AMOUNT,), keep=True), PREPARING_SECONDS)
    intents = run_load(limited(plan, number)).kept
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    return intents


def totals(setting: Setting) -> Measure:
    """Reads of popular campaigns' totals; a few ask for the live figure, so that not everything is a hit."""
    platform = setting.platform
    campaigns = _campaigns(platform)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    hot = [f"{TOTALS_PATH}/{campaigns[index % CAMPAIGNS]}" for index in range(HOT_READS)]
    cold = [f"{TOTALS_PATH}/{campaigns[index]}?realtime=true" for index in range(COLD_READS)]
    run_load(plan_of(platform, Repeat(paths=hot), 1))
    meter = Meter(platform)
    load = run_load(plan_of(platform, Repeat(paths=hot + cold, marks=[HIT]), setting.sizes.baseline_seconds))
    hits = load.tallies.get(HIT, 0) / max(1, load.finished)
    note = f"{hits:.1%} answered by the cache; {meter.told(load.finished)}"
    return rate_of("totals reads", [load], baselines=setting.baselines, seed=setting.baselines.totals, note=note)


def reservations(setting: Setting) -> list[Measure]:
    """Units of one hot SKU held by as many holders, everything on; by 64 callers and by many."""
    platform = setting.platform
    sku = f"HOT-{new_token()}"
    platform.put_stock(sku, PLENTY)
    return [_held(setting, platform, sku, connections) for connections in (FEW, MANY)]


def _held(setting: Setting, platform: Platform, sku: str, connections: int) -> Measure:
    script = Reservations(path=RESERVATION_PATH, sku=sku, token=new_token(), authorization=platform.token)
    run_load(plan_of(platform, script, 1, connections=connections))
    script = replace(script, token=new_token())
    meter = Meter(platform)
    load = run_load(plan_of(platform, script, setting.sizes.burst_seconds, connections=connections))
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    name = "reservations, one hot SKU" + ("" if connections < MANY else f", {connections} connections")
    measure = rate_of(name, [load], note=f"lags zero again; {meter.told(load.finished)}")
    one_each = setting.baselines.reservations
    return replace(measure, ratio_one_each=measure.value / one_each if one_each else None)


def relay(setting: Setting) -> Measure:
    """A backlog of outbox rows, one message an event, until the last is published; all consumers take them meanwhile."""
    platform, number = setting.platform, setting.sizes.backlog
    dsn = repository.on_database(platform.postgres, DONATIONS)
    burst(platform, _campaigns(platform), 1)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    meter = Meter(platform)
    added = repository.add_backlog(dsn, "donations.created", [new_id() for _ in range(number)])
    if added != number:
        raise PlatformError(f"only {added} of {number} outbox rows could be added")
    seconds = _drained(dsn, number)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    note = f"{number:,} events, one message each, NATS as `up` starts it, all consumers idle again; {meter.told(number)}"
    return figure("relay events", number / seconds, note=note)


def lives(setting: Setting) -> Measure:
    """Whole lives at a rate the platform keeps up with: the gift, its signed SUCCESS, and every trace of it."""
    platform, seconds = setting.platform, setting.sizes.lives_seconds
    rate, drain = _probe_lives(platform, seconds / 3), 0.0
    for _ in range(LIVES_TRIES):
        measure, drain = _lives_at(platform, rate, seconds)
        if drain <= _patience(seconds):
            return measure
        rate = min(GENTLER * rate, measure.value)
    raise PlatformError(f"lags take {drain:.1f} s to come back to zero after {seconds:.0f} s of lives: no rate counts")


def memory(setting: Setting) -> Measure:
    """What the idle platform takes, all processes with the servers."""
    if not processes.supported():
        raise PlatformError("this system does not tell proportional memory")
    wait_until_idle(setting.platform, deadline=DRAIN_DEADLINE)
    samples = []
    for _ in range(IDLE_SAMPLES):
        samples.append(processes.memory_megabytes(setting.platform.launched.processes()))
        time.sleep(1)  # not a wait: the distance between samples
    return figure("memory", statistics.median(samples), note=f"{len(setting.platform.launched.processes())} processes, idle")


def _patience(seconds: float) -> float:
    """Seconds after which every lag must be zero again; a short run is given those of the shortest that counts."""
    return DRAIN_SHARE * max(seconds, SETTLING_SECONDS)


def _lives_at(platform: Platform, rate: float, seconds: float) -> tuple[Measure, float]:
    campaigns = _campaigns(platform)
    before, meter = settled(platform, campaigns), Meter(platform)
    begun = time.perf_counter()
    load = run_load(plan_of(platform, _lives(platform, campaigns), seconds, connections=LIVING, rate=rate))
    number, loaded = load.tallies.get("told", 0), time.perf_counter()
    _await_lives(platform, campaigns, before, number)
    over = time.perf_counter()
    early = load.tallies.get("told_too_early", 0)
    note = (
        f"{number:,} lives at {rate:,.0f}/s, {early:,} messages came before their intent, "
        f"lags zero {over - loaded:.1f} s later; {meter.told(number)}"
    )
    return with_load(figure("whole lives settled", number / (over - begun), note=note), load), over - loaded


def _probe_lives(platform: Platform, seconds: float) -> float:
    """Lives settled per second at saturation, the draining afterwards included."""
    campaigns = _campaigns(platform)
    before, begun = settled(platform, campaigns), time.perf_counter()
    load = run_load(plan_of(platform, _lives(platform, campaigns), seconds, connections=LIVING))
    number = load.tallies.get("told", 0)
    _await_lives(platform, campaigns, before, number)
    return number / (time.perf_counter() - begun)


def _await_lives(platform: Platform, campaigns: Sequence[str], before: Settled, number: int) -> None:
    wait_for_lives(platform, campaigns, before=before, number=number, deadline=DRAIN_DEADLINE)


def _told(platform: Platform, plan: Plan) -> tuple[Load, str]:
    """Tell messages, and what one costs until nothing is under way."""
    meter = Meter(platform)
    load = run_load(plan)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    return load, f"lags zero again; {meter.told(load.finished)}"


def _drained(dsn: str, number: int) -> float:
    """Seconds from the first published row to the last."""
    begun = time.perf_counter()
    with repository.unpublished([dsn]) as unpublished:
        while (left := unpublished()) > 0:
            if left == number:
                begun = time.perf_counter()
            if time.perf_counter() - begun > DRAIN_DEADLINE:
                raise PlatformError(f"{left} events are still unpublished")
            time.sleep(LOOK_SECONDS)  # not a wait: each look costs what is being measured
    return time.perf_counter() - begun


def _campaigns(platform: Platform) -> list[str]:
    return platform.campaigns(CAMPAIGNS, currency=CURRENCY)


def plan_of(platform: Platform, script: Script, seconds: float, *, connections: int = FEW, rate: float | None = None) -> Plan:
    """A load on the platform: closed loop, or open loop at a rate."""
    return Plan(host=platform.host, port=platform.port, script=script, seconds=seconds, connections=connections, rate=rate)


def _gifts(campaigns: Sequence[str], *, amounts: tuple[str, ...] = AMOUNTS, keep: bool = False) -> Donations:
    return Donations(
        path=DONATION_PATH,
        campaigns=list(campaigns),
        currency=CURRENCY,
        token=new_token(),
        amounts=amounts,
        keep=keep,
        idempotent=True,
    )


def _lives(platform: Platform, campaigns: Sequence[str]) -> Lives:
    return Lives(donations=_gifts(campaigns), webhook_path=WEBHOOK_PATH, secret=platform.secret)


def _messages(platform: Platform, intents: list[str]) -> Webhooks:
    return Webhooks(
        path=WEBHOOK_PATH,
        secret=platform.secret,
        intents=intents,
        amount=ONE_AMOUNT,
        currency=CURRENCY,
        token=new_token(),
        timestamp=datetime.now(UTC).isoformat(),
    )
