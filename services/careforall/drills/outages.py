"""Servers of the instance that hang, and processes that are killed, under load."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import redis.asyncio

from careforall.drills import standing
from careforall.drills.load import Load, Persistent
from careforall.drills.local import STARTED_AGAIN_S
from careforall.drills.report import Check, Findings
from careforall.drills.setting import Setting

PREPARED = 60
"""Gifts whose webhooks are told during the outage, whether or not their broker is away."""
KILLED = ("api", "relay", "consumers")
PEOPLE = 6
EVERY_S = 10.0


async def broker_outage(setting: Setting) -> Findings:
    """Let the broker hang: gifts and webhooks go on being accepted, and everything else catches up."""
    load = await _prepared(setting, "broker outage")
    setting.processes.require("nats")
    async with load.running(per_second=setting.rate):
        with setting.processes.frozen("nats"):
            setting.tell(f"the broker hangs for {setting.seconds:g} s under {setting.rate:g} gifts a second")
            await asyncio.sleep(setting.seconds)
    setting.tell("the broker is back")
    return await _counted(setting, load, refused=True)


async def cache_loss(setting: Setting) -> Findings:
    """Let the cache hang, then forget everything: nobody notices."""
    load = await _prepared(setting, "cache loss")
    setting.processes.require("valkey")
    async with load.running(per_second=setting.rate):
        with setting.processes.frozen("valkey"):
            setting.tell(f"the cache hangs for {setting.seconds / 2:g} s under {setting.rate:g} gifts a second")
            await asyncio.sleep(setting.seconds / 2)
        setting.tell("the cache is back and is emptied")
        async with redis.asyncio.Redis.from_url(setting.redis_url) as cache:
            await cache.flushall()
        await asyncio.sleep(setting.seconds / 2)
    return await _counted(setting, load, refused=True)


async def kill_loop(setting: Setting) -> Findings:
    """Kill the platform's processes one after another, as power cuts would; people repeat what was not answered."""
    load = await _prepared(setting, "kill loop", gifts=0)
    setting.processes.require(KILLED[0])
    givers = Persistent(load, people=PEOPLE)
    chance = random.Random(setting.seed)  # noqa: S311 - victims to repeat, not a secret
    kills, left = 0, setting.seconds
    async with givers.giving():
        while left > 0:
            pause = min(left, EVERY_S * chance.uniform(0.5, 1.5))
            await asyncio.sleep(pause)
            left -= pause
            victim = chance.choice(KILLED)
            setting.tell(f"{victim} is killed")
            kills += await setting.processes.kill_and_wait(victim)
    return await _counted(setting, load, refused=False, kills=kills, refunds=len(givers.refunded))


async def _prepared(setting: Setting, title: str, *, gifts: int = PREPARED) -> Load:
    campaign = await setting.visitor.campaign(title=f"Drill: {title}")
    load = Load(setting.visitor, campaign, patience_s=2 * STARTED_AGAIN_S)
    await load.prepare(gifts)
    return load


async def _counted(setting: Setting, load: Load, *, refused: bool, **facts: int) -> Findings:
    """Wait until all has settled, tell of every gift that it was paid, and count.

    Args:
        setting: The drill's setting.
        load: What was given and answered.
        refused: Whether nothing may have been refused meanwhile.
        facts: What else is worth knowing.
    """
    gifts = {gift["id"]: gift["payment_intent"]["id"] for gift in load.gifts.values()}
    look = partial(standing.of_gifts, setting.visitor, gifts)
    _, recovery = await standing.settle(partial(look, list(load.paid)), setting)
    during = load.failures()
    await load.pay_everything()
    settled, _ = await standing.settle(partial(look, list(load.paid)), setting)
    nothing_refused = Check(name="nothing was refused", good=not during, detail=f"{during}" if during else "")
    return Findings(
        given=len(load.keys),
        accepted=settled.accepted,
        completed=settled.completed,
        lost=settled.lost,
        doubled=settled.doubled,
        misfits=0,
        recovery_seconds=recovery,
        checks=[*standing.checks_of(settled, recovery), *([nothing_refused] if refused else [])],
        facts={"requests answered": len(load.answers), **facts},
    )
