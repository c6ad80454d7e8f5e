"""The board about the cluster: the operator, the database and its failovers, pods and volumes."""

from __future__ import annotations

from careforall_testing.observability.panels import Board, Query, Row, graph, stat
from careforall_testing.observability.words import quantile, rate

_ABROAD = "told by the cluster, see `foreign`"
BACKUP = 'cronjob=~".*-postgres-(backup|restore-proof)"'
_DISK = '{persistentvolumeclaim=~".*postgres.*"}'
DATABASE_FREE = f"kubelet_volume_stats_available_bytes{_DISK} / kubelet_volume_stats_capacity_bytes{_DISK}"
LAG = "scalar(max(patroni_xlog_location)) - patroni_xlog_replayed_location > 0"

KUBERNETES = Board(
    uid="careforall-kubernetes",
    title="Kubernetes and failover",
    about="Who is primary, how far replicas are behind, what the last failover cost, and whether backups are fresh.",
    rows=(
        Row(
            "Database now",
            (
                stat("Writable", "min(careforall_operator_database_writable)", bad_below=1),
                stat("Members", "sum(careforall_operator_database_members)", bad_below=2),
                stat("A standby is waited for", "min(careforall_operator_database_synchronous)", bad_below=1),
                stat(
                    "Timeline", "max(careforall_operator_database_timeline)", about="Rises by one at each change of the primary."
                ),
                stat("Degraded", "max(careforall_operator_degraded)", bad_above=1),
                stat("Stalled", "max(careforall_operator_stalled)", bad_above=1, about="A person must mend something."),
            ),
        ),
        Row(
            "Failover",
            (
                stat(
                    "Since the last failover",
                    "time() - max(careforall_operator_last_failover_timestamp_seconds)",
                    unit="s",
                    width=6,
                ),
                stat("The last one took", "max(careforall_operator_last_failover_rto_seconds)", unit="s", bad_above=5, width=6),
                stat("Its books do not agree", "max(careforall_operator_reconciliation_failed)", bad_above=1, width=6),
                stat("Processes told to take no writes", "sum(careforall_degraded)", bad_above=1, width=6),
                graph(
                    "Members by role and state",
                    Query("sum by (role, state) (careforall_operator_database_members)", "{{role}} {{state}}"),
                ),
                graph(
                    "Behind the primary",
                    Query("max by (member) (careforall_operator_database_member_lag_bytes)", "{{member}}"),
                    Query(LAG, "{{name}} by Patroni", _ABROAD),
                    unit="bytes",
                ),
                graph(
                    "Members that run and stream",
                    Query("sum(patroni_postgres_running)", "run", _ABROAD),
                    Query("sum(patroni_postgres_streaming)", "stream", _ABROAD),
                    Query("sum(patroni_primary)", "primary", _ABROAD),
                    Query("sum(patroni_sync_standby)", "synchronous", _ABROAD),
                ),
            ),
        ),
        Row(
            "Connections, disk, backups",
            (
                graph(
                    "Connections of services",
                    Query("sum by (service) (database_pool_in_use)", "{{service}}"),
                    Query("sum(database_pool_size)", "all may open"),
                ),
                graph(
                    "Free on the database's volumes",
                    Query(
                        DATABASE_FREE,
                        "{{persistentvolumeclaim}}",
                        _ABROAD,
                    ),
                    unit="percentunit",
                    bad_below=0.2,
                ),
                graph(
                    "Age of backups and of their proof",
                    Query(
                        f"time() - max by (cronjob) (kube_cronjob_status_last_successful_time{{{BACKUP}}})",
                        "{{cronjob}}",
                        _ABROAD,
                    ),
                    unit="s",
                    bad_above=26 * 3600,
                ),
            ),
        ),
        Row(
            "Operator",
            (
                graph(
                    "Passes by what became of them",
                    Query(rate("careforall_operator_passes_total", by="outcome"), "{{outcome}}"),
                    unit="cps",
                ),
                graph("Time of a pass, p95", Query(quantile(0.95, "careforall_operator_pass_seconds"), "p95"), unit="s"),
                graph("What it did", Query(rate("careforall_operator_writes_total", by="action", window="1h"), "{{action}}")),
            ),
        ),
        Row(
            "Pods",
            (
                graph(
                    "Pods that are there",
                    Query('kube_deployment_status_replicas_available{deployment=~"careforall.*"}', "{{deployment}}", _ABROAD),
                    about="Against those wanted: the alert says which.",
                ),
                graph(
                    "Restarts",
                    Query(
                        'sum by (pod) (increase(kube_pod_container_status_restarts_total{pod=~"careforall.*"}[1h]))',
                        "{{pod}}",
                        _ABROAD,
                    ),
                ),
                graph(
                    "Memory of pods",
                    Query(
                        'sum by (pod) (container_memory_working_set_bytes{pod=~"careforall.*", container!=""})',
                        "{{pod}}",
                        _ABROAD,
                    ),
                    unit="bytes",
                ),
            ),
        ),
    ),
)
