"""The chart's collector in a kubelet: traces of real requests go through it to a sink, whatever befalls either of the two.

Its public image cannot be had everywhere, so that these tests are skipped where nobody names one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from careforall.kit.ids import new_id
from careforall_testing.cluster import CHART, Cluster
from careforall_testing.collector import image
from careforall_testing.kept_platform import Kept, kept
from careforall_testing.patroni import RELEASE

pytestmark = pytest.mark.timeout(420)
COLLECTOR = f"{RELEASE}-collector"
SINK = "trace-sink"
PROGRAM = Path(__file__).with_name("trace_sink.py")
IMAGE = "careforall.local/platform:dev"
ONLY_ERRORS = ("tailSampling.keepPercentage=0", "tailSampling.slowMilliseconds=60000")
ROUTE = "GET /api/v1/campaigns"
ASK = """
import time, urllib.request
for trace in {traces}:
    headers = {{"traceparent": f"00-{{trace}}-b7ad6b7169203331-01"}}
    asked = urllib.request.Request("http://127.0.0.1:8000/api/v1/campaigns", headers=headers)
    urllib.request.urlopen(asked, timeout=10).read()
    time.sleep(0.1)
"""
FAIL = """
import os
from careforall.kit.tracing import Tracing
tracing = Tracing("teller", otlp_url=os.environ["CAREFORALL_OTLP_URL"])
try:
    with tracing.span("failed", "00-{trace}-b7ad6b7169203331-01"):
        raise TimeoutError
except TimeoutError:
    tracing.close()
"""
RUSH = """
import http.client, os, time
from urllib.parse import urlsplit
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

made = ExportTraceServiceRequest()
spans = made.resource_spans.add().scope_spans.add().spans
for _ in range(512):
    span = spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name="rush", start_time_unix_nano=1, end_time_unix_nano=2)
    for number in range(6):
        span.attributes.add(key=f"key.{number}").value.string_value = "x" * 60
body = made.SerializeToString()
url = urlsplit(os.environ["CAREFORALL_OTLP_URL"])
collector = http.client.HTTPConnection(url.netloc, timeout=10)
refused, until = 0, time.monotonic() + 60
while refused < 100 and time.monotonic() < until:
    collector.request("POST", url.path, body, {"Content-Type": "application/x-protobuf"})
    answer = collector.getresponse()
    answer.read()
    refused += answer.status == 503
    time.sleep(0.05 if answer.status == 503 else 0)
print(refused)
"""
"""Sends half a kilobyte a span until a hundred requests were refused, for a minute at most."""


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> Iterator[Kept]:
    """A small platform whose services send their traces to the collector, and the sink where these end."""
    with kept(cluster, _values(image())) as made:
        made.cluster.kubectl("create", "configmap", SINK, f"--from-file={PROGRAM}")
        made.cluster.apply(_service())
        _sink_comes(made.cluster)
        made.cluster.rolled_out(f"deployment/{COLLECTOR}")
        yield made


def test_the_trace_of_a_request_arrives(platform: Kept) -> None:
    [trace] = _asked(platform, 1)
    platform.cluster.until("the trace at the sink", lambda: trace in _arrived(platform))
    assert _arrived(platform)[trace] == [ROUTE]


def test_it_runs_as_anybody_else_does_and_minds_the_memory_of_its_container(platform: Kept) -> None:
    [pod] = _pods(platform)
    [status] = pod["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0), platform.cluster.story()
    said = platform.cluster.kubectl("logs", f"pod/{pod['metadata']['name']}")
    limit = re.search(r'"limit_mib": (\d+)', said)
    assert limit, said
    assert int(limit[1]) == 512 * 80 // 100
    assert not [line for line in said.splitlines() if "deprecated" in line.lower()], said


def test_its_metrics_count_what_went_through(platform: Kept) -> None:
    traces = _asked(platform, 3)
    platform.cluster.until("the traces at the sink", lambda: traces <= set(_arrived(platform)))
    with platform.cluster.forward(f"deployment/{COLLECTOR}", 8888) as port:
        page = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    [accepted] = re.findall(r"^otelcol_receiver_accepted_spans\w*\{.*\} (\d+)", page, re.MULTILINE)
    assert int(accepted) >= 3


def test_a_restart_loses_no_trace(platform: Kept) -> None:
    traces = _traces(300)
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(platform.within, "donations", ASK.format(traces=traces), timeout=120)
        platform.cluster.kubectl("rollout", "restart", f"deployment/{COLLECTOR}")
        platform.cluster.rolled_out(f"deployment/{COLLECTOR}", timeout=120)
        platform.cluster.until("one collector", lambda: len(_pods(platform)) == 1, timeout=60)
        assert not asking.done(), "nobody asked while the first one ended"
        asking.result()
    platform.cluster.until("every trace at the sink", lambda: set(traces) <= set(_arrived(platform)), timeout=30)


def test_what_comes_while_the_sink_is_away_waits_for_it(platform: Kept) -> None:
    platform.cluster.kubectl("delete", "pod", SINK, "--grace-period=1")
    traces = _asked(platform, 20)
    platform.cluster.until("an attempt that failed", lambda: "Will retry" in _said(platform), timeout=40)
    _sink_comes(platform.cluster)
    platform.cluster.until("every trace at the sink", lambda: traces <= set(_arrived(platform)), timeout=60)


def test_a_collector_that_is_killed_is_back_by_itself(platform: Kept) -> None:
    """What it held may be lost; services ask no less of their visitors, and what comes then arrives."""
    _kill(platform)
    assert _asked(platform, 5)
    platform.cluster.until("another collector", lambda: _ready(platform))
    traces = _asked(platform, 5)
    platform.cluster.until("every trace at the sink", lambda: traces <= set(_arrived(platform)), timeout=30)


def test_with_sampling_what_failed_is_kept_and_the_rest_is_not(platform: Kept) -> None:
    _upgrade(platform, "tailSampling.enabled=true", "tailSampling.decisionSeconds=1", *ONLY_ERRORS)
    try:
        fine, [failed] = _asked(platform, 5), _traces(1)
        platform.within("donations", FAIL.format(trace=failed))
        platform.cluster.until("the trace that failed", lambda: failed in _arrived(platform), timeout=30)
        assert not fine & set(_arrived(platform))
    finally:
        _upgrade(platform, "tailSampling.enabled=false")


def test_a_rush_while_the_sink_is_away_does_not_kill_it(platform: Kept) -> None:
    """It refuses what its memory cannot hold; without a limit for its runtime it would be killed."""
    platform.cluster.kubectl("delete", "pod", SINK, "--grace-period=1")
    try:
        assert int(platform.within("donations", RUSH, timeout=120)) > 0, "nothing was refused, so that nothing was tried"
        [pod] = _pods(platform)
        [status] = pod["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0), platform.cluster.story()
    finally:
        _sink_comes(platform.cluster)
        _kill(platform)
        platform.cluster.until("another collector", lambda: _ready(platform))


def _values(name: str) -> dict[str, Any]:
    repository, _, tag = name.rpartition(":")
    collector = {
        "enabled": True,
        "image": {"repository": repository, "tag": tag},
        "exporters": {"otlp_http": {"endpoint": f"http://{SINK}:4318"}},
    }
    return {
        "global": {"otlpUrl": f"http://{COLLECTOR}:4318/v1/traces"},
        "postgres": {"members": 1},
        "observability": {"collector": collector},
    }


def _upgrade(platform: Kept, *settings: str) -> None:
    """Change values of the collector and wait until the pod of before is gone."""
    chosen = [word for one in settings for word in ("--set", f"observability.collector.{one}")]
    platform.cluster.helm("upgrade", RELEASE, str(CHART), "--reuse-values", *chosen, "--wait", "--timeout=5m", timeout=320)
    platform.cluster.until("one collector", lambda: len(_pods(platform)) == 1, timeout=60)


def _kill(platform: Kept) -> None:
    for pod in _pods(platform):
        platform.cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def _traces(count: int) -> list[str]:
    return [new_id().hex for _ in range(count)]


def _asked(platform: Kept, count: int) -> set[str]:
    """Ask a service as somebody does who wants to see the traces; return their ids."""
    traces = _traces(count)
    platform.within("donations", ASK.format(traces=traces))
    return set(traces)


def _arrived(platform: Kept) -> dict[str, list[str]]:
    """The names of spans by trace, as the sink of now has heard them."""
    found: dict[str, list[str]] = {}
    for line in platform.cluster.kubectl("logs", f"pod/{SINK}").splitlines():
        span = json.loads(line)
        found.setdefault(span["trace"], []).append(span["name"])
    return found


def _said(platform: Kept) -> str:
    return platform.cluster.kubectl("logs", f"deployment/{COLLECTOR}")


def _pods(platform: Kept) -> Sequence[dict[str, Any]]:
    pods: list[dict[str, Any]] = platform.cluster.get("pods", selector="app.kubernetes.io/name=collector")
    return pods


def _ready(platform: Kept) -> bool:
    conditions = [one for pod in _pods(platform) for one in pod["status"].get("conditions", []) if one["type"] == "Ready"]
    return [one["status"] for one in conditions] == ["True"]


def _sink_comes(cluster: Cluster) -> None:
    cluster.apply(_pod())
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{SINK}", "--timeout=60s", timeout=65)


def _service() -> dict[str, Any]:
    spec = {"selector": {"app": SINK}, "ports": [{"port": 4318}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SINK}, "spec": spec}


def _pod() -> dict[str, Any]:
    container = {
        "name": "sink",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", f"/program/{PROGRAM.name}"],
        "readinessProbe": {"tcpSocket": {"port": 4318}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": SINK, "labels": {"app": SINK}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "program", "configMap": {"name": SINK}}],
        },
    }
