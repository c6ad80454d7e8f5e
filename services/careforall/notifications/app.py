"""Composition root of the notifications service."""

from collections.abc import Callable
from typing import cast

import msgspec
from litestar import Router
from litestar.di import Provide

from careforall.contracts import streams
from careforall.kit import secrets
from careforall.kit.bus import Bus
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.notifications import api
from careforall.notifications.channels.base import Carrier
from careforall.notifications.channels.in_app import InApp
from careforall.notifications.channels.mailbox import Mailbox
from careforall.notifications.channels.smtp import Smtp
from careforall.notifications.channels.webhook import WebhookCarrier
from careforall.notifications.consumers import consumers
from careforall.notifications.drafting import Setting
from careforall.notifications.live import Streams
from careforall.notifications.mailbox import pages
from careforall.notifications.rendering import Renderer
from careforall.notifications.sender import Sender
from careforall.notifications.service import NotificationsService
from careforall.notifications.settings import NotificationsSettings

SEND_EVERY = 0.2


def build(resources: Resources) -> Parts:
    """Build the service out of its resources."""
    settings = cast("NotificationsSettings", resources.settings)
    renderer = Renderer(public_url=settings.public_url)
    setting = Setting(
        public_url=settings.public_url,
        webhook_url=settings.webhook_url,
        default_language=settings.default_language,
        pledge_mails_per_hour=settings.pledge_mails_per_hour,
    )
    email = _email(resources, settings)
    service = NotificationsService(
        resources.database,
        renderer,
        setting,
        allow_private=settings.webhook_allow_private,
        direct=email if isinstance(email, Mailbox) else None,
    )
    live = Streams(resources.verifier.ended)
    hint_subject = f"hint.{settings.instance}.notifications.in_app"
    carriers = (email, *_other_carriers(resources, settings, _hinting(resources.bus, hint_subject)))
    return Parts(
        service=service,
        routes=(_router(live),),
        pages=pages() if settings.environment == "development" else (),
        internal=api.INTERNAL,
        consumers=consumers(service),
        jobs=tuple(
            _job(Sender(resources.database, carrier, renderer, max_retries=settings.max_retries), carrier) for carrier in carriers
        ),
        listeners={hint_subject: live.hear},
        closing=(live.close,),
    )


def _router(live: Streams) -> Router:
    return Router("/", route_handlers=list(api.ROUTES), dependencies={"streams": Provide(lambda: live, sync_to_thread=False)})


def _email(resources: Resources, settings: NotificationsSettings) -> Smtp | Mailbox:
    if settings.email_provider == "smtp":
        return Smtp(settings)
    return Mailbox(resources.database, sender=settings.email_from, batch=settings.send_batch)


def _other_carriers(
    resources: Resources, settings: NotificationsSettings, hint: Callable[[set[str]], None]
) -> tuple[Carrier, ...]:
    secret: str | bytes = settings.webhook_secret or secrets.derive(settings.secret_key, "notification webhooks")
    return (
        InApp(resources.database, batch=settings.send_batch, hint=hint),
        WebhookCarrier(secret=secret, allow_private=settings.webhook_allow_private),
    )


def _job(sender: Sender, carrier: Carrier) -> Job:
    """Each channel is a job of its own: none waits for another's provider."""
    return Job(name=f"notifications-send-{carrier.channel.lower()}", every=SEND_EVERY, work=sender.run, exclusive=False)


def _hinting(bus: Bus, subject: str) -> Callable[[set[str]], None]:
    return lambda users: bus.hint(subject, msgspec.json.encode(sorted(users)))


SERVICE = Definition(
    name="notifications",
    package="careforall.notifications",
    settings=NotificationsSettings,
    build=build,
    stream=streams.NOTIFICATIONS,
)
