"""The primary is switched over, crashed, deleted, frozen, and cut off from the Kubernetes API, while several connections write.

Nothing acknowledged is lost; what the writers saw of the gap goes into a report (`.care/reports/postgres-failover.json`).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import msgspec
import pytest

from careforall_testing.cluster import ROOT, Cluster
from careforall_testing.patroni import SCOPE, Patroni, WriteReport, freeze_script, installed, refused

GAP_S = 5.0
FROZEN_GAP_S = 30.0
COPIED_S = 45.0
"""Shorter than a checkpoint that PostgreSQL spreads over its usual five minutes."""
API_AWAY_S = 25.0
"""Longer than Patroni's ttl: without the failsafe the primary would have stepped down."""
API_PID = "CAREFORALL_TEST_API_PID"
REPORT = ROOT / ".care" / "reports" / "postgres-failover.json"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def patroni(cluster: Cluster) -> Iterator[Patroni]:
    """One database cluster for the tests of this file; each leaves it whole."""
    with installed(cluster) as made:
        yield made


@pytest.fixture
def old(patroni: Patroni) -> str:
    """The primary before the fault, with two replicas behind it."""
    return patroni.settled()


def test_members_who_alone_have_everything_are_not_left_out(namespace: Cluster) -> None:
    left = {"leader": f"{SCOPE}-2", "sync_standby": f"{SCOPE}-1"}
    namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{SCOPE}-sync", "annotations": left}})
    said = refused(namespace, "members=1")
    assert f"postgres.members: 1 would leave out {SCOPE}-1 and {SCOPE}-2" in said


def test_a_planned_switchover_loses_nothing(patroni: Patroni, old: str) -> None:
    with patroni.writing() as writing:
        patroni.within(old, f"patronictl switchover --force --leader {old} --candidate {patroni.sync_standby()}")
        patroni.taken_over(writing, old)
        _judge("planned switchover", writing.finish(), GAP_S)
    _rejoined(patroni, old)


def test_a_crashed_postmaster_loses_nothing(patroni: Patroni, old: str) -> None:
    with patroni.writing() as writing:
        patroni.within(old, "kill -9 $(head -1 /data/pgdata/postmaster.pid)")
        patroni.taken_over(writing, old)
        _judge("postmaster killed", writing.finish(), GAP_S)
    _rejoined(patroni, old)


def test_a_deleted_pod_loses_nothing(patroni: Patroni, old: str) -> None:
    with patroni.writing() as writing:
        patroni.cluster.kubectl("delete", "pod", old, "--wait=false")
        patroni.taken_over(writing, old)
        _judge("pod deleted", writing.finish(), GAP_S)
    _rejoined(patroni, old)


def test_a_pod_deleted_by_force_loses_nothing(patroni: Patroni, old: str) -> None:
    with patroni.writing() as writing:
        patroni.cluster.kubectl("delete", "pod", old, "--grace-period=0", "--force")
        patroni.taken_over(writing, old)
        _judge("pod deleted by force", writing.finish(), GAP_S)
    _rejoined(patroni, old)


def test_a_frozen_primary_loses_nothing_and_comes_back_as_a_replica(patroni: Patroni, old: str) -> None:
    with patroni.writing() as writing:
        patroni.within(old, freeze_script("STOP"), check=False)
        patroni.taken_over(writing, old)
        report = writing.finish()
    patroni.within(old, freeze_script("CONT"), check=False)
    _judge("primary frozen", report, FROZEN_GAP_S)
    _rejoined(patroni, old)


def test_a_member_that_lost_its_volume_is_copied_at_once(patroni: Patroni, old: str) -> None:
    lost = patroni.sync_standby()
    with patroni.writing() as writing:
        patroni.cluster.until("pages to write at the next checkpoint", lambda: writing.acknowledged > 2000)
        patroni.cluster.kubectl("delete", "pvc", f"data-{lost}", "--wait=false")
        patroni.cluster.kubectl("delete", "pod", lost)
        patroni.cluster.until("three members again", patroni.whole, timeout=COPIED_S)
        report = writing.finish()
    assert report.lost == 0, report
    assert patroni.settled() == old


def test_writes_go_on_while_the_kubernetes_api_is_away(patroni: Patroni, old: str) -> None:
    if not os.environ.get(API_PID):
        pytest.skip(f"no API server to stop: set {API_PID} to its process id")
    server = int(os.environ[API_PID])
    with patroni.writing() as writing:
        os.kill(server, signal.SIGSTOP)
        try:
            time.sleep(API_AWAY_S)
        finally:
            os.kill(server, signal.SIGCONT)
        seen = writing.acknowledged
        patroni.cluster.until("writes afterwards", lambda: writing.acknowledged > seen + 200)
        _judge("Kubernetes API away for 25 s", writing.finish(), GAP_S)
    assert patroni.settled() == old


def _judge(fault: str, report: WriteReport, longest: float) -> None:
    _store(fault, report)
    assert report.lost == 0, report
    assert report.gap_seconds <= longest, report
    assert report.acknowledged > 300, report


def _rejoined(patroni: Patroni, old: str) -> None:
    """The old primary follows the new one, and the write Service has one target."""
    new = patroni.settled()
    assert new != old
    assert patroni.members()[old]["State"] == "streaming"
    assert patroni.primaries() == [new]


def _store(fault: str, report: WriteReport) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.write_text(json.dumps({**known, fault: msgspec.to_builtins(report)}, indent=2) + "\n")
