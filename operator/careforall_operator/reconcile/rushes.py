"""Announced rushes: pods before the people come, caches warm before the first of them asks."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from careforall_operator.models import PlatformSpec, Rush
from careforall_operator.reconcile.jobs import job
from careforall_operator.reconcile.plan import Action, Create, Notice, Owner
from careforall_operator.status import EventStatus

PREWARM_SECONDS = 900


class RushPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to change and what to tell."""

    actions: list[Action]
    statuses: list[EventStatus]


def phase(rush: Rush, now: datetime) -> str:
    """Return where a rush is."""
    if now < rush.at - timedelta(seconds=rush.lead_seconds):
        return "Announced"
    if now < rush.at:
        return "Leading"
    return "Running" if now < rush.at + timedelta(seconds=rush.duration_seconds) else "Over"


def raised(events: Iterable[Rush], service: str, now: datetime) -> int:
    """Return how many times the usual number of pods a service needs; of two rushes at once the greater counts."""
    felt = (rush for rush in events if not rush.services or service in rush.services)
    return max((rush.multiplier for rush in felt if phase(rush, now) in {"Leading", "Running"}), default=1)


def plan_rushes(
    spec: PlatformSpec, before: Sequence[EventStatus], template: Mapping[str, Any] | None, owner: Owner, now: datetime
) -> RushPlan:
    """Warm the caches once for each rush that begins to matter, and tell of each step."""
    known = {status.name: status for status in before}
    actions: list[Action] = []
    statuses = []
    for rush in spec.events:
        old = known.get(rush.name, EventStatus(name=rush.name, phase="Announced"))
        current = phase(rush, now)
        status = EventStatus(name=rush.name, phase=current, prewarm_job=old.prewarm_job)  # type: ignore[arg-type] # one of its words
        if not spec.paused:
            made = _prewarmed(rush, current, template, owner)
            status = msgspec.structs.replace(status, prewarm_job=made.body["metadata"]["name"] if made else old.prewarm_job)
            actions += [made] if made is not None and status.prewarm_job != old.prewarm_job else []
            actions += [_told(rush, current)] if current != old.phase else []
        statuses.append(status)
    return RushPlan(actions=actions, statuses=statuses)


def _prewarmed(rush: Rush, current: str, template: Mapping[str, Any] | None, owner: Owner) -> Create | None:
    if not rush.prewarm or template is None or current not in {"Leading", "Running"}:
        return None
    name = f"{owner.name}-prewarm-{rush.name}-{int(rush.at.timestamp())}"
    return Create(body=job(owner, name, ["careforall", "prewarm"], template, deadline=PREWARM_SECONDS))


def _told(rush: Rush, current: str) -> Notice:
    words = {
        "Announced": "is announced for",
        "Leading": "comes: pods are added for",
        "Running": "runs since",
        "Over": "is over, it was at",
    }
    key = f"{rush.name}-{int(rush.at.timestamp())}-{current.lower()}"
    return Notice(reason=f"Rush{current}", message=f"{rush.name} {words[current]} {rush.at.isoformat()}", key=key)
