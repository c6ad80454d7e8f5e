"""The operator beside the chart's own Patroni: the primary is switched, crashed, deleted and frozen while connections write.

Nothing acknowledged is lost, services are told, the write Service leads to one primary, each timeline is reconciled once, and
what the report says agrees with what the writers saw (`.care/reports/operator-failover.json` keeps both).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from careforall_testing.cluster import Cluster
from careforall_testing.kept_platform import PATIENCE, REPAIRED_S, WRITE_SERVICE, Kept, kept
from careforall_testing.patroni import RELEASE, freeze_script

FROZEN_GAP_S = 30.0 * PATIENCE
SWITCHOVER = {
    "apiVersion": "careforall.dev/v1alpha1",
    "kind": "DatabaseSwitchover",
    "metadata": {"name": "planned"},
    "spec": {"platformRef": {"name": RELEASE}},
}

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> Iterator[Kept]:
    """One platform for the tests of this file; each leaves it whole."""
    with kept(cluster) as made:
        yield made


@pytest.fixture
def old(platform: Kept) -> str:
    """The primary before the fault, with two replicas behind it and the operator at rest."""
    leader = platform.patroni.settled()
    platform.cluster.until("all at rest", platform.at_rest, timeout=120)
    return leader


def test_a_first_install_lost_no_primary(platform: Kept) -> None:
    assert platform.events("WritesOff") == []
    assert platform.status()["database"].get("failoverHistory") is None
    assert platform.jobs() == {}


def test_a_planned_switchover_tells_its_own_report(platform: Kept, old: str) -> None:
    report, _ = platform.failed_over("planned switchover", old, lambda: platform.cluster.apply(SWITCHOVER))
    assert report.planned
    told = platform.cluster.until("the end", lambda: _ended(platform), timeout=60)
    assert (told["phase"], told["report"]["newPrimary"]) == ("Succeeded", report.new_primary)
    row = platform.cluster.kubectl("get", "dbsw", "planned").splitlines()[1].split()
    assert row[:5] == ["planned", "Succeeded", old, report.new_primary, f"{told['report']['rtoSeconds']:g}"]
    row = platform.cluster.kubectl("get", "cfa", RELEASE).splitlines()[1].split()
    assert row[:7] == [RELEASE, "Ready", "True", "3/3", report.new_primary, "True", "True"]


def test_a_killed_postmaster_is_noticed_and_told(platform: Kept, old: str) -> None:
    platform.failed_over(
        "postmaster killed", old, lambda: platform.patroni.within(old, "kill -9 $(head -1 /data/pgdata/postmaster.pid)")
    )


def test_a_deleted_pod_is_noticed_and_told(platform: Kept, old: str) -> None:
    platform.failed_over("pod deleted", old, lambda: platform.cluster.kubectl("delete", "pod", old, "--wait=false"))


def test_a_frozen_primary_makes_services_refuse_writes_until_another_takes_them(platform: Kept, old: str) -> None:
    with platform.hearing() as heard:
        platform.cluster.until("the flag as it is", lambda: True)
        try:
            report, seen = platform.failed_over("primary frozen", old, lambda: _freeze(platform, old), longest=FROZEN_GAP_S)
        finally:
            platform.patroni.within(old, freeze_script("CONT"), check=False)
        platform.cluster.until("the flag is down", lambda: heard and not heard[-1]["active"], timeout=60)
    raised = [one for one in heard if one["active"]]
    assert raised
    assert {one["reason"] for one in raised} == {"PrimaryLost"}
    assert seen.gap_began < raised[0]["heard_at"] < report.start_time.timestamp() + 12
    assert heard[-1]["timeline"] == report.timeline


def test_an_operator_killed_in_the_middle_tells_the_same(platform: Kept, old: str) -> None:
    def fault() -> None:
        _freeze(platform, old)
        platform.cluster.until("noticed", lambda: platform.condition("WritesEnabled")[0] == "False", timeout=30)
        platform.kill_operator()

    try:
        platform.failed_over("primary frozen, operator killed", old, fault, longest=FROZEN_GAP_S)
    finally:
        platform.patroni.within(old, freeze_script("CONT"), check=False)


def test_labels_set_wrong_by_hand_are_set_right(platform: Kept, old: str) -> None:
    patroni = platform.patroni
    standby = patroni.sync_standby()
    platform.cluster.kubectl("label", "pod", standby, "--overwrite", "careforall.dev/role=primary")
    platform.cluster.until("one primary", lambda: patroni.primaries() == [old], timeout=REPAIRED_S)
    platform.cluster.kubectl("label", "pod", old, "careforall.dev/role-")
    platform.cluster.until("a primary", lambda: patroni.primaries() == [old], timeout=REPAIRED_S)
    platform.cluster.until("one behind the write Service", lambda: platform.endpoints() == [old], timeout=REPAIRED_S)
    platform.cluster.until("all at rest", platform.at_rest)
    assert patroni.leader() == old


def test_a_write_service_turned_to_the_replicas_by_hand_is_turned_back(platform: Kept, old: str) -> None:
    before = platform.timeline()
    right = platform.cluster.selector(WRITE_SERVICE)
    platform.cluster.select(WRITE_SERVICE, {**right, "careforall.dev/role": "replica"})
    platform.cluster.until("the selector", lambda: platform.cluster.selector(WRITE_SERVICE) == right, timeout=REPAIRED_S)
    platform.cluster.until("one behind the write Service", lambda: platform.endpoints() == [old], timeout=REPAIRED_S)
    platform.cluster.until("told", lambda: len(platform.events("WrongSelector")) == 1, timeout=REPAIRED_S)
    platform.cluster.until("all at rest", platform.at_rest)
    assert (platform.patroni.leader(), platform.timeline()) == (old, before)


def test_each_timeline_was_reconciled_and_told_once(platform: Kept) -> None:
    newest = platform.timeline()
    assert platform.jobs() == {f"{RELEASE}-recon-{number}": True for number in range(2, newest + 1)}
    assert len(platform.events("FailoverReport")) == newest - 1
    history = platform.status()["database"]["failoverHistory"]
    assert [one["timeline"] for one in history] == list(range(newest, 1, -1))
    assert {one["result"] for one in history} == {"Succeeded"}


def _freeze(platform: Kept, member: str) -> None:
    platform.patroni.within(member, freeze_script("STOP"), check=False)


def _ended(platform: Kept) -> dict[str, object] | None:
    status: dict[str, object] = platform.cluster.get("dbsw", "planned").get("status") or {}
    return status if status.get("phase") in {"Succeeded", "Failed", "Refused"} else None
