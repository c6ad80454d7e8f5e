"""Where the write Service leads: to the pod of this cluster that is labelled primary, and to nobody else.

Nobody has to agree first, as about labels: who is primary the label says, and what selects it is the same at all times.
"""

from collections.abc import Mapping

from careforall_operator.reconcile.labels import PRIMARY, ROLE_LABEL, SCOPE_LABEL
from careforall_operator.reconcile.observed import ClusterSeen
from careforall_operator.reconcile.plan import Action, Apply, Body, Notice


def plan_route(seen: ClusterSeen | None, cluster: str) -> list[Action]:
    """Give the write Service its selector back where a hand changed it; one that is not ours is not seen here."""
    service = seen.write_service if seen is not None else None
    wanted = {SCOPE_LABEL: cluster, ROLE_LABEL: PRIMARY}
    if service is None or service.selector == wanted:
        return []
    words = f"{service.name} selected {_shown(service.selector)}: it leads to the primary alone again"
    return [Apply(body=_selecting(service.name, wanted)), Notice(reason="WrongSelector", message=words, warning=True)]


def _selecting(name: str, selector: Mapping[str, str]) -> Body:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": dict(selector)}}


def _shown(selector: Mapping[str, str]) -> str:
    return ",".join(f"{label}={value}" for label, value in sorted(selector.items())) or "nothing"
