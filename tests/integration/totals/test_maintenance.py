"""Views and the comparison that finds what should never be there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall.totals.domain import Gift
from careforall.totals.metrics import DRIFT
from careforall_testing.servers import ServerUrls

_NOTHING_DIFFERS = """
INSERT INTO total_comparisons (id, campaigns, differences)
VALUES ('ffffffff-0000-7000-8000-000000000000', 1, 0)
"""


@pytest.fixture
async def running(arena: Any, servers: ServerUrls) -> AsyncIterator[Any]:
    async with arena.open(servers) as opened:
        yield opened


def comparison(running: Any) -> Any:
    return next(job.work for job in running.parts.jobs if job.name == "totals-comparison")


def figures(running: Any) -> Any:
    return next(job.work for job in running.parts.jobs if job.name == "totals-figures")


async def stored_differences(running: Any) -> list[tuple[str, Any]]:
    rows = await running.database.fetch("SELECT source, campaign_id FROM total_differences ORDER BY source")
    return [(row["source"], row["campaign_id"]) for row in rows]


async def mischief(running: Any, statement: str, campaign: Any) -> None:
    await running.database.run(lambda connection: connection.execute(statement, campaign))


def drift(source: str) -> float:
    return float(DRIFT.labels(source=source)._value.get())  # noqa: SLF001 - the client offers no public reading


async def test_nothing_differs_after_honest_work(running: Any, gift: Callable[..., Gift]) -> None:
    await running.fold([gift(new_id(), donor) for donor in ("donor-1", "donor-2")])
    await comparison(running)()
    row = await running.database.fetchrow("SELECT campaigns, differences FROM total_comparisons")
    assert tuple(row) == (2, 0)
    assert (drift("base_table"), drift("materialized_view")) == (0, 0)


async def test_a_forged_counter_is_found(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign), gift(new_id())])
    await mischief(running, "UPDATE campaign_totals SET total_amount = total_amount + 1 WHERE campaign_id = $1", campaign)
    await comparison(running)()
    assert await stored_differences(running) == [("base_table", campaign), ("materialized_view", campaign)]
    assert (drift("base_table"), drift("materialized_view")) == (1, 1)


async def test_a_lost_base_row_and_a_lost_counter_are_found(running: Any, gift: Callable[..., Gift]) -> None:
    without_base, without_counter = new_id(), new_id()
    await running.fold([gift(without_base), gift(without_counter)])
    await mischief(running, "DELETE FROM completed_donations WHERE campaign_id = $1", without_base)
    await mischief(running, "DELETE FROM campaign_totals WHERE campaign_id = $1", without_counter)
    await comparison(running)()
    found = await stored_differences(running)
    assert {campaign for source, campaign in found if source == "base_table"} == {without_base, without_counter}


async def test_it_compares_once_a_night(running: Any) -> None:
    await comparison(running)()
    await comparison(running)()
    row = await running.database.fetchrow("SELECT count(*) AS runs FROM total_comparisons")
    assert row["runs"] == 1


async def test_a_view_that_is_behind_is_no_drift(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign)])
    await running.parts.views["campaign_totals"]()
    await running.fold([gift(campaign)])
    assert (await running.view(campaign)).total_donations == 1
    await comparison(running)()
    assert await stored_differences(running) == []


async def test_analytics_by_day_and_donor(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    days = [datetime(2026, 3, day, 23, 30, tzinfo=UTC) for day in (1, 1, 2)]
    donors = ("donor-1", "donor-2", "donor-2")
    await running.fold(
        [gift(campaign, donor, "10.00", completed_at=day, anonymous=True) for donor, day in zip(donors, days, strict=True)]
    )
    await running.parts.views["campaign_analytics"]()
    _, by_day, by_donor = await running.service.analytics(campaign)
    assert [(day.day.day, day.total_amount, day.total_donations) for day in by_day] == [(2, Decimal(10), 1), (1, Decimal(20), 2)]
    assert [(donor.donor_key, donor.amount, donor.gifts) for donor in by_donor] == [
        ("donor-2", Decimal(20), 2),
        ("donor-1", Decimal(10), 1),
    ]


async def test_what_another_process_found_is_told_and_its_end_too(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign)])
    await mischief(running, "UPDATE campaign_totals SET total_amount = total_amount + 1 WHERE campaign_id = $1", campaign)
    await comparison(running)()
    DRIFT.clear()  # as in a process that has only begun
    await figures(running)()
    assert (drift("base_table"), drift("materialized_view")) == (1, 1)
    await running.database.run(lambda connection: connection.execute(_NOTHING_DIFFERS))
    await figures(running)()
    assert (drift("base_table"), drift("materialized_view")) == (0, 0)
