"""A flash sale: many times more buyers than units, who click twice and do not give up, while parts of the shop are killed.

It is held three times: as it is, with the cache killed midway, and with the processes killed midway that hold stock and orders;
after one that went wrong the drill is over.
Whatever happens, each unit is sold once and every buyer is told how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct

from careforall.drills import crowd, repository_shop, standing
from careforall.drills.buyers import BOUGHT
from careforall.drills.crowd import SOLD_OUT, Seen, Share, Told
from careforall.drills.report import Check, Findings
from careforall.drills.repository_shop import Shelf, Sold
from careforall.drills.setting import Setting
from careforall.drills.standing import Standing
from careforall.drills.visitor import Visitor
from careforall.kit.ids import new_id

PROCESSES = 4
ORDERING, PAYING = 24, 24
"""How many buyers of one process order, and how many pay, at the same time: an order waits a quarter of an hour for its money."""
PATIENCE_S = 600.0
"""How long a buyer asks: what they are told counts, not when; a crowded machine takes its time to capture."""
PLAIN = "plain"
_LOOK_S = 0.05
_SHOWN = 3


class Stand(Struct, frozen=True, kw_only=True):
    """How a sale stands in the books."""

    units: int
    shelf: Shelf
    sold: Sold
    orders: Standing

    @property
    def waiting(self) -> str:
        """What is still on its way; empty when everything has settled."""
        held = self.shelf.held or self.shelf.reserved
        return ", ".join(part for part in (self.orders.waiting, f"{held} units reserved" if held else "") if part)

    @property
    def stranded(self) -> int:
        """Units that nobody can buy any more, because they are kept for somebody who does not."""
        return max(self.shelf.held, self.shelf.reserved)

    @property
    def oversold(self) -> int:
        """Units sold that were not there."""
        return max(0, max(self.shelf.sold, self.sold.confirmed) - self.units)

    @property
    def undersold(self) -> int:
        """Units left over, though somebody wanted each of them."""
        return max(0, self.units - min(self.shelf.sold, self.sold.confirmed))


class Sale(Struct, frozen=True, kw_only=True):
    """How one sale ended."""

    way: str
    told: list[Told]
    requests: int
    seconds: float
    """Until the last buyer knew whether there was something left."""
    sold_midway: int
    """Units taken when something was killed."""
    hit: bool
    """Whether people were still buying then."""
    stand: Stand
    recovery: float | None

    @property
    def unanswered(self) -> list[Told]:
        """Buyers who were never told, or told two things."""
        final = {SOLD_OUT, BOUGHT}
        return [one for one in self.told if one.answer not in final]

    @property
    def bought(self) -> int:
        """Buyers who were told that the order is theirs."""
        return sum(one.bought for one in self.told)

    @property
    def doubled(self) -> int:
        """Buyers with more than one order, by what they were told or by the books."""
        return max(sum(len(one.orders) > 1 for one in self.told), self.stand.sold.repeated)


Kill = Callable[[Setting], Awaitable[None]]


async def _nothing(_: Setting) -> None:
    """Let the sale go on."""


async def _cache(setting: Setting) -> None:
    await setting.processes.kill_and_wait("valkey")


async def _services(setting: Setting) -> None:
    """Kill whoever answers buyers and holds stock, and then whoever goes on with their orders."""
    for name in ("api", "consumers"):
        await setting.processes.kill_and_wait(name)


WAYS: dict[str, Kill] = {PLAIN: _nothing, "cache killed": _cache, "services killed": _services}


async def flash_sale(setting: Setting) -> Findings:
    """Hold the drill."""
    for name in ("api", "consumers", "valkey"):
        setting.processes.require(name)
    shelves = [(way, f"DRILL-{new_id().hex[-12:].upper()}") for way in WAYS]
    for way, sku in shelves:
        await setting.visitor.shelve(sku, setting.units, name=f"Drill: flash sale, {way}")
    sales: list[Sale] = []
    for way, sku in shelves:
        sales.append(await _sale(setting, way, sku))
        if not all(check.good for check in _checks(sales[-1])):
            setting.tell(f"{way}: this went wrong, so nothing more is tried")
            break
    return _findings(setting, sales)


async def _sale(setting: Setting, way: str, sku: str) -> Sale:
    setting.tell(f"{way}: {setting.buyers:,} buyers for {setting.units:,} units of {sku}")
    rush = asyncio.create_task(crowd.gather(await _shares(setting, sku)))
    sold_midway = await _half_sold(setting, sku, rush)
    hit = not rush.done()
    if way != PLAIN:
        setting.tell(f"{way} now, {sold_midway:,} units are taken")
    await WAYS[way](setting)
    seen = await rush
    told = [one for share in seen for one in share.told]
    setting.tell(f"{way}: {sum(one.bought for one in told):,} buyers were told that they bought")
    orders = {placed.order_id: placed.intent_id for one in told for placed in one.orders}
    stand, recovery = await standing.settle(partial(_stand, setting.visitor, sku, setting.units, orders), setting)
    return Sale(
        way=way,
        told=told,
        requests=sum(share.requests for share in seen),
        seconds=max(share.seconds for share in seen),
        sold_midway=sold_midway,
        hit=hit,
        stand=stand,
        recovery=recovery,
    )


async def _shares(setting: Setting, sku: str) -> list[Share]:
    """Spread the buyers over the processes."""
    tokens = await setting.people.tokens(setting.buyers)
    size = -(-len(tokens) // PROCESSES)
    return [
        Share(
            url=str(setting.visitor.client.base_url),
            sku=sku,
            tokens=tokens[first : first + size],
            first=first,
            name=sku,
            seed=setting.seed,
            ordering=ORDERING,
            paying=PAYING,
            patience_s=PATIENCE_S,
        )
        for first in range(0, len(tokens), size)
    ]


async def _half_sold(setting: Setting, sku: str, rush: asyncio.Task[list[Seen]]) -> int:
    """Wait until half of the units are taken, or the rush is over, and return how many are."""
    async with setting.visitor.database("inventory") as inventory:
        while True:
            shelf = await repository_shop.shelf(inventory, sku)
            if shelf.held + shelf.sold >= setting.units / 2 or rush.done():
                return shelf.held + shelf.sold
            await asyncio.sleep(_LOOK_S)


async def _stand(visitor: Visitor, sku: str, units: int, orders: dict[str, str]) -> Stand:
    async with visitor.database("inventory") as inventory:
        shelf = await repository_shop.shelf(inventory, sku)
    async with visitor.database("orders") as database:
        sold = await repository_shop.sold(database, sku)
    return Stand(units=units, shelf=shelf, sold=sold, orders=await standing.of_orders(visitor, orders))


def _findings(setting: Setting, sales: Sequence[Sale]) -> Findings:
    total = standing.together(*(sale.stand.orders for sale in sales))
    recoveries = [sale.recovery for sale in sales]
    worst = None if None in recoveries else max(recovery for recovery in recoveries if recovery is not None)
    doubled = total.doubled + sum(sale.doubled for sale in sales)
    return Findings(
        given=setting.buyers * len(sales),
        accepted=total.accepted,
        completed=total.completed,
        lost=total.lost,
        doubled=doubled,
        misfits=len(total.differing),
        recovery_seconds=worst,
        checks=[*(check for sale in sales for check in _checks(sale)), *standing.checks_of(total, worst)],
        facts={
            "answered": sum(len(sale.told) - len(sale.unanswered) for sale in sales),
            "sold": sum(sale.stand.sold.confirmed for sale in sales),
            "oversold": sum(sale.stand.oversold for sale in sales),
            "undersold": sum(sale.stand.undersold for sale in sales),
            "stranded": sum(sale.stand.stranded for sale in sales),
            **{name: value for sale in sales for name, value in _pace(sale).items()},
        },
    )


def _checks(sale: Sale) -> list[Check]:
    """Return what one sale promises."""
    stand, unanswered = sale.stand, sale.unanswered
    reasons = "; ".join(dict.fromkeys(f"{one.answer} {one.reason}".strip() for one in unanswered[:_SHOWN]))
    return [
        Check(
            name=f"{sale.way}: everybody was told that they bought, or that all is sold out",
            good=not unanswered,
            detail=f"{len(unanswered)} were not: {reasons}" if unanswered else "",
        ),
        Check(
            name=f"{sale.way}: exactly {stand.units:,} units were sold",
            good=not stand.oversold and not stand.undersold and stand.shelf.sold == stand.sold.confirmed,
            detail=f"{stand.shelf.sold:,} left the shelf, {stand.sold.confirmed:,} orders are confirmed",
        ),
        Check(
            name=f"{sale.way}: who was told that they bought has a paid order, and nobody else",
            good=sale.bought == stand.orders.paid == stand.sold.confirmed,
            detail=f"{sale.bought:,} told, {stand.orders.paid:,} paid, {stand.sold.confirmed:,} confirmed",
        ),
        Check(name=f"{sale.way}: it was hit while people were buying", good=sale.hit),
        Check(name=f"{sale.way}: who clicks twice orders once", good=not sale.doubled, detail=f"{sale.doubled} ordered twice"),
        Check(name=f"{sale.way}: nothing stays reserved", good=not stand.stranded, detail=f"{stand.stranded} stranded"),
    ]


def _pace(sale: Sale) -> dict[str, int | float | str]:
    """Return how fast it went."""
    return {
        f"{sale.way}: taken midway": sale.sold_midway,
        f"{sale.way}: rush": f"{sale.seconds:.1f} s",
        f"{sale.way}: buyers answered": f"{len(sale.told) / sale.seconds:.0f}/s",
        f"{sale.way}: requests": sale.requests,
    }
