"""A rolling restart under load: what a process accepted it answers, and nothing is refused meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from careforall.drills.load import AMOUNT, DONATION, Load
from careforall_testing import outcomes
from careforall_testing.balancer import balancing
from careforall_testing.journey import Journey, running_platform
from careforall_testing.polling import eventually
from careforall_testing.sizes import sizes

SIZES = sizes()

pytestmark = pytest.mark.timeout(170 * SIZES.restarts)


@pytest.fixture
async def journey() -> AsyncIterator[Journey]:
    async with running_platform() as journey:
        yield journey


async def test_processes_restarted_in_turn_fail_no_request(journey: Journey) -> None:
    second = await journey.platform.serve(["all"], role="api")
    worker = journey.platform.processes[1]
    pair = [journey.platform.first, second]
    async with balancing(pair) as balancer:
        load = Load(journey, await journey.campaign(), request=balancer.request)
        await load.prepare(SIZES.prepared)
        async with load.running(per_second=SIZES.per_second):
            for process in [*pair, worker] * SIZES.restarts:
                await process.stop()
                assert await process.wait_dead() == 0, process.log_text()[-3000:]
                await _goes_on(load)
                process.launch()
                await process.wait_ready()
        assert all(balancer.answered.values())
        assert load.failures() == []
        await load.pay_everything()
    gifts = load.gifts.keys()
    await outcomes.all_stored(journey, gifts)
    await outcomes.all_completed(journey, gifts)
    await outcomes.totals_are(journey, load.campaign, given=AMOUNT * len(gifts), gifts=len(gifts))
    await outcomes.one_receipt_each(journey, gifts)
    await outcomes.books_balance(journey)


async def _goes_on(load: Load) -> None:
    """Wait until more gifts were answered."""
    seen = len(load.of(DONATION))
    await eventually(lambda: len(load.of(DONATION)) > seen + 5, within_s=30, what="gifts meanwhile")
