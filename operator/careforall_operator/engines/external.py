"""A database somewhere else: the heartbeat tells all that is known, and there is nothing to ask."""

from careforall_operator.engines.base import EngineRefused
from careforall_operator.k8s import Kube
from careforall_operator.models import Database
from careforall_operator.reconcile.observed import Beat, ClusterSeen


class External:
    """Known by its heartbeat alone."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def observe(self, database: Database, beat: Beat) -> ClusterSeen | None:
        """Return what the heartbeat told."""
        return ClusterSeen(leader=database.cluster_name, leader_fresh=beat.written, timeline=beat.timeline, wal_end=beat.wal_end)

    async def switch(self, database: Database, leader: str, candidate: str | None) -> None:
        """Refuse.

        Raises:
            EngineRefused: Always.
        """
        raise EngineRefused(f"{database.cluster_name} is switched over where it is run, not here ({leader} -> {candidate})")
