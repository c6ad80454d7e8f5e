"""An API server that answers wrongly, late or not at all: the operator goes on where it can, and its memory stays as it was."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from careforall_testing import api_proxy
from careforall_testing.api_proxy import ApiProxy, Call, refusal
from careforall_testing.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
Make = Callable[..., dict[str, Any]]
DEPLOYMENT = "cfa-donations"
WRITES = {"create", "patch", "delete"}


@pytest.fixture(name="proxy")
def fx_proxy(room: Cluster, operator: Any, objects: Make, tmp_path: Path) -> Iterator[ApiProxy]:
    """An operator at work behind a proxy."""
    room.apply(objects("Deployment", "donations"), objects("PodTemplate", "careforall-jobs"))
    views = [{"name": "totals", "schedule": "*/5 * * * *"}]
    room.apply(objects("Platform", "main", services=[{"name": "donations", "replicas": 3}], views=views))
    with api_proxy.running(room.kubeconfig) as proxy:
        operator.start(kubeconfig=proxy.kubeconfig(tmp_path / "kubeconfig"), resync_seconds="1")
        room.until("at work", lambda: replicas(room) == 3 and room.get("cronjobs"))
        yield proxy


def replicas(room: Cluster) -> int:
    count: int = room.get("deployment", DEPLOYMENT)["spec"]["replicas"]
    return count


def resident(process: int) -> int:
    """The memory a process holds, in bytes."""
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "TooManyRequests"), (500, "InternalError"), (409, "Conflict"), (410, "Gone"), (503, "ServiceUnavailable")],
)
def test_every_third_answer_is_wrong(status: int, reason: str, proxy: ApiProxy, room: Cluster) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)

    def fault(call: Call) -> Any:
        return refusal(status, reason, **{"Retry-After": "1"}) if chance.random() < 1 / 3 and call.verb != "watch" else None

    proxy.fault = fault
    for number in (5, 8):
        room.kubectl("scale", "deployment", DEPLOYMENT, f"--replicas={number}")
        room.until("three pods again", lambda: replicas(room) == 3, timeout=60)
    room.kubectl("delete", "cronjobs", "--all")
    room.until("the CronJob again", lambda: room.get("cronjobs"), timeout=60)


def test_watches_that_break_or_say_nothing_hide_nothing(proxy: ApiProxy, room: Cluster, objects: Make) -> None:
    proxy.fault = lambda call: (refusal(410, "Gone") if random.random() < 0.5 else 5.0) if call.verb == "watch" else None
    room.apply(objects("Platform", "main", services=[{"name": "donations", "replicas": 6}]))
    room.until("six pods", lambda: replicas(room) == 6, timeout=30)
    room.until("no CronJob", lambda: not room.get("cronjobs"), timeout=30)


def test_an_api_server_away_for_a_while_is_waited_for(proxy: ApiProxy, room: Cluster, operator: Any) -> None:
    proxy.fault = lambda _: refusal(503, "ServiceUnavailable")
    room.kubectl("scale", "deployment", DEPLOYMENT, "--replicas=1")
    time.sleep(10)
    assert operator.process.poll() is None
    assert replicas(room) == 1
    proxy.fault = lambda _: None
    room.until("three pods again", lambda: replicas(room) == 3, timeout=30)


def test_definitions_that_come_later_are_noticed(room: Cluster, operator: Any, objects: Make, tmp_path: Path) -> None:
    room.apply(objects("Deployment", "donations"), objects("Platform", "main", services=[{"name": "donations", "replicas": 2}]))
    with api_proxy.running(room.kubeconfig) as proxy:
        proxy.fault = lambda call: refusal(404, "NotFound") if call.group == "careforall.dev" else None
        operator.start(kubeconfig=proxy.kubeconfig(tmp_path / "kubeconfig"))
        time.sleep(6)
        assert operator.process.poll() is None
        assert replicas(room) == 1
        proxy.fault = lambda _: None
        room.until("two pods", lambda: replicas(room) == 2)


def test_memory_stays_flat(proxy: ApiProxy, room: Cluster, operator: Any) -> None:
    first = resident(operator.process.pid)
    before = proxy.count
    started = time.monotonic()
    while time.monotonic() - started < 20:
        number = 4 + int(time.monotonic()) % 3
        room.kubectl("annotate", "cfa", "main", "--overwrite", f"careforall.dev/reconcile-at={time.time()}")
        room.kubectl("scale", "deployment", DEPLOYMENT, f"--replicas={number}")
    assert proxy.count - before > 100
    grown = resident(operator.process.pid) - first
    assert first < 150 * 2**20
    assert grown < 10 * 2**20
