"""The gateway misbehaves in every way it has a switch for, while people give, order, pay and are refunded."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from msgspec import Struct

from careforall.drills import repository, standing
from careforall.drills.load import PATIENCE_S, Load
from careforall.drills.payers import Payers
from careforall.drills.report import Check, Findings
from careforall.drills.setting import Setting
from careforall.drills.standing import Standing
from careforall.drills.visitor import Visitor
from careforall.kit.ids import new_id

SWITCHES = {
    "decline_rate": 0.1,
    "timeout_after_charge": 0.05,
    "timeout_ms": 6000,
    "error_after_success": 0.1,
    "duplicate": 0.3,
    "delay_ms": 200,
    "reorder": 0.3,
    "drop": 0.1,
    "bad_signature": 0.1,
    "dispute": 0.05,
}
"""All of them at once; late answers come after our own deadline for a call."""
COMPARED_WITHIN_S = 120.0
PLENTY = 1_000_000
_CONTROL = "/simulator/control/switches"
_RUNS = "/api/v1/payments/reconciliation"
_OVER = frozenset({"FINISHED", "STOPPED"})
_CLOCKS = timedelta(minutes=5)


class Stands(Struct, frozen=True, kw_only=True):
    """How gifts and orders stand beside the gateway's own books."""

    gifts: Standing
    orders: Standing

    @property
    def all(self) -> Standing:
        """Both as one."""
        return standing.together(self.gifts, self.orders)

    @property
    def waiting(self) -> str:
        """What is still on its way; empty when everything has settled."""
        return self.all.waiting


async def gateway_chaos(setting: Setting) -> Findings:
    """Hold the drill."""
    visitor, began = setting.visitor, datetime.now(UTC)
    patience_s = setting.seconds + PATIENCE_S  # what a gateway puts off for as long as it misbehaves is over soon after
    load = Load(visitor, await visitor.campaign(title="Drill: gateway chaos"), patience_s=patience_s)
    sku = f"DRILL-{new_id().hex[-12:].upper()}"
    await visitor.shelve(sku, PLENTY, name="Drill: gateway chaos")
    payers = Payers(load, setting.people, sku=sku)
    await _turn(setting, {**SWITCHES, "seed": setting.seed})
    try:
        setting.tell(f"the gateway misbehaves for {setting.seconds:g} s under {setting.rate:g} payers a second")
        async with payers.paying(per_second=setting.rate):
            await asyncio.sleep(setting.seconds)
    finally:
        await _turn(setting, {})
    setting.tell(f"the gateway is honest again; {payers.given} began, {len(payers.intents)} gifts and orders were accepted")
    stands, recovery = await _recover(setting, payers, since=began - _CLOCKS)
    return await _findings(setting, payers, stands, recovery)


async def _recover(setting: Setting, payers: Payers, *, since: datetime) -> tuple[Stands, float | None]:
    """Let everybody finish while staff compares with the gateway, for events it dropped about payments nobody asks about."""
    begun = time.monotonic()
    finishing = asyncio.create_task(payers.finish())
    while not finishing.done():
        await _compare(setting, since)
    await finishing
    await _compare(setting, since)
    setting.tell(f"everybody has finished, staff has compared with the gateway: {time.monotonic() - begun:.0f} s")
    stands, recovery = await standing.settle(partial(_stands, setting, payers), setting)
    return stands, None if recovery is None else time.monotonic() - begun


async def _stands(setting: Setting, payers: Payers) -> Stands:
    gifts = await standing.beside_the_gateway(setting.visitor, payers.gifts)
    return Stands(gifts=gifts, orders=await standing.of_orders(setting.visitor, payers.orders))


async def _findings(setting: Setting, payers: Payers, stands: Stands, recovery: float | None) -> Findings:
    async with setting.visitor.database("payments") as payments:
        unfitting = await repository.unfitting(payments, payers.intents)
    settled = stands.all
    unfinished = Check(name="everybody came to an end", good=not payers.unfinished, detail="; ".join(payers.unfinished[:3]))
    return Findings(
        given=payers.given,
        accepted=settled.accepted,
        completed=settled.completed,
        lost=settled.lost,
        doubled=settled.doubled,
        misfits=len(settled.differing),
        recovery_seconds=recovery,
        checks=[*standing.checks_of(settled, recovery), unfinished],
        facts={
            "gifts charged": stands.gifts.paid,
            "orders captured": stands.orders.completed,
            "refunds the gateway refused": payers.refused_refunds,
            "webhooks that did not fit": unfitting,
        },
    )


async def _turn(setting: Setting, switches: dict[str, Any]) -> None:
    answer = await setting.visitor.client.post(_CONTROL, json=switches)
    answer.raise_for_status()


async def _status(visitor: Visitor, run: str) -> str:
    shown = await visitor.client.get(f"{_RUNS}/{run}", headers=await visitor.staff())
    return str(shown.json()["status"])


async def _compare(setting: Setting, since: datetime) -> None:
    """Order a comparison with the gateway and wait for its end."""
    visitor = setting.visitor
    headers = {**await visitor.staff(), "Idempotency-Key": str(new_id())}
    answer = await visitor.client.post(f"{_RUNS}/run", json={"since": since.isoformat()}, headers=headers)
    if not answer.is_success:
        setting.tell(f"no comparison with the gateway: {answer.text}")
        return
    for run in answer.json()["items"]:
        try:
            async with asyncio.timeout(COMPARED_WITHIN_S):
                while await _status(visitor, run["id"]) not in _OVER:
                    await asyncio.sleep(0.5)
        except TimeoutError:
            setting.tell(f"the comparison with the gateway was not done within {COMPARED_WITHIN_S:g} s")
