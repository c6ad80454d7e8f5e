"""Gifts are counted by campaign, and the number of series is bounded."""

from __future__ import annotations

from prometheus_client import REGISTRY

from careforall.donations.metrics import CreatedCounter
from careforall.kit.ids import new_id


def counted(campaign: object) -> float:
    return REGISTRY.get_sample_value("donation_created_total", {"campaign_id": str(campaign)}) or 0


def test_campaigns_beyond_the_bound_share_a_label() -> None:
    counter, (first, second, third) = CreatedCounter(most=2), (new_id(), new_id(), new_id())
    before = counted("other")
    for campaign in (first, first, second, third, third, first):
        counter.count(campaign)
    assert [counted(one) for one in (first, second, third)] == [3, 1, 0]
    assert counted("other") - before == 2
