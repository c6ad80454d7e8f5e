"""Labels of roles that a hand or a frozen pod left wrong: the write Service goes by them.

Never by one observer alone: the lock names the leader, and either the pods' own notes or a heartbeat agrees.
"""

from careforall_operator.reconcile.observed import ClusterSeen, PodRole
from careforall_operator.reconcile.plan import Action, Notice, SetLabel, StripLabel

ROLE_LABEL = "careforall.dev/role"
SCOPE_LABEL = "careforall.dev/postgres"
"""Tells of which cluster a pod is, and a Service that is kept."""
PRIMARY = "primary"


def plan_labels(seen: ClusterSeen | None, *, heard: bool) -> list[Action]:
    """Give the primary its label, or take it from others; `heard`: heartbeats are written on the newest timeline."""
    if seen is None or not seen.repairable or not seen.leader_fresh:
        return []
    leader = next((pod for pod in seen.pods if pod.name == seen.leader), None)
    if leader is None:
        return []
    if leader.role != PRIMARY:
        return _given(leader) if leader.claims else []
    others = [pod for pod in seen.pods if pod.role == PRIMARY and pod.name != leader.name]
    return [action for pod in others if heard or (leader.claims and not pod.claims) for action in _taken(pod)]


def _given(pod: PodRole) -> list[Action]:
    words = f"{pod.name} is primary and was not labelled so: the write Service could not find it"
    return [SetLabel(pod=pod.name, label=ROLE_LABEL, value=PRIMARY), Notice(reason="MissingLabel", message=words, warning=True)]


def _taken(pod: PodRole) -> list[Action]:
    words = f"{pod.name} is not primary: its label is taken away"
    strip = StripLabel(pod=pod.name, label=ROLE_LABEL, was=PRIMARY)
    return [strip, Notice(reason="StaleLabel", message=words, warning=True)]
