"""Engines that others bring: CloudNativePG by its own kind of object, an External pair of servers by its addresses alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

import pytest

from careforall.launch.servers import Postgres
from careforall_testing.cluster import Cluster
from careforall_testing.database_stage import CLUSTER, PODS, WRITE_SERVICE, Stage
from careforall_testing.servers import own_folder
from careforall_testing.servers import running as server_running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
Make = Callable[..., dict[str, Any]]
OPEN_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "clusters.postgresql.cnpg.io"},
    "spec": {
        "group": "postgresql.cnpg.io",
        "names": {"kind": "Cluster", "listKind": "ClusterList", "plural": "clusters", "singular": "cluster"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": OPEN_SCHEMA},
            }
        ],
    },
}


class CnpgStage(Stage):
    """The test plays CloudNativePG's operator: it writes the Cluster's status, and follows the target primary."""

    selector: ClassVar[Mapping[str, str]] = {"cnpg.io/cluster": CLUSTER, "cnpg.io/instanceRole": "primary"}

    def _pod(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        labels = {"cnpg.io/cluster": CLUSTER}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}

    def play_patroni(self, *, label_old: bool = True) -> None:  # noqa: ARG002 - the engine keeps its own labels
        """Write what CloudNativePG writes after a promotion."""
        spec = {"instances": len(PODS), "postgresql": {"synchronous": {"method": "any", "number": 1}}}
        about = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": CLUSTER}}
        self.room.apply({**about, "spec": spec})
        status = {
            "currentPrimary": self.primary,
            "targetPrimary": self.primary,
            "timelineID": self.timeline,
            "instanceNames": list(PODS),
            "instancesStatus": {"healthy": list(PODS)},
            "instancesReportedState": {name: {"isPrimary": name == self.primary, "timeLineID": self.timeline} for name in PODS},
        }
        patch = json.dumps({"status": status})
        self.room.kubectl(
            "patch", "cluster.postgresql.cnpg.io", CLUSTER, "--subresource=status", "--type=merge", f"--patch={patch}"
        )

    def target(self) -> str:
        """Who should be primary."""
        return str(self.room.get("cluster.postgresql.cnpg.io", CLUSTER)["status"]["targetPrimary"])


@pytest.fixture(name="server")
def fx_server() -> Iterator[Postgres]:
    with own_folder() as folder, server_running(Postgres, folder, durable=True) as made:
        yield made


@pytest.fixture(name="cnpg")
def fx_cnpg(api: Cluster) -> Iterator[None]:
    """CloudNativePG's definition of a Cluster, unless somebody has it installed already."""
    there = "clusters.postgresql.cnpg.io" in api.kubectl("get", "crd", "--output=name")
    if not there:
        api.apply(DEFINITION)
        api.kubectl("wait", "--for=condition=Established", "crd/clusters.postgresql.cnpg.io", "--timeout=30s")
    yield
    if not there:
        api.kubectl("delete", "crd", "clusters.postgresql.cnpg.io", "--wait=false")


@pytest.mark.usefixtures("cnpg")
def test_cloudnativepg_is_read_asked_to_switch_and_reported(
    server: Postgres, room: Cluster, operator: Any, objects: Make
) -> None:
    stage = CnpgStage(room, server)
    stage.set_up(objects, database={"engine": "CloudNativePG"})
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    room.until("a standby", lambda: stage.condition("DatabaseRedundant") == ("True", "SyncStandbyPresent"))
    assert stage.condition("DatabaseAvailable") == ("True", "PrimaryServing")
    assert stage.database()["currentPrimary"] == "cfa-0"
    room.apply(objects("DatabaseSwitchover", "planned", platformRef={"name": "main"}, candidate="cfa-1"))
    room.until("the engine is asked", lambda: stage.target() == "cfa-1", timeout=30)
    assert stage.database()["currentPrimary"] == "cfa-0"
    room.until("the target is told", lambda: stage.database().get("targetPrimary") == "cfa-1")
    stage.crash()
    stage.promote()
    room.until("told", lambda: (stage.database().get("lastFailover") or {}).get("newPrimary") == "cfa-1")
    room.until("pods of the Job", lambda: room.get("pods", selector="batch.kubernetes.io/job-name"))

    def ended() -> bool:
        stage.end_jobs()
        return bool(room.get("dbsw", "planned")["status"]["phase"] == "Succeeded")

    room.until("the end", ended)
    report = stage.database()["lastFailover"]
    assert (report["planned"], report["oldPrimary"], report["newPrimary"], report["timeline"]) == (True, "cfa-0", "cfa-1", 2)
    assert room.selector(WRITE_SERVICE) == stage.selector


@pytest.mark.usefixtures("cnpg")
def test_a_cluster_that_is_not_there_is_told(server: Postgres, room: Cluster, operator: Any, objects: Make) -> None:
    stage = Stage(room, server)
    stage.set_up(objects, database={"engine": "CloudNativePG"})
    operator.start()
    room.until("told", lambda: stage.condition("DatabaseAvailable") == ("Unknown", "Unobservable"))
    assert stage.condition("WritesEnabled") == ("True", "HeartbeatOk")  # that somebody takes writes is known all the same
    room.apply(objects("DatabaseSwitchover", "planned", platformRef={"name": "main"}))
    room.until("refused", lambda: (room.get("dbsw", "planned").get("status") or {}).get("phase") == "Refused")


def test_an_external_pair_is_followed_by_its_addresses_alone(
    server: Postgres, room: Cluster, operator: Any, objects: Make
) -> None:
    standby = _standby(server)
    try:
        stage = Stage(room, server)
        _external(room, objects, _both(server, standby))
        operator.start()
        room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
        assert stage.condition("DatabaseRedundant") == ("Unknown", "NotObserved")
        server.kill()
        room.until("writes off", lambda: stage.status()["degraded"]["active"])
        assert stage.condition("DatabaseAvailable") == ("False", "NoPrimary")
        Stage(room, standby).sql("SELECT pg_promote()")
        room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
        report = stage.database()["lastFailover"]
        assert (report["timeline"], report["planned"], report["newPrimary"]) == (2, False, "elsewhere")
        assert 2 < report["rtoSeconds"] < 60
        server.start()  # the old primary is back and takes writes: nobody fenced it
        room.until("it is noticed", lambda: stage.condition("WritesEnabled") == ("False", "EpochMismatch"))
        assert stage.database()["timeline"] == 2
        room.apply(objects("DatabaseSwitchover", "planned", platformRef={"name": "main"}))
        room.until("refused", lambda: (room.get("dbsw", "planned").get("status") or {}).get("phase") == "Refused")
        (guard,) = [one for one in room.get("dbsw", "planned")["status"]["conditions"] if one["type"] == "GuardsPassed"]
        assert guard["reason"] == "EngineCannotSwitch"
    finally:
        standby.stop()


def _external(room: Cluster, make: Make, dsn: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "dsn"}, "stringData": {"operator": dsn}}
    room.apply(make("PodTemplate", "careforall-jobs"), secret)
    database = {
        "engine": "External",
        "clusterName": "elsewhere",
        "credentialsSecretRef": {"name": "dsn"},
        "degraded": {"enterAfterSeconds": 2, "exitAfterSeconds": 2},
    }
    room.apply(make("Platform", "main", database=database))


def _standby(server: Postgres) -> Postgres:
    """A second server that streams from the first."""
    server.stop()
    folder = server.data.with_name("standby")
    shutil.copytree(server.data, folder, symlinks=True)
    folder.with_name("standby.ready").touch()
    (folder / "standby.signal").touch()
    with (folder / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = '{server.url}'\n")
    for path in (folder, *folder.rglob("*")):
        server.identity.own(path)
    other = Postgres(
        binary=server.binary,
        data=folder,
        log=server.log.with_name("standby.log"),
        identity=server.identity,
        durable=True,
        password=server.password,
    )
    server.start()
    other.start()
    return other


def _both(first: Postgres, second: Postgres) -> str:
    """The address of whichever of the two takes writes."""
    parts = urlsplit(first.url)
    login, _, host = parts.netloc.rpartition("@")
    hosts = f"{login}@{host},{urlsplit(second.url).netloc.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, hosts, parts.path, "target_session_attrs=read-write", ""))
