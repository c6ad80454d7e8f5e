"""A database cluster on a stage: one real PostgreSQL that is killed and promoted to real timelines; the test plays Patroni.

It writes what Patroni writes: the leader's lock, the synchronous standby, the history, roles and notes on pods. No pod runs
here (the API server has no node), so the test plays the kubelet too where a Job's end matters.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import asyncpg
import msgspec

from careforall.launch.servers import Postgres
from careforall_testing.cluster import Cluster

CLUSTER = "cfa"
PODS = ("cfa-0", "cfa-1")
WRITE_SERVICE = f"{CLUSTER}-rw"


class Stage:
    """The cluster of one test."""

    selector: ClassVar[Mapping[str, str]] = {"careforall.dev/postgres": CLUSTER, "careforall.dev/role": "primary"}
    """What the write Service selects."""

    def __init__(self, room: Cluster, server: Postgres) -> None:
        self.room = room
        self.server = server
        self.primary, self.standby = PODS
        self.timeline = 1
        self.history: list[list[Any]] = []

    def set_up(self, make: Any, **spec: Any) -> None:
        """Make the pods, Patroni's objects, the write Service, the credentials and the Platform."""
        template = make("PodTemplate", "careforall-jobs")
        pods = [self._pod(name, template["template"]["spec"]) for name in PODS]
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "dsn"},
            "stringData": {"operator": self.server.url, "rest-password": "secret"},
        }
        self.room.apply(template, secret, *pods)
        self.install_service()
        self.play_patroni()
        database = {
            "clusterName": CLUSTER,
            "credentialsSecretRef": {"name": "dsn"},
            "restSecretRef": {"name": "dsn"},
            "degraded": {"enterAfterSeconds": 2, "exitAfterSeconds": 2},
            **spec.pop("database", {}),
        }
        self.room.apply(make("Platform", "main", database=database, **spec))

    def _pod(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        labels = {"careforall.dev/postgres": CLUSTER}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}

    def install_service(self) -> None:
        """Apply the write Service as Helm does, without force: what somebody else has made otherwise is a conflict."""
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": WRITE_SERVICE, "labels": {"careforall.dev/postgres": CLUSTER}},
            "spec": {"selector": dict(self.selector), "ports": [{"port": 5432}]},
        }
        self.room.kubectl("apply", "--server-side", "--field-manager=helm", "--filename=-", stdin=json.dumps(body))

    def play_patroni(self, *, label_old: bool = True) -> None:
        """Write what Patroni writes after an election; `label_old` false leaves the old primary its label."""
        wal = self.sql("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")
        lock = {"leader": self.primary, "renewTime": str(time.time()), "ttl": "3600", "optime": str(wal)}
        self._config_map("leader", lock)
        self._config_map("sync", {"leader": self.primary, "sync_standby": self.standby})
        self._config_map("config", {"history": json.dumps(self.history)})
        for name in PODS:
            role = "primary" if name == self.primary else "replica"
            note = {"role": role, "state": "running", "timeline": self.timeline, "xlog_location": wal}
            if role == "replica":
                note["replication_state"] = "streaming"
            self.room.kubectl("annotate", "pod", name, "--overwrite", f"status={json.dumps(note)}")
            if role == "primary" or label_old:
                self.room.kubectl("label", "pod", name, "--overwrite", f"careforall.dev/role={role}")

    def _config_map(self, name: str, annotations: dict[str, str]) -> None:
        metadata = {"name": f"{CLUSTER}-{name}", "annotations": annotations}
        self.room.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    def crash(self) -> None:
        """SIGKILL to all of PostgreSQL."""
        self.server.kill()

    def promote(self, *, label_old: bool = True) -> None:
        """Start the data as a standby, promote it, and let Patroni write it down: a real new timeline."""
        signal = self.server.data / "standby.signal"
        signal.touch()
        owner = self.server.data.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        self.server.launch()
        self._until_up()
        end = self.sql("SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint")
        self.sql("SELECT pg_promote()")
        self.history.append([self.timeline, end, "no recovery target specified", "", self.standby])
        self.timeline += 1
        self.primary, self.standby = self.standby, self.primary
        self.play_patroni(label_old=label_old)

    def _until_up(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.sql("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def sql(self, text: str) -> Any:
        """Ask PostgreSQL; of this loop's own, so that tests need none."""

        async def ask() -> Any:
            connection = await asyncpg.connect(self.server.url, timeout=5)
            try:
                return await connection.fetchval(text)
            finally:
                connection.terminate()

        return asyncio.run(ask())

    def end_jobs(self, phase: str = "Succeeded") -> None:
        """Play the kubelet: pods of Jobs end."""
        for pod in self.room.get("pods", selector="batch.kubernetes.io/job-name"):
            if pod["status"].get("phase") == "Pending":
                patch = json.dumps({"status": {"phase": phase}})
                name = pod["metadata"]["name"]
                self.room.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", f"--patch={patch}", check=False)

    def status(self) -> Any:
        """The Platform's status, with all there is left out where it is empty."""
        return self.room.get("cfa", "main").get("status") or {}

    def database(self) -> dict[str, Any]:
        """The part about the database."""
        return dict(self.status().get("database") or {})

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        for one in self.status().get("conditions") or []:
            if one["type"] == kind:
                return one["status"], one["reason"]
        return "", ""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """What services read."""

    active: bool
    reason: str
    timeline: int | None
    since: str | None
    expires_at: str
