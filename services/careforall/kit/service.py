"""What a service is made of: the composition root of each service returns `Parts`, built from the `Resources` it is given."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from careforall.kit.bus import Bus, Stream
from careforall.kit.cache import Cache
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection, Database
from careforall.kit.http.hot import HotRoute
from careforall.kit.http.identity import ServiceTokens, Verifier
from careforall.kit.http.limits import Limiter
from careforall.kit.http.uploads import Upload
from careforall.kit.jobs import Job
from careforall.kit.outbox import Outgoing
from careforall.kit.settings import Settings
from careforall.kit.tracing import Tracing

Ask = Callable[[str, bytes], Awaitable[bytes]]
Snapshot = Callable[[Connection, Any, int], Awaitable[list[Outgoing]]]
"""Returns snapshot events of at most n aggregates whose id is above the given one, in id order."""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a service may hold on to; opened once per process."""

    settings: Settings
    database: Database
    bus: Bus
    cache: Cache
    limiter: Limiter
    tracing: Tracing
    verifier: Verifier
    tokens: ServiceTokens
    ask: Ask
    """Asks another service now: (subject, payload) to answer; fails fast with BrokerUnavailable."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a service contributes to the process it runs in."""

    service: object
    """Injected into handlers as `service`."""
    routes: tuple[Any, ...] = ()
    """Litestar handlers under /api/v1."""
    pages: tuple[Any, ...] = ()
    """Litestar handlers with paths of their own, such as /pay."""
    internal: tuple[Any, ...] = ()
    """Handlers of the internal listener, under /api/v1, behind service tokens."""
    hot: tuple[HotRoute, ...] = ()
    uploads: tuple[Upload, ...] = ()
    """Public routes that take a file of staff, larger than other bodies."""
    consumers: tuple[Consumer, ...] = ()
    jobs: tuple[Job, ...] = ()
    queries: Mapping[str, Callable[[bytes], Awaitable[bytes]]] = {}
    """Request subjects this service answers."""
    listeners: Mapping[str, Callable[[bytes], Awaitable[None]]] = {}
    """Core subjects every API process hears (hints)."""
    views: Mapping[str, Callable[[], Awaitable[object]]] = {}
    """Materialised views and how to refresh them, for `refresh-view`."""
    prewarm: tuple[Callable[[], Awaitable[object]], ...] = ()
    """What `careforall prewarm` runs before a rush."""
    queues: tuple[str, ...] = ()
    """Tables with the columns of an outbox whose rows leave by another way; operations endpoints show them too."""
    notes: Callable[[], Mapping[str, str]] | None = None
    """What the health of the service says besides, by subject, such as what is switched off and why."""
    snapshot: Snapshot | None = None
    start: tuple[Callable[[], Awaitable[None]], ...] = ()
    closing: tuple[Callable[[], Awaitable[None]], ...] = ()
    """Ends what would keep connections open for ever (streams), before the listeners wait for the rest."""
    stop: tuple[Callable[[], Awaitable[None]], ...] = ()


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A service as the command line knows it."""

    name: str
    package: str
    settings: type[Settings]
    build: Callable[[Resources], Parts]
    stream: Stream | None = None
    """The stream of the service's own events; None where it publishes nothing."""
