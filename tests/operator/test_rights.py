"""The chart's Role: with exactly these rights the operator does everything, and it uses each of them."""

from __future__ import annotations

import json
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from careforall.launch.servers import Postgres
from careforall_testing import api_proxy
from careforall_testing.api_proxy import ApiProxy, Call
from careforall_testing.cluster import CHART, Cluster
from careforall_testing.database_stage import WRITE_SERVICE, Stage
from careforall_testing.servers import own_folder
from careforall_testing.servers import running as server_running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
Make = Callable[..., dict[str, Any]]
VIEWS = [{"name": "totals", "schedule": "*/5 * * * *"}, {"name": "by_day", "schedule": "0 * * * *"}]
NAMES = {"clusterName": "cfa", "credentialsSecret": "dsn", "restSecret": "dsn"}


def role(namespace: str) -> list[dict[str, Any]]:
    """The objects of the chart's access.yaml for this database."""
    values = json.dumps({"operator": {"platform": {"database": NAMES}}})
    words = ["helm", "template", "main", str(CHART), "--namespace", namespace, "--values", str(CHART / "values-local.yaml")]
    words += ["--values", "-", "--show-only", "charts/operator/templates/access.yaml"]
    done = subprocess.run(words, input=values, capture_output=True, text=True, check=True, timeout=60)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def granted(rules: list[dict[str, Any]]) -> set[Call]:
    return {
        Call(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def mounted(room: Cluster, folder: Path) -> Path:
    """Lay the stage's Secret where the chart mounts it."""
    (folder / "dsn").mkdir(parents=True)
    for key, value in room.get("secret", "dsn")["data"].items():
        (folder / "dsn" / key).write_bytes(b64decode(value))
    return folder


@pytest.fixture(name="limited")
def fx_limited(room: Cluster) -> Iterator[ApiProxy]:
    """A proxy that speaks with the rights of the chart's service account."""
    objects = role(room.namespace)
    room.apply(*objects)
    (account,) = [one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"]
    token = room.kubectl("create", "token", account).strip()
    with api_proxy.running(room.kubeconfig, token=token) as proxy:
        yield proxy


@pytest.fixture(name="stage")
def fx_stage(room: Cluster) -> Iterator[Stage]:
    """A database cluster on a stage."""
    with own_folder() as folder, server_running(Postgres, folder) as server:
        yield Stage(room, server)


def test_the_role_is_what_the_operator_uses(
    stage: Stage, limited: ApiProxy, operator: Any, objects: Make, tmp_path: Path
) -> None:
    room = stage.room
    followed = {"name": "payments", "autoscale": {"max": 3, "metric": "CPU"}}
    services = [{"name": "donations", "replicas": 2}, followed]
    deployments = [objects("Deployment", name) for name in ("donations", "payments")]
    for one in deployments:
        one["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    room.apply(*deployments)
    drills = {"drills": {"enabled": True, "schedule": "* * * * *"}}
    stage.set_up(objects, services=services, views=VIEWS, database=drills)
    operator.start(
        kubeconfig=limited.kubeconfig(tmp_path / "kubeconfig"), secrets_folder=str(mounted(room, tmp_path / "secrets"))
    )
    room.until("a drill", lambda: room.get("dbsw"))
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    room.until(
        "the drill asked Patroni and was refused",
        lambda: any((one.get("status") or {}).get("phase") == "Failed" for one in room.get("dbsw")),
    )
    room.select(WRITE_SERVICE, {"app": "other"})
    room.until("the selector", lambda: room.selector(WRITE_SERVICE) == stage.selector)
    stage.set_up(objects, services=services, views=VIEWS[:1])
    room.until("one CronJob", lambda: len(room.get("cronjobs")) == 1)
    stage.crash()
    stage.promote(label_old=False)
    room.until("one primary", lambda: "careforall.dev/role" not in room.get("pod", "cfa-0")["metadata"]["labels"], timeout=15)
    room.until("a Job", lambda: room.get("jobs"))
    rights = granted(role(room.namespace)[1]["rules"])
    deadline = time.monotonic() + 10
    while rights - limited.calls and time.monotonic() < deadline:
        time.sleep(0.5)
    assert rights - limited.calls == set(), "granted and not used"
    assert limited.calls - rights == set(), "used and not granted"
    assert stage.condition("Stalled") == ("", "")


def test_refused_for_long_it_says_so_and_ends(room: Cluster, operator: Any, objects: Make, tmp_path: Path) -> None:
    room.apply(objects("Deployment", "donations"), objects("Platform", "main", services=[{"name": "donations", "replicas": 2}]))
    with api_proxy.running(room.kubeconfig) as proxy:
        proxy.fault = lambda call: api_proxy.refusal(403, "Forbidden") if call.resource == "cronjobs" else None
        operator.start(kubeconfig=proxy.kubeconfig(tmp_path / "kubeconfig"), forbidden_seconds="4")
        room.until("stalled", lambda: _stalled(room) == "Forbidden")
        assert operator.process.wait(30) == 1


def _stalled(room: Cluster) -> str:
    found = (room.get("cfa", "main").get("status") or {}).get("conditions") or []
    return next((one["reason"] for one in found if one["type"] == "Stalled"), "")
