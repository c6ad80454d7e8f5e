"""Scheduled drills: a DatabaseSwitchover for each moment of the schedule."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from careforall_operator.models import Database
from careforall_operator.reconcile.cron import due
from careforall_operator.reconcile.plan import Action, Create, Owner
from careforall_operator.status import DatabaseStatus


class DrillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The switchover to make, and that its moment was acted upon."""

    actions: list[Action]
    status: DatabaseStatus


def plan_drill(database: Database, status: DatabaseStatus, owner: Owner, now: datetime) -> DrillPlan:
    """Make the drill that is due, once; its name is made of its moment.

    Raises:
        BadSchedule: The schedule or its zone cannot be read.
    """
    rules = database.drills
    if not rules.enabled:
        return DrillPlan(actions=[], status=status)
    moment = due(rules.schedule, rules.time_zone, now, timedelta(seconds=rules.window_seconds))
    if moment is None or (status.last_drill_time is not None and moment <= status.last_drill_time):
        return DrillPlan(actions=[], status=status)
    metadata = owner.metadata(f"{owner.name}-drill-{moment:%Y%m%d-%H%M}", "drill")
    body = {
        "apiVersion": owner.api_version,
        "kind": "DatabaseSwitchover",
        "metadata": metadata,
        "spec": {"platformRef": {"name": owner.name}, "kind": "Drill"},
    }
    return DrillPlan(actions=[Create(body=body)], status=replace(status, last_drill_time=moment))
