"""Composition root of the totals service."""

from collections.abc import Awaitable, Callable
from typing import cast
from uuid import UUID

from careforall.contracts import streams
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.totals import api
from careforall.totals.consumers import consumers
from careforall.totals.levels import Levels
from careforall.totals.live import Background, Hub, Refresher
from careforall.totals.maintenance import Maintenance
from careforall.totals.schemas import encode
from careforall.totals.service import TotalsService
from careforall.totals.settings import TotalsSettings

_LOOK_FOR_NIGHT = 1800.0


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("TotalsSettings", resources.settings)
    database, cache = resources.database, resources.cache
    hint = f"hint.{settings.instance}.totals"
    refresher = Refresher(database, cache, resources.bus, hint=hint, seconds=settings.redis_seconds)
    levels = Levels(database, cache, settings, encode=encode, warm=refresher.warm)
    hub = Hub(
        database,
        renew=levels.renew,
        most=settings.max_streams,
        heartbeat=settings.stream_heartbeat,
        poll=settings.stream_poll,
    )
    maintenance = Maintenance(database, comparison_hours=settings.comparison_hours)
    service = TotalsService(
        database,
        levels=levels,
        refresher=refresher,
        hub=hub,
        maintenance=maintenance,
        warm_campaigns=settings.warm_campaigns,
    )
    background = Background(refresher.run, hub.run, service.warm)
    return Parts(
        service=service,
        routes=api.ROUTES,
        internal=api.INTERNAL,
        hot=api.hot_routes(service),
        consumers=consumers(service),
        jobs=_jobs(maintenance, settings),
        queries={"query.totals.campaign": _answering(service)},
        listeners={hint: hub.heard},
        views={
            "campaign_totals": maintenance.refresh_totals,
            "campaign_analytics": maintenance.refresh_analytics,
        },
        prewarm=(service.prewarm,),
        start=(background.start,),
        closing=(hub.close,),
        stop=(background.stop,),
    )


def _jobs(maintenance: Maintenance, settings: TotalsSettings) -> tuple[Job, ...]:
    return (
        Job(name="totals-view", every=settings.view_seconds, work=maintenance.refresh_totals, rests=True),
        Job(name="totals-analytics", every=settings.analytics_seconds, work=maintenance.refresh_analytics, rests=True),
        Job(name="totals-figures", every=settings.observe_seconds, work=maintenance.observe, exclusive=False),
        Job(name="totals-comparison", every=_LOOK_FOR_NIGHT, work=maintenance.compare_when_due, rests=True),
    )


def _answering(service: TotalsService) -> Callable[[bytes], Awaitable[bytes]]:
    """Answer a campaign id of sixteen bytes with its totals as JSON."""

    async def answer(payload: bytes) -> bytes:
        return (await service.totals(UUID(bytes=payload))).body

    return answer


SERVICE = Definition(name="totals", package=__package__ or "", settings=TotalsSettings, build=build, stream=streams.TOTALS)
