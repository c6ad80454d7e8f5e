"""What a change of the primary is, step by step: noticed, promoted, routed, written, reconciled, told.

The engine elects; this planner only follows. All it knows from before is the status, so that it may be killed between any two
steps: what must happen once (Job, report, Event) has a name made of the timeline.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from careforall_operator.models import Database
from careforall_operator.reconcile import reports
from careforall_operator.reconcile.jobs import job
from careforall_operator.reconcile.labels import plan_labels
from careforall_operator.reconcile.observed import Beat, ClusterSeen, JobSeen
from careforall_operator.reconcile.plan import Action, Create, Notice, Owner
from careforall_operator.reconcile.routes import plan_route
from careforall_operator.status import DatabaseStatus, Degraded, FailoverReport


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision about the database rests on, besides what was seen."""

    database: Database
    owner: Owner
    template: Mapping[str, Any] | None = None
    read_only: bool = False
    """Whether people asked for no writes."""
    switching: bool = False
    """Whether a DatabaseSwitchover runs."""
    paused: bool = False
    """Whether nothing may be done: what waits for a Job goes on waiting."""


class DatabasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to change and what to tell."""

    actions: list[Action]
    status: DatabaseStatus
    degraded: Degraded
    stalled: tuple[str, str] | None = None
    """Reason and message of what people must mend."""


def plan_database(
    asked: Asked,
    seen: ClusterSeen | None,
    beat: Beat,
    jobs: Sequence[JobSeen],
    before: DatabaseStatus | None,
    degraded: Degraded,
    now: datetime,
) -> DatabasePlan:
    """Decide about the database; `seen` is None where the engine could not be asked."""
    old = before or DatabaseStatus(engine=asked.database.engine)
    status = _looked(asked, seen, beat, old, now)
    state = _degraded(asked, status, degraded, now)
    status = _followed(asked, status, old, seen, beat, now)
    status, actions = _reconciled(asked, status, jobs)
    actions += _told(old, status, degraded, state)
    actions += plan_labels(seen, heard=beat.written and status.writable)
    actions += plan_route(seen, asked.database.cluster_name)
    return DatabasePlan(actions=actions, status=status, degraded=state)


def _looked(asked: Asked, seen: ClusterSeen | None, beat: Beat, old: DatabaseStatus, now: datetime) -> DatabaseStatus:
    """Take over what was seen; whatever could not be seen stays as it was."""
    good = good_beat(beat, old)
    found = replace(
        old,
        engine=asked.database.engine,
        writable=good,
        good_since=(old.good_since or now) if good else None,
        bad_since=None if good else (old.bad_since or min(beat.at, now)),
        last_heartbeat_time=beat.at if good else old.last_heartbeat_time,
        wal_end=(beat.wal_end or old.wal_end) if good else old.wal_end,
    )
    if seen is None:
        return found
    alive = seen.leader if seen.leader_fresh else None
    return replace(
        found,
        current_primary=_primary(seen, old),
        target_primary=seen.target or alive or old.target_primary,
        # Who is about to go has no standby any more: a report asks for what was there while writes were taken.
        sync_state=_sync_state(seen) if good or old.sync_state == "Unknown" else old.sync_state,
        replicas=sorted(seen.members, key=lambda member: member.name),
    )


def _primary(seen: ClusterSeen, old: DatabaseStatus) -> str | None:
    """Return who is primary: within a timeline that cannot change, and a new leader is only the target until it has its own."""
    if not seen.leader_fresh or old.current_primary is None:
        return seen.leader if seen.leader_fresh else old.current_primary
    report = reports.running(old)
    unnamed = report is not None and report.new_primary is None and report.timeline is not None
    known = old.timeline or 0
    promoted = seen.timeline is not None and (seen.timeline > known or (unnamed and seen.timeline == known))
    return seen.leader if promoted or old.timeline is None else old.current_primary


def never(status: DatabaseStatus) -> bool:
    """Return whether the database has taken no write yet, primary or not: it starts, and nothing was lost."""
    return status.last_heartbeat_time is None


def good_beat(beat: Beat, old: DatabaseStatus) -> bool:
    """Return whether a heartbeat was written on the newest timeline; an older one belongs to a primary of the past."""
    return beat.written and (beat.timeline is None or old.timeline is None or beat.timeline >= old.timeline)


def _sync_state(seen: ClusterSeen) -> Any:
    if not seen.members:
        return "Unknown"
    return "Sync" if any(member.sync for member in seen.members if member.role == "replica") else "Async"


def _degraded(asked: Asked, status: DatabaseStatus, before: Degraded, now: datetime) -> Degraded:
    rules = asked.database.degraded
    if asked.read_only:
        return _since(before, "ReadOnlyRequested", now)
    if never(status):
        return Degraded()
    if status.bad_since is not None and now - status.bad_since >= timedelta(seconds=rules.enter_after_seconds):
        return _since(before, "PrimaryLost", now)
    lasting = status.good_since is not None and now - status.good_since >= timedelta(seconds=rules.exit_after_seconds)
    if before.active and not lasting and before.reason != "ReadOnlyRequested":
        return before
    return Degraded()


def _since(before: Degraded, reason: str, now: datetime) -> Degraded:
    return before if before.active and before.reason == reason else Degraded(active=True, since=now, reason=reason)


def _followed(
    asked: Asked, status: DatabaseStatus, old: DatabaseStatus, seen: ClusterSeen | None, beat: Beat, now: datetime
) -> DatabaseStatus:
    """Go as many steps of a change of the primary as can be seen."""
    known = max([number for number in (_leading(seen), beat.timeline if beat.written else None) if number], default=None)
    if old.timeline is None:
        return replace(status, timeline=known, epoch=max(known or 0, old.epoch))
    report = reports.running(old)
    if known is not None and known > old.timeline:
        written = report is not None and report.write_time is not None
        status = reports.put_away(status, seen) if written else status
        # A primary that fell before it took a write is part of the same outage: one report tells of it from end to end.
        open_one = reports.opened(asked.switching, old, now) if report is None or written else report
        promoted = reports.promoted(open_one, old, known, now)
        status = replace(status, timeline=known, epoch=max(known, old.epoch), last_failover=promoted)
    elif report is None and status.bad_since is not None and not asked.read_only and not never(status):
        lost = now - status.bad_since >= timedelta(seconds=asked.database.degraded.enter_after_seconds)
        status = replace(status, last_failover=reports.opened(asked.switching, old, now)) if lost else status
    elif report is not None and report.timeline is None and status.writable:
        return reports.forgotten(status)  # the same primary came back: no change of it
    return _advanced(status, seen, beat, now)


def _leading(seen: ClusterSeen | None) -> int | None:
    return seen.timeline if seen is not None and seen.leader_fresh else None


def _advanced(status: DatabaseStatus, seen: ClusterSeen | None, beat: Beat, now: datetime) -> DatabaseStatus:
    report = reports.running(status)
    if report is None or report.timeline is None:
        return status
    if report.new_primary is None and _leading(seen) == report.timeline:
        report = replace(report, new_primary=status.current_primary)  # a heartbeat may see the timeline before the lock tells
    if report.endpoint_time is None and report.new_primary is not None and _routed(seen, status):
        report = reports.routed(report, now)
    if _newly_written(report, beat) and status.writable and beat.timeline in {None, report.timeline}:
        report = reports.written(report, beat)
    if seen is not None:
        report = reports.measured(report, seen)
    return replace(status, last_failover=report)


def _newly_written(report: FailoverReport, beat: Beat) -> bool:
    """Return whether a first write is to be noted: there was none yet, or writes failed once more soon after it."""
    return report.write_time is None or (beat.first is not None and beat.first > report.write_time)


def _routed(seen: ClusterSeen | None, status: DatabaseStatus) -> bool:
    """Return whether the write Service leads to the new primary alone; a heartbeat that was written tells it too."""
    if seen is None or seen.endpoints is None:
        return status.writable
    addresses = {pod.address for pod in seen.pods if pod.name == status.current_primary}
    return len(seen.endpoints) == 1 and set(seen.endpoints) == addresses


def _reconciled(asked: Asked, status: DatabaseStatus, jobs: Sequence[JobSeen]) -> tuple[DatabaseStatus, list[Action]]:
    """Have the books compared once for each timeline, and learn how that went; a Job that went without success is made anew."""
    if asked.paused:
        return status, []
    known = {one.name: one for one in jobs}
    status = reports.settled(status, known)
    report = status.last_failover
    if report is None or report.result == "Succeeded" or report.write_time is None or report.reconciliation_job in known:
        return status, []
    rules = asked.database.failover.reconciliation
    if not rules.enabled and report.new_primary is None:
        return status, []
    if not rules.enabled:
        return reports.ended(status, replace(report, result="Succeeded"), asked.database.failover.report_history), []
    if asked.template is None:
        return status, []
    name = f"{asked.owner.name}-recon-{report.timeline}"
    body = job(
        asked.owner, name, ["careforall", "reconcile"], asked.template, deadline=rules.active_deadline_seconds, image=rules.image
    )
    return replace(status, last_failover=replace(report, reconciliation_job=name)), [Create(body=body)]


def _told(old: DatabaseStatus, status: DatabaseStatus, before: Degraded, degraded: Degraded) -> list[Action]:
    told: list[Action] = [
        Notice(
            reason="FailoverReport",
            message=reports.sentence(report),
            key=f"failover-{report.timeline}",
            warning=not report.planned,
        )
        for report in _news(old, status)
    ]
    if degraded.active and not before.active:
        told.append(Notice(reason="WritesOff", message=f"services refuse writes: {degraded.reason}", warning=True))
    if before.active and not degraded.active:
        told.append(Notice(reason="WritesOn", message="services take writes again"))
    return told


def _news(old: DatabaseStatus, status: DatabaseStatus) -> list[FailoverReport]:
    """Return the reports that ended now; one that was put away is told when its Job has ended as well."""
    known = {report.id for report in old.failover_history if report.result != "InProgress"}
    return [report for report in status.failover_history if report.result != "InProgress" and report.id not in known]
