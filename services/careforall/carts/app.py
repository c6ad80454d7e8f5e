"""Composition root of the carts service."""

from typing import cast

from careforall.carts import api
from careforall.carts.consumers import consumers
from careforall.carts.service import CartsService
from careforall.carts.settings import CartsSettings
from careforall.contracts import streams
from careforall.contracts.carts import CLEAR, CONTENTS
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("CartsSettings", resources.settings)
    service = CartsService(resources.database, settings, cache=resources.cache, ask=resources.ask)
    return Parts(
        service=service,
        routes=api.ROUTES,
        consumers=consumers(service),
        queries={CLEAR: service.answer_clear, CONTENTS: service.answer_contents},
        jobs=(Job(name="carts-abandon", every=600, work=service.abandon),),
        stop=(service.drain,),
    )


SERVICE = Definition(name="carts", package=__package__ or "", settings=CartsSettings, build=build, stream=streams.CARTS)
