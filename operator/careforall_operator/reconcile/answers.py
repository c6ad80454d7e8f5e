"""The conditions and the phase of a Platform, from what the planners found."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from careforall_operator.conditions import Answer, condition
from careforall_operator.models import PlatformSpec
from careforall_operator.reconcile.failover import never
from careforall_operator.reconcile.observed import Beat, ClusterSeen
from careforall_operator.reconcile.reports import running
from careforall_operator.reconcile.timelines import awaited
from careforall_operator.reconcile.views import FAILING_AFTER
from careforall_operator.status import Condition, DatabaseStatus, Degraded, Phase, PlatformStatus, ServiceStatus, ViewStatus


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass found out."""

    spec: PlatformSpec
    services: list[ServiceStatus]
    views: list[ViewStatus]
    database: DatabaseStatus | None
    degraded: Degraded
    seen: ClusterSeen | None
    beat: Beat | None
    stalled: tuple[str, str] | None = None
    """Reason and message of what people must mend."""


def answers(found: Findings, *, generation: int, now: datetime) -> list[Condition]:
    """Answer every question there is about a Platform."""

    def said(kind: str, answer: Answer, reason: str, message: str = "") -> Condition:
        return condition(kind, answer, reason, message, at=now, generation=generation)

    told = [said(kind, *answer) for kind, answer in _questions(found).items()]
    if found.stalled is not None:
        told.append(said("Stalled", "True", *found.stalled))
    if (moving := _moving(found.services)) is not None:
        told.append(said("Reconciling", "True", *moving))
    return told


Told = tuple[Answer, str, str]


def _questions(found: Findings) -> dict[str, Told]:
    questions: dict[str, Told] = {
        "Ready": _ready(found),
        "ServicesAvailable": _services(found.services),
        "ViewsFresh": _views(found),
        "Paused": ("True", "Paused", "spec.paused is true") if found.spec.paused else ("False", "Active", ""),
        "WritesEnabled": _writes(found),
    }
    if found.database is not None:
        questions |= {
            "DatabaseAvailable": _available(found),
            "DatabaseRedundant": _redundant(found, found.database),
            "FailoverInProgress": _failover(found.database),
            "ReconciliationSucceeded": _books(found.database),
            "OldTimelineLeft": _left(found.database),
        }
    return questions


def behind(services: Sequence[ServiceStatus]) -> list[ServiceStatus]:
    """Return the services with fewer ready pods than wanted."""
    return [one for one in services if one.reason == "MissingDeployment" or one.ready < (one.desired or 0)]


def _ready(found: Findings) -> Told:
    critical = {service.name for service in found.spec.services if service.critical}
    short = [one.name for one in behind(found.services) if one.name in critical]
    if found.stalled is not None:
        return "False", "Stalled", found.stalled[1]
    if short:
        return "False", "BelowDesired", f"waiting for pods of {', '.join(short)}"
    writes, why, words = _writes(found)
    if writes != "True" and why != "ReadOnlyRequested":
        return "False", "DatabaseUnavailable", words
    return "True", "Serving", f"{len(found.services)} services"


def _services(services: Sequence[ServiceStatus]) -> Told:
    short = behind(services)
    if not short:
        return "True", "AllReady", ""
    return "False", "BelowDesired", ", ".join(f"{one.name} {one.ready}/{one.desired or 0}" for one in short)


def _views(found: Findings) -> Told:
    if found.views and all(view.suspended for view in found.views):
        return "Unknown", "Suspended", "refreshes are off while writes are off"
    failing = [view.name for view in found.views if view.consecutive_failures >= FAILING_AFTER]
    if failing:
        return "False", "RefreshFailing", ", ".join(failing)
    allowed = {view.name: view.max_staleness_seconds for view in found.spec.views}
    stale = [one.name for one in found.views if (one.staleness_seconds or 0) > allowed[one.name]]
    return ("False", "Stale", ", ".join(stale)) if stale else ("True", "Fresh", "")


def _writes(found: Findings) -> Told:
    if found.degraded.active and found.degraded.reason == "ReadOnlyRequested":
        return "False", "ReadOnlyRequested", f"spec.mode is {found.spec.mode}"
    if found.database is None:
        return "True", "HeartbeatOk", "no database is looked at"
    return _heartbeats(found, found.database, found.beat)


def _heartbeats(found: Findings, database: DatabaseStatus, beat: Beat | None) -> Told:
    if never(database):
        return "Unknown", "Starting", f"no heartbeat was taken yet: {beat.error}" if beat and beat.error else ""
    if beat is not None and beat.written and not database.writable:
        return "False", "EpochMismatch", f"a primary of timeline {beat.timeline} answers, {database.timeline} is the newest"
    if not database.writable:
        return ("False" if found.degraded.active else "Unknown"), "PrimaryLost", beat.error if beat else ""
    if found.degraded.active:
        return "False", "Recovering", "heartbeats are written again"
    return "True", "HeartbeatOk", ""


def _available(found: Findings) -> Told:
    seen = found.seen
    if found.database is not None and never(found.database) and (seen is None or not seen.leader_fresh):
        return "Unknown", "Starting", "there was no primary yet"
    if seen is None:
        return "Unknown", "Unobservable", "the cluster could not be asked"
    claims = {member.name for member in seen.members if member.role == "primary"}
    claims |= {pod.name for pod in seen.pods if pod.role == "primary" and pod.ready}
    if len(claims) > 1:
        return "False", "MultiplePrimaries", ", ".join(sorted(claims))
    if seen.leader is None or not seen.leader_fresh:
        return "False", "NoPrimary", "nobody holds the leader's lock"
    return "True", "PrimaryServing", seen.leader


def _redundant(found: Findings, database: DatabaseStatus) -> Told:
    standbys = [member for member in database.replicas if member.role == "replica"]
    if found.spec.database is not None and found.spec.database.engine == "External":
        return "Unknown", "NotObserved", "an External database tells nothing about standbys"
    if database.sync_state == "Unknown":
        return "Unknown", "NotObserved", "no member was seen yet"
    limit = found.spec.database.failover.max_replica_lag_bytes if found.spec.database else 0
    known = [one.lag_bytes for one in standbys if one.lag_bytes is not None]
    if known and min(known) > limit:
        return "False", "LagExceeded", f"no standby within {limit} bytes"
    if database.sync_state != "Sync":
        return "False", "NoSyncStandby", "the primary waits for nobody"
    return "True", "SyncStandbyPresent", ""


def _failover(database: DatabaseStatus) -> Told:
    report = running(database)
    if report is None:
        return "False", "Idle", ""
    if report.timeline is None:
        known = database.target_primary is None or database.target_primary == report.old_primary
        return "True", ("Detected" if known else "Promoting"), f"no write since {report.start_time.isoformat()}"
    if report.write_time is None:
        return "True", "SwitchingEndpoint", f"{report.new_primary} does not take writes yet"
    return "True", "Reconciling", f"Job {report.reconciliation_job}"


def _books(database: DatabaseStatus) -> Told:
    last = database.last_failover
    if last is None or (last.result != "InProgress" and last.reconciliation_job is None):
        return "True", "NotNeeded", ""
    if last.result == "InProgress":
        return "Unknown", "NotNeeded", "not compared yet"
    if last.result == "Succeeded":
        return "True", "JobSucceeded", last.reconciliation_job or ""
    return "False", "JobFailed", f"Job {last.reconciliation_job}: see its log"


def _left(database: DatabaseStatus) -> Told:
    if awaited(database) is None:
        return "True", ("AllLeft" if database.last_failover else "NotNeeded"), ""
    if database.pods_behind:
        return "False", "StillConnected", ", ".join(database.pods_behind)
    return "Unknown", "NotObserved", "services were not asked yet"


def _moving(services: Sequence[ServiceStatus]) -> tuple[str, str] | None:
    rolling = [one.name for one in services if one.desired is not None and one.updated < one.desired]
    if rolling:
        return "Rollout", ", ".join(rolling)
    scaling = [one.name for one in services if one.desired is not None and one.ready != one.desired]
    return ("Scaling", ", ".join(scaling)) if scaling else None


def phase(status: PlatformStatus) -> Phase:
    """Sum the conditions up in one word for people."""
    told = {one.type: one for one in status.conditions}

    def yes(kind: str) -> bool:
        return kind in told and told[kind].status == "True"

    order: tuple[tuple[bool, Phase], ...] = (
        (yes("Paused"), "Paused"),
        (yes("Stalled"), "Stalled"),
        (told["WritesEnabled"].reason == "ReadOnlyRequested", "ReadOnly"),
        (yes("FailoverInProgress") and told["FailoverInProgress"].reason != "Reconciling", "FailingOver"),
        (status.degraded.active or told["WritesEnabled"].status == "False", "Degraded"),
        (not yes("Ready") or yes("Reconciling"), "Progressing"),
    )
    return next((word for holds, word in order if holds), "Ready")
