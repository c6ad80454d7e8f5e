"""The report of one change of the primary, and where reports are kept in the status."""

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from careforall_operator.reconcile.observed import Beat, ClusterSeen, Fork, JobSeen
from careforall_operator.status import DatabaseStatus, FailoverReport

MOST = 10


def running(status: DatabaseStatus) -> FailoverReport | None:
    """Return the report that is not finished, if there is one."""
    last = status.last_failover
    return last if last is not None and last.result == "InProgress" else None


def opened(switching: bool, old: DatabaseStatus, now: datetime) -> FailoverReport:  # noqa: FBT001 - it is the fact itself
    """Begin a report: the loss of the primary, or its change, was noticed now."""
    start = min(old.last_heartbeat_time or now, now)
    return FailoverReport(
        id=f"after-timeline-{old.timeline}",
        planned=switching,
        reason="Switchover" if switching else "PrimaryLost",
        old_primary=old.current_primary,
        start_time=start,
        detect_time=now,
        detect_seconds=seconds(start, now),
        sync_before=old.sync_state == "Sync",
        wal_end_before=old.wal_end,
    )


def promoted(report: FailoverReport, old: DatabaseStatus, timeline: int, now: datetime) -> FailoverReport:
    """Note that there is a new primary; who it is the engine tells."""
    return replace(
        report,
        id=f"timeline-{timeline}",
        timeline=timeline,
        old_primary=report.old_primary or old.current_primary,
        new_primary=None,
        endpoint_time=None,
        endpoint_seconds=None,
        promote_time=now,
        promote_seconds=seconds(report.start_time, now),
    )


def routed(report: FailoverReport, at: datetime) -> FailoverReport:
    """Note that the write Service leads to the new primary; a write that was taken had found it already."""
    at = min(at, report.write_time or at)
    return replace(report, endpoint_time=at, endpoint_seconds=seconds(report.start_time, at))


def written(report: FailoverReport, beat: Beat) -> FailoverReport:
    """Note the last write before and the first after, as the database remembers them: beats are nearer than passes are.

    Whatever a pass noticed only after the first write had happened by then.
    """
    start = beat.before or report.start_time
    write = beat.first or beat.at
    noticed = {"detect": report.detect_time, "promote": report.promote_time, "endpoint": report.endpoint_time}
    times = {name: min(moment, write) for name, moment in noticed.items() if moment is not None}
    spans = {f"{name}_seconds": seconds(start, moment) for name, moment in times.items()}
    moments = {f"{name}_time": moment for name, moment in times.items()}
    return replace(report, start_time=start, write_time=write, rto_seconds=seconds(start, write), **moments, **spans)


def measured(report: FailoverReport, seen: ClusterSeen) -> FailoverReport:
    """Estimate what is missing: how far the old log went beyond the point where the new one began."""
    fork = _fork(report, seen)
    if fork is None or report.wal_end_before is None or report.lost_bytes_estimate is not None:
        return report
    return replace(report, lost_bytes_estimate=max(report.wal_end_before - fork.wal_end, 0))


def _fork(report: FailoverReport, seen: ClusterSeen) -> Fork | None:
    return next((fork for fork in seen.history if fork.timeline + 1 == report.timeline), None)


def settled(status: DatabaseStatus, jobs: Mapping[str, JobSeen]) -> DatabaseStatus:
    """Take over how the Jobs of reports ended; one that failed may have been made anew."""
    history = [_judged(report, jobs) for report in status.failover_history]
    status = replace(status, failover_history=history)
    report = status.last_failover
    if report is None:
        return status
    judged = _judged(report, jobs)
    return status if judged.result == report.result else ended(status, judged)


def _judged(report: FailoverReport, jobs: Mapping[str, JobSeen]) -> FailoverReport:
    job = jobs.get(report.reconciliation_job or "")
    if report.result == "Succeeded" or job is None or not (job.succeeded or job.failed):
        return report
    return replace(report, result="Succeeded" if job.succeeded else "ReconciliationFailed")


def ended(status: DatabaseStatus, report: FailoverReport, most: int = MOST) -> DatabaseStatus:
    """Keep a finished report, newest first, one for each timeline."""
    others = [one for one in status.failover_history if one.id != report.id]
    return replace(status, last_failover=report, failover_history=[report, *others][:most])


def put_away(status: DatabaseStatus, seen: ClusterSeen | None) -> DatabaseStatus:
    """Make room for the next change of the primary, though the books of this one are still being compared.

    Who fell before its lock told of it is named by the engine's history.
    """
    report = running(status)
    if report is None:
        return status
    if seen is not None and (fork := _fork(report, seen)) is not None:
        report = replace(measured(report, seen), new_primary=report.new_primary or fork.successor)
    return ended(status, report)


def forgotten(status: DatabaseStatus) -> DatabaseStatus:
    """Drop a report of a loss that was none: the same primary takes writes again."""
    return replace(status, last_failover=next(iter(status.failover_history), None))


def sentence(report: FailoverReport) -> str:
    """Tell a report in one line."""
    kind = "planned" if report.planned else "unplanned"
    lost = "unknown" if report.lost_bytes_estimate is None else f"{report.lost_bytes_estimate} bytes"
    return (
        f"{kind} change of the primary, {report.old_primary} -> {report.new_primary}, timeline {report.timeline}: "
        f"RTO {report.rto_seconds} s, lost {lost}, books {report.result}"
    )


def seconds(start: datetime, end: datetime) -> float:
    """Return the seconds between, to the millisecond."""
    return round((end - start).total_seconds(), 3)
