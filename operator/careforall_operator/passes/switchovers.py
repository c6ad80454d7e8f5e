"""The part of a pass about planned switchovers."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from careforall_operator.engines import Engine, EngineRefused
from careforall_operator.k8s import SWITCHOVER, Kube
from careforall_operator.models import Database, SwitchoverSpec
from careforall_operator.passes import reading
from careforall_operator.reconcile.plan import Notice
from careforall_operator.reconcile.switchovers import Ask, Situation, SwitchoverPlan, plan_switchover
from careforall_operator.status import SwitchoverStatus

log = structlog.get_logger(__name__)

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


class Asking:
    """Asks the engine beside the passes, for it answers when the change is done; what it refused is told to the next pass."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: dict[str, str] = {}

    def refusal(self, one: Switchover) -> str:
        """Return the engine's words where it said no; empty where it did not, or was not asked by this process."""
        return self._refused.get(one.body["metadata"]["uid"], "")

    def begin(self, one: Switchover, engine: Engine, database: Database, ask: Ask) -> None:
        """Ask; the answer is not waited for."""
        task = asyncio.create_task(self._ask(one, engine, database, ask), name=f"switch {one.body['metadata']['name']}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, one: Switchover, engine: Engine, database: Database, ask: Ask) -> None:
        try:
            await engine.switch(database, ask.leader, ask.candidate)
        except EngineRefused as error:
            self._refused[one.body["metadata"]["uid"]] = str(error)
        except Exception as error:  # noqa: BLE001 - the deadline judges a switchover whose answer is not known
            log.warning("engine not asked", switchover=one.body["metadata"]["name"], error=repr(error))
        self._wake()

    async def close(self) -> None:
        """Wait for no answer any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def follow(kube: Kube, one: Switchover, situation: Situation) -> Ask | None:
    """Go one step and return what to ask the engine: the status is written before."""
    plan = plan_switchover(one.spec, one.status, situation, datetime.now(UTC))
    if plan.status != one.status:
        await kube.write_status(SWITCHOVER, one.body["metadata"]["name"], plan.status)
        await _told(kube, one, plan)
    return plan.ask


async def _told(kube: Kube, one: Switchover, plan: SwitchoverPlan) -> None:
    """Tell each new phase once."""
    if plan.status.phase == one.status.phase:
        return
    message = next((told.message for told in plan.status.conditions if told.type == "Complete"), "")
    bad = plan.status.phase in {"Refused", "Failed"}
    notice = Notice(reason=f"Switchover{plan.status.phase}", message=message, warning=bad, key=plan.status.phase.lower())
    await kube.carry_out([notice], one.body)
