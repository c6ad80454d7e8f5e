"""What the observability chart renders: dashboards and rules as they were generated, monitors, a collector that can start."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from careforall_testing.charts import named, objects, pods, rendered
from careforall_testing.collector import configuration
from careforall_testing.observability.files import BOARDS, rules
from careforall_testing.observability.grafana import dashboard

NOTHING = (
    "observability.rules.prometheusRule=off",
    "observability.monitors.podMonitor=off",
    "services.monitoring.podMonitor=off",
    "postgres.podMonitor.enabled=false",
)


def everything() -> list[dict[str, Any]]:
    return objects(rendered("everything"))


def test_every_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    found = {
        next(iter(one["data"])): json.loads(next(iter(one["data"].values())))
        for one in everything()
        if one["kind"] == "ConfigMap" and one["metadata"]["labels"].get("grafana_dashboard") == "1"
    }
    assert found == {f"{board.uid}.json": dashboard(board) for board in BOARDS}


def test_the_rules_are_those_that_were_tested_and_their_runbooks_can_be_moved() -> None:
    assert named(everything(), "PrometheusRule", "careforall-rules")["spec"] == rules()
    assert yaml.safe_load(named(everything(), "ConfigMap", "careforall-rules")["data"]["careforall.yaml"]) == rules()
    moved = objects(rendered("everything", "observability.rules.runbookUrl=https://docs.example.org/runbooks/"))
    found = [rule for group in named(moved, "PrometheusRule", "careforall-rules")["spec"]["groups"] for rule in group["rules"]]
    urls = [rule["annotations"]["runbook_url"] for rule in found if "alert" in rule]
    assert urls
    assert all(url.startswith("https://docs.example.org/runbooks/") and url.count("/") == 4 for url in urls)


def test_nothing_of_the_monitoring_operator_is_needed_unless_it_is_asked_for() -> None:
    kinds = {one["apiVersion"] for one in objects(rendered("everything", *NOTHING))}
    assert "monitoring.coreos.com/v1" not in kinds
    assert not [one for one in objects(rendered("prod", "observability.enabled=false")) if "dashboard" in one["metadata"]["name"]]


def test_a_scrape_never_takes_the_place_of_our_labels() -> None:
    ours = [one for one in everything() if one["kind"] == "PodMonitor" and "postgres" not in one["metadata"]["name"]]
    assert {one["metadata"]["name"] for one in ours} == {"careforall-services", "careforall-operator", "careforall-collector"}
    for one in ours:
        assert [end["honorLabels"] for end in one["spec"]["podMetricsEndpoints"]] == [True], "`endpoint` and `service` are ours"


def test_every_monitor_selects_pods_that_have_its_port() -> None:
    templates = [template for _, template in pods(everything())]
    for monitor in (one for one in everything() if one["kind"] == "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [one for one in templates if wanted <= one["metadata"].get("labels", {}).items()]
        assert chosen, monitor["metadata"]["name"]
        for end in monitor["spec"]["podMetricsEndpoints"]:
            for template in chosen:
                ports = {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", [])}
                assert end["port"] in ports, monitor["metadata"]["name"]


@pytest.mark.parametrize("sampling", ["true", "false"])
def test_every_part_that_a_pipeline_names_is_there_and_none_is_left_over(sampling: str) -> None:
    found = configuration(f"observability.collector.tailSampling.enabled={sampling}")
    (pipeline,) = found["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert sorted(pipeline[kind]) == sorted(found[kind]), kind
    assert found["service"]["extensions"] == list(found["extensions"])
    assert (pipeline["processors"][0], pipeline["processors"][-1]) == ("memory_limiter", "batch")
    assert ("tail_sampling" in pipeline["processors"]) == (sampling == "true")


def test_a_collector_listens_where_its_pod_and_service_say() -> None:
    found, deployment = configuration(), named(everything(), "Deployment", "careforall-collector")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    reader = found["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    assert ports == {
        "otlp-http": int(found["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]),
        "health": int(found["extensions"]["health_check"]["endpoint"].rpartition(":")[2]),
        "metrics": reader["port"],
    }
    service = named(everything(), "Service", "careforall-collector")
    assert [port["port"] for port in service["spec"]["ports"]] == [4318]
    assert container["args"] == ["--config=/etc/collector/collector.yaml"]


COLLECTOR, BROKER = ("Deployment", "careforall-collector"), ("StatefulSet", "careforall-nats")


@pytest.mark.parametrize(
    ("program", "sets", "limit"),
    [
        (COLLECTOR, (), "419430KiB"),
        (
            COLLECTOR,
            ("observability.collector.resources.limits.memory=1Gi", "observability.collector.memory.limitPercentage=95"),
            "996147KiB",
        ),
        (COLLECTOR, ("observability.collector.resources.limits=null",), None),
        (BROKER, (), "838860KiB"),
        (BROKER, ("nats.resources.limits.memory=2Gi",), "1677721KiB"),
        (BROKER, ("nats.resources.limits=null",), None),
    ],
)
def test_programs_in_go_know_how_much_memory_their_container_has(
    program: tuple[str, str], sets: tuple[str, ...], limit: str | None
) -> None:
    chosen = objects(rendered("everything", *sets))
    (container,) = named(chosen, *program)["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one.get("value") for one in container["env"]}.get("GOMEMLIMIT") == limit


def test_another_configuration_is_another_pod() -> None:
    def mark(*sets: str) -> str:
        found = named(objects(rendered("everything", *sets)), "Deployment", "careforall-collector")
        return str(found["spec"]["template"]["metadata"]["annotations"]["careforall.dev/config"])

    assert mark() == mark("observability.collector.resources.limits.memory=1Gi")
    assert mark() != mark("observability.collector.batch.size=10")


def test_services_send_their_traces_to_the_collector() -> None:
    for name, template in pods(everything()):
        if "careforall.dev/service" in template["metadata"]["labels"]:
            (container,) = template["spec"]["containers"]
            told = {one["name"]: one.get("value") for one in container["env"]}
            assert told["CAREFORALL_OTLP_URL"] == "http://careforall-collector:4318/v1/traces", name
