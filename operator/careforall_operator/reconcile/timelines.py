"""Whether services left the old timeline after a change of the primary: their own word, compared with the database's."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from careforall_operator.reconcile.reports import seconds
from careforall_operator.status import DatabaseStatus, FailoverReport

MOST = 16


class PodTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """What a service's pod says of its connections to the database cluster."""

    pod: str
    oldest: int | None = None
    """The oldest timeline it is connected to; None without a connection."""
    answered: bool = True


def awaited(status: DatabaseStatus | None) -> FailoverReport | None:
    """Return the newest report as long as somebody may be connected to the timeline before."""
    report = status.last_failover if status is not None else None
    return report if report is not None and report.write_time is not None and report.left_time is None else None


def plan_left(status: DatabaseStatus, seen: Sequence[PodTimeline] | None, now: datetime) -> DatabaseStatus:
    """Note who is connected to an old timeline yet; `seen` is None where nobody was asked."""
    report = awaited(status)
    if report is None or seen is None:
        return status
    timeline = report.timeline or 0
    behind = [one.pod for one in seen if not one.answered or (one.oldest is not None and one.oldest < timeline)]
    if behind:
        return replace(status, pods_behind=sorted(behind)[:MOST])
    return _noted(replace(status, pods_behind=[]), replace(report, left_time=now, left_seconds=seconds(report.start_time, now)))


def _noted(status: DatabaseStatus, report: FailoverReport) -> DatabaseStatus:
    """Keep a report wherever it is kept."""
    history = [report if one.id == report.id else one for one in status.failover_history]
    return replace(status, last_failover=report, failover_history=history)
