"""Composition root of the inventory service."""

from typing import cast

from careforall.contracts import streams
from careforall.inventory import api
from careforall.inventory.asks import queries
from careforall.inventory.consumers import consumers
from careforall.inventory.hints import Hints
from careforall.inventory.keeping import Keeping
from careforall.inventory.service import InventoryService
from careforall.inventory.settings import InventorySettings
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources

_HOURLY = 3600.0


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("InventorySettings", resources.settings)
    hints = Hints(resources.cache)
    keeping = Keeping(
        resources.database,
        hints,
        default_warehouse=settings.default_warehouse,
        batch_size=settings.batch_size,
        flights=settings.batch_flights,
    )
    service = InventoryService(resources.database, keeping, hints)
    return Parts(
        service=service,
        routes=api.ROUTES,
        internal=api.INTERNAL,
        hot=api.hot_routes(service),
        consumers=consumers(service),
        jobs=_jobs(service, settings),
        queries=queries(service),
        snapshot=service.snapshot,
        stop=(keeping.drain, hints.drain),
    )


def _jobs(service: InventoryService, settings: InventorySettings) -> tuple[Job, ...]:
    async def forget() -> None:
        await service.forget_steps(settings.step_days)

    return (
        Job(name="inventory-sweep", every=settings.sweep_seconds, work=service.sweep),
        Job(name="inventory-steps", every=_HOURLY, work=forget),
        Job(name="inventory-figures", every=settings.observe_seconds, work=service.observe),
    )


SERVICE = Definition(
    name="inventory", package=__package__ or "", settings=InventorySettings, build=build, stream=streams.INVENTORY
)
