"""A gateway without patience: every event in ten shuffled copies through many workers, the cache emptied midway and again."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from functools import partial

import redis.asyncio

from careforall.drills import standing
from careforall.drills.load import WEBHOOK, Load
from careforall.drills.report import Check, Findings
from careforall.drills.setting import Setting

COPIES, WORKERS = 10, 64
SAMPLE = 100
"""How many events are told once more at the end, when the cache knows none of them."""


class Storm:
    """Copies of events, and what each was answered."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._copies = [gift for gift in load.gifts.values() for _ in range(COPIES)]
        random.Random(seed).shuffle(self._copies)  # noqa: S311 - an order to repeat, not a secret
        self.answers: dict[str, set[tuple[int, bytes]]] = defaultdict(set)
        self.sent = 0

    async def blow(self, cache: redis.asyncio.Redis) -> None:
        """Send everything through many workers; the cache is emptied when half of it is out."""
        half = len(self._copies) // 2
        await self._send_until(half)
        await cache.flushall()
        await self._send_until(0)

    async def again(self) -> None:
        """Send some events once more."""
        gifts = list(self._load.gifts.values())
        for gift in gifts[:: max(1, len(gifts) // SAMPLE)]:
            await self._send(gift)

    @property
    def inconsistent(self) -> list[str]:
        """The gifts whose event was not answered by one status and one body, or not taken at all."""
        return [
            gift
            for gift, answers in self.answers.items()
            if len(answers) > 1 or any(status != 200 for status, _ in answers)  # noqa: PLR2004 - HTTP
        ]

    async def _send_until(self, left: int) -> None:
        async def some() -> None:
            while len(self._copies) > left:
                await self._send(self._copies.pop())

        await asyncio.gather(*(some() for _ in range(WORKERS)))

    async def _send(self, gift: dict[str, object]) -> None:
        answered = await self._load.tell(gift)
        self.answers[str(gift["id"])].add((answered.status, answered.body))
        self.sent += 1


async def webhook_storm(setting: Setting) -> Findings:
    """Hold the drill; the number of events is that of gifts in so many seconds at the rate."""
    visitor, number = setting.visitor, max(1, round(setting.seconds * setting.rate))
    load = Load(visitor, await visitor.campaign(title="Drill: webhook storm"))
    setting.tell(f"{number} gifts are given")
    await _give(load, number)
    storm = Storm(load, setting.seed)
    setting.tell(f"{len(load.gifts) * COPIES} webhooks by {WORKERS} workers, the cache emptied midway")
    async with redis.asyncio.Redis.from_url(setting.redis_url) as cache:
        await storm.blow(cache)
        await cache.flushall()
    await storm.again()
    gifts = {gift["id"]: gift["payment_intent"]["id"] for gift in load.gifts.values()}
    settled, recovery = await standing.settle(partial(standing.of_gifts, visitor, gifts, gifts), setting)
    same = Check(
        name="every copy of an event was taken, with one answer byte for byte",
        good=not storm.inconsistent,
        detail=f"{len(storm.inconsistent)} of {len(gifts)} were not",
    )
    return Findings(
        given=number,
        accepted=settled.accepted,
        completed=settled.completed,
        lost=settled.lost,
        doubled=settled.doubled,
        misfits=len(storm.inconsistent),
        recovery_seconds=recovery,
        checks=[*standing.checks_of(settled, recovery), same],
        facts={"webhooks sent": storm.sent, "webhooks answered": len(load.of(WEBHOOK))},
    )


async def _give(load: Load, number: int) -> None:
    """Give so many gifts by as many workers, and wait until payments knows all of them."""
    left = number

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await load.give_until_taken()

    await asyncio.gather(*(some() for _ in range(WORKERS)))
    await load.intents_known(load.gifts.values())
