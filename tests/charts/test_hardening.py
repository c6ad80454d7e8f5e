"""What scanners of Kubernetes objects look for beyond single pods: rights, tokens, networks, and images that cannot change."""

from __future__ import annotations

from typing import Any

import pytest

from careforall_testing import charts
from careforall_testing.charts import PROFILES, objects, pods, rendered
from careforall_testing.policies import Policies

DIGEST = "sha256:" + "a" * 64
IMAGES = (
    "global.image",
    "operator.image",
    "postgres.image",
    "nats.image",
    "valkey.image",
    "observability.collector.image",
    "loadtests.image",
)
BACKUPS = "postgres.backup.enabled=true"
RAISING = {"escalate", "bind", "impersonate", "approve", "sign", "*"}
"""Verbs by which whoever has them gets more rights than a Role gives."""
FOREIGN = {
    "*",
    "secrets",
    "serviceaccounts/token",
    "pods/exec",
    "pods/attach",
    "pods/ephemeralcontainers",
    "nodes/proxy",
    "services/status",
    "roles",
    "rolebindings",
    "clusterroles",
    "clusterrolebindings",
    "certificatesigningrequests/approval",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
}
"""What leads to other pods' secrets and rights, or to other people's traffic."""


def everything() -> list[dict[str, Any]]:
    return objects(rendered("everything", BACKUPS, "services.services.simulator.enabled=true"))


@pytest.mark.parametrize("profile", PROFILES)
def test_no_right_leads_to_more_rights(profile: str) -> None:
    for one in objects(rendered(profile, BACKUPS)):
        if one["kind"] in {"Role", "ClusterRole"}:
            for rule in one["rules"]:
                assert not RAISING & set(rule["verbs"]), one["metadata"]["name"]
                assert not FOREIGN & set(rule["resources"]), one["metadata"]["name"]
                assert "*" not in rule["apiGroups"], one["metadata"]["name"]


def test_rights_in_the_whole_cluster_are_those_of_the_definitions_hook_alone() -> None:
    roles = [one for one in everything() if one["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    assert {(one["kind"], one["metadata"]["name"]) for one in roles} == {
        ("ClusterRole", "giving-careforall-definitions"),
        ("ClusterRoleBinding", "giving-careforall-definitions"),
    }
    for one in roles:
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"


def test_an_account_gives_its_token_only_to_pods_that_ask() -> None:
    accounts = [one for one in everything() if one["kind"] == "ServiceAccount"]
    assert len(accounts) > 10
    assert not [one["metadata"]["name"] for one in accounts if one.get("automountServiceAccountToken") is not False]


def test_every_pod_is_closed_both_ways_but_for_what_is_opened() -> None:
    found = everything()
    policies = Policies(found)
    assert not [name for name, template in pods(found) if not policies.close(template["metadata"]["labels"])]


def test_with_digests_given_no_image_can_change() -> None:
    given = [f"{image}.digest={DIGEST}" for image in IMAGES]
    images = charts.images(objects(rendered("everything", BACKUPS, *given)))
    assert len(images) == len(IMAGES)
    assert not [image for image in images if not image.endswith(f"@{DIGEST}")]
