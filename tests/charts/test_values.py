"""Bad values are refused before anything is installed, with a message that names them."""

from __future__ import annotations

import pytest

from careforall_testing.charts import CHART, Refused, objects, render, rendered

LONGEST = {"StatefulSet": 52, "CronJob": 52}
"""What Kubernetes takes of names of which it makes longer ones; of all others 63 characters."""
SCHEMA = {
    "services.services.donations.scaling.replicas=-1": "/services/donations/scaling/replicas",
    "services.services.donations.replica=2": "replica",
    "services.services.donations.role=everything": "/services/donations/role",
    "services.services.donations.routes[0]=api": "/services/donations/routes/0",
    "services.defaults.scaling.owner=Somebody": "/defaults/scaling/owner",
    "global.environment=staging": "/global/environment",
    "global.image.tag=latest": "/global/image/tag",
    "global.image.digest=abc": "/global/image/digest",
    "global.publicUrl=give.example.org": "/global/publicUrl",
    "global.nats.streamReplicas=2": "/global/nats/streamReplicas",
    "global.typo=1": "typo",
    "gatway.enabled=true": "gatway",
    "gateway.parentRefs[0].nam=x": "nam",
    "networkPolicies.outside.ports[0]=70000": "/networkPolicies/outside/ports/0",
    "nats.replicas=2": "/replicas",
    "nats.storage.size=lots": "/storage/size",
    "nats.resources.limits.memory=512M": "/resources/limits/memory",
    "valkey.maxMemory=1": "/maxMemory",
    "demo.gifts=-1": "/demo/gifts",
    "admin.email=nobody": "/admin/email",
    "observability.dashbords.enabled=false": "dashbords",
    "observability.rules.prometheusRule=yes": "/rules/prometheusRule",
    "observability.rules.runbookUrl=": "/rules/runbookUrl",
    "observability.monitors.intervalSeconds=0": "/monitors/intervalSeconds",
    "observability.collector.image.tag=latest": "/collector/image/tag",
    "observability.collector.exporters.otlp_http=somewhere": "/collector/exporters/otlp_http",
    "observability.collector.exportPorts[0]=0": "/collector/exportPorts/0",
    "observability.collector.tailSampling.keepPercentage=101": "/tailSampling/keepPercentage",
    "observability.collector.secretEnv.token.secret=x": "token",
    "observability.collector.resources.limits.memory=512M": "/collector/resources/limits/memory",
    "services.monitoring.labels.release=1": "/monitoring/labels/release",
    "operator.resyncSecond=3": "resyncSecond",
    "operator.image.tag=latest": "/image/tag",
    "operator.platform.database.drils.enabled=true": "drils",
    "operator.platform.database.engine=patroni": "/platform/database/engine",
    "operator.platform.views[0].nam=x": "nam",
    "operator.resources.limit.memory=1Gi": "limit",
    "postgres.storage.size=lots": "/storage/size",
    "postgres.resources.limit.memory=1Gi": "limit",
    "postgres.restore.targetTime=yesterday": "/restore/targetTime",
    "postgres.restore.timeline=old": "/restore/timeline",
}
LOADTESTS = {
    "loadtests.profile=smoke": "profile",
    "loadtests.url=give.example.org": "/url",
    "loadtests.image.tag=latest": "/image/tag",
    "loadtests.ports[0]=0": "/ports/0",
    "loadtests.deadlineSeconds=1": "/deadlineSeconds",
}
"""A chart that is off is not looked at."""
SENSE = {
    "global.secrets.existingSecret=": "global.secrets.existingSecret: name a Secret",
    "global.publicUrl=": "global.publicUrl: say where people reach the platform",
    "nats.enabled=false": "global.nats.address: nats.enabled is false",
    "postgres.external.enabled=true,global.databases.existingSecret=": "global.databases.existingSecret: PostgreSQL is your own",
    "nats.enabled=false,global.nats.address=x:4222,global.nats.existingSecret=": "global.nats.existingSecret: nats.enabled",
    "valkey.enabled=false": "global.redis: valkey.enabled is false",
    "postgres.external.enabled=true": "operator.platform.database.engine is Patroni, but PostgreSQL is your own",
    "postgres.networkPolicy.enabled=false": "postgres.networkPolicy.enabled is false, but networkPolicies.enabled closes",
    "demo.enabled=true": "demo.enabled: made-up gifts belong into global.environment=development only",
    "nats.replicas=1": "global.nats.streamReplicas: 3 copies need as many servers, and nats.replicas is 1",
    "services.defaults.terminationGracePeriodSeconds=20": "is less than preStopSeconds + drainSeconds + 15",
    "services.services.donations.scaling.minReplicas=20": "minReplicas 20 is more than maxReplicas 10",
    "services.services.totals.routes[0]=/pay": "/pay belongs to",
    "services.services.donatons.scaling.replicas=4": "services.services.donatons: there is no service donatons",
    "services.services.donatons.enabled=false": "services.services.donatons: there is no service donatons",
    "services.services.gifts.service=donatons": "services.services.gifts: there is no service donatons",
    "services.services.payments.calledBy[0]=simulatr": "services.services.payments.calledBy: there is no entry simulatr",
    "services.front=donatons": "services.front: name an entry of services.services that is enabled",
    "services.services.donations.enabled=false": "has the role api or all; donations is none",
    "operator.enabled=false": "scaling.owner is Operator, but operator.enabled is false",
    "operator.platform.database.restSecret=": "restSecret: postgres.auth.existingSecret is own-postgres, so name it here too",
    "services.services.donations.scaling.owner=KEDA": "scaling.stream: KEDA needs to know",
    "services.services.donations.scaling.owner=KEDA,services.services.donations.scaling.stream=A,"
    "services.services.donations.scaling.consumer=b": "say where it runs, such as networkPolicies.kedaNamespaces",
    "postgres.restore.enabled=true": "postgres.restore reads what postgres.backup wrote",
    "observability.collector.enabled=true": "observability.collector.exporters: say where traces go",
}


@pytest.mark.parametrize(("bad", "said"), SCHEMA.items())
def test_the_schema_refuses_what_is_misspelt_or_out_of_range(bad: str, said: str) -> None:
    with pytest.raises(Refused, match="values don't meet the specifications of the schema") as refused:
        rendered("prod", bad)
    assert said in str(refused.value)


@pytest.mark.parametrize(("bad", "said"), LOADTESTS.items())
def test_the_schema_refuses_load_tests_that_make_no_sense(bad: str, said: str) -> None:
    with pytest.raises(Refused, match="values don't meet the specifications of the schema") as refused:
        rendered("everything", bad)
    assert said in str(refused.value)


@pytest.mark.parametrize(("bad", "said"), SENSE.items())
def test_what_cannot_work_is_refused_with_what_to_do(bad: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        rendered("prod", bad)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("global.otlpUrl=", "send traces there: http://careforall-collector:4318/v1/traces"),
        ("observability.collector.replicas=2", "tail sampling needs all spans of a trace in one place"),
        ("observability.collector.memory.limitPercentage=20", "20 is kept free below limitPercentage, 20, so it must be less"),
        ("loadtests.profiles[0]=nobody", "there is no profile nobody in loadtests/scenarios.yaml"),
        ("loadtests.only[0]=nobody", "there is no scenario nobody in loadtests/scenarios.yaml"),
    ],
)
def test_what_cannot_work_beside_the_platform_is_refused(bad: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        rendered("everything", bad)


@pytest.mark.parametrize(
    ("release", "backups", "most"),
    [("my.charity", "false", 35), ("2027-gala", "false", 35), ("c" * 36, "false", 35), ("c" * 30, "true", 29)],
    ids=["dot", "digit", "long", "long with backups"],
)
def test_a_release_whose_names_kubernetes_would_refuse_is_refused(release: str, backups: str, most: int) -> None:
    local = ("--values", str(CHART / "values-local.yaml"), "--set", f"postgres.backup.enabled={backups}")
    with pytest.raises(Refused, match=f"begins with a letter, has no dots, and is no longer than {most}"):
        render(*local, release=release)
    longest = objects(render(*local, release="c" * most))
    assert all(len(one["metadata"]["name"]) <= LONGEST.get(one["kind"], 63) for one in longest)
    assert len({(one["kind"], one["metadata"]["name"]) for one in longest}) == len(longest)


def test_sizes_are_written_as_kubernetes_takes_them() -> None:
    assert "storage: 1.5G" in rendered("prod", "postgres.storage.size=1.5G")


def test_production_asks_for_what_only_the_user_knows() -> None:
    with pytest.raises(Refused, match=r"global\.publicUrl: say where people reach the platform"):
        render("--values", str(CHART / "values-prod.yaml"))


def test_without_any_values_the_first_thing_missing_is_named() -> None:
    with pytest.raises(Refused, match=r"global\.secrets\.existingSecret"):
        render()
