"""The whole platform in a namespace of a cluster: installed, upgraded and looked at as whoever runs it does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx2

from careforall_testing.cluster import CHART, Cluster, CommandFailed, skip_or_fail
from careforall_testing.patroni import RELEASE

DOOR = "CAREFORALL_TEST_GATEWAY"
DOOR_WITHIN = "CAREFORALL_TEST_GATEWAY_WITHIN"
"""The front door as pods reach it, where that is not port 8080 of the node."""
K6_IMAGE = "CAREFORALL_TEST_K6_IMAGE"
"""An image with k6 2, where the chart's own cannot be pulled, such as careforall.local/k6:2.0.0."""
HOST = {"Host": "care.test"}
EVERY_MINUTE = json.dumps([{"name": "campaign_totals", "schedule": "* * * * *"}])
_OFTEN = ("--set-json", f"operator.platform.views={EVERY_MINUTE}")
"""Views that are refreshed often enough to be waited for."""


def install(platform: Cluster, *values: str, chart: Path = CHART) -> None:
    """Install the platform by one command and wait until every workload is ready.

    Raises:
        AssertionError: It did not come up; the message has the namespace's story.
    """
    try:
        _helm(platform, "install", chart, *values)
    except CommandFailed as error:
        raise AssertionError(f"{error}\n{platform.story()}") from error


def upgrade(platform: Cluster, *values: str, chart: Path = CHART) -> None:
    """Bring the platform to a chart and values, and wait until every workload is ready."""
    _helm(platform, "upgrade", chart, *values)


def verify(platform: Cluster, *options: str) -> None:
    """Compare the books of all services in the pod that may read them."""
    said = platform.kubectl(
        "exec", f"deployment/{RELEASE}-audit", "-c", "service", "--", "careforall", "verify", *options, timeout=240
    )
    assert "The books balance." in said, said


def front_door() -> str:
    """Where the cluster's front door answers from here, for Gateway and Ingress alike; skip the test where nobody says."""
    if not os.environ.get(DOOR):
        skip_or_fail(f"no way to the cluster's front door: set {DOOR} to its URL, such as http://127.0.0.1:8080")
    return os.environ[DOOR]


def front_door_within(platform: Cluster) -> str:
    """Where the cluster's front door answers pods."""
    if url := os.environ.get(DOOR_WITHIN):
        return url
    [node, *_] = platform.get("nodes")
    address = next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
    return f"http://{address}:8080"


def loadtests(platform: Cluster) -> tuple[str, ...]:
    """Return the values that let load tests be played inside the cluster."""
    repository, _, tag = os.environ.get(K6_IMAGE, "").rpartition(":")
    image = {"image": {"repository": repository, "tag": tag}} if repository else {}
    values = {"enabled": True, "profiles": ["smoke"], "url": front_door_within(platform), "headers": HOST, **image}
    return ("--set-json", f"loadtests={json.dumps(values)}")


def client_of(door: str) -> httpx2.Client:
    """Return a visitor who comes through the front door."""
    return httpx2.Client(base_url=door, headers=HOST, timeout=30, trust_env=False)


def serves(platform: Cluster, door: str) -> None:
    """Wait until the front door has heard of the platform, and the platform has its demo."""

    def look() -> bool:
        with client_of(door) as client:
            answer = client.get("/api/v1/campaigns")
            return answer.status_code == httpx2.codes.OK and bool(answer.json()["items"])

    platform.until("the front door leads to the platform and its demo", look)


def _helm(platform: Cluster, verb: str, chart: Path, *values: str) -> None:
    local = ("--values", str(chart / "values-local.yaml"))
    platform.helm(verb, RELEASE, str(chart), *local, *_OFTEN, *values, "--wait", "--timeout=6m", timeout=400)
