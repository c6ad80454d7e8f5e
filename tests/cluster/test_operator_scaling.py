"""Numbers of pods follow what really happens: messages that wait at the broker, CPU that is used, answers that are slow."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from careforall_testing.cluster import Cluster
from careforall_testing.kept_platform import Kept, kept
from careforall_testing.patroni import RELEASE

pytestmark = pytest.mark.timeout(420)
CONSUMER = "scaled-by-lag"
QUICK = {"stabilizationSeconds": 5, "upAfterSeconds": 5, "downAfterSeconds": 5, "stepMax": 2}
LAG = {"max": 3, "metric": "JetStreamLag", "consumers": [CONSUMER], "target": 100, **QUICK}
CPU = {"max": 2, "metric": "CPU", **QUICK}
P99 = {"max": 2, "metric": "P99", "target": 2000, **QUICK}
VALUES: dict[str, Any] = {
    "postgres": {"members": 1},
    "services": {
        "services": {
            "totals": {"scaling": {"autoscale": LAG}},
            "simulator": {"scaling": {"autoscale": CPU}, "resources": {"requests": {"cpu": "200m"}}},
            "donations": {"scaling": {"autoscale": P99}},
        }
    },
}
BROKER = """
import asyncio, os, sys, nats
from nats.js.api import ConsumerConfig, StreamConfig

async def main():
    client = await nats.connect(os.environ["CAREFORALL_NATS_URL"])
    stream = client.jetstream()
    if sys.argv[1] == "flood":
        await stream.add_stream(StreamConfig(name="SCALED", subjects=["hint.scaled"], max_bytes=1 << 20))
        await stream.add_consumer("SCALED", ConsumerConfig(durable_name="scaled-by-lag"))
        for _ in range(250):
            await stream.publish("hint.scaled", b"x")
    else:
        heard = await stream.pull_subscribe("hint.scaled", durable="scaled-by-lag", stream="SCALED")
        for message in await heard.fetch(250, timeout=10):
            await message.ack()
    await client.close()

asyncio.run(main())
"""
BURN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
SLOW = """
import asyncio, time, urllib.request
from concurrent.futures import ThreadPoolExecutor

def ask(_):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        urllib.request.urlopen("http://127.0.0.1:8000/openapi.json", timeout=60).read()

with ThreadPoolExecutor(64) as threads:
    list(threads.map(ask, range(64)))
"""


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> Iterator[Kept]:
    """One platform whose services follow a signal each."""
    with kept(cluster, VALUES) as made:
        yield made


def test_pods_follow_the_messages_that_wait(platform: Kept) -> None:
    assert _wanted(platform, "totals") == 1
    platform.within("donations", f"import sys; sys.argv = ['', 'flood']\n{BROKER}")
    platform.cluster.until("three pods for 250 messages", lambda: _wanted(platform, "totals") == 3, timeout=30)
    platform.cluster.rolled_out(f"deployment/{RELEASE}-totals", timeout=120)
    platform.cluster.until("all of them serve", lambda: _service(platform, "totals")["ready"] == 3)
    assert _service(platform, "totals")["reason"] == "Lag"
    assert any("totals: 1 -> 3 pods (Lag)" in message for message in platform.events("Scaled"))
    platform.within("donations", f"import sys; sys.argv = ['', 'drain']\n{BROKER}")
    platform.cluster.until("one pod again", lambda: _wanted(platform, "totals") == 1, timeout=60)


def test_pods_follow_the_cpu_that_is_used(platform: Kept) -> None:
    platform.cluster.until("a signal", lambda: _service(platform, "simulator")["reason"] == "CPU", timeout=90)
    with _busy(platform, "simulator", BURN):
        platform.cluster.until("a second pod", lambda: _wanted(platform, "simulator") == 2, timeout=120)
    platform.cluster.until("one pod again", lambda: _wanted(platform, "simulator") == 1, timeout=180)


def test_slow_answers_are_measured_where_they_are_given(platform: Kept) -> None:
    """Quick ones leave the number alone; the limit is then set so low that the same answers are slow."""
    platform.cluster.until("a signal", lambda: _service(platform, "donations")["reason"] == "P99", timeout=90)
    assert _wanted(platform, "donations") == 1
    with _busy(platform, "donations", SLOW):
        _target(platform, 1)
        platform.cluster.until("a second pod", lambda: _wanted(platform, "donations") == 2, timeout=90)
    _target(platform, P99["target"])
    platform.cluster.until("one pod again", lambda: _wanted(platform, "donations") == 1, timeout=180)


def _target(platform: Kept, milliseconds: object) -> None:
    services = platform.cluster.get("cfa", RELEASE)["spec"]["services"]
    index = next(number for number, one in enumerate(services) if one["name"] == "donations")
    patch = f'[{{"op": "replace", "path": "/spec/services/{index}/autoscale/target", "value": {milliseconds}}}]'
    platform.cluster.kubectl("patch", "cfa", RELEASE, "--type=json", f"--patch={patch}")


@contextlib.contextmanager
def _busy(platform: Kept, service: str, script: str) -> Iterator[None]:
    """Run a script, which ends by itself, in a service's container."""
    scope = ("kubectl", "--namespace", platform.cluster.namespace)
    words = (*scope, "exec", f"deployment/{RELEASE}-{service}", "-c", "service", "--", "python", "-c", script)
    with subprocess.Popen(words, env=platform.cluster.environment(), stderr=subprocess.DEVNULL) as process:
        yield
        process.wait(120)


def _service(platform: Kept, name: str) -> dict[str, Any]:
    found = [one for one in platform.status().get("services") or [] if one["name"] == name]
    return dict(found[0]) if found else {}


def _wanted(platform: Kept, name: str) -> int:
    number: int = platform.cluster.get("deployment", f"{RELEASE}-{name}")["spec"]["replicas"]
    return number
