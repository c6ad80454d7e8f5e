"""Jobs of ours: the chart's PodTemplate with another command. Helm owns the shape of pods, the operator what they are for."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from careforall_operator.reconcile.plan import Body, Owner

KEEP_SECONDS = 7 * 86_400


def job(
    owner: Owner,
    name: str,
    command: Sequence[str],
    template: Mapping[str, Any],
    *,
    deadline: int,
    image: str | None = None,
    retries: int = 3,
) -> Body:
    """Return a Job that runs a command once, kept for a week."""
    component = command[1]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owner.metadata(name, component),
        "spec": {
            "backoffLimit": retries,
            "activeDeadlineSeconds": deadline,
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "template": pod(owner, component, command, template, image=image),
        },
    }


def pod(owner: Owner, component: str, command: Sequence[str], template: Mapping[str, Any], *, image: str | None = None) -> Body:
    """Return the pod's template with our labels and command in its first container."""
    shaped = deepcopy(dict(template))
    metadata = {key: value for key, value in (shaped.get("metadata") or {}).items() if key in {"labels", "annotations"}}
    labels = {**(metadata.get("labels") or {}), **owner.metadata("", component)["labels"]}
    spec = {"restartPolicy": "Never", **shaped["spec"]}
    first = {**spec["containers"][0], "command": [command[0]], "args": list(command[1:])}
    if image is not None:
        first["image"] = image
    spec["containers"] = [first, *spec["containers"][1:]]
    spec["restartPolicy"] = "Never"
    return {"metadata": {**metadata, "labels": labels}, "spec": spec}
