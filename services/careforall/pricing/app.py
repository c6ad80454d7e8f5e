"""Composition root of the pricing service."""

from typing import cast

from careforall.contracts import streams
from careforall.contracts.pricing import COUPONS_OF, EXTEND, LOCK, QUOTE, REDEEM, RELEASE
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.pricing import api
from careforall.pricing.consumers import consumers
from careforall.pricing.service import PricingService
from careforall.pricing.settings import PricingSettings


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("PricingSettings", resources.settings)
    service = PricingService(resources.database, settings, resources.limiter, resources.ask)
    checkouts = service.checkouts
    return Parts(
        service=service,
        routes=api.ROUTES,
        consumers=consumers(service),
        queries={
            QUOTE: service.answer_quote,
            LOCK: checkouts.lock,
            EXTEND: checkouts.extend,
            REDEEM: checkouts.redeem,
            RELEASE: checkouts.release,
            COUPONS_OF: service.answer_coupons_of,
        },
        jobs=(
            Job(name="pricing-holds", every=settings.sweep_seconds, work=checkouts.sweep),
            Job(name="pricing-prune", every=3600, work=service.prune),
        ),
        snapshot=service.coupons.snapshot,
        stop=(checkouts.drain,),
    )


SERVICE = Definition(name="pricing", package=__package__ or "", settings=PricingSettings, build=build, stream=streams.PRICING)
