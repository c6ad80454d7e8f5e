"""The only module that speaks to the Kubernetes API: reads for the passes, and carries plans out by server-side apply."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from httpx2 import HTTPStatusError
from lightkube import AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.core.resource import api_info
from lightkube.generic_resource import create_namespaced_resource
from lightkube.operators import exists
from lightkube.types import PatchType

from careforall_operator import API_VERSION, FIELD_MANAGER, GROUP
from careforall_operator.reconcile.plan import Action, Apply, Body, Create, Delete, Notice, Release, Scale, SetLabel, StripLabel
from careforall_operator.status import PlatformStatus, SwitchoverStatus

# Partial objects are sent, which the typed classes refuse; generic ones take what they are given.
PLATFORM: Any = create_namespaced_resource(GROUP, "v1alpha1", "Platform", "platforms")
SWITCHOVER: Any = create_namespaced_resource(GROUP, "v1alpha1", "DatabaseSwitchover", "databaseswitchovers")
DEPLOYMENT: Any = create_namespaced_resource("apps", "v1", "Deployment", "deployments")
CRON_JOB: Any = create_namespaced_resource("batch", "v1", "CronJob", "cronjobs")
JOB: Any = create_namespaced_resource("batch", "v1", "Job", "jobs")
POD: Any = create_namespaced_resource("", "v1", "Pod", "pods")
POD_TEMPLATE: Any = create_namespaced_resource("", "v1", "PodTemplate", "podtemplates")
CONFIG_MAP: Any = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")
SERVICE: Any = create_namespaced_resource("", "v1", "Service", "services")
SECRET: Any = create_namespaced_resource("", "v1", "Secret", "secrets")
EVENT: Any = create_namespaced_resource("", "v1", "Event", "events")
ENDPOINT_SLICE: Any = create_namespaced_resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
POD_METRICS: Any = create_namespaced_resource("metrics.k8s.io", "v1beta1", "PodMetrics", "pods")
CNPG_CLUSTER: Any = create_namespaced_resource("postgresql.cnpg.io", "v1", "Cluster", "clusters")

HANDOVER = "careforall-handover"
GONE = 404
TAKEN = 409
FORBIDDEN = 403
INVALID = 422
STUMBLES = {410, 429, 500, 502, 503, 504}
_PAUSES = (0.1, 0.4)
_KINDS = {"CronJob": CRON_JOB, "Job": JOB, "DatabaseSwitchover": SWITCHOVER, "Service": SERVICE}


class Kube:
    """One namespace of a cluster."""

    def __init__(self, client: Any, namespace: str, secrets: Path | None = None) -> None:
        self._client = client
        self._secrets = secrets
        self.namespace = namespace

    @classmethod
    def connect(cls, namespace: str, secrets: Path | None = None) -> "Kube":
        """Connect as the pod's service account, or as KUBECONFIG says; `secrets` is where mounted Secrets lie.

        Raises:
            ConfigError: Neither is there.
        """
        return cls(AsyncClient(namespace=namespace, field_manager=FIELD_MANAGER), namespace, secrets)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def find(self, kind: Any, name: str) -> Body | None:
        """Return an object, or None where it is not there."""
        try:
            return plain(await patiently(lambda: self._client.get(kind, name)))
        except HTTPStatusError as error:
            if error.response.status_code == GONE:
                return None
            raise

    async def all(self, kind: Any, **labels: str) -> list[Body]:
        """Return the objects that have these labels; a label with an empty value must only be there."""
        selector = {key: value or exists() for key, value in labels.items()}
        named = {"apiVersion": version_of(kind), "kind": kind_of(kind)}  # lists leave both out

        async def listed() -> list[Any]:
            return [one async for one in self._client.list(kind, labels=selector or None)]

        return [{**named, **plain(one)} for one in await patiently(listed)]

    async def secret(self, name: str) -> dict[str, str]:
        """Return the values of a Secret, of a mounted one what is mounted; nothing where it is not there."""
        if self._secrets is not None and (folder := self._secrets / name).is_dir():
            return await asyncio.to_thread(mounted, folder)
        found = await self.find(SECRET, name)
        return {key: b64decode(value).decode() for key, value in ((found or {}).get("data") or {}).items()}

    async def carry_out(self, actions: Sequence[Action], about: Body) -> None:
        """Do what a plan asks for; Events are about this object."""
        for action in actions:
            await self._do(action, about)

    async def _do(self, action: Action, about: Body) -> None:
        match action:
            case Scale():
                await self._apply(DEPLOYMENT, _replicas(action.deployment, action.replicas))
            case Release():
                # Whoever lets go of a field that nobody else owns deletes it, and a Deployment without replicas has one.
                await self._apply(DEPLOYMENT, _replicas(action.deployment, action.replicas), manager=HANDOVER)
                await self._apply(DEPLOYMENT, _replicas(action.deployment, None))
            case Apply():
                await self._apply(_KINDS[action.body["kind"]], action.body)
            case Create():
                await self._create(_KINDS[action.body["kind"]], action.body)
            case Delete():
                await self._delete(_KINDS[action.kind], action.name)
            case StripLabel():
                await self._strip(action)
            case SetLabel():
                patch = {"metadata": {"labels": {action.label: action.value}}}
                await self._client.patch(POD, action.pod, patch, patch_type=PatchType.MERGE)
            case Notice():
                await self._create(EVENT, event_of(action, about, self.namespace))

    async def _apply(self, kind: Any, body: Body, *, manager: str = FIELD_MANAGER) -> None:
        await patiently(lambda: self._client.apply(kind(body), field_manager=manager, force=True))

    async def _create(self, kind: Any, body: Body) -> None:
        try:
            await patiently(lambda: self._client.create(kind(body)))
        except HTTPStatusError as error:
            if _reason(error) != "AlreadyExists":
                raise

    async def _delete(self, kind: Any, name: str) -> None:
        try:
            await self._client.delete(kind, name)
        except HTTPStatusError as error:
            if error.response.status_code != GONE:
                raise

    async def _strip(self, action: StripLabel) -> None:
        """Take a label away, only while it still says what was seen."""
        path = "/metadata/labels/" + action.label.replace("~", "~0").replace("/", "~1")
        patch = [{"op": "test", "path": path, "value": action.was}, {"op": "remove", "path": path}]
        await self._client.patch(POD, action.pod, patch, patch_type=PatchType.JSON)

    async def write_status(self, kind: Any, name: str, status: PlatformStatus | SwitchoverStatus) -> None:
        """Apply the whole status; what is not said is taken away."""
        said = without_nothing(msgspec.to_builtins(status))
        body = {"apiVersion": API_VERSION, "kind": kind_of(kind), "metadata": {"name": name}, "status": said}
        await patiently(lambda: self._client.apply(kind.Status(body), name, force=True))

    async def promote(self, cluster: str, candidate: str) -> None:
        """Ask CloudNativePG for another primary, as its own command does."""
        patch = {"status": {"targetPrimary": candidate, "phase": "Switchover in progress"}}
        await self._client.patch(CNPG_CLUSTER.Status, cluster, patch, patch_type=PatchType.MERGE)


def mounted(folder: Path) -> dict[str, str]:
    """Return a file's text for each key; the kubelet renews them when the Secret changes."""
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file() and not file.name.startswith("..")}


def _stumbled(error: HTTPStatusError) -> bool:
    """Return whether the API server may answer better in a moment; of two kinds of 409 only a conflict goes away."""
    code = error.response.status_code
    return code in STUMBLES or (code == TAKEN and _reason(error) == "Conflict")


def _reason(error: HTTPStatusError) -> str:
    try:
        return str(error.response.json().get("reason", ""))
    except ValueError:
        return ""


async def patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again, twice, where the API server only stumbled: all we ask may be asked again, for what is made has a name."""
    for pause in _PAUSES:
        try:
            return await ask()
        except HTTPStatusError as error:
            if not _stumbled(error):
                raise
            await asyncio.sleep(pause)
    return await ask()


def kind_of(resource: Any) -> str:
    """Return the kind that a resource of the library is."""
    return str(api_info(resource).resource.kind)


def version_of(resource: Any) -> str:
    """Return the group and version of a resource of the library."""
    about = api_info(resource).resource
    return f"{about.group}/{about.version}" if about.group else str(about.version)


def plain(found: Any) -> Body:
    """Return an object of the library as plain values."""
    body: Body = json.loads(json.dumps(found.to_dict(), default=str))
    return body


def without_nothing(value: Any) -> Any:
    """Leave out what says nothing, all the way down."""
    if isinstance(value, dict):
        return {key: without_nothing(inner) for key, inner in value.items() if inner is not None and inner != []}
    return [without_nothing(inner) for inner in value] if isinstance(value, list) else value


def status_code(error: Exception) -> int | None:
    """Return the API server's status of an error; None where it is another error."""
    return error.response.status_code if isinstance(error, HTTPStatusError) else None


def _replicas(name: str, number: int | None) -> Body:
    body: Body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    return body if number is None else {**body, "spec": {"replicas": number}}


def event_of(notice: Notice, about: Body, namespace: str) -> Body:
    """Return an Event; one with a key has a name of its own and is made once."""
    now = datetime.now(UTC)
    name = about["metadata"]["name"]
    tail = notice.key or f"{int(now.timestamp() * 1_000_000):x}"
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{tail}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": name,
            "namespace": namespace,
            "uid": about["metadata"]["uid"],
        },
        "reason": notice.reason,
        "message": notice.message[:1000],
        "type": "Warning" if notice.warning else "Normal",
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
    }


__all__ = ["ConfigError", "HTTPStatusError", "Kube"]
