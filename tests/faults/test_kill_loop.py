"""Every crash point: the process kills itself there under load, is started again, and nothing acknowledged is lost or doubled."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from decimal import Decimal

import pytest

from careforall.drills.load import AMOUNT, Load, Persistent
from careforall.kit import crash
from careforall_testing import outcomes
from careforall_testing.integrator import Integrator, integrator
from careforall_testing.journey import Journey, running_platform
from careforall_testing.platform import Served
from careforall_testing.polling import eventually
from careforall_testing.sizes import sizes
from careforall_testing.unheard import Unheard

API = ("refund", "webhook", "batch")
"""What happens in answering requests; refunds first, because a refund whose process died waits for its lease to end."""
_END_LEASES = "UPDATE notifications SET leased_until = clock_timestamp() WHERE leased_until IS NOT NULL"
POINTS = crash.POINTS - crash.SAGA_POINTS
"""Those of the checkout are visited by its own crash matrix."""
SIZES = sizes()
SEED = 31
PATIENCE_S = 300.0
"""A refund whose process died waits for its lease to end, and may meet the next death then."""

pytestmark = pytest.mark.timeout(400 * SIZES.rounds)


@pytest.fixture
async def hearing() -> AsyncIterator[Integrator]:
    async with integrator() as hearing:
        yield hearing


@pytest.fixture
async def journey(hearing: Integrator) -> AsyncIterator[Journey]:
    wanted = {"CAREFORALL_WEBHOOK_URL": hearing.url, "CAREFORALL_WEBHOOK_ALLOW_PRIVATE": "true"}
    async with running_platform(**wanted) as journey:
        yield journey


def points_of(process: str) -> list[str]:
    """The crash points of one of the two processes; together they are all that gifts pass (others have their own tests)."""
    passed = {point for point in POINTS if _area(point) not in {"sync", "import"}}
    in_api = sorted((point for point in passed if _area(point) in API), key=lambda point: (API.index(_area(point)), point))
    return in_api if process == "api" else sorted(passed - set(in_api))


def _area(point: str) -> str:
    return point.partition(".")[0]


@pytest.mark.parametrize("process", ["api", "worker"])
async def test_a_process_killed_at_every_point_loses_and_doubles_nothing(
    journey: Journey, hearing: Integrator, process: str
) -> None:
    campaign = await journey.campaign()
    load = Load(journey, campaign, patience_s=PATIENCE_S)
    givers = Persistent(load, people=SIZES.people)
    victim = journey.platform.processes[0 if process == "api" else 1]
    async with givers.giving(), Unheard(load).giving() if process == "worker" else nullcontext():
        await _die_everywhere(victim, points_of(process) * SIZES.rounds)
    async with journey.platform.database("notifications") as notifications:
        await notifications.execute(_END_LEASES)  # instead of waiting for the dead sender's leases to end
    await _nothing_lost_or_doubled(journey, load, givers)
    await eventually(lambda: load.gifts.keys() <= hearing.of("donation_completed"), within_s=60, what="the integrator heard all")
    assert all(copies == copies[:1] * len(copies) for copies in hearing.told.values())


async def _die_everywhere(victim: Served, points: Sequence[str]) -> None:
    """Let a process die at each point; each start is the recovery from the death before."""
    chance = random.Random(SEED)
    await victim.stop()
    for point in points:
        victim.launch(CAREFORALL_CRASH_AT=f"{point}:{chance.randint(1, 4)}")
        assert await victim.wait_dead(timeout_s=60) == -signal.SIGKILL, f"{point}: {victim.log_text()[-3000:]}"
    victim.launch(CAREFORALL_CRASH_AT="")
    await victim.wait_ready()


async def _nothing_lost_or_doubled(journey: Journey, load: Load, givers: Persistent) -> None:
    gifts = load.gifts.keys()
    assert load.paid == set(gifts)
    assert gifts
    assert givers.refunded
    await outcomes.all_stored(journey, gifts)
    await outcomes.all_completed(journey, gifts)
    await outcomes.totals_are(
        journey,
        load.campaign,
        given=AMOUNT * len(gifts),
        refunded=sum(givers.refunded.values(), Decimal(0)),
        gifts=len(gifts),
    )
    await outcomes.one_receipt_each(journey, gifts)
    await outcomes.books_balance(journey)
