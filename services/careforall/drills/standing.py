"""How things stand: what was acknowledged against what the books hold, and our payments against the gateway's own books.

Gifts and orders alike are accepted, paid, and completed; what differs is whom to ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from careforall.drills import repository, repository_shop
from careforall.drills.report import Check
from careforall.drills.repository import Money
from careforall.drills.setting import Setting
from careforall.drills.visitor import Visitor

SETTLED_WITHIN_S = 60.0
"""The promise."""
_LOOK_EVERY_S = 0.5
_SHOWN = 3


class Standing(Struct, frozen=True, kw_only=True):
    """Counts of one moment."""

    accepted: int = 0
    stored: int = 0
    paid: int = 0
    completed: int = 0
    doubled: int = 0
    differing: tuple[str, ...] = ()
    """Payments that do not stand as the gateway says."""
    unsettled: int = 0
    undelivered: int = 0
    under_way: int = 0

    @property
    def lost(self) -> int:
        """Acknowledged and not stored, or paid and not completed."""
        return self.accepted - self.stored + self.paid - self.completed

    @property
    def waiting(self) -> str:
        """What is still on its way; empty when everything has settled."""
        found = {
            "acknowledged to store": self.accepted - self.stored,
            "paid to complete": self.paid - self.completed,
            "payments unlike the gateway's": len(self.differing),
            "calls to the gateway unsettled": self.unsettled,
            "webhooks undelivered": self.undelivered,
            "events for the broker": self.under_way,
        }
        return ", ".join(f"{count} {name}" for name, count in found.items() if count)


class Waiting(Protocol):
    """Something that settles."""

    @property
    def waiting(self) -> str:
        """What is still on its way; empty when everything has settled."""


S = TypeVar("S", bound=Waiting)


class Beside(Struct, frozen=True, kw_only=True):
    """Intents beside the gateway's own books."""

    paid: frozenset[str]
    """Those charged, or with money held for them."""
    doubled: int
    differing: tuple[str, ...]
    unsettled: int
    undelivered: int


async def of_gifts(visitor: Visitor, gifts: Mapping[str, str], paid: Collection[str]) -> Standing:
    """Count what became of gifts.

    Args:
        visitor: Looks into the databases.
        gifts: The intent of each acknowledged gift.
        paid: The gifts whose payment was acknowledged.
    """
    async with visitor.database("donations") as donations:
        stored = await repository.stored(donations, gifts)
        completed = await repository.completed(donations, paid)
    return Standing(
        accepted=len(gifts),
        stored=stored,
        paid=len(paid),
        completed=len(completed),
        doubled=await _effects_doubled(visitor, gifts, "donation_completed"),
        under_way=await visitor.under_way(),
    )


async def of_orders(visitor: Visitor, orders: Mapping[str, str]) -> Standing:
    """Count what became of orders that were paid at the gateway, by its own books: each has its intent."""
    beside = await _beside_the_gateway(visitor, list(orders.values()))
    paid = [order for order, intent in orders.items() if intent in beside.paid]
    async with visitor.database("orders") as database:
        stored = await repository_shop.stored(database, orders)
        completed = await repository_shop.confirmed(database, paid)
    standing = Standing(
        accepted=len(orders),
        stored=stored,
        paid=len(paid),
        completed=len(completed),
        doubled=await _effects_doubled(visitor, orders, "order_confirmed"),
        under_way=await visitor.under_way(),
    )
    return _with(standing, beside)


async def beside_the_gateway(visitor: Visitor, gifts: Mapping[str, str]) -> Standing:
    """Count what became of gifts that were paid at the gateway, by its own books."""
    beside = await _beside_the_gateway(visitor, list(gifts.values()))
    paid = [gift for gift, intent in gifts.items() if intent in beside.paid]
    return _with(await of_gifts(visitor, gifts, paid), beside)


def together(*standings: Standing) -> Standing:
    """Return one standing of several, each of other gifts or orders of one platform."""
    added = {
        name: sum(getattr(standing, name) for standing in standings)
        for name in ("accepted", "stored", "paid", "completed", "doubled", "unsettled", "undelivered")
    }
    return Standing(
        **added,
        differing=tuple(intent for standing in standings for intent in standing.differing),
        under_way=max((standing.under_way for standing in standings), default=0),
    )


async def _effects_doubled(visitor: Visitor, subjects: Mapping[str, str], receipt: str) -> int:
    """Count bookings, events and receipts that happened once too often."""
    async with visitor.database("payments") as payments:
        effects = await repository.effects(payments, list(subjects.values()))
    async with visitor.database("notifications") as notifications:
        receipts = await repository.receipts(notifications, subjects, receipt)
    return effects.twice + sum(copies - 1 for copies in receipts.values())


async def _beside_the_gateway(visitor: Visitor, intents: list[str]) -> Beside:
    async with visitor.database("simulator") as simulator:
        theirs = await repository.theirs(simulator, intents)
        refunded_twice = await repository.refunded_twice(simulator, intents)
        undelivered = await repository.undelivered(simulator, intents)
    async with visitor.database("payments") as payments:
        ours = await repository.ours(payments, intents)
        unsettled = await repository.unsettled(payments, intents)
    charged_twice = sum(max(0, money.charges - 1) for money in theirs.values())
    return Beside(
        paid=frozenset(intent for intent, money in theirs.items() if money.charges or money.held),
        doubled=charged_twice + refunded_twice,
        differing=tuple(intent for intent in intents if not _agree(ours.get(intent), theirs.get(intent))),
        unsettled=unsettled,
        undelivered=undelivered,
    )


def _with(standing: Standing, beside: Beside) -> Standing:
    return replace(
        standing,
        doubled=standing.doubled + beside.doubled,
        differing=beside.differing,
        unsettled=beside.unsettled,
        undelivered=beside.undelivered,
    )


async def settle(look: Callable[[], Awaitable[S]], setting: Setting) -> tuple[S, float | None]:
    """Look again until everything has settled; return how it stands, and the seconds it took, or None where it never did."""
    begun = time.monotonic()
    told = begun
    while True:
        standing = await look()
        passed = time.monotonic() - begun
        if not standing.waiting:
            return standing, passed
        if passed > setting.patience:
            return standing, None
        if time.monotonic() - told > SETTLED_WITHIN_S / 6:
            told = time.monotonic()
            setting.tell(f"waiting for {standing.waiting}")
        await asyncio.sleep(_LOOK_EVERY_S)


def checks_of(standing: Standing, recovery: float | None) -> list[Check]:
    """Return what every drill promises."""
    return [
        Check(name="nothing acknowledged or paid is lost", good=standing.lost == 0, detail=f"{standing.lost} lost"),
        Check(name="no effect happened twice", good=standing.doubled == 0, detail=f"{standing.doubled} doubled"),
        Check(
            name="every payment stands as the gateway says",
            good=not standing.differing,
            detail=", ".join(standing.differing[:_SHOWN]),
        ),
        Check(
            name=f"settled within {SETTLED_WITHIN_S:g} s",
            good=recovery is not None and recovery <= SETTLED_WITHIN_S,
            detail=f"{recovery:.1f} s" if recovery is not None else f"still waiting for {standing.waiting}",
        ),
    ]


def _agree(ours: Money | None, theirs: Money | None) -> bool:
    """Whether both sides believe the same; an intent only one side knows must be without money."""
    left, right = ours or Money(), theirs or Money()
    return left == replace(right, charges=min(right.charges, 1))
