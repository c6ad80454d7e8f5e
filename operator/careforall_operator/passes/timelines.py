"""The part of a pass about the timelines that services are connected to."""

from careforall_operator.k8s import Kube
from careforall_operator.reconcile.timelines import PodTimeline
from careforall_operator.scrape import Page, pages

METRIC = "database_timeline"


async def look(kube: Kube, cluster: str) -> list[PodTimeline]:
    """Ask services for the oldest timeline of this database cluster that they are connected to."""
    return [_seen(page, cluster) for page in await pages(kube, [METRIC])]


def _seen(page: Page, cluster: str) -> PodTimeline:
    found = [int(one.value) for one in page.samples or () if one.labels.get("cluster") == cluster]
    return PodTimeline(pod=page.pod, oldest=min(found, default=None), answered=page.samples is not None)
