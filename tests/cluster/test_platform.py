"""The whole platform on a cluster: one `helm install` from the tree, gifts through each front door, and whatever befalls it.

The tests stand in the order of a platform's life and share one install; each holds when run alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from careforall_testing.cluster import CHART, Cluster, CommandFailed
from careforall_testing.cluster_gifts import completed_gift, steady_gifts
from careforall_testing.cluster_orders import confirmed_order
from careforall_testing.cluster_platform import HOST, client_of, front_door, install, loadtests, serves, upgrade, verify
from careforall_testing.kept_platform import Kept
from careforall_testing.patroni import RELEASE, start_client

INGRESS = ("--set", "gateway.enabled=false", "--set", "ingress.enabled=true")
READY_S = 60.0
BUSY_GAP_S, BUSY_EXACT_S = 30.0, 10.0
OURS = "app.kubernetes.io/part-of=careforall"


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[tuple[Cluster, float]]:
    """The platform in a namespace of its own, and the seconds until every pod was ready."""
    with cluster.fresh_namespace("platform") as made:
        began = time.monotonic()
        install(made)
        yield made, time.monotonic() - began


@pytest.fixture(scope="module")
def platform(installed: tuple[Cluster, float]) -> Cluster:
    return installed[0]


@pytest.fixture(scope="module")
def door() -> str:
    return front_door()


def of_a_job(pod: dict[str, Any]) -> bool:
    """Whether a pod is to end by itself: the demo may still be loading while the platform serves."""
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))


def test_one_command_makes_every_pod_ready_in_time(installed: tuple[Cluster, float]) -> None:
    platform, seconds = installed
    waiting = [
        pod["metadata"]["name"]
        for pod in platform.get("pods", selector=OURS)
        if not of_a_job(pod)
        and not any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"]["conditions"])
    ]
    assert not waiting, platform.story()
    assert seconds < READY_S * float(os.environ.get("CAREFORALL_TEST_PATIENCE", "1"))


def test_no_pod_had_to_be_restarted_while_it_came_up(platform: Cluster) -> None:
    restarts = {
        f"{pod['metadata']['name']}/{one['name']}": one["restartCount"]
        for pod in platform.get("pods", selector=OURS)
        for one in pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    }
    assert not {name: count for name, count in restarts.items() if count}, platform.story()


def test_the_release_tests_itself(platform: Cluster) -> None:
    assert "Succeeded" in platform.helm("test", "careforall", "--timeout=5m", timeout=330)


def test_a_gift_through_the_gateway_is_paid_and_completed(platform: Cluster, door: str) -> None:
    serves(platform, door)
    with client_of(door) as client:
        assert completed_gift(client)["amount"] == "25.00"


def test_an_order_through_the_gateway_is_paid_and_confirmed(platform: Cluster, door: str) -> None:
    serves(platform, door)
    with client_of(door) as client:
        assert confirmed_order(client)["status"] == "CONFIRMED"


def test_the_audit_pod_verifies_the_books(platform: Cluster) -> None:
    verify(platform)


def test_the_audit_pod_verifies_the_books_by_itself(platform: Cluster) -> None:
    """Its timed job reads the other databases through the roles that it was given."""
    script = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000/metrics').read().decode())"

    def outcomes() -> list[str]:
        said = platform.kubectl("exec", "deployment/careforall-audit", "-c", "service", "--", "python", "-c", script)
        return [line for line in said.splitlines() if line.startswith('scheduled_job_runs_total{job="audit-verify"')]

    runs = platform.until("the books were verified by themselves", outcomes, timeout=150)
    assert not [line for line in runs if "failed" in line or "error" in line], runs


def test_the_view_is_refreshed_by_the_clock(platform: Cluster) -> None:
    began = datetime.now(UTC)

    def refreshed() -> list[dict[str, object]]:
        views = platform.get("platform", "careforall")["status"].get("views", [])
        return [one for one in views if datetime.fromisoformat(one.get("lastSuccessTime", "1970-01-01T00:00:00Z")) > began]

    [view] = platform.until("a refresh that began after now has ended well", refreshed, timeout=150)
    assert (view["name"], view["consecutiveFailures"], view["suspended"]) == ("campaign_totals", 0, False)
    conditions = {one["type"]: one["status"] for one in platform.get("platform", "careforall")["status"]["conditions"]}
    assert conditions["ViewsFresh"] == "True"


@pytest.mark.parametrize("service", ["donations", "payments"])
def test_only_the_audit_pod_knows_how_to_read_other_databases(platform: Cluster, service: str) -> None:
    words = platform.kubectl("exec", f"deployment/careforall-{service}", "-c", "service", "--", "env")
    known = {line.partition("=")[0] for line in words.splitlines() if "_DATABASE_URL" in line}
    assert known == {f"CAREFORALL_{service.upper()}_DATABASE_URL"}


def test_a_service_s_role_cannot_enter_the_database_of_another(platform: Cluster) -> None:
    script = (
        "import asyncio, asyncpg, os, sys\n"
        "url = os.environ['CAREFORALL_DONATIONS_DATABASE_URL'].rpartition('/')[0] + '/careforall_payments'\n"
        "async def main():\n"
        "    try:\n"
        "        await asyncpg.connect(url, timeout=10)\n"
        "    except asyncpg.InsufficientPrivilegeError as error:\n"
        "        print('refused:', error)\n"
        "asyncio.run(main())\n"
    )
    said = platform.kubectl("exec", "deployment/careforall-donations", "-c", "service", "--", "python", "-c", script)
    assert "refused: permission denied for database" in said


def test_the_broker_takes_a_service_s_own_subjects_only(platform: Cluster) -> None:
    script = (
        "import asyncio, nats, os\n"
        "async def main():\n"
        "    heard = []\n"
        "    async def on_error(error): heard.append(str(error))\n"
        "    client = await nats.connect(os.environ['CAREFORALL_NATS_URL'], error_cb=on_error)\n"
        "    await client.publish('hint.probe', b'{}')\n"
        "    await client.flush()\n"
        "    print('own subject:', heard)\n"
        "    await client.publish('payments.captured', b'{}')\n"
        "    await client.flush()\n"
        "    await asyncio.sleep(0.5)\n"
        "    print('other subject:', heard)\n"
        "    await client.close()\n"
        "asyncio.run(main())\n"
    )
    said = platform.kubectl("exec", "deployment/careforall-donations", "-c", "service", "--", "python", "-c", script)
    assert "own subject: []" in said
    assert "permissions violation" in said.lower()
    assert "payments.captured" in said


def test_a_restart_one_after_the_other_loses_no_request(platform: Cluster, door: str) -> None:
    serves(platform, door)
    with steady_gifts(door, HOST) as gifts:
        time.sleep(2)
        for service in ("donations", "payments"):
            platform.kubectl("rollout", "restart", f"deployment/careforall-{service}")
            platform.rolled_out(f"deployment/careforall-{service}")
        time.sleep(2)
    assert not gifts.failures, gifts.failures[:5]
    assert gifts.accepted


def test_a_primary_deleted_under_load_costs_no_gift_and_its_story_is_told(platform: Cluster, door: str) -> None:
    """How soon and how exactly is looked at in `test_operator_failover`, where the machine has nothing else to do."""
    kept = Kept(cluster=platform)
    serves(platform, door)
    start_client(platform)
    old = kept.patroni.settled()
    platform.until("all at rest", kept.at_rest, timeout=120)
    with steady_gifts(door, HOST) as gifts:
        report, _ = kept.failed_over(
            "pod deleted, whole platform",
            old,
            lambda: platform.kubectl("delete", "pod", old, "--wait=false"),
            longest=BUSY_GAP_S,
            exact=BUSY_EXACT_S,
        )
        taken = gifts.accepted
        platform.until("gifts are taken again", lambda: gifts.accepted > taken + 20)
    assert not gifts.unexpected(), gifts.unexpected()[:5]
    with client_of(door) as client:
        assert not gifts.lost(client)
        assert completed_gift(client)["status"] == "COMPLETED"
    kept.patroni.settled()
    platform.until("all at rest", kept.at_rest, timeout=120)
    row = platform.kubectl("get", "cfa", RELEASE).splitlines()[1].split()
    served, _, wanted = row[3].partition("/")
    assert (row[:3], served, row[4:7]) == ([RELEASE, "Ready", "True"], wanted, [report.new_primary, "True", "True"])
    assert (report.result, kept.jobs()) == ("Succeeded", {f"{RELEASE}-recon-{report.timeline}": True})
    assert len(kept.events("FailoverReport")) == 1
    verify(platform)


def test_the_load_tests_play_inside_the_cluster(platform: Cluster, door: str) -> None:
    """Whether they are answered in time is a matter of the machine; that all of them are, and nothing is lost, is not."""
    serves(platform, door)
    upgrade(platform, *loadtests(platform))
    words = ("load", "--in-cluster", RELEASE, f"--namespace={platform.namespace}", "--profile=smoke")
    said = platform.run(sys.executable, "-m", "careforall", *words, timeout=300, check=False)
    promised = re.search(r"^promised (\d+), lost (\d+)$", said, re.MULTILINE)
    assert promised, said
    assert (int(promised[1]) > 0, int(promised[2])) == (True, 0), said
    steps = {line[:24].strip(): line[24:].split()[1] for line in said.splitlines() if re.match(r".{24} +\d+ +\d+ ", line)}
    assert steps, said
    assert set(steps.values()) == {"0"}, said


def test_a_gift_through_the_ingress_is_paid_and_completed(platform: Cluster, door: str) -> None:
    upgrade(platform, *INGRESS)
    try:
        serves(platform, door)
        with client_of(door) as client:
            assert completed_gift(client)["status"] == "COMPLETED"
    finally:
        upgrade(platform)


def test_setup_runs_once_for_each_change_and_keeps_what_is_there(platform: Cluster) -> None:
    before = {job["metadata"]["uid"] for job in platform.get("jobs", selector="app.kubernetes.io/name=setup")}
    upgrade(platform)
    assert {job["metadata"]["uid"] for job in platform.get("jobs", selector="app.kubernetes.io/name=setup")} == before


def test_a_second_release_in_its_namespace_is_refused(platform: Cluster) -> None:
    with pytest.raises(CommandFailed, match="has the release careforall already"):
        platform.helm("install", "second", str(CHART), f"--values={CHART / 'values-local.yaml'}")


def test_passwords_that_the_data_does_not_know_are_refused(platform: Cluster) -> None:
    words = [f"--from-literal={one}-password=other" for one in ("superuser", "replication", "rest")]
    platform.kubectl("create", "secret", "generic", "other-passwords", *words)
    own = ("postgres.auth.existingSecret=other-passwords", "operator.platform.database.restSecret=other-passwords")
    with pytest.raises(CommandFailed, match="was made with the superuser-password of the Secret careforall-postgres-auth"):
        upgrade(platform, *(word for one in own for word in ("--set", one)))


def test_an_uninstall_leaves_nothing_stuck(platform: Cluster) -> None:
    platform.helm("uninstall", "careforall", "--wait", "--timeout=2m")
    kinds = "deployments,statefulsets,jobs,cronjobs,services,networkpolicies,httproutes,serviceaccounts,platforms,pods"

    def gone() -> bool:
        return not json.loads(platform.kubectl("get", kinds, "--selector", OURS, "--output=json"))["items"]

    platform.until("everything is gone, what the operator made included", gone, timeout=90)
