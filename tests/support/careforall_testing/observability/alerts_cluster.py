"""Alerts on the cluster: failovers, replicas, backups, disks, pods."""

from __future__ import annotations

from careforall_testing.observability.alert import Alert
from careforall_testing.observability.alerts_promises import above
from careforall_testing.observability.boards_cluster import DATABASE_FREE

_HOUR = 3600
_NAMED = '{namespace="giving", cronjob="careforall-postgres-'
_CRON = f"kube_cronjob_status_last_successful_time{_NAMED}"
_MADE = f"kube_cronjob_created{_NAMED}"
_DISK = '{namespace="giving", persistentvolumeclaim="data-careforall-postgres-0"}'
_DEPLOYMENT = 'namespace="giving", deployment="careforall-donations"'
_RESTARTS = 'kube_pod_container_status_restarts_total{namespace="giving", pod="careforall-orders-x", container="service"}'


def _old(cronjob: str, hours: int) -> str:
    """Tell of what succeeded long ago, or never: that has no time of success, so it counts from when it was made."""
    which = f'{{cronjob=~".*-postgres-{cronjob}"}}'
    newest = f"kube_cronjob_status_last_successful_time{which} or kube_cronjob_created{which}"
    return f"time() - max by (namespace, cronjob) ({newest}) > {hours * _HOUR}"


def _ago(hours: int) -> str:
    """Return the moment so many hours before promtool's clock starts, told for an hour."""
    return f"-{hours * _HOUR}x60"


ALERTS = (
    above(
        "FailoverInProgress",
        "careforall_operator_degraded",
        0,
        "30s",
        "critical",
        "Writes are refused while the database's primary is replaced",
        "Services answer 503 with Retry-After to whatever writes.",
        "failover-in-progress.md",
        by="platform",
    ),
    above(
        "Degraded",
        "careforall_degraded",
        0,
        "2m",
        "critical",
        "Services refuse writes",
        "At least one process was told that the database takes no writes, for two minutes now.",
        "failover-in-progress.md",
    ),
    Alert(
        name="DatabaseNotWritable",
        expr="min by (platform) (careforall_operator_database_writable) == 0",
        lasting="1m",
        severity="critical",
        summary="The database of {{ $labels.platform }} takes no writes",
        description="The operator's heartbeat was not written for a minute; a failover takes seconds.",
        runbook="database-failover.md",
        fires={'careforall_operator_database_writable{platform="x"}': "0x60"},
        calm={'careforall_operator_database_writable{platform="x"}': "1x60"},
    ),
    Alert(
        name="NoStandby",
        expr="min by (platform) (careforall_operator_database_synchronous) == 0",
        lasting="10m",
        severity="warning",
        summary="No standby is waited for: losing the primary now may lose what was acknowledged",
        description="The promise of no acknowledged loss holds while a synchronous standby exists.",
        runbook="database-failover.md",
        fires={'careforall_operator_database_synchronous{platform="x"}': "0x60"},
        calm={'careforall_operator_database_synchronous{platform="x"}': "1x60"},
    ),
    above(
        "ReplicaBehind",
        "careforall_operator_database_member_lag_bytes",
        64 * 2**20,
        "10m",
        "warning",
        "{{ $labels.member }} is far behind the primary",
        "{{ $value | humanize1024 }}B behind: a failover to it would take long.",
        "database-failover.md",
        by="member",
    ),
    above(
        "BooksAfterFailover",
        "careforall_operator_reconciliation_failed",
        0,
        "1m",
        "critical",
        "After the last failover the books do not agree",
        "The reconciliation Job of the newest timeline failed.",
        "invariant-violation.md",
        by="platform",
    ),
    above(
        "PlatformStalled",
        "careforall_operator_stalled",
        0,
        "5m",
        "critical",
        "The operator cannot go on with {{ $labels.platform }}",
        "People must mend something first; the Platform's conditions say what.",
        "platform-not-ready.md",
        by="platform",
    ),
    Alert(
        name="BackupOld",
        expr=_old("backup", 26),
        lasting="10m",
        severity="critical",
        summary="The newest backup is more than a day old",
        description="It is {{ $value | humanizeDuration }} old.",
        runbook="backup-age.md",
        fires={f'{_MADE}backup"}}': _ago(26)},
        calm={f'{_CRON}backup"}}': _ago(25), f'{_MADE}backup"}}': _ago(99)},
    ),
    Alert(
        name="RestoreNotProved",
        expr=_old("restore-proof", 50),
        lasting="10m",
        severity="warning",
        summary="No restore was proved for two days",
        description="The last proof is {{ $value | humanizeDuration }} old: nobody knows whether backups are good.",
        runbook="backup-age.md",
        fires={f'{_CRON}restore-proof"}}': _ago(50)},
        calm={f'{_CRON}restore-proof"}}': _ago(49)},
    ),
    Alert(
        name="DatabaseDiskFull",
        expr=f"{DATABASE_FREE} < 0.2",
        lasting="10m",
        severity="critical",
        summary="A volume of the database is nearly full",
        description="{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} are free; full, it stops.",
        runbook="database-disk.md",
        fires={
            f"kubelet_volume_stats_available_bytes{_DISK}": "1x60",
            f"kubelet_volume_stats_capacity_bytes{_DISK}": "10x60",
        },
        calm={
            f"kubelet_volume_stats_available_bytes{_DISK}": "3x60",
            f"kubelet_volume_stats_capacity_bytes{_DISK}": "10x60",
        },
    ),
    Alert(
        name="PodsMissing",
        expr='kube_deployment_status_replicas_available{deployment=~"careforall.*"} < '
        "on (namespace, deployment) kube_deployment_spec_replicas",
        lasting="15m",
        severity="warning",
        summary="{{ $labels.deployment }} has fewer pods than it should",
        description="{{ $value }} are there.",
        runbook="platform-not-ready.md",
        fires={
            f"kube_deployment_status_replicas_available{{{_DEPLOYMENT}}}": "1x60",
            f"kube_deployment_spec_replicas{{{_DEPLOYMENT}}}": "2x60",
        },
        calm={
            f"kube_deployment_status_replicas_available{{{_DEPLOYMENT}}}": "2x60",
            f"kube_deployment_spec_replicas{{{_DEPLOYMENT}}}": "2x60",
        },
    ),
    Alert(
        name="PodsRestart",
        expr='sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{pod=~"careforall.*"}[30m])) > 3',
        lasting="5m",
        severity="warning",
        summary="{{ $labels.pod }} restarts again and again",
        description="{{ $value | humanize }} times in half an hour.",
        runbook="platform-not-ready.md",
        fires={_RESTARTS: "0+1x60"},
        calm={_RESTARTS: "0 1x60"},
    ),
)
