"""API objects as the plain values that planners read."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from careforall_operator import FIELD_MANAGER
from careforall_operator.models import Model
from careforall_operator.reconcile.observed import CronJobSeen, DeploymentSeen, JobSeen
from careforall_operator.reconcile.views import VIEW_LABEL

SERVICE_LABEL = "careforall.dev/service"
M = TypeVar("M", bound=Model)


def read(kind: type[M], value: Any) -> M:
    """Return a part of an object as its model; fields of a newer version are left aside.

    Raises:
        msgspec.ValidationError: It says something that no version of ours means.
    """
    return msgspec.convert(value or {}, kind)


def deployments(found: Iterable[Mapping[str, Any]]) -> dict[str, DeploymentSeen]:
    """Return Deployments by the service they run."""
    return {one["metadata"]["labels"][SERVICE_LABEL]: _deployment(one) for one in found}


def _deployment(found: Mapping[str, Any]) -> DeploymentSeen:
    status = found.get("status") or {}
    current = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
    return DeploymentSeen(
        name=found["metadata"]["name"],
        replicas=found["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0) if current else 0,
        ours=_owned(found),
    )


def _owned(found: Mapping[str, Any]) -> bool:
    return any(
        "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        for entry in found["metadata"].get("managedFields") or []
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
    )


def cron_jobs(found: Iterable[Mapping[str, Any]]) -> dict[str, CronJobSeen]:
    """Return CronJobs by name."""
    return {one["metadata"]["name"]: _cron_job(one) for one in found}


def _cron_job(found: Mapping[str, Any]) -> CronJobSeen:
    success = (found.get("status") or {}).get("lastSuccessfulTime")
    metadata = found["metadata"]
    return CronJobSeen(
        name=metadata["name"], body=found, made=moment(metadata["creationTimestamp"]), last_success=moment(success)
    )


def jobs(found: Iterable[Mapping[str, Any]]) -> list[JobSeen]:
    """Return Jobs."""
    return [_job(one) for one in found]


def _job(found: Mapping[str, Any]) -> JobSeen:
    status = found.get("status") or {}
    told = {one["type"]: one for one in status.get("conditions") or [] if one["status"] == "True"}
    ended = told.get("Complete") or told.get("Failed") or {}
    return JobSeen(
        name=found["metadata"]["name"],
        view=(found["metadata"].get("labels") or {}).get(VIEW_LABEL, ""),
        started=moment(status.get("startTime")),
        finished=moment(status.get("completionTime") or ended.get("lastTransitionTime")),
        succeeded="Complete" in told,
        failed="Failed" in told,
    )


def moment(text: str | None) -> datetime | None:
    """Return a moment of the API as one of ours."""
    return datetime.fromisoformat(text) if text else None


def cpu_share(metrics: Iterable[Mapping[str, Any]], requested: float) -> float | None:
    """Return how much of the requested CPU pods use, in percent; None where nothing is known."""
    used = [sum(cores(one["usage"].get("cpu", "0")) for one in pod.get("containers") or []) for pod in metrics]
    return 100 * sum(used) / (len(used) * requested) if used and requested else None


def requested_cpu(deployment: Mapping[str, Any]) -> float:
    """Return the cores that a pod of a Deployment asks for."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return sum(cores(((one.get("resources") or {}).get("requests") or {}).get("cpu", "0")) for one in containers)


_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3}


def cores(text: str) -> float:
    """Return a CPU quantity in cores."""
    return float(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else float(text)
