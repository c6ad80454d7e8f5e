"""Metrics of other programs that dashboards and alerts read; everything else must be exported by the platform itself."""

from __future__ import annotations

from msgspec import Struct


class Foreign(Struct, frozen=True):
    """Who exports a metric, and by which labels it may be asked."""

    exporter: str
    labels: frozenset[str] = frozenset()


_STATE = "kube-state-metrics: only the API server knows it"
_KUBELET = "kubelet: only the node knows it"
_PATRONI = "Patroni on port 8008 of each member: the member itself says how it stands"
_MEMBER = frozenset({"scope", "name"})
FOREIGN = {
    "up": Foreign("Prometheus itself: whether a target answered", frozenset({"job", "instance"})),
    "kube_cronjob_status_last_successful_time": Foreign(_STATE, frozenset({"namespace", "cronjob"})),
    "kube_cronjob_created": Foreign(_STATE, frozenset({"namespace", "cronjob"})),
    "kube_deployment_status_replicas_available": Foreign(_STATE, frozenset({"namespace", "deployment"})),
    "kube_deployment_spec_replicas": Foreign(_STATE, frozenset({"namespace", "deployment"})),
    "kube_pod_container_status_restarts_total": Foreign(_STATE, frozenset({"namespace", "pod", "container"})),
    "kubelet_volume_stats_available_bytes": Foreign(_KUBELET, frozenset({"namespace", "persistentvolumeclaim"})),
    "kubelet_volume_stats_capacity_bytes": Foreign(_KUBELET, frozenset({"namespace", "persistentvolumeclaim"})),
    "container_memory_working_set_bytes": Foreign(_KUBELET, frozenset({"namespace", "pod", "container"})),
    "patroni_primary": Foreign(_PATRONI, _MEMBER),
    "patroni_postgres_running": Foreign(_PATRONI, _MEMBER),
    "patroni_postgres_streaming": Foreign(_PATRONI, _MEMBER),
    "patroni_sync_standby": Foreign(_PATRONI, _MEMBER),
    "patroni_xlog_location": Foreign(_PATRONI, _MEMBER),
    "patroni_xlog_replayed_location": Foreign(_PATRONI, _MEMBER),
}
TARGET_LABELS = frozenset({"job", "instance", "namespace", "pod"})
"""Labels that whoever scrapes adds to every sample."""
