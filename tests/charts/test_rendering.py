"""What the chart renders: always the same bytes, valid for several Kubernetes versions, obeying the rules every pod obeys."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes_validate import utils as validation  # type: ignore[import-untyped]  # has no types

from careforall.accounts.pages import RESET, VERIFICATION
from careforall.cli.registry import NAMES
from careforall_operator.reconcile.labels import SCOPE_LABEL
from careforall_operator.reconcile.observed import ClusterSeen, ServiceSeen
from careforall_operator.reconcile.routes import plan_route
from careforall_testing import charts
from careforall_testing.charts import PLATFORM_APIS, PROFILES, containers, named, objects, pods, rendered

FOREIGN = {
    "HTTPRoute",
    "ScaledObject",
    "PodMonitor",
    "PrometheusRule",
    "Platform",
    "DatabaseSwitchover",
    "CustomResourceDefinition",
}
SPEAKS_TO_THE_API = {
    "StatefulSet/careforall-postgres",
    "Deployment/careforall-operator",
    "Job/careforall-definitions",
    "Pod/careforall-test-platform",
}
"""Patroni keeps its state there, the operator watches, a Job renews the definitions, a test of the release asks: no others."""
ONCE = {"Job", "CronJob", "Pod", "PodTemplate"}
"""Pods that end by themselves have nobody to probe or drain them."""


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_values_give_the_same_bytes(profile: str) -> None:
    again = charts.rendered.__wrapped__(profile)
    assert rendered(profile) == again


@pytest.fixture(scope="module", autouse=True)
def _definitions_read_once() -> Iterator[None]:
    """The validator reads megabytes of definitions anew for each object; they do not change meanwhile."""
    read = validation.schema_contents
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(validation, "schema_contents", functools.cache(read))
        yield


@pytest.mark.parametrize("kube", ["1.33", "1.35", "1.36", "1.37"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_object_is_valid(profile: str, kube: str) -> None:
    for one in objects(rendered(profile, kube=f"{kube}.0")):
        if one["kind"] not in FOREIGN:
            validation.validate(one, kube, strict=True)


def test_what_a_cluster_does_not_know_is_left_out() -> None:
    without = Counter(one["kind"] for one in objects(rendered("prod")))
    having = Counter(one["kind"] for one in objects(rendered("prod", apis=PLATFORM_APIS)))
    assert set(having - without) <= {"PodMonitor", "PrometheusRule"}
    assert not without - having
    assert having["PodMonitor"]


@pytest.mark.parametrize("name", ["backup", "restore-proof"])
def test_jobs_of_backups_are_found_as_their_cronjobs_are(name: str) -> None:
    cron = named(objects(rendered("prod", "postgres.backup.enabled=true")), "CronJob", f"careforall-postgres-{name}")
    assert cron["metadata"]["labels"]["app.kubernetes.io/name"] == "postgres"
    assert cron["spec"]["jobTemplate"]["metadata"]["labels"] == cron["metadata"]["labels"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_pod_is_restricted(profile: str) -> None:
    for name, template in pods(objects(rendered(profile))):
        spec = template["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is (name in SPEAKS_TO_THE_API), name
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec), name
        for volume in spec.get("volumes", []):
            assert "hostPath" not in volume, name
        for one in containers(template):
            _container_is_restricted(f"{name} {one['name']}", one)


def _container_is_restricted(name: str, one: dict[str, Any]) -> None:
    security = one["securityContext"]
    assert security["allowPrivilegeEscalation"] is False, name
    assert security["readOnlyRootFilesystem"] is True, name
    assert security["capabilities"] == {"drop": ["ALL"]}, name
    assert not {"privileged", "procMount", "runAsUser"} & set(security), name
    assert not [port for port in one.get("ports", []) if "hostPort" in port], name
    assert {"cpu", "memory"} <= set(one["resources"]["requests"]), name
    assert "memory" in one["resources"]["limits"], name
    assert not one["image"].endswith(":latest"), name
    assert ":" in one["image"].rpartition("/")[2] or "@" in one["image"], name
    assert one["imagePullPolicy"] == "IfNotPresent", name


@pytest.mark.parametrize("profile", PROFILES)
def test_every_workload_is_watched_drained_and_spread(profile: str) -> None:
    for name, template in pods(objects(rendered(profile))):
        if name.partition("/")[0] in ONCE:
            continue
        spec = template["spec"]
        assert spec["topologySpreadConstraints"], name
        for one in spec["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(one), name
            grace = (one.get("lifecycle") or {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert spec["terminationGracePeriodSeconds"] > grace, name
        if "careforall.dev/service" in template["metadata"]["labels"]:
            (one,) = spec["containers"]
            paths = [one[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
            assert paths == ["/health", "/readyz", "/livez"], name
            assert one["lifecycle"]["preStop"]["sleep"]["seconds"] >= 3, name


@pytest.mark.parametrize("profile", PROFILES)
def test_names_of_variables_stand_once(profile: str) -> None:
    for name, template in pods(objects(rendered(profile))):
        for one in containers(template):
            counts = Counter(variable["name"] for variable in one.get("env", []))
            assert not [variable for variable, count in counts.items() if count > 1], f"{name} {one['name']}"


@pytest.mark.parametrize("owner", ["Operator", "HPA", "KEDA"])
def test_a_count_that_somebody_else_owns_is_not_written(owner: str) -> None:
    own = ["services.services.donations.scaling.owner=" + owner]
    if owner == "KEDA":
        own += ["services.services.donations.scaling.stream=S", "services.services.donations.scaling.consumer=c"]
        own += ["networkPolicies.kedaNamespaces.kubernetes\\.io/metadata\\.name=keda"]
    found = objects(rendered("prod", *own))
    assert "replicas" not in charts.named(found, "Deployment", "careforall-donations")["spec"]
    kinds = {"HPA": "HorizontalPodAutoscaler", "KEDA": "ScaledObject"}
    assert [one["kind"] for one in found if one["kind"] in kinds.values()] == ([kinds[owner]] if owner in kinds else [])


def test_a_budget_stands_only_where_a_pod_may_go() -> None:
    budgets = {one["metadata"]["name"] for one in objects(rendered("local")) if one["kind"] == "PodDisruptionBudget"}
    assert not [name for name in budgets if "postgres" not in name]
    assert "careforall-donations" in {one["metadata"]["name"] for one in objects(rendered("prod"))}


def test_setup_has_another_name_whenever_it_does_something_else() -> None:
    def job(*sets: str) -> str:
        found: list[str] = [one["metadata"]["name"] for one in objects(rendered("local", *sets)) if one["kind"] == "Job"]
        return next(name for name in found if name.startswith("careforall-setup-"))

    assert job() == job("services.defaults.podAnnotations.a=b")
    assert job() != job("global.image.tag=other")
    assert job() != job("demo.enabled=false")


@pytest.mark.parametrize(
    "changed",
    [
        "postgres.auth.existingSecret=x,operator.platform.database.restSecret=x",
        "global.databases.existingSecret=x",
        "global.imagePullSecrets[0]=x",
        "postgres.image.tag=x",
    ],
)
def test_bootstrap_has_another_name_whenever_its_pod_is_another(changed: str) -> None:
    one, other = (
        next(
            job for job in objects(rendered("local", *sets)) if "-bootstrap-" in job["metadata"]["name"] and job["kind"] == "Job"
        )
        for sets in ((), (changed,))
    )
    assert one["spec"]["template"] != other["spec"]["template"]
    assert one["metadata"]["name"] != other["metadata"]["name"]


def test_the_operator_sees_its_own_keys_of_secrets_alone() -> None:
    found = objects(rendered("prod"))
    deployment = charts.named(found, "Deployment", "careforall-operator")
    (volume,) = [one for one in deployment["spec"]["template"]["spec"]["volumes"] if one["name"] == "secrets"]
    keys = {(one["secret"]["name"], item["key"]) for one in volume["projected"]["sources"] for item in one["secret"]["items"]}
    assert keys == {("own-dsn", "operator"), ("own-postgres", "rest-username"), ("own-postgres", "rest-password")}
    rules = charts.named(found, "Role", "careforall-operator")["rules"]
    assert not [rule for rule in rules if "secrets" in rule["resources"]]
    database = charts.named(found, "Platform", "careforall")["spec"]["database"]
    assert database["credentialsSecretRef"] == {"name": "own-dsn", "key": "operator"}
    assert database["restSecretRef"] == {"name": "own-postgres"}


def test_the_operator_wants_of_the_write_service_what_the_chart_says() -> None:
    found = objects(rendered("prod"))
    database = charts.named(found, "Platform", "careforall")["spec"]["database"]
    service = charts.named(found, "Service", f"{database['clusterName']}-rw")
    assert service["metadata"]["labels"][SCOPE_LABEL] == database["clusterName"]
    seen = ServiceSeen(name=service["metadata"]["name"], selector=service["spec"]["selector"])
    assert plan_route(ClusterSeen(write_service=seen), database["clusterName"]) == []
    rules = charts.named(found, "Role", "careforall-operator")["rules"]
    assert [(one["verbs"], one["resourceNames"]) for one in rules if "services" in one["resources"]] == [
        (["get", "patch"], [service["metadata"]["name"]])
    ]


@pytest.mark.parametrize("engine", ["CloudNativePG", "External"])
def test_services_of_another_engine_are_none_of_the_operators_business(engine: str) -> None:
    found = objects(rendered("prod", f"operator.platform.database.engine={engine}"))
    rules = charts.named(found, "Role", "careforall-operator")["rules"]
    assert not [rule for rule in rules if "services" in rule["resources"]]


def test_only_audit_is_given_the_other_databases() -> None:
    for name, template in pods(objects(rendered("prod"))):
        service = template["metadata"].get("labels", {}).get("careforall.dev/service")
        if service and service != "audit":
            keys = {
                variable["valueFrom"]["secretKeyRef"]["key"]
                for one in containers(template)
                for variable in one["env"]
                if "DATABASE_URL" in variable["name"] or "POSTGRES_URL" in variable["name"]
            }
            assert keys == {service.removesuffix("-worker")}, name


def owners() -> dict[str, str]:
    """Which service each path of the front door leads to."""
    route = next(one for one in objects(rendered("local")) if one["kind"] == "HTTPRoute")
    return {
        match["path"]["value"]: rule["backendRefs"][0]["name"].removeprefix("careforall-")
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }


def test_every_service_has_a_database_and_every_public_path_an_owner() -> None:
    values = yaml.safe_load((charts.CHART / "values.yaml").read_text())
    assert sorted(values["global"]["databases"]["services"]) == sorted(NAMES)
    owned = owners()
    document = json.loads((charts.ROOT / "docs" / "reference" / "openapi.json").read_text())
    for path, operations in document["paths"].items():
        tags = {tag for one in operations.values() if isinstance(one, dict) for tag in one.get("tags", [])} & set(NAMES)
        prefixes = [prefix for prefix in owned if path == prefix or path.startswith(prefix.rstrip("/") + "/")]
        assert not tags or owned[max(prefixes, key=len)] in tags, path


@pytest.mark.parametrize("role", ["api\\,worker", "relay\\,all"])
def test_what_answers_requests_beside_other_work_is_reached_too(role: str) -> None:
    found = objects(rendered("everything", f"services.services.donations.role={role}", "services.front=totals"))
    assert named(found, "Service", "careforall-donations")
    rules = named(found, "HTTPRoute", "careforall-front")["spec"]["rules"]
    assert "careforall-donations" in {one["name"] for rule in rules for one in rule["backendRefs"]}
    assert named(found, "NetworkPolicy", "careforall-donations")["spec"]["ingress"]


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        ((), "careforall-nats.giving.svc:8222"),
        (("nats.enabled=false", "global.nats.address=nats.example.org:4222"), "nats.example.org:8222"),
    ],
)
def test_keda_asks_the_broker_that_services_speak_to(own: tuple[str, ...], asked: str) -> None:
    scaled = named(objects(rendered("everything", *own)), "ScaledObject", "careforall-totals-worker")
    assert scaled["spec"]["triggers"][0]["metadata"]["natsServerMonitoringEndpoint"] == asked


def test_jobs_stand_where_the_pods_they_work_for_do() -> None:
    where = [f"{one}.nodeSelector.pool={one.partition('.')[0]}" for one in ("services.defaults", "postgres", "operator")]
    taint = [f"{one}.tolerations[0].key=care" for one in ("services.defaults", "postgres", "operator")]
    found = objects(rendered("prod", *where, *taint, "admin.email=you@example.org", "postgres.backup.enabled=true"))
    for name, pod in pods(found):
        if "nats" in name or "valkey" in name:
            continue
        kind = next((one for one in ("postgres", "operator", "definitions") if f"-{one}" in name), "services")
        assert pod["spec"]["nodeSelector"] == {"pool": "operator" if kind == "definitions" else kind}, name
        assert pod["spec"]["tolerations"] == [{"key": "care"}], name


def test_pages_that_mails_and_answers_lead_to_have_an_owner() -> None:
    owned = owners()
    linked = {VERIFICATION.path: "accounts", RESET.path: "accounts", "/pay": "payments", "/mailbox": "notifications"}
    assert {path: owned.get(path) for path in linked} == linked


def test_a_registry_goes_in_front_of_names_without_one_and_a_digest_beats_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    found = charts.images(objects(rendered("prod", "global.imageRegistry=registry.example.org", f"global.image.digest={digest}")))
    assert f"registry.example.org/careforall/platform@{digest}" in found
    assert "registry.example.org/nats:2.15-alpine" in found


def test_no_annotation_of_a_controller_is_assumed() -> None:
    ingress = next(one for one in objects(rendered("everything")) if one["kind"] == "Ingress")
    assert "annotations" not in ingress["metadata"]


def test_a_member_that_runs_is_the_same_whether_its_cluster_was_restored_or_not() -> None:
    usual, restored = (
        objects(rendered("prod", "postgres.backup.enabled=true", *more))
        for more in ((), ("postgres.restore.enabled=true", "postgres.restore.targetTime=2027-01-15T19:00:00Z"))
    )
    assert named(usual, "StatefulSet", "careforall-postgres") == named(restored, "StatefulSet", "careforall-postgres")
    begins, begun = (_patroni(one)["bootstrap"] for one in (restored, usual))
    assert (begins["method"], begins["restore"]["until"]) == ("restore", "2027-01-15T19:00:00Z")
    assert "method" not in begun


def _patroni(found: list[dict[str, Any]]) -> dict[str, Any]:
    text = named(found, "ConfigMap", "careforall-postgres-settings")["data"]["patroni.yaml"]
    settings: dict[str, Any] = yaml.safe_load(text)
    return settings
