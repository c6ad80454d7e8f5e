"""Holds one drill on one platform and makes its report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from msgspec import Struct

from careforall.drills.catalogue import Drill
from careforall.drills.report import Report, Verified
from careforall.drills.setting import Setting

Verify = Callable[[], Awaitable[Verified]]


class Order(Struct, frozen=True, kw_only=True):
    """What somebody asked for."""

    drill: Drill
    instance: str
    full: bool


async def run(order: Order, setting: Setting, verify: Verify) -> Report:
    """Hold the drill, verify the books, and tell what was found."""
    began = datetime.now(UTC)
    setting.tell(f"{order.drill.name}: {order.drill.breaks}; seed {setting.seed}")
    findings = await order.drill.hold(setting)
    setting.tell("verifying the books")
    verified = await verify()
    return Report(
        drill=order.drill.name,
        ok=verified.ok and all(check.good for check in findings.checks),
        instance=order.instance,
        seed=setting.seed,
        full=order.full,
        seconds=setting.seconds,
        rate=setting.rate,
        buyers=setting.buyers,
        units=setting.units,
        started_at=began,
        findings=findings,
        verified=verified,
    )
