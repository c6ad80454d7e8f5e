"""PostgreSQL takes all connections that the chart's pods may open at once, counted as docs/runbooks/pool-full.md says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from careforall.kit.settings import Settings
from careforall_testing.charts import named, objects, rendered

RUSH = 3
"""The multiplier of the example in docs/how-to/operate-the-operator.md."""
BACKGROUND = 3
"""Sessions of a process that works in the background, beside its pool: relay, timed jobs, one long statement."""
JOBS = 4
"""Pods that end, with a pool each: setup, prewarm, reconciliation after a failover, the refresh of a view."""
OTHERS = {"reserved for superusers": 3, "Patroni": 3, "base backup": 2, "restore proof": 1, "bootstrap": 1, "heartbeat": 2}
POOL = next(one.default for one in msgspec.structs.fields(Settings) if one.name == "pool_size")
MARGIN = 0.9
BACKEND_MIB = 4
"""What a session of ours holds for itself, with its prepared statements."""
MIB = {"Mi": 1, "Gi": 1024, "MB": 1, "GB": 1024}


@pytest.mark.parametrize(("profile", "rush"), [("local", 1), ("dev", 1), ("prod", 1), ("prod", RUSH)])
def test_the_server_takes_all_connections_there_may_be(profile: str, rush: int) -> None:
    found = objects(rendered(profile))
    assert _connections(found, rush) <= MARGIN * _parameters(found)["max_connections"]


@pytest.mark.parametrize("profile", ["local", "dev", "prod"])
def test_the_members_have_the_memory_for_them(profile: str) -> None:
    found = objects(rendered(profile))
    parameters = _parameters(found)
    [postgres] = named(found, "StatefulSet", "careforall-postgres")["spec"]["template"]["spec"]["containers"]
    wanted = _mib(parameters["shared_buffers"]) + BACKEND_MIB * parameters["max_connections"]
    assert wanted <= MARGIN * _mib(postgres["resources"]["limits"]["memory"])


def _connections(found: list[dict[str, Any]], rush: int) -> int:
    """Count what all pods may open: each with a full pool, in a rush, while every Deployment rolls out."""
    wanted = {one["name"]: one for one in named(found, "Platform", "careforall")["spec"]["services"]}
    services = [one for one in found if one["kind"] == "Deployment" and "careforall.dev/service" in one["metadata"]["labels"]]
    return (
        sum(_of_service(one, wanted[one["metadata"]["labels"]["careforall.dev/service"]], rush) for one in services)
        + JOBS * max(_pool(_variables(one)) for one in services)
        + sum(OTHERS.values())
    )


def _of_service(deployment: dict[str, Any], wanted: dict[str, Any], rush: int) -> int:
    variables = _variables(deployment)
    readers = [name for name in variables if name.endswith("_DATABASE_URL")][1:]
    pods = int(wanted.get("autoscale", {}).get("max") or wanted["replicas"] * rush)
    surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    background = 0 if "api" in _container(deployment)["args"] else BACKGROUND
    return int((pods + surge) * (_pool(variables) + background + len(readers)))


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _variables(deployment: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in _container(deployment)["env"]}


def _pool(variables: dict[str, Any]) -> int:
    return int(variables.get("CAREFORALL_POOL_SIZE") or POOL)


def _parameters(found: list[dict[str, Any]]) -> dict[str, Any]:
    settings = named(found, "ConfigMap", "careforall-postgres-settings")["data"]["dynamic.yaml"]
    parameters: dict[str, Any] = yaml.safe_load(settings)["postgresql"]["parameters"]
    return parameters


def _mib(size: str) -> int:
    return int(size[:-2]) * MIB[size[-2:]]
