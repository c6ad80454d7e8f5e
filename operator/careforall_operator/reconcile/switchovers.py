"""Planned switchovers and drills: what may speak against one, and how one ends."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from careforall_operator.conditions import Answer, condition, kept
from careforall_operator.models import Database, SwitchoverSpec
from careforall_operator.reconcile.observed import ClusterSeen
from careforall_operator.reconcile.reports import running
from careforall_operator.status import DatabaseStatus, Degraded, SwitchoverStatus

HEALTHY = {"running", "streaming", "healthy"}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the engine for a switchover."""

    leader: str
    candidate: str | None


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a switchover is judged by."""

    database: Database | None
    status: DatabaseStatus | None
    degraded: Degraded = Degraded()
    seen: ClusterSeen | None = None
    paused: bool = False
    others: int = 0
    """Switchovers of the same Platform that run."""
    refused: str = ""
    """The engine's words where it said no."""


class SwitchoverPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to tell, and whether to ask the engine."""

    status: SwitchoverStatus
    ask: Ask | None = None


def objection(spec: SwitchoverSpec, about: Situation) -> tuple[str, str] | None:
    """Return what speaks against a switchover, as reason and message; None if nothing does."""
    if about.database is None or about.status is None:
        return "PlatformMissing", f"no Platform {spec.platform_ref.name} with a database"
    hard = _hard(spec, about.database, about.status, about)
    return hard or (None if spec.force else _soft(spec, about.database, about.status))


def _hard(spec: SwitchoverSpec, database: Database, status: DatabaseStatus, about: Situation) -> tuple[str, str] | None:
    """What holds whatever people say: the switch would not work, or would meet another."""
    names = {member.name for member in status.replicas if member.role == "replica" and member.state in HEALTHY}
    checks = (
        (database.engine == "External", "EngineCannotSwitch", "an External database is switched over elsewhere"),
        (about.paused, "PlatformPaused", "spec.paused is true"),
        (about.seen is None, "Unobservable", "the cluster could not be asked"),
        (about.seen is not None and not about.seen.leader_fresh, "NoPrimary", "there is no primary"),
        (running(status) is not None or about.others > 0, "FailoverRunning", "another change of the primary is under way"),
        (not status.writable or about.degraded.active, "WritesOff", "heartbeats are not written"),
        (
            spec.candidate is not None and spec.candidate not in names,
            "UnknownCandidate",
            f"healthy replicas: {', '.join(sorted(names))}",
        ),
        (not names, "UnknownCandidate", "there is no healthy replica"),
    )
    return next(((reason, message) for holds, reason, message in checks if holds), None)


def _soft(spec: SwitchoverSpec, database: Database, status: DatabaseStatus) -> tuple[str, str] | None:
    """What `force` overrules."""
    wanted = database.engine != "Patroni" or database.patroni.synchronous_mode != "Off"
    if wanted and status.sync_state != "Sync":
        return "NoSyncStandby", "no synchronous standby is there"
    limit = database.failover.max_replica_lag_bytes
    asked = [m for m in status.replicas if m.role == "replica" and spec.candidate in {None, m.name}]
    known = [member.lag_bytes for member in asked if member.lag_bytes is not None]
    if known and min(known) > limit:
        return "LagExceeded", f"no candidate within {limit} bytes"
    return None


def plan_switchover(spec: SwitchoverSpec, before: SwitchoverStatus, about: Situation, now: datetime) -> SwitchoverPlan:
    """Judge, ask once, then follow until it is over; noted before it is made, so that a restart asks no second time."""
    if before.phase in {"Refused", "Succeeded", "Failed"}:
        return SwitchoverPlan(status=before)
    if before.phase == "Pending":
        return _begun(spec, before, about, now)
    return _watched(spec, before, about, now)


def _begun(spec: SwitchoverSpec, before: SwitchoverStatus, about: Situation, now: datetime) -> SwitchoverPlan:
    if (against := objection(spec, about)) is not None:
        return SwitchoverPlan(status=said(before, "Refused", ("False", *against), ("True", "Refused", against[1]), now))
    assert about.status is not None
    assert about.seen is not None
    assert about.seen.leader is not None
    status = said(before, "Running", ("True", "Passed", ""), ("False", "Running", "the engine is asked"), now)
    status = replace(status, requested_time=now, from_timeline=about.status.timeline)
    return SwitchoverPlan(status=status, ask=Ask(leader=about.seen.leader, candidate=spec.candidate))


def _watched(spec: SwitchoverSpec, before: SwitchoverStatus, about: Situation, now: datetime) -> SwitchoverPlan:
    reports = [] if about.status is None else [about.status.last_failover, *about.status.failover_history]
    mine = [one for one in reports if one is not None and (one.timeline or 0) > (before.from_timeline or 0)]
    done = next((one for one in mine if one.write_time is not None), None)
    if done is not None:
        words = f"{done.old_primary} -> {done.new_primary} in {done.rto_seconds} s"
        if before.report == done and done.result != "InProgress":
            return SwitchoverPlan(status=said(before, "Succeeded", None, ("True", "Switched", words), now))
        phase = "Succeeded" if done.result != "InProgress" else "Running"
        complete: tuple[Answer, str, str] = ("True", "Switched", words) if phase == "Succeeded" else ("False", "Running", words)
        return SwitchoverPlan(status=replace(said(before, phase, None, complete, now), report=done))
    if about.refused:
        return SwitchoverPlan(status=said(before, "Failed", None, ("True", "EngineRefused", about.refused), now))
    if before.requested_time is not None and now - before.requested_time > timedelta(seconds=spec.deadline_seconds):
        words = f"no new primary took writes within {spec.deadline_seconds} s"
        return SwitchoverPlan(status=said(before, "Failed", None, ("True", "DeadlineExceeded", words), now))
    return SwitchoverPlan(status=before)


def said(
    before: SwitchoverStatus, phase: Any, guards: tuple[Answer, str, str] | None, complete: tuple[Answer, str, str], now: datetime
) -> SwitchoverStatus:
    """Return the status with a new phase and its conditions."""
    made = [condition("Complete", *complete, at=now, generation=1)]
    if guards is not None:
        made.append(condition("GuardsPassed", *guards, at=now, generation=1))
    others = [one for one in before.conditions if one.type not in {each.type for each in made}]
    return replace(before, phase=phase, observed_generation=1, conditions=kept(before.conditions, [*others, *made]))
