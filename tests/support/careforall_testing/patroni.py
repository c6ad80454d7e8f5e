"""The chart's PostgreSQL on a cluster under test: installed alone, asked who leads, and written to from a pod."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from careforall_testing.cluster import CHART, Cluster

RELEASE = "careforall"
SCOPE = f"{RELEASE}-postgres"
IMAGE = "careforall.local/postgres:dev"
WRITER = Path(__file__).parents[2] / "cluster" / "postgres_writer.py"
_CLIENT = "writer"


class WriteReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the writers saw while something happened to the primary; `lost` rows were acknowledged and are not there."""

    acknowledged: int
    lost: int
    unknown: int
    unknown_but_there: int
    refused_connections: int
    gap_seconds: float
    gap_began: float


class Writing:
    """Writers at work in their pod."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def acknowledged(self) -> int:
        """How many rows were acknowledged so far."""
        return int(self._lines[-1]) if self._lines else 0

    def finish(self) -> WriteReport:
        """Let them stop and tell what they saw."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)
        self._reader.join(10)
        return msgspec.json.decode(self._lines[-1], type=WriteReport)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line.strip())


class Patroni(msgspec.Struct, frozen=True, kw_only=True):
    """The three members in a namespace."""

    cluster: Cluster

    def leader(self) -> str:
        """Return the member that holds the leader's lock; empty where nobody does."""
        state = self.cluster.get("configmaps", selector=f"careforall.dev/postgres={SCOPE}")
        leaders = [one["metadata"]["annotations"] for one in state if one["metadata"]["name"] == f"{SCOPE}-leader"]
        return str(leaders[0].get("leader", "")) if leaders else ""

    def sync_standby(self) -> str:
        """Return a member that may take over without loss; empty where there is none."""
        annotations = self.cluster.get("configmap", f"{SCOPE}-sync")["metadata"]["annotations"]
        return str(annotations.get("sync_standby") or "").split(",")[0]

    def primaries(self) -> list[str]:
        """Return the pods that carry the primary's label."""
        pods = self.cluster.get("pods", selector=f"careforall.dev/postgres={SCOPE},careforall.dev/role=primary")
        return [pod["metadata"]["name"] for pod in pods]

    def members(self) -> dict[str, dict[str, Any]]:
        """Return what Patroni says of each member, by name."""
        said = self.within(self.leader(), "patronictl list --format json", check=False)
        try:
            return {member["Member"]: member for member in json.loads(said)}
        except ValueError:
            return {}

    def whole(self) -> bool:
        """Whether one member leads and the others stream from it on its timeline, one of them synchronous."""
        found = list(self.members().values())
        roles = sorted(member.get("Role", "") for member in found)
        states = sorted(member.get("State", "") for member in found)
        wanted = self.cluster.get("statefulset", SCOPE)["spec"]["replicas"]
        return (
            roles == ["Leader", "Replica", "Sync Standby"][:wanted]
            and states == ["running", "streaming", "streaming"][:wanted]
            and len({member["TL"] for member in found}) == 1
        )

    def settled(self, *, timeout: float = 90) -> str:
        """Wait until the three are one cluster again, ready all of them, and return who leads."""
        self.cluster.until("three members, one leader, one synchronous", self.whole, timeout=timeout)
        self.cluster.rolled_out(f"statefulset/{SCOPE}", timeout=timeout)
        return self.leader()

    def within(self, member: str, script: str, *, check: bool = True) -> str:
        """Run a shell line in a member's container."""
        return self.cluster.kubectl("exec", member, "--", "sh", "-c", script, check=check)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """Write through the -rw Service from a pod until the block ends."""
        words = ("kubectl", "--namespace", self.cluster.namespace, "exec", "--stdin", _CLIENT, "--")
        with subprocess.Popen(
            (*words, "python3", "/writer/postgres_writer.py"),
            env=self.cluster.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                writing = Writing(process)
                self.cluster.until("writes before the fault", lambda: writing.acknowledged > 100)
                yield writing
            finally:
                process.terminate()

    def taken_over(self, writing: Writing, old: str, *, timeout: float = 60) -> str:
        """Wait until another member leads and is written to; return which."""
        self.cluster.until("another leader", lambda: self.leader() not in {"", old}, timeout=timeout)
        seen = writing.acknowledged
        self.cluster.until("writes on the new primary", lambda: writing.acknowledged > seen + 200, timeout=timeout)
        return self.leader()


@contextlib.contextmanager
def installed(cluster: Cluster, *values: str) -> Iterator[Patroni]:
    """Install the subchart alone in a fresh namespace, with a pod that writes."""
    with cluster.fresh_namespace("postgres") as namespace:
        patroni = install(namespace, *values)
        start_client(namespace)
        yield patroni


def install(namespace: Cluster, *values: str, verb: str = "install") -> Patroni:
    """Install or upgrade the subchart alone, and wait until its members are one cluster."""
    begin(namespace, *values, "--wait", "--wait-for-jobs", "--timeout=180s", verb=verb)
    patroni = Patroni(cluster=namespace)
    patroni.settled()
    return patroni


def begin(namespace: Cluster, *values: str, verb: str = "install") -> None:
    """Install or upgrade the subchart alone, and wait for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        namespace.helm(verb, RELEASE, *_chosen(Path(folder), values))


def refused(namespace: Cluster, *values: str, verb: str = "install") -> str:
    """Ask Helm for an install or upgrade that is refused, and return why."""
    with tempfile.TemporaryDirectory() as folder:
        said = namespace.helm(verb, RELEASE, *_chosen(Path(folder), values), check=False)
    assert "Error: " in said, said
    return said


def _chosen(folder: Path, values: tuple[str, ...]) -> list[str]:
    repository, tag = IMAGE.split(":")
    chosen = [f"image.repository={repository}", f"image.tag={tag}", *(value for value in values if not value.startswith("--"))]
    options = [value for value in values if value.startswith("--")]
    return [str(standalone_chart(folder)), *options, *(word for value in chosen for word in ("--set", value))]


def standalone_chart(folder: Path) -> Path:
    """Copy the subchart with the library's templates, which it otherwise has from the umbrella."""
    made = folder / "postgres"
    shutil.copytree(CHART / "charts" / "postgres", made)
    for template in (CHART / "charts" / "common" / "templates").glob("*.tpl"):
        shutil.copy(template, made / "templates")
    return made


def freeze_script(signal: str) -> str:
    """A shell line that signals every process of its container but the first, which cannot be stopped from inside."""
    return f"kill -{signal} -1"


def start_client(cluster: Cluster) -> None:
    """Start a pod that may connect to the database and holds the writers' program."""
    cluster.kubectl("create", "configmap", _CLIENT, f"--from-file={WRITER}")
    secret = {"name": f"{RELEASE}-databases", "key": "donations"}
    container = {
        "name": _CLIENT,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "3600"],
        "env": [{"name": "DSN", "valueFrom": {"secretKeyRef": secret}}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "writer", "mountPath": "/writer"}],
    }
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _CLIENT, "labels": {"careforall.dev/postgres-client": "true"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [{"name": "writer", "configMap": {"name": _CLIENT}}],
            },
        }
    )
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{_CLIENT}", "--timeout=60s", timeout=65)
