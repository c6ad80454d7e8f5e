"""Dashboards and alerts against the real thing: every query is answered by what a platform tells that was given to and sold.

Where Prometheus is at hand, a real one scrapes it and answers each query; what must have data has data.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from msgspec import Struct
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from careforall.cli.registry import NAMES
from careforall_operator import metrics as operator_metrics
from careforall_testing import reading
from careforall_testing.loopback import Answered, Asked, listening
from careforall_testing.observability.alert import Alert
from careforall_testing.observability.files import ALERTS, BOARDS, FOLDER
from careforall_testing.observability.known import asked, complaints, foreign, ours
from careforall_testing.observability.panels import Query
from careforall_testing.observability.promql import read
from careforall_testing.polling import eventually
from careforall_testing.prometheus import Prometheus, prometheus
from careforall_testing.shop import Shop, running_shop
from careforall_testing.shopping import product

pytestmark = pytest.mark.timeout(300)

FAST = {"CAREFORALL_OBSERVE_SECONDS": "1", "CAREFORALL_VERIFY_EVERY": "2"}
PRICE = "30.00"


class Watched(Struct, frozen=True, kw_only=True):
    """A platform that was given to and sold, and the operator's metrics beside it."""

    shop: Shop
    campaign: str
    operator: str
    """Where the operator's metrics are."""

    async def page(self) -> str:
        """What the platform tells now."""
        answer = await self.shop.client.get("/metrics")
        return answer.text


@pytest.fixture(scope="module")
async def watched() -> AsyncIterator[Watched]:
    async with running_shop(NAMES, **FAST) as shop, listening(_operators) as operator:
        campaign = await shop.campaign()
        await shop.completed_gift(campaign)
        buyer = await shop.sign_up("buyer@example.org")
        await shelved(shop, 9)
        await bought(shop, buyer)
        yield Watched(shop=shop, campaign=campaign, operator=operator)


async def shelved(shop: Shop, on_hand: int) -> None:
    """Put kettles into the catalogue and on the shelf."""
    body = product(name="Kettle", base_price=PRICE, variants=[{"sku": "KETTLE"}])
    made = await shop.client.post("/api/v1/admin/products", json=body, headers=shop.admin)
    assert made.status_code == 201, made.text
    counted = await shop.client.put("/api/v1/admin/inventory", json={"sku": "KETTLE", "on_hand": on_hand}, headers=shop.admin)
    assert counted.status_code in {200, 201}, counted.text


async def bought(shop: Shop, buyer: dict[str, str]) -> None:
    """Fill a cart and pay for it at the till."""

    async def filled() -> str | None:
        answer = await shop.client.post("/api/v1/cart/items", json={"sku": "KETTLE", "quantity": 2}, headers=buyer)
        return str(answer.json()["cart_id"]) if answer.status_code == 201 else None

    cart = await eventually(filled, within_s=30, what="a cart with goods")
    body = {"cart_id": cart, "shipping_address_id": await shop.address(buyer)}
    checkout = await shop.client.post("/api/v1/checkout/initiate", json=body, headers=buyer)
    assert checkout.status_code == 201, checkout.text
    paid = await shop.pay(buyer, checkout.json()["checkout_id"])
    assert (paid.status_code, paid.json()["status"]) == (200, "CONFIRMED"), paid.text


async def _operators(_: Asked) -> Answered:
    """The operator's own registry, each metric with one series."""
    registry = CollectorRegistry()
    for one in vars(operator_metrics).values():
        if isinstance(one, MetricWrapperBase):
            series = one.labels(*("careforall" for _ in reading.metric(one).labels))
            if isinstance(series, Histogram):
                series.observe(0.1)
            registry.register(one)
    return Answered(body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"})


def told(page: str, name: str, **labels: str) -> float:
    """The sum of the samples of a metric that have some labels."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


async def test_gifts_orders_and_sagas_are_counted(watched: Watched) -> None:
    async def seen() -> bool:
        page = await watched.page()
        return (
            told(page, "donation_created_total", campaign_id=watched.campaign) == 1
            and told(page, "donation_completed_gifts", currency="EUR") == 1
            and told(page, "donation_raised_amount", currency="EUR") > 0
            and told(page, "orders_created_total") == 1
            and told(page, "orders_sales_last_day", currency="EUR") == 60
            and told(page, "events_published_total", subject="donations.completed") == 1
            and told(page, "events_published_total", subject="orders.confirmed") == 1
        )

    await eventually(seen, within_s=30, what="gift and order in the metrics")


async def test_a_repeat_is_no_second_gift(watched: Watched) -> None:
    campaign = await watched.shop.campaign()
    first = await watched.shop.give(campaign, headers={"Idempotency-Key": "once"})
    again = await watched.shop.give(campaign, headers={"Idempotency-Key": "once"})
    assert first["id"] == again["id"]
    assert told(await watched.page(), "donation_created_total", campaign_id=campaign) == 1


async def test_a_parked_saga_shows_by_its_step_and_leaves_again(watched: Watched) -> None:
    async def shown(parked: int, open_ones: int) -> None:
        async def look() -> bool:
            page = await watched.page()
            found = told(page, "orders_parked_sagas"), told(page, "orders_open_sagas", step="capture")
            return found == (parked, open_ones) and (told(page, "orders_saga_age_seconds", step="capture") > 3000) == bool(parked)

        await eventually(look, within_s=30, what=f"{parked} parked")

    async with watched.shop.platform.database("orders") as database:
        await database.execute(_STUCK)
        await shown(1, 1)
        await database.execute("DELETE FROM saga_state WHERE request_hash = 'stuck'")
        await shown(0, 0)


@pytest.mark.parametrize("where", asked())
async def test_every_metric_of_a_query_is_exported(watched: Watched, where: str) -> None:
    expr, legend = asked()[where]
    exported = names(await watched.page()) | names((await _operators_page()).decode())
    missing = [name for name in read(expr).metrics if name not in exported and name not in foreign()]
    assert missing == []
    assert complaints(expr, legend, ours() | foreign()) == []


def test_samples_have_the_labels_that_are_declared(page: str) -> None:
    wrong = {
        sample.name: sorted(sample.labels)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in ours() and set(sample.labels) != ours()[sample.name]
    }
    assert wrong == {}


@pytest.fixture
async def page(watched: Watched) -> str:
    return await watched.page()


@pytest.fixture(scope="module")
async def scraped(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """A real Prometheus with the chart's rules that has seen the platform for a while, and more of the same meanwhile."""
    targets = {"services": [address(watched.shop.platform.first.url)], "operator": [address(watched.operator)]}
    rules = FOLDER / "rules.yaml"
    async with prometheus(targets, tmp_path_factory.mktemp("prometheus"), rules=[rules]) as running:
        await running.targets_up(2)
        await watched.shop.completed_gift(watched.campaign)
        buyer = await watched.shop.sign_up("second@example.org")
        await bought(watched.shop, buyer)
        await watched.shop.client.get(f"/api/v1/totals/campaigns/{watched.campaign}")
        await running.settled()
        yield running


@pytest.mark.parametrize(
    ("board", "query"),
    [(board.uid, query) for board in BOARDS for query in board.queries()],
    ids=lambda one: one if isinstance(one, str) else re.sub(r"\W+", "-", one.expr)[:90],
)
async def test_a_panel_has_data(scraped: Prometheus, board: str, query: Query) -> None:
    found = await scraped.query(query.expr.replace("$service", ".*"))
    assert found or query.quiet, f"{board}: no data for {query.expr}"
    values = [one["value"][1] for one in found]
    assert query.quiet or any(value != "NaN" for value in values), f"{board}: {query.expr} is NaN"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
async def test_an_alert_can_be_asked_for(scraped: Prometheus, alert: Alert) -> None:
    await scraped.query(alert.expr)


async def test_the_rules_are_loaded_and_healthy_and_a_sound_platform_wakes_nobody(scraped: Prometheus) -> None:
    async def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in await scraped.rules())

    await eventually(evaluated, within_s=90, what="every rule evaluated")
    assert len(await scraped.rules()) > len(ALERTS)
    assert [one["metric"]["alertname"] for one in await scraped.query('ALERTS{alertstate="firing"}')] == []


def names(page: str) -> set[str]:
    """Every name that can be asked for, those of metrics without a sample too."""
    found = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    kinds = re.findall(r"^# TYPE (\S+) (\w+)$", page, re.MULTILINE)
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return found | {f"{name}{part}" for name, kind in kinds for part in parts.get(kind, ("",))}


async def _operators_page() -> bytes:
    return (await _operators(Asked(method="GET", path="/", query={}, headers={}, body=b""))).body


def address(url: str) -> str:
    """The host and port of a URL."""
    return url.partition("//")[2].rstrip("/")


_STUCK = """
INSERT INTO saga_state (
    id, type, status, current_step, payload, code_version, user_id, request_hash, lease_until, turn, tries, parked_at, created_at
)
SELECT gen_random_uuid(), 'CANCEL', 'IN_PROGRESS', 'capture', payload, code_version, user_id, 'stuck',
       clock_timestamp() + interval '1 hour', gen_random_uuid(), 60, clock_timestamp(), clock_timestamp() - interval '1 hour'
FROM saga_state
LIMIT 1
"""
