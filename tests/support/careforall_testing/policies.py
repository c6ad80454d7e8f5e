"""A small evaluator of NetworkPolicies: may a pod of these labels reach a port of a pod of those?

It knows what the chart uses: pod and namespace selectors by equality, ports by number, address blocks; all pods of a release
share a namespace, and whoever is outside is described by the labels of the namespace alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Labels = Mapping[str, str]


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One end of an edge: a pod of the release, a pod of another namespace, or an address outside the cluster."""

    pod: Labels | None = None
    namespace: Labels | None = None
    """Labels of the namespace; None is the release's own."""
    outside: bool = False


class Policies:
    """The NetworkPolicies of a rendered chart."""

    def __init__(self, objects: Sequence[dict[str, Any]]) -> None:
        self._specs = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]

    def allow(self, source: Peer, target: Peer, port: int) -> bool:
        """Tell whether both ends agree: egress of the source and ingress of the target."""
        return self._side("Egress", source, target, port) and self._side("Ingress", target, source, port)

    def close(self, pod: Labels) -> bool:
        """Tell whether a pod is closed both ways but for what a policy opens."""
        kinds = {kind for spec in self._specs if _selects(spec["podSelector"], pod) for kind in spec["policyTypes"]}
        return kinds == {"Ingress", "Egress"}

    def _side(self, kind: str, own: Peer, other: Peer, port: int) -> bool:
        if own.outside or own.namespace is not None:
            return True  # somebody else's policies
        chosen = [spec for spec in self._specs if kind in spec["policyTypes"] and _selects(spec["podSelector"], own.pod or {})]
        rules = [rule for spec in chosen for rule in spec.get(kind.lower()) or []]
        return not chosen or any(_rule_allows(rule, "to" if kind == "Egress" else "from", other, port) for rule in rules)


def _rule_allows(rule: Mapping[str, Any], direction: str, other: Peer, port: int) -> bool:
    ports = rule.get("ports")
    peers = rule.get(direction)
    fits = ports is None or any(one.get("port", port) == port for one in ports)
    return fits and (not peers or any(_peer_fits(peer, other) for peer in peers))


def _peer_fits(rule: Mapping[str, Any], other: Peer) -> bool:
    if "ipBlock" in rule:
        return other.outside
    if other.outside:
        return False
    if "namespaceSelector" in rule:
        here = other.namespace if other.namespace is not None else {}
        return _selects(rule["namespaceSelector"], here) and _selects(rule.get("podSelector") or {}, other.pod or {})
    return other.namespace is None and _selects(rule["podSelector"], other.pod or {})


def _selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
