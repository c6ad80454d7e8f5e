"""A CloudNativePG Cluster, brought by its user: its status is read, and its target primary set when a switchover is asked for."""

from collections.abc import Mapping
from typing import Any

from careforall_operator.engines.base import EngineRefused, endpoints, write_service
from careforall_operator.k8s import CNPG_CLUSTER, POD, HTTPStatusError, Kube
from careforall_operator.models import Database
from careforall_operator.reconcile.observed import Beat, ClusterSeen, PodRole
from careforall_operator.status import Member

_CLUSTER_LABEL = "cnpg.io/cluster"
_ROLE_LABEL = "cnpg.io/instanceRole"


class CloudNativePG:
    """One Cluster."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def observe(self, database: Database, beat: Beat) -> ClusterSeen | None:  # noqa: ARG002 - others need it
        """Read the Cluster's status; None where there is no such Cluster."""
        cluster = await self._kube.find(CNPG_CLUSTER, database.cluster_name)
        if cluster is None:
            return None
        status = cluster.get("status") or {}
        pods = await self._kube.all(POD, **{_CLUSTER_LABEL: database.cluster_name})
        primary = status.get("currentPrimary")
        target = status.get("targetPrimary")
        return ClusterSeen(
            leader=primary,
            leader_fresh=primary is not None and primary == target,
            target=target,
            timeline=status.get("timelineID"),
            members=_members(status, cluster),
            pods=tuple(_pod(pod) for pod in pods),
            endpoints=await endpoints(self._kube, write_service(database)),
        )

    async def switch(self, database: Database, leader: str, candidate: str | None) -> None:
        """Set the target primary.

        Raises:
            EngineRefused: There is no other healthy instance, or the API server said no.
        """
        cluster = await self._kube.find(CNPG_CLUSTER, database.cluster_name) or {}
        healthy = [
            name for name in (cluster.get("status") or {}).get("instancesStatus", {}).get("healthy") or [] if name != leader
        ]
        chosen = candidate or next(iter(sorted(healthy)), None)
        if chosen is None:
            raise EngineRefused("there is no other healthy instance")
        try:
            await self._kube.promote(database.cluster_name, chosen)
        except HTTPStatusError as error:
            raise EngineRefused(f"the API server says: {error}") from error


def _members(status: Mapping[str, Any], cluster: Mapping[str, Any]) -> tuple[Member, ...]:
    healthy = set((status.get("instancesStatus") or {}).get("healthy") or [])
    reported = status.get("instancesReportedState") or {}
    sync = (cluster.get("spec") or {}).get("postgresql", {}).get("synchronous") is not None
    return tuple(
        Member(
            name=name,
            role="primary" if name == status.get("currentPrimary") else "replica",
            state="healthy" if name in healthy else "unhealthy",
            timeline=(reported.get(name) or {}).get("timeLineID"),
            sync=sync and name in healthy,
        )
        for name in status.get("instanceNames") or []
    )


def _pod(pod: Mapping[str, Any]) -> PodRole:
    status = pod.get("status") or {}
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])
    role = (pod["metadata"].get("labels") or {}).get(_ROLE_LABEL, "")
    return PodRole(name=pod["metadata"]["name"], role=role, ready=ready, address=status.get("podIP", ""))
