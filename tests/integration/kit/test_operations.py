"""What staff are told of a database: that it does not answer is an answer too."""

from __future__ import annotations

from careforall.kit.http.operations import time_database
from careforall_testing.plumbing import opened
from careforall_testing.proxy import proxy_to


async def test_a_database_that_is_away_is_said_to_be_down_and_up_again_once_it_answers(kit_url: str) -> None:
    async with proxy_to(kit_url) as wire, opened(wire.url) as database:
        before = await time_database(database)
        wire.mode = "refuse"
        wire.reset()
        away = await time_database(database)
        wire.heal()
        after = await time_database(database)
    assert [found.status for found in (before, away, after)] == ["up", "down", "up"]
    assert (before.failures, away.failures > 0, after.failures) == (0, True, away.failures)
