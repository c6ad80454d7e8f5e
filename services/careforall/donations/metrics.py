"""What only donations counts."""

from uuid import UUID

from prometheus_client import Counter

CREATED = Counter(
    "donation_created_total", "Gifts accepted, by campaign; `other` beyond the first 200 campaigns", ["campaign_id"]
)
_MOST_CAMPAIGNS = 200
"""Each campaign is a series in every process; a platform with thousands of them must not grow a monitor out of its memory."""


class CreatedCounter:
    """Counts accepted gifts with a bounded number of labels."""

    def __init__(self, most: int = _MOST_CAMPAIGNS) -> None:
        self._most = most
        self._known: dict[UUID, Counter] = {}

    def count(self, campaign_id: UUID) -> None:
        """Count one gift."""
        counter = self._known.get(campaign_id)
        if counter is None:
            counter = self._labelled(campaign_id)
        counter.inc()

    def _labelled(self, campaign_id: UUID) -> Counter:
        if len(self._known) >= self._most:
            return CREATED.labels(campaign_id="other")
        return self._known.setdefault(campaign_id, CREATED.labels(campaign_id=str(campaign_id)))
