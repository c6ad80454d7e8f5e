"""Composition root of the payments service."""

from typing import cast

from litestar import Router
from litestar.di import Provide

from careforall.contracts import streams
from careforall.kit import secrets
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.payments import api, pages
from careforall.payments.consumers import consumers
from careforall.payments.domain import GENERIC
from careforall.payments.gateways.base import Gateway
from careforall.payments.gateways.generic import Generic
from careforall.payments.gateways.paypal import PayPal
from careforall.payments.gateways.paypal_certificates import Certificates, roots
from careforall.payments.gateways.paypal_signatures import PayPalScheme
from careforall.payments.gateways.registry import Gateways, Limits
from careforall.payments.gateways.simulator import Simulator
from careforall.payments.intake import Intake
from careforall.payments.paying import Paying
from careforall.payments.refunding import Refunding
from careforall.payments.service import PaymentsService
from careforall.payments.settings import PaymentsSettings, split
from careforall.payments.signatures import GenericScheme, TimedScheme
from careforall.payments.webhooks import Scheme, Webhooks


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("PaymentsSettings", resources.settings)
    gateways = _gateways(resources, settings)
    service = _service(resources, settings, gateways)
    limit = pages.PayLimit(resources.limiter, settings.pays_per_minute)
    pay_pages = Router(
        "/",
        route_handlers=list(pages.PAGES),
        dependencies={"pay_limit": Provide(lambda: limit, sync_to_thread=False)},
    )
    return Parts(
        service=service,
        routes=api.ROUTES,
        pages=(pay_pages,),
        internal=api.INTERNAL,
        hot=api.hot_routes(service),
        consumers=consumers(service),
        jobs=(
            Job(name="payments-expire", every=10, work=service.expire_intents),
            Job(name="payments-attempts", every=2, work=service.paying.settle_attempts),
            Job(name="payments-refunds", every=2, work=service.refunding.settle_refunds),
        ),
        snapshot=service.snapshot,
        stop=(service.webhooks.drain, gateways.close),
    )


def _service(resources: Resources, settings: PaymentsSettings, gateways: Gateways) -> PaymentsService:
    intake = Intake(max_attempts=settings.max_attempts)
    database = resources.database
    return PaymentsService(
        database,
        settings,
        intake=intake,
        webhooks=Webhooks(
            database,
            resources.cache,
            intake,
            schemes=_schemes(settings),
            max_batch=settings.webhook_batch,
            flights=settings.webhook_flights,
        ),
        paying=Paying(database, gateways, public_url=settings.public_url, max_attempts=settings.max_attempts),
        refunding=Refunding(database, gateways, max_attempts=settings.max_attempts),
    )


def _schemes(settings: PaymentsSettings) -> dict[str, Scheme]:
    """Return how each gateway that is set up here signs."""
    simulator = split(settings.simulator_secrets) or (secrets.derive(settings.secret_key, "simulator webhooks").hex(),)
    schemes: dict[str, Scheme] = {
        GENERIC: GenericScheme(split(settings.webhook_secrets)),
        "simulator": TimedScheme(b"simulator-signature", simulator),
    }
    if settings.paypal_client_id:
        certificates = Certificates(
            roots(settings.paypal_trust_anchor),
            live=settings.paypal_live,
            loopback=settings.paypal_certificate_host,
            seconds=settings.gateway_seconds,
        )
        schemes["paypal"] = PayPalScheme(split(settings.paypal_webhook_ids), certificates)
    return schemes


def _gateways(resources: Resources, settings: PaymentsSettings) -> Gateways:
    limits = Limits(tries=settings.gateway_tries, seconds=settings.gateway_seconds, at_once=settings.gateway_calls)
    gateways: dict[str, Gateway] = {
        GENERIC: Generic(),
        "simulator": Simulator(settings.simulator_base, settings.simulator_key, seconds=settings.gateway_seconds),
    }
    if settings.paypal_client_id:
        gateways["paypal"] = PayPal(
            settings.paypal_url,
            settings.paypal_client_id,
            settings.paypal_client_secret,
            live=settings.paypal_live,
            seconds=settings.gateway_seconds,
        )
    return Gateways(gateways, resources.tracing, limits)


SERVICE = Definition(name="payments", package=__package__ or "", settings=PaymentsSettings, build=build, stream=streams.PAYMENTS)
