"""The definitions: made from the models, the same bytes wherever they lie, and every rule holds on a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from careforall_operator import crds
from careforall_operator.models import (
    Autoscale,
    Database,
    PatroniTimes,
    PlatformSpec,
    Service,
    SwitchoverSpec,
    View,
)
from careforall_testing.cluster import Cluster

ROOT = Path(__file__).parents[2]
FOLDERS = ("manifests/crds", "charts/careforall/crds")

FIXED = {"name": "donations", "replicas": 1}
VIEW = {"name": "totals", "schedule": "*/5 * * * *"}
DATABASE = {"clusterName": "cfa"}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", crds.definitions())
def test_the_files_are_what_the_models_make(folder: str, name: str) -> None:
    assert (ROOT / folder / name).read_text() == crds.text_of(crds.definitions()[name])


def autoscaled(**more: Any) -> dict[str, Any]:
    return {"services": [{"name": "donations", "autoscale": {"max": 5, **more}}]}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "min and max": (autoscaled(min=2), autoscaled(min=6), "min must not be above max"),
    "lag needs consumers": (
        autoscaled(metric="JetStreamLag", consumers=["totals-donations"]),
        autoscaled(metric="JetStreamLag"),
        "needs the names of consumers",
    ),
    "down below up": (
        autoscaled(downBelowPercent=20, upAbovePercent=60),
        autoscaled(downBelowPercent=60, upAbovePercent=60),
        "must be below upAbovePercent",
    ),
    "operator needs a number": ({"services": [FIXED]}, {"services": [{"name": "donations"}]}, "give replicas or autoscale"),
    "one owner": (
        {"services": [{"name": "donations", "scaling": {"owner": "HPA"}}]},
        {"services": [{"name": "donations", "scaling": {"owner": "HPA"}, "autoscale": {"max": 2}}]},
        "autoscale is the operator's",
    ),
    "staleness": (
        {"views": [{**VIEW, "timeoutSeconds": 60, "maxStalenessSeconds": 60}]},
        {"views": [{**VIEW, "timeoutSeconds": 61, "maxStalenessSeconds": 60}]},
        "must not be below timeoutSeconds",
    ),
    "five fields of a view": ({"views": [VIEW]}, {"views": [{**VIEW, "schedule": "* * * *"}]}, "five fields"),
    "five fields of drills": (
        {"database": {**DATABASE, "drills": {"enabled": True, "schedule": "0 3 1 * *"}}},
        {"database": {**DATABASE, "drills": {"enabled": True, "schedule": "monthly"}}},
        "five fields",
    ),
    "times of Patroni": (
        {"database": {**DATABASE, "patroni": {"ttlSeconds": 30, "loopWaitSeconds": 10, "retryTimeoutSeconds": 10}}},
        {"database": {**DATABASE, "patroni": {"ttlSeconds": 20, "loopWaitSeconds": 10, "retryTimeoutSeconds": 10}}},
        "must not be above ttlSeconds",
    ),
    "external needs credentials": (
        {"database": {**DATABASE, "engine": "External", "credentialsSecretRef": {"name": "dsn"}}},
        {"database": {**DATABASE, "engine": "External"}},
        "External needs credentialsSecretRef",
    ),
    "no drills elsewhere": (
        {"database": {**DATABASE, "engine": "CloudNativePG", "drills": {"enabled": True}}},
        {
            "database": {
                **DATABASE,
                "engine": "External",
                "credentialsSecretRef": {"name": "dsn"},
                "drills": {"enabled": True},
            }
        },
        "cannot switch an External database",
    ),
    "no name twice": ({"services": [FIXED]}, {"services": [FIXED, FIXED]}, "Duplicate value"),
    "known modes": ({"mode": "ReadOnly"}, {"mode": "Sometimes"}, "Unsupported value"),
    "names of views": ({"views": [VIEW]}, {"views": [{**VIEW, "name": "x; DROP"}]}, "should match"),
    "moments": (
        {"events": [{"name": "gala", "at": "2030-01-01T10:00:00Z"}]},
        {"events": [{"name": "gala", "at": "soon"}]},
        "date-time",
    ),
}


def sent(api: Cluster, body: dict[str, Any]) -> str:
    return api.kubectl("create", "--dry-run=server", "--filename=-", "--output=json", stdin=json.dumps(body), check=False)


@pytest.mark.cluster
@pytest.mark.parametrize("name", CASES)
def test_a_rule_lets_the_good_in_and_keeps_the_bad_out(name: str, api: Cluster, objects: Callable[..., Any]) -> None:
    good, bad, words = CASES[name]
    assert json.loads(sent(api, objects("Platform", "main", **good)))["kind"] == "Platform"
    assert words in sent(api, objects("Platform", "main", **bad))


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"engine": "CloudNativePG", "clusterName": "cfa"}, "cannot be changed"),
        ({"engine": "Patroni", "clusterName": "other"}, "cannot be changed"),
    ],
)
def test_the_database_is_chosen_once(change: dict[str, Any], words: str, room: Cluster, objects: Callable[..., Any]) -> None:
    room.apply(objects("Platform", "main", database=DATABASE))
    room.apply(objects("Platform", "main", database={**DATABASE, "degraded": {"enterAfterSeconds": 3}}))
    patch = json.dumps({"spec": {"database": change}})
    assert words in room.kubectl("patch", "cfa", "main", "--type=merge", f"--patch={patch}", check=False)


@pytest.mark.cluster
def test_a_switchover_cannot_be_changed(room: Cluster, objects: Callable[..., Any]) -> None:
    room.apply(objects("DatabaseSwitchover", "once", platformRef={"name": "main"}))
    assert room.get("dbsw", "once")["spec"] == {
        "platformRef": {"name": "main"},
        "kind": "Maintenance",
        "deadlineSeconds": 120,
        "force": False,
    }
    patch = json.dumps({"spec": {"force": True}})
    assert "cannot be changed" in room.kubectl("patch", "dbsw", "once", "--type=merge", f"--patch={patch}", check=False)


@pytest.mark.cluster
def test_defaults_are_the_models(room: Cluster, objects: Callable[..., Any]) -> None:
    import msgspec  # noqa: PLC0415 - only here

    room.apply(objects("Platform", "main", services=[FIXED], views=[VIEW], database=DATABASE))
    stored = msgspec.convert(room.get("cfa", "main")["spec"], PlatformSpec)
    spare = msgspec.convert({"services": [FIXED], "views": [VIEW], "database": DATABASE}, PlatformSpec)
    assert stored == spare


@pytest.mark.cluster
def test_columns(room: Cluster, objects: Callable[..., Any]) -> None:
    room.apply(objects("Platform", "main"), objects("DatabaseSwitchover", "once", platformRef={"name": "main"}))
    heads = room.kubectl("get", "cfa", "--output=wide").splitlines()[0].split()
    assert heads == ["NAME", "PHASE", "READY", "SERVICES", "PRIMARY", "WRITES", "VIEWS", "AGE", "TIMELINE", "LASTRTO", "MESSAGE"]
    assert room.kubectl("get", "dbsw").splitlines()[0].split() == ["NAME", "PHASE", "FROM", "TO", "RTO", "AGE"]


def rules() -> Iterator[str]:
    kinds = (Autoscale, Service, View, PatroniTimes, Database, PlatformSpec, SwitchoverSpec)
    for kind in kinds:
        yield from (rule.message for rule in kind.RULES)


def test_every_rule_has_its_cases() -> None:
    tried = " ".join(case[2] for case in CASES.values()) + "a switchover cannot be changed: make another one"
    untried = [
        message for message in rules() if not any(words in message for *_, words in CASES.values()) and message not in tried
    ]
    assert untried == []


@pytest.mark.cluster
@pytest.mark.parametrize("path", sorted((ROOT / "manifests" / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_taken(path: Path, api: Cluster) -> None:
    said = api.kubectl("create", "--dry-run=server", f"--filename={path}", check=False)
    assert "created (server dry run)" in said


@pytest.mark.cluster
def test_helm_may_install_again_whatever_an_upgrade_left_behind(api: Cluster) -> None:
    """An uninstall leaves the definitions; those of another version are applied by Helm 4, server-side and without force."""
    _as_helm(api, "of the version before", "--force-conflicts")
    environment = {**os.environ, "KUBECONFIG": api.kubeconfig, "PYTHONPATH": str(ROOT / "operator")}
    words = (sys.executable, "-m", "careforall_operator", "apply-crds")
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    try:
        _as_helm(api, "of the version after")
    finally:
        api.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={ROOT / 'manifests' / 'crds'}")


def _as_helm(api: Cluster, description: str, *options: str) -> None:
    for found in crds.definitions().values():
        definition = json.loads(json.dumps(found))
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = description
        words = ("apply", "--server-side", "--field-manager=helm", *options, "--filename=-")
        api.kubectl(*words, stdin=json.dumps(definition))
