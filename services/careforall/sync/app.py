"""Composition root of the sync service."""

from collections.abc import Mapping
from functools import partial
from typing import cast

import msgspec
from litestar import Router
from litestar.di import Provide

from careforall.contracts import streams
from careforall.kit.jobs import Job
from careforall.kit.outbound import Outbound
from careforall.kit.service import Definition, Parts, Resources
from careforall.sync import api, api_events, api_webhooks
from careforall.sync.carrying import Carrying, Pacing
from careforall.sync.consumers import consumers
from careforall.sync.delivering import Delivering
from careforall.sync.endpoints import Endpoints
from careforall.sync.gateways.base import Target
from careforall.sync.inbound import Channel, Inbound
from careforall.sync.publishing import Publishing
from careforall.sync.sending import Manner, Sending
from careforall.sync.service import SyncService
from careforall.sync.settings import SyncSettings

_CARRY_EVERY = 0.2
_ADOPT_EVERY = 60.0
_MEASURE_EVERY = 15.0
_REPLAY_EVERY = 0.5
_END_EVERY = 5.0
_FORGET_EVERY = 3600.0


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("SyncSettings", resources.settings)
    targets = _targets(settings)
    service = SyncService(resources.database, targets=list(targets), tries=settings.delivery_retries)
    inbound = Inbound(resources.database, service, _channels(settings))
    hooks = _hooks(resources, settings)
    carrying = {
        name: Carrying(resources.database, target, resources.tracing, _pacing(settings)) for name, target in targets.items()
    }
    return Parts(
        service=service,
        routes=(_router(inbound, hooks),),
        consumers=consumers(service, hooks.publishing),
        jobs=(
            *_jobs(carrying),
            Job(name="sync-adopt", every=_ADOPT_EVERY, work=service.adopt),
            *_hook_jobs(hooks),
        ),
        queues=("deliveries",),
        notes=partial(_notes, settings, carrying),
        snapshot=service.snapshot,
        stop=(*(target.close for target in targets.values()), hooks.outbound.close),
    )


class _Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What tells integrators."""

    outbound: Outbound
    publishing: Publishing
    endpoints: Endpoints
    delivering: Delivering
    sending: Sending


def _hooks(resources: Resources, settings: SyncSettings) -> _Hooks:
    database = resources.database
    outbound = Outbound(seconds=settings.webhook_seconds, allow_private=settings.webhook_allow_private)
    endpoints = Endpoints(database, outbound, secret_key=settings.secret_key)
    manner = Manner(at_once=settings.webhook_posts, pauses=settings.pauses)
    return _Hooks(
        outbound=outbound,
        publishing=Publishing(database),
        endpoints=endpoints,
        delivering=Delivering(database, endpoints),
        sending=Sending(database, endpoints, outbound, resources.tracing, manner),
    )


def _hook_jobs(hooks: _Hooks) -> tuple[Job, ...]:
    return (
        Job(name="webhooks-send", every=_CARRY_EVERY, work=hooks.sending.run, exclusive=False),
        Job(name="webhooks-measure", every=_MEASURE_EVERY, work=hooks.sending.measure, exclusive=False),
        Job(name="webhooks-replay", every=_REPLAY_EVERY, work=hooks.delivering.go_on_replaying),
        Job(name="webhooks-end", every=_END_EVERY, work=hooks.endpoints.end_waiting),
        Job(name="webhooks-forget", every=_FORGET_EVERY, work=hooks.publishing.forget),
    )


def _router(inbound: Inbound, hooks: _Hooks) -> Router:
    given = {"inbound": inbound, "publishing": hooks.publishing, "endpoints": hooks.endpoints, "delivering": hooks.delivering}
    dependencies = {name: _provided(one) for name, one in given.items()}
    handlers = [*api.ROUTES, *api_events.ROUTES, *api_webhooks.ROUTES]
    return Router("/", route_handlers=handlers, dependencies=dependencies)


def _provided(one: object) -> Provide:
    """Return a dependency that is always this one; the framework copies whatever else but a function it is given."""
    return Provide(lambda: one, sync_to_thread=False)


def _targets(settings: SyncSettings) -> dict[str, Target]:
    """Return where customers are mirrored; what is not set up is left out, and Stripe costs no import."""
    if not settings.stripe_secret_key:
        return {}
    from careforall.sync.gateways.stripe import StripeTarget  # noqa: PLC0415 - half a second of imports, only where it is set up

    base = settings.stripe_base
    return {"stripe": StripeTarget(settings.stripe_secret_key, base=base, seconds=settings.delivery_seconds)}


def _channels(settings: SyncSettings) -> dict[str, Channel]:
    if not settings.stripe_secret_key or not settings.webhook_secrets:
        return {}
    from careforall.kit.stripe.signature import StripeScheme  # noqa: PLC0415 - as above
    from careforall.sync.gateways.stripe import read_event  # noqa: PLC0415 - as above

    read = partial(read_event, livemode=settings.stripe_livemode)
    return {"stripe": Channel(scheme=StripeScheme(settings.webhook_secrets), read=read)}


def _pacing(settings: SyncSettings) -> Pacing:
    return Pacing(
        at_once=settings.delivery_calls,
        seconds=settings.delivery_seconds,
        first_pause=settings.delivery_retry_seconds,
        breaker_pause=settings.delivery_pause_seconds,
    )


def _jobs(carrying: Mapping[str, Carrying]) -> tuple[Job, ...]:
    """Each target is a job of its own: none waits for another."""
    return tuple(
        job
        for name, one in carrying.items()
        for job in (
            Job(name=f"sync-{name}", every=_CARRY_EVERY, work=one.run, exclusive=False),
            Job(name=f"sync-{name}-measure", every=_MEASURE_EVERY, work=one.measure, exclusive=False),
        )
    )


def _notes(settings: SyncSettings, carrying: Mapping[str, Carrying]) -> dict[str, str]:
    """Return in plain words where customers are mirrored."""
    if not settings.stripe_secret_key:
        return {"stripe": "off: CAREFORALL_STRIPE_SECRET_KEY is not set; customers wait until it is"}
    inbound = (
        "" if settings.webhook_secrets else "; changes there are not heard: CAREFORALL_SYNC_STRIPE_WEBHOOK_SECRETS is not set"
    )
    return {"stripe": carrying["stripe"].state + inbound}


SERVICE = Definition(name="sync", package=__package__ or "", settings=SyncSettings, build=build, stream=streams.SYNC)
