"""What a planner may ask for; `k8s` carries it out. Doing all of a plan and planning again gives an empty plan."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Body = dict[str, Any]
APPLIED = "careforall.dev/applied"


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """Own `spec.replicas` of a Deployment with this number."""

    deployment: str
    replicas: int


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Let go of `spec.replicas`, which keeps its number until the next owner writes one."""

    deployment: str
    replicas: int


class Apply(msgspec.Struct, frozen=True, kw_only=True):
    """Make an object be like this, as the owner of these fields."""

    body: Body


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """Make an object unless one of its name is there: what must happen once has a name that tells what it is for."""

    body: Body


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """Take an object away."""

    kind: Literal["CronJob"]
    name: str


class StripLabel(msgspec.Struct, frozen=True, kw_only=True):
    """Take the primary's label from a pod that is not primary any more."""

    pod: str
    label: str
    was: str


class SetLabel(msgspec.Struct, frozen=True, kw_only=True):
    """Give a pod a label."""

    pod: str
    label: str
    value: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """An Event for people. With a `key` it is posted once, whatever happens to the operator."""

    reason: str
    message: str
    warning: bool = False
    key: str = ""


Action = Scale | Release | Apply | Create | Delete | StripLabel | SetLabel | Notice


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The object that what is made belongs to, so that it goes with it."""

    kind: str
    name: str
    uid: str
    api_version: str = "careforall.dev/v1alpha1"

    def metadata(self, name: str, component: str) -> Body:
        """Return the metadata of something of ours."""
        return {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": component,
                "app.kubernetes.io/instance": self.name,
                "app.kubernetes.io/component": component,
                "app.kubernetes.io/part-of": "careforall",
                "app.kubernetes.io/managed-by": "careforall-operator",
                "careforall.dev/platform": self.name,
            },
            "ownerReferences": [
                {
                    "apiVersion": self.api_version,
                    "kind": self.kind,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        }


def stamped(body: Body) -> Body:
    """Return the object with the hash of all we say about it, so that a field we stop saying is noticed too."""
    text = json.dumps(body, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    annotations = {**body["metadata"].get("annotations", {}), APPLIED: digest}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}


def covers(live: Any, wanted: Any) -> bool:
    """Return whether a live object says all that is wanted of it; what others added is none of our business."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(key in live and covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return bool(live == wanted)
