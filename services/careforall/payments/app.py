"""Composition root of the payments service."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import msgspec

from careforall.contracts import streams
from careforall.contracts.payments import AUTHORIZE, CANCEL, CAPTURE, REFUND, VOID
from careforall.kit import secrets
from careforall.kit.db import Database
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.kit.settings import split
from careforall.kit.signatures import GenericScheme, TimedScheme
from careforall.payments import api, api_alarms, api_ledger, api_reconciliation, pages
from careforall.payments.alarms import Alarms
from careforall.payments.asking import Asking
from careforall.payments.bookkeeping import Bookkeeping
from careforall.payments.completing import Completing
from careforall.payments.consumers import consumers
from careforall.payments.domain import GENERIC
from careforall.payments.gateways import generic, paypal_events, simulator
from careforall.payments.gateways.base import Gateway
from careforall.payments.gateways.paypal import PayPal
from careforall.payments.gateways.paypal_certificates import Certificates, roots
from careforall.payments.gateways.paypal_signatures import PayPalScheme
from careforall.payments.gateways.registry import Gateways, Limits
from careforall.payments.gateways.stripe_facts import StripeFacts
from careforall.payments.gateways.stripe_money import places
from careforall.payments.intake import Intake
from careforall.payments.misfits import Misfits
from careforall.payments.opening import Openings
from careforall.payments.paying import Paying
from careforall.payments.reconciling import Pacing, Reconciling
from careforall.payments.recording import Recorder
from careforall.payments.refunding import Refunding
from careforall.payments.service import PaymentsService
from careforall.payments.settings import PaymentsSettings
from careforall.payments.webhooks import Channel, Webhooks


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """A company that moves money: how it is asked, and how it tells."""

    gateway: Gateway
    channel: Channel


def companies(settings: PaymentsSettings) -> dict[str, Company]:
    """Return whom this process deals with, by name; what is not set up is left out, and Stripe costs no import."""
    makers = {"simulator": _simulator, "stripe": _stripe, "paypal": _paypal}
    return {GENERIC: _generic(settings), **{name: makers[name](settings) for name in settings.askable}}


def notes(settings: PaymentsSettings) -> dict[str, str]:
    """Return what stands in the way of payers who name no gateway."""
    if settings.default_gateway in {GENERIC, *settings.askable}:
        return {}
    return {settings.default_gateway: "is not set up: what names no gateway cannot be paid (CAREFORALL_DEFAULT_GATEWAY)"}


_ROLL_UP_SECONDS = 300.0
_HOURLY = 3600.0


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("PaymentsSettings", resources.settings)
    known = companies(settings)
    limits = Limits(tries=settings.gateway_tries, seconds=settings.gateway_seconds, at_once=settings.gateway_calls)
    gateways = Gateways({name: company.gateway for name, company in known.items()}, resources.tracing, limits)
    service = _service(resources, settings, gateways, {name: company.channel for name, company in known.items()})
    return Parts(
        service=service,
        routes=(*api.ROUTES, *api_ledger.ROUTES, *api_alarms.ROUTES, *api_reconciliation.ROUTES),
        pages=(pages.router(pages.PayLimit(resources.limiter, settings.pays_per_minute)),),
        internal=api.INTERNAL,
        hot=api.hot_routes(service),
        consumers=consumers(service),
        jobs=(
            Job(name="payments-expire", every=10, work=service.expire_intents),
            Job(name="payments-attempts", every=2, work=service.paying.settle_attempts),
            Job(name="payments-refunds", every=2, work=service.refunding.settle_refunds),
            Job(name="payments-misfits", every=2, work=service.misfits.look),
            Job(name="payments-reconciliation", every=3, work=service.reconciling.work),
            Job(name="payments-completion", every=15, work=service.completing.complete),
            Job(name="payments-divergence", every=15, work=service.reconciling.measure, exclusive=False),
            Job(name="payments-steps", every=_HOURLY, work=service.steps.forget),
            Job(name="payments-ledger", every=_ROLL_UP_SECONDS, work=service.bookkeeping.roll_up),
        ),
        queries={
            AUTHORIZE: service.steps.authorize,
            CAPTURE: service.steps.capture,
            CANCEL: service.steps.cancel,
            VOID: service.steps.cancel,
            REFUND: service.steps.refund,
        },
        snapshot=service.snapshot,
        notes=partial(notes, settings),
        stop=(service.webhooks.drain, service.steps.drain, service.paying.drain, gateways.close),
    )


def _service(
    resources: Resources, settings: PaymentsSettings, gateways: Gateways, channels: Mapping[str, Channel]
) -> PaymentsService:
    intake = Intake(max_attempts=settings.max_attempts)
    database = resources.database
    asking = Asking(database, gateways, max_attempts=settings.max_attempts)
    reconciling = Reconciling(database, gateways, asking, _pacing(settings))
    refunding = Refunding(database, gateways, max_attempts=settings.max_attempts)
    return PaymentsService(
        database,
        settings,
        ask=resources.ask,
        live=gateways.live,
        intake=intake,
        webhooks=Webhooks(
            database,
            resources.cache,
            intake,
            channels=channels,
            max_batch=settings.webhook_batch,
            flights=settings.webhook_flights,
        ),
        paying=_paying(database, settings, gateways, asking),
        refunding=refunding,
        reconciling=reconciling,
        completing=Completing(
            database,
            reconciling,
            refunding,
            resources.ask,
            soon=settings.completion_seconds,
            late=settings.intent_hours * 3600,
        ),
        misfits=Misfits(database, reconciling, asking, per_second=settings.reconcile_calls_per_second),
        bookkeeping=Bookkeeping(database),
        alarms=Alarms(database),
    )


def _paying(database: Database, settings: PaymentsSettings, gateways: Gateways, asking: Asking) -> Paying:
    size, flights = settings.webhook_batch, settings.webhook_flights
    openings = Openings(
        database,
        order=split(settings.gateway_order),
        call_seconds=gateways.limits.longest,
        max_batch=size,
        flights=flights,
    )
    recorder = Recorder(database, max_attempts=settings.max_attempts, max_batch=size, flights=flights)
    return Paying(database, gateways, asking, openings, recorder, public_url=settings.public_url)


def _pacing(settings: PaymentsSettings) -> Pacing:
    return Pacing(
        on=settings.reconcile,
        every=settings.reconcile_seconds,
        days=settings.reconcile_days,
        per_second=settings.reconcile_calls_per_second,
        most=settings.reconcile_calls,
    )


def _generic(settings: PaymentsSettings) -> Company:
    scheme = GenericScheme(split(settings.webhook_secrets))
    return Company(gateway=generic.Generic(), channel=Channel(scheme=scheme, read=generic.read_event))


def _simulator(settings: PaymentsSettings) -> Company:
    live = split(settings.simulator_secrets) or (secrets.derive(settings.secret_key, "simulator webhooks").hex(),)
    return Company(
        gateway=simulator.Simulator(settings.simulator_base, settings.simulator_key, seconds=settings.gateway_seconds),
        channel=Channel(scheme=TimedScheme(b"simulator-signature", live), read=simulator.read_event),
    )


def _stripe(settings: PaymentsSettings) -> Company:
    from careforall.kit.stripe.signature import StripeScheme  # noqa: PLC0415 - as above
    from careforall.payments.gateways.stripe import Stripe  # noqa: PLC0415 - half a second of imports, only where it is set up

    livemode = settings.stripe_livemode
    return Company(
        gateway=Stripe(
            settings.stripe_secret_key, livemode=livemode, base=settings.stripe_base, seconds=settings.gateway_seconds
        ),
        channel=Channel(
            scheme=StripeScheme(split(settings.stripe_webhook_secrets)),
            read=StripeFacts(livemode=livemode, places=places).read_event,
        ),
    )


def _paypal(settings: PaymentsSettings) -> Company:
    certificates = Certificates(
        roots(settings.paypal_trust_anchor),
        live=settings.paypal_live,
        loopback=settings.paypal_certificate_host,
        seconds=settings.gateway_seconds,
    )
    return Company(
        gateway=PayPal(
            settings.paypal_url,
            settings.paypal_client_id,
            settings.paypal_client_secret,
            live=settings.paypal_live,
            seconds=settings.gateway_seconds,
        ),
        channel=Channel(scheme=PayPalScheme(split(settings.paypal_webhook_ids), certificates), read=paypal_events.read_event),
    )


SERVICE = Definition(name="payments", package=__package__ or "", settings=PaymentsSettings, build=build, stream=streams.PAYMENTS)
