"""All drills by name, with what each breaks and how hard it presses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from careforall.drills.flash_sale import flash_sale
from careforall.drills.gateway_chaos import gateway_chaos
from careforall.drills.outages import broker_outage, cache_loss, kill_loop
from careforall.drills.report import Findings
from careforall.drills.setting import Setting
from careforall.drills.webhook_storm import webhook_storm


class Size(Struct, frozen=True, kw_only=True):
    """How long the failure lasts, and what comes in a second meanwhile."""

    seconds: float = 0.0
    rate: float = 0.0
    buyers: int = 0
    """Where a drill is a sale instead: how many come."""
    units: int = 0

    @property
    def is_sale(self) -> bool:
        """Whether it is pressed by buyers and not by the clock."""
        return self.buyers > 0


class Drill(Struct, frozen=True, kw_only=True):
    """One drill."""

    name: str
    breaks: str
    hold: Callable[[Setting], Awaitable[Findings]]
    full: Size
    small: Size = Size(seconds=20, rate=15)


DRILLS = {
    drill.name: drill
    for drill in (
        Drill(
            name="gateway-chaos",
            breaks="the gateway declines, is late or fails after charging, doubles, shuffles, drops and forges its webhooks",
            hold=gateway_chaos,
            full=Size(seconds=120, rate=30),
        ),
        Drill(
            name="webhook-storm",
            breaks="seconds x rate events come in ten shuffled copies by 64 workers, the cache is emptied midway",
            hold=webhook_storm,
            full=Size(seconds=100, rate=100),
        ),
        Drill(
            name="broker-outage",
            breaks="the broker (NATS) hangs",
            hold=broker_outage,
            full=Size(seconds=600, rate=60),
        ),
        Drill(
            name="cache-loss",
            breaks="the cache (Valkey) hangs, then forgets everything",
            hold=cache_loss,
            full=Size(seconds=120, rate=60),
        ),
        Drill(
            name="kill-loop",
            breaks="the platform's processes are killed one after another",
            hold=kill_loop,
            full=Size(seconds=600, rate=15),
        ),
        Drill(
            name="flash-sale",
            breaks="more buyers than units; once the cache is killed midway, once the processes that hold stock and orders",
            hold=flash_sale,
            full=Size(buyers=50_000, units=10_000),
            small=Size(buyers=2000, units=400),
        ),
    )
}
