"""What staff are told of the plumbing: of a database that does not answer too, and of what waits but for their asking."""

from __future__ import annotations

from careforall.kit.db import Database
from careforall.kit.http.operations import time_database
from careforall.kit.ids import new_id
from careforall.kit.operations import Operations
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


async def test_what_tells_the_audit_log_of_the_asking_is_not_among_what_waits(database: Database) -> None:
    operations = Operations("bells", database)
    assert await operations.process(new_id()) == 0
    assert await operations.process(new_id()) == 1, "what told of the first waits by now"
