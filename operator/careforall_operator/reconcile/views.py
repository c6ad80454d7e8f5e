"""One CronJob for each materialised view, and how fresh the views are."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from careforall_operator.models import PlatformSpec, View
from careforall_operator.reconcile.jobs import pod
from careforall_operator.reconcile.observed import CronJobSeen, JobSeen
from careforall_operator.reconcile.plan import Action, Apply, Body, Delete, Owner, covers, stamped
from careforall_operator.status import ViewStatus

VIEW_LABEL = "careforall.dev/view"
FAILING_AFTER = 3
LONGEST = 52


class ViewPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to change and what to tell."""

    actions: list[Action]
    statuses: list[ViewStatus]


def plan_views(
    spec: PlatformSpec,
    seen: Mapping[str, CronJobSeen],
    jobs: Sequence[JobSeen],
    before: Sequence[ViewStatus],
    template: Mapping[str, Any] | None,
    owner: Owner,
    *,
    degraded: bool,
    now: datetime,
) -> ViewPlan:
    """Decide for all views; `seen` has all CronJobs of the platform by name. Without a template nothing is made."""
    known = {status.name: status for status in before}
    actions: list[Action] = []
    names = set()
    for view in spec.views:
        name = cron_name(owner.name, view.name)
        names.add(name)
        if template is None:
            continue
        body = cron_job(view, template, owner, suspend=degraded and view.suspend_when_degraded)
        if name not in seen or not covers(seen[name].body, body):
            actions.append(Apply(body=body))
    actions += [Delete(kind="CronJob", name=name) for name in sorted(set(seen) - names)]
    statuses = [_status(view, seen, jobs, known.get(view.name), owner, degraded=degraded, now=now) for view in spec.views]
    return ViewPlan(actions=[] if spec.paused else actions, statuses=statuses)


def cron_name(platform: str, view: str) -> str:
    """Return the CronJob's name. Underscores are no letters of names, and names end before 52: what would be lost is hashed."""
    plain = view.replace("_", "-").strip("-")
    name = f"{platform}-refresh-{plain}"
    if len(plain) == len(view) and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(view.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9].rstrip('-')}-{digest}"


def cron_job(view: View, template: Mapping[str, Any], owner: Owner, *, suspend: bool) -> Body:
    """Return the CronJob of a view."""
    metadata = owner.metadata(cron_name(owner.name, view.name), "refresh-view")
    metadata["labels"][VIEW_LABEL] = view.name
    shaped = pod(owner, "refresh-view", ["careforall", "refresh-view", view.name], template)
    shaped["metadata"]["labels"][VIEW_LABEL] = view.name
    spec = {
        "schedule": view.schedule,
        "timeZone": view.time_zone,
        "suspend": suspend,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 120,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": FAILING_AFTER,
        "jobTemplate": {
            "metadata": {"labels": dict(metadata["labels"])},
            "spec": {"backoffLimit": 0, "activeDeadlineSeconds": view.timeout_seconds, "template": shaped},
        },
    }
    return stamped({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec})


def _status(
    view: View,
    seen: Mapping[str, CronJobSeen],
    jobs: Sequence[JobSeen],
    old: ViewStatus | None,
    owner: Owner,
    *,
    degraded: bool,
    now: datetime,
) -> ViewStatus:
    cron = seen.get(cron_name(owner.name, view.name))
    mine = [one for one in jobs if one.view == view.name]
    good = max((one for one in mine if one.succeeded and one.finished), key=lambda one: one.finished or now, default=None)
    moments = [old.last_success_time if old else None, cron.last_success if cron else None, good.finished if good else None]
    success = max((moment for moment in moments if moment is not None), default=None)
    duration = int((good.finished - good.started).total_seconds()) if good and good.finished and good.started else None
    return ViewStatus(
        name=view.name,
        last_success_time=success,
        last_duration_seconds=duration if duration is not None else (old.last_duration_seconds if old else None),
        staleness_seconds=_minutes(now, success or (cron.made if cron else None)),
        consecutive_failures=sum(one.failed and (success is None or (one.finished or now) > success) for one in mine),
        suspended=degraded and view.suspend_when_degraded,
    )


def _minutes(now: datetime, since: datetime | None) -> int | None:
    """The age in whole minutes: a status that changes each second would be written each second."""
    return None if since is None else max(int((now - since).total_seconds()) // 60 * 60, 0)
