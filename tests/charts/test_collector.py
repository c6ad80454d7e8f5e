"""A real collector with what the chart renders: it takes every configuration, and does with spans what the values say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from careforall.kit.tracing import Tracing
from careforall_testing.charts import CHART, FRONT, OWN_SECRETS, ROOT, containers, named, objects, render, rendered
from careforall_testing.collector import NAME, Collector, collector, configuration, refused, written
from careforall_testing.polling import eventually
from careforall_testing.span_sink import SpanSink, span_sink, traceparent

pytestmark = pytest.mark.timeout(120)
OWN = "observability.collector"
TO = f"{OWN}.exporters"
VARIANTS = {
    "everything": (),
    "every trace": (f"{OWN}.tailSampling.enabled=false",),
    "several exporters": (
        f"{TO}.otlp_http/second.endpoint=https://second.example.org",
        f"{TO}.otlp_http/second.headers.authorization=Bearer ${{env:TRACES_TOKEN}}",
        f"{TO}.otlp_grpc.endpoint=third.example.org:4317",
        f"{TO}.debug.verbosity=basic",
    ),
    "an exporter of an older name": (f"{TO}.otlphttp.endpoint=https://second.example.org",),
    "a queue of one's own": (
        f"{TO}.otlp_http.sending_queue.queue_size=20000000",
        f"{TO}.otlp_http.sending_queue.sizer=bytes",
        f"{TO}.otlp_http.retry_on_failure.max_elapsed_time=0s",
    ),
    "the least": (
        f"{OWN}.batch.size=1",
        f"{OWN}.batch.timeoutMilliseconds=1",
        f"{OWN}.memory.limitPercentage=10",
        f"{OWN}.memory.spikePercentage=1",
        f"{OWN}.tailSampling.decisionSeconds=1",
        f"{OWN}.tailSampling.traces=100",
        f"{OWN}.tailSampling.slowMilliseconds=1",
        f"{OWN}.tailSampling.keepPercentage=0",
    ),
    "the most": (
        f"{OWN}.batch.size=100000",
        f"{OWN}.batch.timeoutMilliseconds=60000",
        f"{OWN}.memory.limitPercentage=95",
        f"{OWN}.memory.spikePercentage=50",
        f"{OWN}.tailSampling.decisionSeconds=300",
        f"{OWN}.tailSampling.traces=10000000",
        f"{OWN}.tailSampling.slowMilliseconds=600000",
        f"{OWN}.tailSampling.keepPercentage=100",
    ),
}
"""What users may set, up to what the schema lets through."""
EVERY_TRACE = f"{OWN}.tailSampling.enabled=false"
QUICK = (
    f"{OWN}.tailSampling.decisionSeconds=1",
    f"{OWN}.tailSampling.keepPercentage=0",
    f"{OWN}.tailSampling.slowMilliseconds=60000",
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_collector_takes_whatever_the_values_let_through(variant: str, tmp_path: Path) -> None:
    assert not refused(written(rendered("everything", *VARIANTS[variant])), tmp_path)


def test_a_collector_would_say_no(tmp_path: Path) -> None:
    """The check above sees what is misspelt, and what the chart itself refuses because a collector would."""
    for part, wrong in (("memory_limiter", {"spike_limit_percentage": 80}), ("batch", {"send_batch_sise": 1})):
        found = configuration()
        found["processors"][part] |= wrong
        assert next(iter(wrong)) in refused(yaml.safe_dump(found), tmp_path)


def test_the_collector_takes_the_example_of_the_how_to(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "watch-the-platform.md").read_text()
    [example] = [block for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "otlpUrl:" in block]
    values = tmp_path / "values.yaml"
    values.write_text(example)
    options = [word for one in (*OWN_SECRETS, *FRONT) for word in ("--set", one)]
    chart = render("--values", str(CHART / "values-prod.yaml"), "--values", str(values), *options)
    assert not refused(written(chart), tmp_path)


def test_the_tag_is_that_of_the_collector_that_was_asked() -> None:
    (container,) = containers(named(objects(rendered("everything")), "Deployment", NAME)["spec"]["template"])
    assert container["image"] == "otel/opentelemetry-collector-contrib:0.161.0"


@pytest.fixture
async def sink() -> AsyncIterator[SpanSink]:
    async with span_sink() as found:
        yield found


@asynccontextmanager
async def collecting(sink: SpanSink, folder: Path, *sets: str) -> AsyncIterator[Collector]:
    """A collector that sends to a sink, as rendered; whatever it complained about fails the test."""
    config = configuration(f"{TO}.otlp_http.endpoint={sink.url}", *sets)
    async with collector(config, folder) as found:
        yield found


@contextmanager
def tracing(found: Collector) -> Iterator[Tracing]:
    """What every process of ours sends its spans with."""
    made = Tracing("teller", otlp_url=found.otlp_url, roots_per_second=100_000)
    try:
        yield made
    finally:
        made.close()


def told(made: Tracing, *names: str, error: Exception | None = None) -> None:
    """Finish a span of its own trace for each name, as an error where there is one."""
    for name in names:
        with suppress(ConnectionError), made.span(name, traceparent()):
            if error is not None:
                raise error


async def test_spans_arrive_once_with_the_token_of_the_secret(sink: SpanSink, tmp_path: Path) -> None:
    header = f"{TO}.otlp_http.headers.authorization=Bearer ${{env:TRACES_TOKEN}}"
    async with collecting(sink, tmp_path, EVERY_TRACE, header) as found:
        names = [f"span {number}" for number in range(3000)]
        for start in range(0, len(names), 500):
            with tracing(found) as made:
                told(made, *names[start : start + 500])
        await sink.has(set(names))
        assert sink.names() == sorted(names)
        assert {span.service for span in sink.spans} == {"teller"}
        assert sink.authorizations == {"Bearer token-of-the-test"}
        assert not found.complaints()


async def test_sampling_keeps_what_failed_and_what_was_slow(sink: SpanSink, tmp_path: Path) -> None:
    async with collecting(sink, tmp_path, *QUICK, f"{OWN}.tailSampling.slowMilliseconds=300") as found:
        with tracing(found) as made:
            told(made, *(f"fine {number}" for number in range(50)))
            told(made, "failed", error=ConnectionError("a name that nobody must read"))
            with made.span("slow", traceparent()):
                await asyncio.sleep(0.5)
        await sink.has({"failed", "slow"})
        await eventually(lambda: _sampled(found, 52), what="every trace decided about")
        assert sink.names() == ["failed", "slow"]
        (failed,) = [span for span in sink.spans if span.failed]
        assert (failed.name, failed.attributes["error.type"]) == ("failed", "ConnectionError")
        assert not found.complaints()


async def test_sampling_keeps_some_of_the_rest(sink: SpanSink, tmp_path: Path) -> None:
    async with collecting(sink, tmp_path, *QUICK, f"{OWN}.tailSampling.keepPercentage=100") as found:
        names = {f"fine {number}" for number in range(50)}
        with tracing(found) as made:
            told(made, *names)
        await sink.has(names)


@pytest.mark.parametrize("sampling", ["true", "false"])
async def test_what_comes_while_the_sink_is_away_is_kept_for_it(sink: SpanSink, tmp_path: Path, sampling: str) -> None:
    sets = (f"{OWN}.tailSampling.enabled={sampling}", *QUICK, f"{OWN}.tailSampling.keepPercentage=100")
    async with collecting(sink, tmp_path, *sets) as found:
        with tracing(found) as made:
            told(made, "before")
            await sink.has({"before"})
            await sink.go()
            told(made, *(f"meanwhile {number}" for number in range(200)))
        await eventually(lambda: _says(found, "Will retry"), what="an attempt that failed")
        await sink.come()
        names = {"before", *(f"meanwhile {number}" for number in range(200))}
        await sink.has(names, within_s=40)
        assert sink.names() == sorted(names)


@pytest.mark.parametrize("sampling", ["true", "false"])
async def test_told_to_end_it_sends_what_it_holds(sink: SpanSink, tmp_path: Path, sampling: str) -> None:
    patient = (f"{OWN}.batch.timeoutMilliseconds=60000", f"{OWN}.tailSampling.decisionSeconds=300")
    sets = (f"{OWN}.tailSampling.enabled={sampling}", *patient, f"{OWN}.tailSampling.keepPercentage=100")
    async with collecting(sink, tmp_path, *sets) as found:
        with tracing(found) as made:
            told(made, "held")
        assert not sink.spans
        await found.stop()
        assert sink.names() == ["held"]
        assert found.process.returncode == 0


async def test_what_waits_for_a_sink_is_lost_with_the_collector_that_holds_it(sink: SpanSink, tmp_path: Path) -> None:
    """This is what the values say; a queue on disk would be another promise."""
    async with collecting(sink, tmp_path, EVERY_TRACE) as found:
        await sink.go()
        with tracing(found) as made:
            told(made, "waits")
        await eventually(lambda: _says(found, "Will retry"), what="an attempt that failed")
        await found.stop()
    await sink.come()
    async with collecting(sink, tmp_path, EVERY_TRACE) as found:
        with tracing(found) as made:
            told(made, "after")
        await sink.has({"after"})
    assert sink.names() == ["after"]


async def test_it_answers_its_probes_and_its_monitor(sink: SpanSink, tmp_path: Path) -> None:
    chart = objects(rendered("everything"))
    (container,) = containers(named(chart, "Deployment", NAME)["spec"]["template"])
    probes = [container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    (monitored,) = named(chart, "PodMonitor", NAME)["spec"]["podMetricsEndpoints"]
    async with collecting(sink, tmp_path, EVERY_TRACE) as found, httpx2.AsyncClient(trust_env=False) as client:
        with tracing(found) as made:
            told(made, "one", "two")
        await sink.has({"one", "two"})
        assert [(await client.get(found.url(one["port"]) + one["path"])).status_code for one in probes] == [200, 200, 200]
        assert await _metric(found, "otelcol_receiver_accepted_spans", monitored) == 2
        assert await _metric(found, "otelcol_exporter_sent_spans", monitored) == 2


async def _sampled(found: Collector, count: int) -> bool:
    return await _metric(found, "otelcol_processor_tail_sampling_global_count_traces_sampled") == count


async def _says(found: Collector, words: str) -> bool:
    return words in found.log.read_text()


async def _metric(found: Collector, name: str, monitored: dict[str, Any] | None = None) -> float:
    """The sum of a metric's samples, asked for where the PodMonitor asks."""
    where = monitored or {"port": "metrics", "path": "/metrics"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        page = (await client.get(found.url(where["port"]) + where["path"])).text
    samples = [line.rpartition(" ")[2] for line in page.splitlines() if re.match(rf"{name}\w*[ {{]", line)]
    return sum(map(float, samples))
