"""Who may speak to whom, proved on the rendered policies: each declared edge, and a sample of those that must not be."""

from __future__ import annotations

from functools import cache

import pytest

from careforall_testing.charts import objects, pods, rendered
from careforall_testing.policies import Peer, Policies

BUCKET = (
    "postgres.backup.enabled=true",
    "postgres.backup.store.kind=commands",
    *(f"postgres.backup.store.commands.{verb}=x" for verb in ("put", "get", "list", "delete")),
    "postgres.networkPolicy.extraEgress[0].ports[0].port=443",
    "postgres.networkPolicy.extraEgress[0].ports[0].protocol=TCP",
)
EXTERNAL = "operator.platform.database.engine=External"
OUTSIDE = Peer(outside=True)
GATEWAY = Peer(pod={}, namespace={"kubernetes.io/metadata.name": "gateway"})
MONITORING = Peer(pod={}, namespace={"kubernetes.io/metadata.name": "monitoring"})
KEDA = Peer(pod={}, namespace={"kubernetes.io/metadata.name": "keda"})
STRANGER = Peer(pod={"app": "stranger"})
POSTGRES = Peer(pod={"careforall.dev/postgres": "careforall-postgres", "app.kubernetes.io/instance": "careforall"})
GIVING = "networkPolicies.gatewayNamespaces.kubernetes\\.io/metadata\\.name=gateway"


@cache
def policies() -> Policies:
    return Policies(objects(rendered("everything", GIVING)))


@cache
def templates() -> dict[str, Peer]:
    found = pods(objects(rendered("everything", "services.services.simulator.enabled=true")))
    return {name.partition("/")[2]: Peer(pod=one["metadata"]["labels"]) for name, one in found}


def peer(name: str) -> Peer:
    known = {"outside": OUTSIDE, "gateway": GATEWAY, "monitoring": MONITORING, "keda": KEDA, "stranger": STRANGER}
    known["postgres"] = POSTGRES
    if name in known:
        return known[name]
    return next(one for key, one in templates().items() if key == f"careforall-{name}" or key.startswith(f"careforall-{name}-"))


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        *(("gateway", name, 8000) for name in ("accounts", "donations", "payments", "totals", "notifications", "audit")),
        *((name, "postgres", 5432) for name in ("donations", "payments-worker", "audit", "setup")),
        *((name, "nats", 4222) for name in ("donations", "totals-worker", "audit")),
        *((name, "valkey", 6379) for name in ("accounts", "totals")),
        ("nats", "nats", 6222),
        ("donations", "accounts", 8000),
        ("audit", "accounts", 8000),
        ("operator", "postgres", 5432),
        ("operator", "postgres", 8008),
        ("postgres-bootstrap", "postgres", 5432),
        ("postgres-bootstrap", "postgres", 8008),
        ("operator", "nats", 8222),
        ("keda", "nats", 8222),
        ("operator", "donations-worker", 8000),
        ("payments", "outside", 443),
        ("notifications-worker", "outside", 587),
        ("donations", "stranger", 53),
        ("test-answers", "totals", 8000),
        ("monitoring", "donations-worker", 8000),
        ("monitoring", "postgres", 8008),
        ("monitoring", "operator", 8081),
        ("monitoring", "collector", 8888),
        ("donations", "collector", 4318),
        ("payments-worker", "collector", 4318),
        ("collector", "outside", 443),
        ("load", "outside", 443),
        ("load", "gateway", 443),
    ],
)
def test_an_edge_that_is_needed_is_open(source: str, target: str, port: int) -> None:
    assert policies().allow(peer(source), peer(target), port)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("stranger", "postgres", 5432),
        ("donations", "postgres", 8008),
        ("stranger", "postgres", 8008),
        ("stranger", "nats", 4222),
        ("stranger", "valkey", 6379),
        ("stranger", "donations", 8000),
        ("gateway", "postgres", 5432),
        ("gateway", "nats", 4222),
        ("gateway", "donations", 8001),
        ("gateway", "donations-worker", 8000),
        ("gateway", "nats", 6222),
        ("donations", "payments", 8000),
        ("donations", "totals", 8001),
        ("donations", "outside", 443),
        ("totals", "outside", 443),
        ("payments", "outside", 22),
        ("valkey", "postgres", 5432),
        ("nats", "outside", 443),
        ("test-answers", "postgres", 5432),
        ("setup", "outside", 443),
        ("gateway", "postgres", 8008),
        ("monitoring", "postgres", 5432),
        ("monitoring", "nats", 4222),
        ("monitoring", "nats", 8222),
        ("keda", "nats", 4222),
        ("keda", "postgres", 5432),
        ("keda", "donations-worker", 8000),
        ("stranger", "collector", 4318),
        ("nats", "collector", 4318),
        ("gateway", "collector", 4318),
        ("donations", "collector", 8888),
        ("collector", "postgres", 5432),
        ("collector", "outside", 22),
        ("load", "postgres", 5432),
        ("load", "nats", 4222),
        ("load", "donations", 8000),
    ],
)
def test_every_other_edge_is_closed(source: str, target: str, port: int) -> None:
    assert not policies().allow(peer(source), peer(target), port)


@pytest.mark.parametrize("job", ["postgres-backup", "postgres-restore-proof"])
def test_backups_reach_an_archive_outside_the_cluster(job: str) -> None:
    found = objects(rendered("prod", *BUCKET))
    own = dict(pods(found))[f"CronJob/careforall-{job}"]
    asked = Policies(found)
    source = Peer(pod=own["metadata"]["labels"])
    assert asked.allow(source, OUTSIDE, 443)
    assert asked.allow(source, POSTGRES, 5432)
    assert not asked.allow(source, POSTGRES, 8008)
    assert not asked.allow(source, OUTSIDE, 22)


@pytest.mark.parametrize(
    ("own", "port"),
    [
        (("postgres.external.enabled=true", EXTERNAL), 5432),
        (("postgres.enabled=false", EXTERNAL, "networkPolicies.servers.postgres[0]=6432"), 6432),
        (("valkey.enabled=false", "global.redis.existingSecret=own-redis", "networkPolicies.servers.valkey[0]=6380"), 6380),
        (("nats.enabled=false", "global.nats.address=nats.example.org:4222"), 4222),
    ],
)
def test_servers_of_the_user_s_own_are_reached(own: tuple[str, ...], port: int) -> None:
    found = objects(rendered("prod", *own))
    service = dict(pods(found))["Deployment/careforall-donations"]
    assert Policies(found).allow(Peer(pod=service["metadata"]["labels"]), OUTSIDE, port)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://alloy.monitoring:4318/v1/traces", 4318),
        ("https://traces.example.org/v1/traces", 443),
        ("http://10.1.2.3/v1/traces", 80),
    ],
)
def test_traces_reach_a_collector_of_the_user_s_own(url: str, port: int) -> None:
    found = objects(rendered("prod", f"global.otlpUrl={url}"))
    source = Peer(pod=dict(pods(found))["Deployment/careforall-donations"]["metadata"]["labels"])
    for target in (MONITORING, OUTSIDE):
        assert Policies(found).allow(source, target, port)
        assert not Policies(found).allow(source, target, 22)
    assert not Policies(objects(rendered("prod"))).allow(source, MONITORING, port)


def test_without_network_policies_nobody_is_kept_from_anything() -> None:
    found = objects(rendered("prod", *BUCKET, "networkPolicies.enabled=false"))
    known = {name.partition("/")[2]: Peer(pod=one["metadata"]["labels"]) for name, one in pods(found)}
    job = next(one for name, one in known.items() if name.startswith("careforall-postgres-bootstrap-"))
    for source in (known["careforall-operator"], known["careforall-postgres-backup"], job):
        assert Policies(found).allow(source, POSTGRES, 5432)
        assert Policies(found).allow(source, STRANGER, 53)
    assert Policies(found).allow(known["careforall-operator"], known["careforall-nats"], 4222)
