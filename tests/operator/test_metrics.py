"""What the operator's metrics say of the database is what its status says, and nothing of members that are gone."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import REGISTRY

from careforall_operator.passes.platform import tell_metrics
from careforall_operator.status import DatabaseStatus, FailoverReport, Member, PlatformStatus

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "metrics-of-a-test"


def told(*members: Member, sync: bool = True) -> None:
    database = DatabaseStatus(
        engine="Patroni",
        sync_state="Sync" if sync else "Async",
        replicas=list(members),
        last_failover=FailoverReport(id="timeline-2", start_time=BEGAN, rto_seconds=1.5),
    )
    tell_metrics(NAME, PlatformStatus(database=database))


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"careforall_operator_{name}", {"platform": NAME, **labels})


def test_members_are_counted_anew_each_time() -> None:
    told(
        Member(name="a", role="primary", state="running"),
        Member(name="b", role="replica", state="streaming", lag_bytes=7),
        Member(name="c", role="replica", state="streaming", lag_bytes=0),
    )
    assert value("database_members", role="replica", state="streaming") == 2
    assert value("database_member_lag_bytes", member="b") == 7
    told(Member(name="c", role="primary", state="running"))
    assert value("database_members", role="replica", state="streaming") is None
    assert value("database_member_lag_bytes", member="b") is None
    assert value("database_members", role="primary", state="running") == 1


def test_the_last_failover_and_the_standby_are_told() -> None:
    told(sync=True)
    assert value("last_failover_timestamp_seconds") == BEGAN.timestamp()
    assert (value("last_failover_rto_seconds"), value("database_synchronous")) == (1.5, 1)
    told(sync=False)
    assert value("database_synchronous") == 0
