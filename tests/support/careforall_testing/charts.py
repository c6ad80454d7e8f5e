"""Renders the chart for real, with the Helm on PATH, and reads what comes out."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "careforall"
NO_HELM = "no Helm on PATH: install Helm 3.20 or 4 to render the charts"
OWN_SECRETS = (
    "global.secrets.existingSecret=own-platform",
    "global.secrets.generate=false",
    "global.nats.existingSecret=own-nats",
    "global.databases.existingSecret=own-dsn",
    "postgres.auth.existingSecret=own-postgres",
    "operator.platform.database.restSecret=own-postgres",
)
"""Every Secret is named, so that nothing is made up while rendering and the same values give the same bytes."""
FRONT = (
    "global.publicUrl=https://give.example.org",
    "gateway.parentRefs[0].name=public",
    "gateway.hostnames[0]=give.example.org",
)
EVERYTHING = (
    "ingress.enabled=true",
    "ingress.className=contour",
    "services.monitoring.podMonitor=on",
    "services.services.donations.scaling.owner=HPA",
    "services.services.totals-worker.scaling.owner=KEDA",
    "services.services.totals-worker.scaling.stream=DONATIONS",
    "services.services.totals-worker.scaling.consumer=totals",
    "postgres.podMonitor.enabled=true",
    "networkPolicies.monitoringNamespaces.kubernetes\\.io/metadata\\.name=monitoring",
    "networkPolicies.kedaNamespaces.kubernetes\\.io/metadata\\.name=keda",
    "observability.rules.prometheusRule=on",
    "observability.rules.configMap=true",
    "observability.monitors.podMonitor=on",
    "observability.collector.enabled=true",
    "observability.collector.tailSampling.enabled=true",
    "observability.collector.exporters.otlp_http.endpoint=https://traces.example.org",
    "observability.collector.secretEnv.TRACES_TOKEN.secret=traces",
    "observability.collector.secretEnv.TRACES_TOKEN.key=token",
    "global.otlpUrl=http://careforall-collector:4318/v1/traces",
    "loadtests.enabled=true",
    "loadtests.headers.Host=give.example.org",
)
PROFILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "dev": ("values-dev.yaml", OWN_SECRETS),
    "local": ("values-local.yaml", OWN_SECRETS),
    "prod": ("values-prod.yaml", (*OWN_SECRETS, *FRONT)),
    "everything": ("values-prod.yaml", (*OWN_SECRETS, *FRONT, *EVERYTHING)),
}
"""What is tested: a values file of the chart's, and what is set on top."""
PLATFORM_APIS = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1", "keda.sh/v1alpha1")


class Refused(Exception):
    """Helm would not render; the message is what a user reads."""


def helm() -> str:
    """Return the path of Helm, or an empty string."""
    return shutil.which("helm") or ""


@functools.cache
def rendered(profile: str, *sets: str, kube: str = "1.36.0", apis: tuple[str, ...] = ()) -> str:
    """Return what `helm template` prints for a profile with more values set on top.

    Raises:
        Refused: The values are bad.
    """
    file, given = PROFILES[profile]
    return render("--values", str(CHART / file), *_options((*given, *sets)), kube=kube, apis=apis)


def render(
    *words: str, kube: str = "1.36.0", apis: Sequence[str] = (), namespace: str = "giving", release: str = "careforall"
) -> str:
    """Run `helm template` on the chart.

    Raises:
        Refused: Helm says no.
    """
    versions = [word for api in apis for word in ("--api-versions", api)]
    command = [helm(), "template", release, str(CHART), "--namespace", namespace, "--kube-version", kube, *versions, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of a rendered chart."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


def named(found: Sequence[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return one object."""
    return next(one for one in found if one["kind"] == kind and one["metadata"]["name"] == name)


def pods(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `kind/name` and the template (metadata, spec) of everything that makes pods."""
    for one in found:
        template = _template(one)
        if template is not None:
            yield f"{one['kind']}/{one['metadata']['name']}", template


def _template(one: dict[str, Any]) -> dict[str, Any] | None:
    match one["kind"]:
        case "Pod":
            return one
        case "PodTemplate":
            found: dict[str, Any] = one["template"]
        case "CronJob":
            found = one["spec"]["jobTemplate"]["spec"]["template"]
        case "Deployment" | "StatefulSet" | "Job" | "DaemonSet":
            found = one["spec"]["template"]
        case _:
            return None
    return found


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a pod, those that come first included."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def images(found: Sequence[dict[str, Any]]) -> set[str]:
    """Return every image that would run."""
    return {one["image"] for _, template in pods(found) for one in containers(template)}


def _options(sets: Sequence[str]) -> list[str]:
    return [word for one in sets for word in ("--set", one)]
