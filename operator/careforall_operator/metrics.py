"""The operator's Prometheus metrics; docs/reference/custom-resources.md lists them from here."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # the client says no types there

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

PASSES = Counter("careforall_operator_passes_total", "Passes by what became of them", ["platform", "outcome"])
PASS_SECONDS = Histogram("careforall_operator_pass_seconds", "Time of a pass", ["platform"], buckets=_SECONDS)
WRITES = Counter("careforall_operator_writes_total", "Things done, by kind", ["platform", "action"])
DEGRADED = Gauge("careforall_operator_degraded", "1 while services refuse writes", ["platform"])
WRITABLE = Gauge("careforall_operator_database_writable", "1 while heartbeats are written", ["platform"])
TIMELINE = Gauge("careforall_operator_database_timeline", "The newest timeline", ["platform"])
LAST_RTO = Gauge("careforall_operator_last_failover_rto_seconds", "From the last write before to the first after", ["platform"])
LAST_FAILOVER = Gauge(
    "careforall_operator_last_failover_timestamp_seconds", "When the newest change of the primary began", ["platform"]
)
MEMBERS = Gauge(
    "careforall_operator_database_members",
    "Members of the database, by role and whether they stream",
    ["platform", "role", "state"],
)
MEMBER_LAG = Gauge(
    "careforall_operator_database_member_lag_bytes", "How far a member is behind the primary", ["platform", "member"]
)
SYNCHRONOUS = Gauge("careforall_operator_database_synchronous", "1 while the primary waits for a standby", ["platform"])
BOOKS_FAILED = Gauge("careforall_operator_reconciliation_failed", "1 while the last failover's books do not agree", ["platform"])
STALLED = Gauge("careforall_operator_stalled", "1 while people must mend something", ["platform"])

_OF_PLATFORMS = (
    PASSES,
    PASS_SECONDS,
    WRITES,
    DEGRADED,
    WRITABLE,
    TIMELINE,
    LAST_RTO,
    LAST_FAILOVER,
    MEMBERS,
    MEMBER_LAG,
    SYNCHRONOUS,
    BOOKS_FAILED,
    STALLED,
)


def forget(platform: str) -> None:
    """Tell nothing more of a Platform that is gone: its last figures would keep alerts up for ever."""
    for metric in _OF_PLATFORMS:
        metric.remove_by_labels({"platform": platform})
