"""The HTTP answers, and that the thin handler and its twin in the framework say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall.totals.domain import Gift

PATH = "/api/v1/totals/campaigns"
PROMISED = [
    *("campaign_id", "currency", "total_amount", "refunded_amount", "net_amount", "total_donations", "unique_donors"),
    *("last_updated", "cache_level", "cached_at"),
]
VARYING = ("cached_at", "request_id")
COMPARED = ("content-type", "cache-control", "warning", "ratelimit-policy")


def comparable(answer: Any) -> tuple[int, dict[str, object], dict[str, str | None]]:
    body = {name: value for name, value in answer.json().items() if name not in VARYING}
    return answer.status_code, body, {name: answer.headers.get(name) for name in COMPARED}


async def test_the_answer_has_exactly_the_promised_members(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign, "donor-1", "12.50"), gift(campaign, "donor-2", "7.50")])
    async with running.client() as client:
        answer = await client.get(f"{PATH}/{campaign}")
    body = answer.json()
    assert list(body) == PROMISED
    assert (body["total_amount"], body["net_amount"], body["total_donations"], body["unique_donors"]) == ("20.00", "20.00", 2, 2)
    assert answer.headers["cache-control"] == "public, max-age=1, stale-while-revalidate=5"


async def test_a_campaign_without_gifts_has_zeros(running: Any) -> None:
    async with running.client() as client:
        answer = await client.get(f"{PATH}/{new_id()}")
    assert answer.status_code == 200
    assert (answer.json()["total_amount"], answer.json()["last_updated"]) == ("0.00", None)


async def test_realtime_is_not_kept_by_anybody(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign)])
    async with running.client() as client:
        await client.get(f"{PATH}/{campaign}")
        await running.fold([gift(campaign)])
        answer = await client.get(f"{PATH}/{campaign}?realtime=true")
    assert (answer.json()["cache_level"], answer.json()["total_donations"]) == ("realtime", 2)
    assert answer.headers["cache-control"] == "no-store"


TWINS = ["", "?realtime=false", "?realtime=true", "?realtime=1", "?realtime=maybe", "?other=1", "?realtime="]


@pytest.mark.parametrize("query", TWINS)
async def test_both_ways_answer_the_same(running: Any, gift: Callable[..., Gift], query: str) -> None:
    campaign = new_id()
    await running.fold([gift(campaign)])
    async with running.client(hot=True) as hot, running.client(hot=False) as framework:
        for path in (f"{PATH}/{campaign}{query}", f"{PATH}/{str(campaign).upper()}{query}"):
            assert comparable(await hot.get(path)) == comparable(await framework.get(path))


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}/not-an-id",
        f"{PATH}/00000000-0000-0000-0000-000000000000",
        f"{PATH}/{new_id()}",
        f"{PATH}/top",
        f"{PATH}/top?limit=3",
        f"{PATH}/top?limit=0",
        f"{PATH}/top?limit=101",
        f"{PATH}/top?limit=x",
        f"{PATH}/{new_id()}%00",
    ],
)
async def test_both_ways_refuse_the_same(running: Any, path: str) -> None:
    async with running.client(hot=True) as hot, running.client(hot=False) as framework:
        first, second = await hot.get(path), await framework.get(path)
    assert first.status_code in (200, 404, 422)
    if "/top" not in path or first.status_code != 200:
        assert comparable(first) == comparable(second)
    else:
        ids = [[item["campaign_id"] for item in answer.json()["items"]] for answer in (first, second)]
        assert ids[0] == ids[1]


async def test_several_campaigns_in_the_order_asked_for(running: Any, gift: Callable[..., Gift]) -> None:
    campaigns = [new_id() for _ in range(3)]
    await running.fold([gift(campaign) for campaign in campaigns[:2]])
    wanted = [str(campaign) for campaign in reversed(campaigns)]
    async with running.client() as client:
        joined = await client.get(PATH, params={"ids": ",".join(wanted)})
        repeated = await client.get(PATH, params=[("ids", campaign) for campaign in wanted])
    assert [item["campaign_id"] for item in joined.json()["items"]] == wanted
    assert [item["total_donations"] for item in joined.json()["items"]] == [0, 1, 1]
    assert joined.json()["items"][0].keys() == repeated.json()["items"][0].keys()
    assert joined.json()["next_cursor"] is None


@pytest.mark.parametrize("query", ["", "?ids=", "?ids=x", "?ids=" + ",".join(str(new_id()) for _ in range(101))])
async def test_bad_lists_of_ids_are_refused(running: Any, query: str) -> None:
    async with running.client() as client:
        answer = await client.get(f"{PATH}{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/ids"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/totals/refresh"), ("POST", "/api/v1/totals/compare"), ("GET", f"{PATH}/{new_id()}/analytics")],
)
async def test_staff_only(running: Any, method: str, path: str) -> None:
    async with running.client() as client:
        answer = await client.request(method, path)
    assert answer.status_code == 401


async def test_the_query_of_other_services_is_answered(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    await running.fold([gift(campaign, amount="12.50")])
    answer = await running.parts.queries["query.totals.campaign"](campaign.bytes)
    assert b'"total_amount":"12.50"' in answer
