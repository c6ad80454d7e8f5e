"""What is measured of the shop: whole checkouts with the budget of each stage, carts, product pages, and search."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote_plus

from msgspec.structs import replace

from careforall_bench import repository, repository_catalogue
from careforall_bench.baselines import new_token
from careforall_bench.costs import Meter
from careforall_bench.figures import Latency, Load
from careforall_bench.instance import API, Platform, PlatformError
from careforall_bench.load import run_load
from careforall_bench.plan import Buyer, CartAdditions, Checkouts, Repeat
from careforall_bench.purchases import STAGES
from careforall_bench.report import Measure, figure, with_load
from careforall_bench.repository_catalogue import ADJECTIVES, MATERIALS, NOUNS
from careforall_bench.scenarios import DRAIN_DEADLINE, PLENTY, Setting, plan_of
from careforall_bench.settling import wait_until_idle

ORDERS, CATALOG, SEARCH = "careforall_orders", "careforall_catalog", "careforall_search"
GOODS, BUYERS, MANY_BUYERS = 20, 64, 256
CART_RATE, PAGE_RATE, SEARCH_RATE = 200, 200, 20
PAGES = 1000
MILLISECONDS = 1000


def checkouts(setting: Setting) -> list[Measure]:
    """Whole purchases: cart, till, card, saga, order confirmed, stock sold, every event taken; and what each stage takes.

    By some buyers and by many, whose steps share more transactions.
    """
    platform = setting.platform
    skus, buyers = platform.products(GOODS, stock=PLENTY), platform.buyers(MANY_BUYERS)
    platform.until_bought(buyers[0], skus, deadline=DRAIN_DEADLINE)
    return [_bought(setting, skus, buyers[:number]) for number in (BUYERS, MANY_BUYERS)]


def _bought(setting: Setting, skus: list[str], buyers: list[Buyer]) -> Measure:
    platform = setting.platform
    dsn = repository.on_database(platform.postgres, ORDERS)

    def buying(seconds: float) -> Load:
        script = Checkouts(api=API, buyers=buyers, skus=skus, token=new_token())
        return run_load(plan_of(platform, script, seconds, connections=len(buyers)))

    buying(1)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    before, meter = repository.confirmed_orders(dsn), Meter(platform)
    load = buying(setting.sizes.burst_seconds)
    wait_until_idle(platform, deadline=DRAIN_DEADLINE)
    bought, confirmed = load.tallies.get("bought", 0), repository.confirmed_orders(dsn) - before
    if not bought or confirmed < bought:
        raise PlatformError(f"{bought} buyers bought, {confirmed} orders are confirmed: {load.tallies}")
    note = f"stages: {_stages(load)}; steps: {_steps(dsn, bought)}; lags zero again; {meter.told(bought)}"
    name = "complete checkouts" + ("" if len(buyers) < MANY_BUYERS else f", {MANY_BUYERS} buyers")
    measure = with_load(figure(name, bought / load.seconds, note=note), load)
    one_each = setting.baselines.checkouts
    return replace(measure, ratio_one_each=measure.value / one_each if one_each else None)


def add_to_cart(setting: Setting) -> Measure:
    """Guests who put something into a new cart, at a rate."""
    platform = setting.platform
    skus, [buyer] = platform.products(GOODS, stock=PLENTY), platform.buyers(1)
    platform.until_bought(buyer, skus, deadline=DRAIN_DEADLINE)
    script = CartAdditions(path=f"{API}/cart/items", skus=skus)
    run_load(plan_of(platform, script, 1))
    load = run_load(plan_of(platform, script, setting.sizes.burst_seconds, rate=CART_RATE))
    taken = load.tallies.get("taken", 0)
    latency = _good(load, taken)
    note = f"open loop, {taken:,} new carts of guests"
    return with_load(figure(f"cart additions, p99 at {CART_RATE}/s", latency.p99, note=note), load)


def product_page(setting: Setting) -> Measure:
    """Pages of many products of a large catalogue, at a rate; each is made once and then comes from the cache."""
    platform = setting.platform
    with _catalogue(platform, setting.sizes.products) as catalog:
        found = repository_catalogue.some_ids(catalog, PAGES)
        script = Repeat(paths=[f"{API}/products/{identifier}" for identifier in found])
        load = run_load(plan_of(platform, script, setting.sizes.burst_seconds, rate=PAGE_RATE))
    latency = _good(load, load.statuses.get(200, 0))
    note = f"open loop, {len(found):,} of {setting.sizes.products:,} products in turn, none cached before"
    return with_load(figure(f"product page, p99 at {PAGE_RATE}/s", latency.p99, note=note), load)


def search(setting: Setting) -> Measure:
    """Searches for one to three words with facets, in a large catalogue, at a rate."""
    platform = setting.platform
    with _catalogue(platform, setting.sizes.products):
        load = run_load(plan_of(platform, Repeat(paths=_questions()), setting.sizes.burst_seconds, rate=SEARCH_RATE))
    latency = _good(load, load.statuses.get(200, 0))
    note = f"open loop, {setting.sizes.products:,} products, one to three words by turns"
    return with_load(figure(f"search, p95 at {SEARCH_RATE}/s", latency.p95, note=note), load)


@contextmanager
def _catalogue(platform: Platform, products: int) -> Iterator[str]:
    """So many products more while the context is open; yields the database of the catalog."""
    catalog, index = (repository.on_database(platform.postgres, name) for name in (CATALOG, SEARCH))
    repository_catalogue.fill(catalog, index, products)
    try:
        yield catalog
    finally:
        repository_catalogue.forget(catalog, index, products)


def _questions() -> list[str]:
    """Paths of searches: a noun alone finds a tenth of all, three words a thousandth."""
    words = zip(ADJECTIVES, MATERIALS, NOUNS, strict=True)
    asked = [text for one, two, three in words for text in (three, f"{two} {three}", f"{one} {two} {three}")]
    return [f"{API}/search?q={quote_plus(text)}" for text in asked]


def _good(load: Load, answered: int) -> Latency:
    """The latency of a load in which everybody was served.

    Raises:
        PlatformError: Somebody was not, so that it says nothing.
    """
    if load.latency is None or load.refused or answered != load.finished:
        raise PlatformError(f"{load.finished} ended, {answered} were served: {load.statuses} {load.errors}")
    return load.latency


def _stages(load: Load) -> str:
    """What a buyer waits for in each stage, on average."""
    found = [(stage, load.tallies.get(stage, 0), load.tallies.get(f"{stage} us", 0)) for stage in STAGES]
    return ", ".join(f"{stage} {total / number / MILLISECONDS:.1f} ms" for stage, number, total in found if number)


def _steps(dsn: str, number: int) -> str:
    """What each step of the saga takes, in the middle."""
    return ", ".join(f"{step} {taken:.1f} ms" for step, taken in repository.step_milliseconds(dsn, number).items())
