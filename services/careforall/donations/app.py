"""Composition root of the donations service."""

from typing import cast

from litestar import Router
from litestar.di import Provide

from careforall.contracts import streams
from careforall.donations import api
from careforall.donations.consumers import consumers
from careforall.donations.giving import Giving
from careforall.donations.service import DonationsService
from careforall.donations.settings import DonationsSettings
from careforall.kit.service import Definition, Parts, Resources


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("DonationsSettings", resources.settings)
    giving = Giving(
        resources.database,
        secret_key=settings.secret_key,
        default_gateway=settings.default_gateway,
        batch_size=settings.batch_size,
        flights=settings.batch_flights,
    )
    service = DonationsService(resources.database, giving)
    router = Router(
        "/", route_handlers=list(api.ROUTES), dependencies={"ask": Provide(lambda: resources.ask, sync_to_thread=False)}
    )
    return Parts(
        service=service,
        routes=(router,),
        internal=api.INTERNAL,
        hot=api.hot_routes(service),
        consumers=consumers(service),
        snapshot=service.snapshot,
        stop=(giving.drain,),
    )


SERVICE = Definition(
    name="donations", package=__package__ or "", settings=DonationsSettings, build=build, stream=streams.DONATIONS
)
