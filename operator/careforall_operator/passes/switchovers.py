"""The part of a pass about planned switchovers."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from careforall_operator.engines import Engine, EngineRefused
from careforall_operator.k8s import SWITCHOVER, Kube
from careforall_operator.models import SwitchoverSpec
from careforall_operator.passes import reading
from careforall_operator.reconcile.plan import Notice
from careforall_operator.reconcile.switchovers import Situation, SwitchoverPlan, plan_switchover, refused_by_engine
from careforall_operator.status import SwitchoverStatus

OPEN = {"Pending", "Running"}


class Switchover(msgspec.Struct, frozen=True, kw_only=True):
    """A DatabaseSwitchover that is not over."""

    body: dict[str, Any]
    spec: SwitchoverSpec
    status: SwitchoverStatus


async def unfinished(kube: Kube) -> list[Switchover]:
    """Return the switchovers that are not over, oldest first."""
    found = await kube.all(SWITCHOVER)
    parsed = [
        Switchover(
            body=one, spec=reading.read(SwitchoverSpec, one["spec"]), status=reading.read(SwitchoverStatus, one.get("status"))
        )
        for one in sorted(found, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
    ]
    return [one for one in parsed if one.status.phase in OPEN]


async def follow(kube: Kube, one: Switchover, situation: Situation, engine: Engine | None) -> None:
    """Go one step: the status is written before the engine is asked."""
    now = datetime.now(UTC)
    plan = plan_switchover(one.spec, one.status, situation, now)
    name = one.body["metadata"]["name"]
    if plan.status != one.status:
        await kube.write_status(SWITCHOVER, name, plan.status)
        await _told(kube, one, plan)
    if plan.ask is None or engine is None or situation.database is None:
        return
    try:
        await engine.switch(situation.database, plan.ask.leader, plan.ask.candidate)
    except EngineRefused as error:
        await kube.write_status(SWITCHOVER, name, refused_by_engine(plan.status, str(error), now))


async def _told(kube: Kube, one: Switchover, plan: SwitchoverPlan) -> None:
    """Tell each new phase once."""
    if plan.status.phase == one.status.phase:
        return
    message = next((told.message for told in plan.status.conditions if told.type == "Complete"), "")
    bad = plan.status.phase in {"Refused", "Failed"}
    notice = Notice(reason=f"Switchover{plan.status.phase}", message=message, warning=bad, key=plan.status.phase.lower())
    await kube.carry_out([notice], one.body)
