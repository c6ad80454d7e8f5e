"""A totals service in this process, on real servers: a database of its own, the shared broker and Valkey under own names."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import httpx2
import pytest
from litestar.exceptions import LitestarDeprecationWarning
from msgspec import Struct

from careforall.kit import json, migrate
from careforall.kit.bus import BrokerUnavailable, Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database, PoolSettings
from careforall.kit.health import Health
from careforall.kit.http.app import Mounted, public_app
from careforall.kit.http.edge import Edge
from careforall.kit.http.identity import Principal, ServiceTokens, Verifier
from careforall.kit.http.limits import Limiter
from careforall.kit.ids import new_id
from careforall.kit.operations import Operations
from careforall.kit.service import Parts, Resources
from careforall.kit.settings import RateLimits
from careforall.kit.traces import TraceStore
from careforall.kit.tracing import Tracing
from careforall.totals import repository
from careforall.totals.app import SERVICE, build
from careforall.totals.domain import Gift, Totals
from careforall.totals.service import TotalsService
from careforall.totals.settings import TotalsSettings
from careforall_testing.databases import Databases
from careforall_testing.servers import ServerUrls


class Running:
    """The service with the means to feed it and to look behind it."""

    def __init__(self, resources: Resources, parts: Parts) -> None:
        self.resources = resources
        self.database = resources.database
        self.cache = resources.cache
        self.parts = parts
        assert isinstance(parts.service, TotalsService)
        self.service = parts.service

    async def fold(self, gifts: Sequence[Gift]) -> None:
        """Fold a batch as the consumer does."""
        await self.database.run(lambda connection: self.service.fold(connection, gifts))

    async def counters(self, campaign: UUID) -> Totals:
        """The counters now."""
        [totals] = await repository.counters(self.database, [campaign])
        return totals

    async def recount(self, campaign: UUID) -> Totals:
        """A recount of the base."""
        [totals] = await repository.recount(self.database, [campaign])
        return totals

    async def view(self, campaign: UUID) -> Totals | None:
        """What the view holds."""
        rows = await repository.from_view(self.database, [campaign])
        return rows[0][0] if rows else None

    async def hear(self, totals: Sequence[Totals]) -> None:
        """Hear a hint, as after a commit in another process."""
        for hear in self.parts.listeners.values():
            await hear(json.encode(totals))

    def edge(self, *, hot: bool) -> Edge:
        """The public listener, with or without the thin handlers."""
        return edge(self.resources, self.parts, hot=hot)

    def client(self, *, hot: bool = True) -> httpx2.AsyncClient:
        """A client of the public listener."""
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.edge(hot=hot)), base_url="http://totals.example.org")


class Arena(Struct, frozen=True, kw_only=True):
    """Opens services."""

    databases: Databases

    @asynccontextmanager
    async def open(
        self,
        urls: ServerUrls,
        *,
        database: str = "",
        instance: str = "",
        started: bool = False,
        **options: object,
    ) -> AsyncIterator[Running]:
        """A service on a database of its own, or on the given one."""
        async with AsyncExitStack() as stack:
            url = database or await stack.enter_async_context(self.databases.clone(await self._template()))
            resources = await _resources(stack, urls, url, instance or f"test-{secrets.token_hex(4)}", options)
            running = Running(resources, build(resources))
            for subject, hear in running.parts.listeners.items():
                await resources.bus.listen(subject, _hearing(hear))
            if started:
                for stop in running.parts.stop:
                    stack.push_async_callback(stop)
                for start in running.parts.start:
                    await start()
            yield running

    async def _template(self) -> str:
        async def prepare(url: str) -> None:
            await migrate.migrate(url, migrate.load(SERVICE.package))

        return await self.databases.template("totals", prepare)


def edge(resources: Resources, parts: Parts, *, hot: bool) -> Edge:
    """The public listener of a process that serves totals alone."""
    database = resources.database
    mounted = Mounted(name="totals", parts=parts, operations=Operations("totals", database), tokens=resources.tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)  # said of the kit's handlers
        app = public_app(
            [mounted],
            health=Health({"totals": database}, resources.bus, resources.cache),
            verifier=resources.verifier,
            limiter=resources.limiter,
            traces=TraceStore(),
            cors_origins="",
            development=True,
        )
    return Edge(
        app,
        hot=list(parts.hot) if hot else [],
        limiter=resources.limiter,
        rates=RateLimits(everyone=10**6, per_address=10**6, per_key=10**6),
        verifier=resources.verifier,
        tracing=resources.tracing,
    )


async def _resources(
    stack: AsyncExitStack, urls: ServerUrls, database_url: str, instance: str, options: dict[str, object]
) -> Resources:
    settings = TotalsSettings(
        postgres_url=urls.postgres,
        database_url=database_url,
        nats_url=urls.nats,
        redis_url=urls.redis,
        secret_key=secrets.token_hex(32),
        environment="development",
        instance=instance,
        **options,  # type: ignore[arg-type]  # a test names only fields that exist
    )
    database = Database(database_url, name="totals", settings=PoolSettings(max_size=4))
    await database.open()
    stack.push_async_callback(database.close)
    bus = Bus(urls.nats, name="totals-test")
    await bus.open()
    stack.push_async_callback(bus.close)
    cache = Cache(urls.redis, prefix=f"{instance}:", pause=0.2)
    stack.push_async_callback(cache.close)
    limiter = Limiter(urls.redis, prefix=f"{instance}:limit", deadline=30.0)
    stack.push_async_callback(limiter.close)
    return Resources(
        settings=settings,
        database=database,
        bus=bus,
        cache=cache,
        limiter=limiter,
        tracing=Tracing("careforall-totals", otlp_url="", roots_per_second=0),
        verifier=Verifier(_nothing, _nobody),
        tokens=ServiceTokens(secrets.token_bytes(32), "totals"),
        ask=_away,
    )


def _hearing(hear: Callable[[bytes], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def heard(message: object) -> None:
        await hear(message.data)  # type: ignore[attr-defined]  # the broker's message

    return heard


async def _nothing() -> bytes:
    return b'{"keys": []}'


async def _nobody(_: str) -> Principal | None:
    return None


async def _away(_: str, __: bytes) -> bytes:
    raise BrokerUnavailable


def make_gift(campaign: UUID, donor: str = "donor-1", amount: str = "10.00", **changes: object) -> Gift:
    """A completed gift of version 2."""
    facts: dict[str, object] = {
        "donation_id": new_id(),
        "campaign_id": campaign,
        "donor_key": donor,
        "currency": "EUR",
        "amount": Decimal(amount),
        "refunded_amount": Decimal(0),
        "anonymous": False,
        "version": 2,
        "completed_at": datetime.now(UTC),
    }
    return Gift(**{**facts, **changes})  # type: ignore[arg-type]  # a test names only fields that exist


@pytest.fixture(scope="session")
def arena(databases: Databases) -> Arena:
    """Opens services with options of one's own."""
    return Arena(databases=databases)


@pytest.fixture(scope="module")
async def running(arena: Arena, servers: ServerUrls) -> AsyncIterator[Running]:
    """One service for a module; tests keep apart by their own campaigns."""
    async with arena.open(servers) as opened:
        yield opened


@pytest.fixture(scope="session")
def gift() -> Callable[..., Gift]:
    """Makes gifts."""
    return make_gift
