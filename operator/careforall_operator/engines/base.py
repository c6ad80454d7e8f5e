"""What the passes need of an engine."""

from typing import Protocol

from careforall_operator.k8s import ENDPOINT_SLICE, Kube
from careforall_operator.models import Database
from careforall_operator.reconcile.observed import Beat, ClusterSeen


class EngineRefused(Exception):
    """The engine would not switch; the message has its words."""


class Engine(Protocol):
    """One database cluster; it may remember what it saw, but nothing that it could not see again."""

    def __init__(self, kube: Kube) -> None: ...

    async def observe(self, database: Database, beat: Beat) -> ClusterSeen | None:
        """Return the cluster as the engine tells it; None where it tells nothing."""

    async def switch(self, database: Database, leader: str, candidate: str | None) -> None:
        """Ask for another primary.

        Raises:
            EngineRefused: It said no, or could not be asked.
        """


async def endpoints(kube: Kube, service: str) -> tuple[str, ...]:
    """Return the addresses of the ready pods behind a Service."""
    slices = await kube.all(ENDPOINT_SLICE, **{"kubernetes.io/service-name": service})
    ready = [
        address
        for one in slices
        for endpoint in one.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    ]
    return tuple(sorted(set(ready)))


def write_service(database: Database) -> str:
    """Return the name of the Service of the primary."""
    return database.write_service or usual_service(database)


def usual_service(database: Database) -> str:
    """Return the name that the Service of the primary has where the Platform gives none."""
    return f"{database.cluster_name}-rw"
