"""Replicas and view refreshes on a real API server: asked for, kept against hands, handed over, and cleaned up by their owner."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from careforall.launch.ports import free_port
from careforall_testing.cluster import Cluster

pytestmark = pytest.mark.cluster
Make = Callable[..., dict[str, Any]]
VIEW = {"name": "campaign_totals", "schedule": "*/5 * * * *"}
CRON = "main-refresh-campaign-totals"
DEPLOYMENT = "cfa-donations"


def replicas(room: Cluster) -> int:
    count: int = room.get("deployment", DEPLOYMENT)["spec"]["replicas"]
    return count


def condition(room: Cluster, kind: str) -> dict[str, str]:
    found = (room.get("cfa", "main").get("status") or {}).get("conditions") or []
    return next((one for one in found if one["type"] == kind), {})


@pytest.fixture(name="kept")
def fx_kept(room: Cluster, operator: Any, objects: Make) -> Cluster:
    """A platform of one service and one view, with the operator at work."""
    room.apply(objects("Deployment", "donations"), objects("PodTemplate", "careforall-jobs"))
    room.apply(objects("Platform", "main", services=[{"name": "donations", "replicas": 3}], views=[VIEW]))
    operator.start()
    room.until("three pods asked for", lambda: replicas(room) == 3)
    room.until("a CronJob", lambda: room.get("cronjobs"))
    return room


def test_what_hands_change_comes_back(kept: Cluster) -> None:
    kept.kubectl("scale", "deployment", DEPLOYMENT, "--replicas=7")
    kept.until("three pods again", lambda: replicas(kept) == 3, timeout=10)
    kept.kubectl("patch", "cronjob", CRON, "--type=merge", '--patch={"spec":{"schedule":"0 0 * * *","suspend":true}}')
    wanted = ("*/5 * * * *", False)

    def spec() -> tuple[str, bool]:
        found = kept.get("cronjob", CRON)["spec"]
        return found["schedule"], found["suspend"]

    kept.until("the schedule again", lambda: spec() == wanted, timeout=10)
    kept.kubectl("delete", "cronjob", CRON)
    kept.until("the CronJob again", lambda: kept.get("cronjobs"), timeout=10)


def test_at_rest_nothing_is_written(kept: Cluster) -> None:
    def versions() -> list[str]:
        names = (("cronjob", CRON), ("cfa", "main"), ("deployment", DEPLOYMENT))
        return [str(kept.get(*one)["metadata"]["resourceVersion"]) for one in names]

    condition_seen = kept.until("an answer", lambda: condition(kept, "Ready"))
    assert condition_seen["reason"] == "BelowDesired"  # no node runs pods here
    before = versions()
    import time  # noqa: PLC0415 - only here

    time.sleep(7)
    assert versions() == before


def test_the_operator_owns_only_the_number_and_its_name_is_on_it(kept: Cluster) -> None:
    managers = kept.kubectl("get", "deployment", DEPLOYMENT, "--output=json", "--show-managed-fields")
    (ours,) = [one for one in json.loads(managers)["metadata"]["managedFields"] if one["manager"] == "careforall-operator"]
    assert ours["operation"] == "Apply"
    assert ours["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    (owner,) = kept.get("cronjob", CRON)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Platform", "main", True)
    assert "finalizers" not in kept.get("cfa", "main")["metadata"]


def test_handed_over_to_an_autoscaler_the_number_stays(kept: Cluster, objects: Make) -> None:
    kept.apply(objects("Platform", "main", services=[{"name": "donations", "scaling": {"owner": "HPA"}}], views=[VIEW]))

    def owned() -> bool:
        text = kept.kubectl("get", "deployment", DEPLOYMENT, "--output=json", "--show-managed-fields")
        fields = json.loads(text)["metadata"]["managedFields"]
        return any("f:replicas" in one["fieldsV1"].get("f:spec", {}) for one in fields if one["manager"] == "careforall-operator")

    kept.until("let go", lambda: not owned())
    assert replicas(kept) == 3
    kept.kubectl("scale", "deployment", DEPLOYMENT, "--replicas=5")
    kept.until("the new owner is told", lambda: kept.get("cfa", "main")["status"]["services"][0].get("owner") == "HPA")
    import time  # noqa: PLC0415 - only here

    time.sleep(6)
    assert replicas(kept) == 5


def test_asked_for_no_writes_the_refreshes_are_suspended(kept: Cluster, objects: Make) -> None:
    services = [{"name": "donations", "replicas": 3, "degradedReplicas": 1}]
    kept.apply(objects("Platform", "main", mode="ReadOnly", services=services, views=[VIEW]))
    kept.until("suspended", lambda: kept.get("cronjob", CRON)["spec"]["suspend"])
    kept.until("fewer pods", lambda: replicas(kept) == 1)
    kept.until("told", lambda: condition(kept, "WritesEnabled").get("reason") == "ReadOnlyRequested")
    assert kept.get("cfa", "main")["status"]["phase"] == "ReadOnly"
    kept.apply(objects("Platform", "main", mode="Normal", services=services, views=[VIEW]))
    kept.until("resumed", lambda: not kept.get("cronjob", CRON)["spec"]["suspend"])


def test_the_schedule_really_fires_and_all_goes_with_the_platform(kept: Cluster, objects: Make) -> None:
    kept.apply(
        objects("Platform", "main", services=[{"name": "donations", "replicas": 3}], views=[{**VIEW, "schedule": "* * * * *"}])
    )
    (job,) = kept.until("a Job", lambda: kept.get("jobs"), timeout=75)
    assert job["metadata"]["labels"]["careforall.dev/view"] == "campaign_totals"
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert (container["command"], container["args"]) == (["careforall"], ["refresh-view", "campaign_totals"])
    kept.kubectl("delete", "cfa", "main", "--wait=true", timeout=20)
    kept.until("everything gone", lambda: not kept.get("cronjobs") and not kept.get("jobs"))
    assert kept.get("deployment", DEPLOYMENT)["spec"]["replicas"] == 3


def test_what_is_missing_is_told(room: Cluster, operator: Any, objects: Make) -> None:
    room.apply(objects("Platform", "main", services=[{"name": "donations", "replicas": 3}], views=[VIEW]))
    operator.start()
    room.until("stalled", lambda: condition(room, "Stalled").get("reason") == "MissingDeployment")
    room.apply(objects("Deployment", "donations"))
    room.until("stalled on the template", lambda: condition(room, "Stalled").get("reason") == "MissingPodTemplate")
    room.apply(objects("PodTemplate", "careforall-jobs"))
    room.until("not stalled", lambda: not condition(room, "Stalled") and room.get("cronjobs"))


def test_what_the_api_server_refuses_is_told_and_holds_up_nothing_else(kept: Cluster, objects: Make) -> None:
    bad = {**VIEW, "name": "anywhere", "timeZone": "Mars/Olympus"}
    good = {**VIEW, "name": "zealous"}
    services = [{"name": "donations", "replicas": 4}]
    kept.apply(objects("Platform", "main", services=services, views=[bad, good]))
    kept.until("told", lambda: condition(kept, "Stalled").get("reason") == "InvalidSpec")
    assert "unknown time zone Mars/Olympus" in condition(kept, "Stalled")["message"]
    platform = kept.get("cfa", "main")
    assert platform["status"]["observedGeneration"] == platform["metadata"]["generation"]
    assert [one["metadata"]["name"] for one in kept.get("cronjobs")] == ["main-refresh-zealous"]
    assert replicas(kept) == 4
    kept.apply(objects("Platform", "main", services=services, views=[good]))
    kept.until("mended", lambda: not condition(kept, "Stalled"))


def test_figures_of_a_platform_that_went_are_told_no_more(room: Cluster, operator: Any, objects: Make) -> None:
    """A gauge that nobody sets any more would keep its alert for ever."""
    port = free_port()
    room.apply(objects("Platform", "main", services=[{"name": "nobody", "replicas": 1}]))
    operator.start(metrics_port=str(port))

    def told() -> bool:
        return 'careforall_operator_stalled{platform="main"} 1.0' in httpx2.get(f"http://127.0.0.1:{port}/metrics").text

    room.until("stalled", lambda: condition(room, "Stalled") and told())
    room.kubectl("delete", "cfa", "main")
    room.until("forgotten", lambda: 'platform="main"' not in httpx2.get(f"http://127.0.0.1:{port}/metrics").text)


def test_killed_and_started_again_it_goes_on(kept: Cluster, operator: Any) -> None:
    operator.kill()
    kept.kubectl("scale", "deployment", DEPLOYMENT, "--replicas=9")
    operator.start()
    kept.until("three pods again", lambda: replicas(kept) == 3, timeout=20)
    assert operator.stop() == 0
