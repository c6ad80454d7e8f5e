"""Runs any set of services in one process: opens their resources once, serves their listeners, runs their background work.

A pod runs one service, a laptop all of them; the roles are api (listeners), relay, and consumers (with timed jobs).
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import httpx2
import msgspec
import structlog
from granian.server.embed import Server
from litestar import Litestar
from nats.aio.msg import Msg

from careforall.kit import inbox, migrate, secrets, tasks
from careforall.kit.bus import BrokerUnavailable, Bus, Stream
from careforall.kit.cache import Cache
from careforall.kit.consumer import Runner
from careforall.kit.courtesy import Courtesy
from careforall.kit.db import Database, PoolSettings
from careforall.kit.degraded import DegradedFlag
from careforall.kit.envelope import decode_envelope
from careforall.kit.errors import PASSING, DatabaseUnavailable, Unavailable
from careforall.kit.health import Health
from careforall.kit.http.app import Mounted, internal_app, public_app
from careforall.kit.http.cors import origins_in
from careforall.kit.http.description import document
from careforall.kit.http.edge import Edge
from careforall.kit.http.identity import Principal, ServiceTokens, Verifier
from careforall.kit.http.limits import Limiter
from careforall.kit.jobs import Scheduler
from careforall.kit.listening import Listener
from careforall.kit.operations import Operations
from careforall.kit.relay import Nudge, Relay
from careforall.kit.retention import retention_job
from careforall.kit.service import Definition, Parts, Resources
from careforall.kit.settings import Settings
from careforall.kit.timelines import Remembered, Timelines
from careforall.kit.traces import TraceStore
from careforall.kit.tracing import Tracing

log = structlog.get_logger(__name__)

ROLES = ("api", "relay", "consumers")
ADVISORIES = "ADVISORIES"
_JWKS = "query.accounts.jwks"
_API_KEY = "query.accounts.api_key"
_REDRIVE_EVERY = 1.0
_PATIENCE = 30.0
"""Seconds in which a command gets its connection."""
_BACKGROUND_PATIENCE = 6.0
"""Seconds in which background work gets one: as long as a statement may take, and less than messages are held."""


@contextlib.asynccontextmanager
async def offline_parts(definition: Definition, settings: Settings) -> AsyncIterator[tuple[Parts, Database]]:
    """Build one service with its database but without serving, for commands that use its parts."""
    process = Process([(definition, settings)], (), ())
    await process.open_databases()
    try:
        yield process.parts[definition.name], process.databases[definition.name]
    finally:
        await process.close()


def _pool(settings: Settings, roles: frozenset[str]) -> PoolSettings:
    """Return the pool of a process with these roles.

    Only whoever answers requests must refuse them within a second. For others a busy machine is no reason to give up: when the
    database comes back they all connect at once, and if none had the time to finish, all would begin again for ever.
    """
    if "api" in roles:
        return PoolSettings(max_size=settings.pool_size)
    patience = _BACKGROUND_PATIENCE if roles else _PATIENCE
    return PoolSettings(max_size=settings.pool_size, acquire_timeout=patience, connect_timeout=patience)


class SchemaBehind(Exception):
    """The database lacks migrations this code needs."""


class Process:
    """The services of one process with everything they share."""

    def __init__(self, services: Sequence[tuple[Definition, Settings]], streams: Sequence[Stream], roles: Sequence[str]) -> None:
        self._services = services
        self._roles = frozenset(roles)
        self._common = services[0][1]
        common = self._common
        self._streams = [_sized(stream, common) for stream in streams]
        name = services[0][0].name if len(services) == 1 else "all"
        self._bus = Bus(common.nats_url, name=f"careforall-{name}", accept_old=common.accept_old_broker)
        self._cache = Cache(common.redis_url, prefix=f"{common.instance}:")
        self._limiter = Limiter(common.redis_url, prefix=f"{common.instance}:limit")
        self._tracing = Tracing(_trace_name(name, self._roles), otlp_url=_otlp(common), roots_per_second=common.traces_per_second)
        self._timelines = Timelines()
        self._remembered = Remembered(self._timelines, self._cache)
        self._flag = DegradedFlag(self._bus)
        self._verifier = Verifier(self._fetch_keys, self._fetch_key_owner)
        self.databases: dict[str, Database] = {}
        self.parts: dict[str, Parts] = {}
        self._health = Health(self.databases, self._bus, self._cache)
        self._runners: list[Runner] = []
        self._traces = TraceStore()
        self._courtesy = Courtesy(self._common.courtesy_seconds)

    async def run(self, listener: Listener) -> None:
        """Serve until SIGTERM or SIGINT, then stop in order: listeners first, then background work, then resources."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        await self._open()
        try:
            await self._work(listener, stopping)
        finally:
            await self.close()

    async def _work(self, listener: Listener, stopping: asyncio.Event) -> None:
        servers = self._servers(listener)
        background = [asyncio.ensure_future(work) for work in self._background()]
        serving = [asyncio.ensure_future(server.serve()) for server in servers]
        for part in self.parts.values():
            for start in part.start:
                await start()
        self._health.started = True
        _calm_collector()
        log.info("ready", services=list(self.parts), roles=sorted(self._roles), port=listener.port)
        stop = asyncio.ensure_future(stopping.wait())
        done, _ = await asyncio.wait({stop, *background, *serving}, return_when=asyncio.FIRST_COMPLETED)
        self._health.draining = True
        if stop in done and "api" in self._roles:
            await asyncio.sleep(self._common.drain_seconds)
        for part in self.parts.values():
            for closing in part.closing:
                await closing()
        for server in servers:
            server.stop()  # type: ignore[no-untyped-call]  # granian's embedded server is untyped here
        await asyncio.wait(serving, timeout=10)
        await tasks.end(background)
        for task in done - {stop}:
            task.result()

    async def _open(self) -> None:
        await self._bus.open()
        self._bus.on_connect(self._declare_streams)
        if self._bus.connected:
            await self._declare_streams()
        await self._remembered.recall()
        await self._flag.look()
        await self.open_databases()
        for part in self.parts.values():
            for subject, answer in part.queries.items():
                await self._bus.answer(self._subject(subject), answer)
            for subject, hear in part.listeners.items():
                await self._bus.listen(subject, _hearing(hear))
        await self._bus.listen("accounts.user_suspended", self._on_suspended)
        await self._health.look()

    async def open_databases(self) -> None:
        """Open the databases and build the services on them."""
        for definition, settings in self._services:
            await self._open_service(definition, settings)

    def describe(self) -> dict[str, Any]:
        """Return the OpenAPI document without opening anything."""
        for definition, settings in self._services:
            self._build(definition, settings, self._database(definition, settings))
        return document(self._public(self._mounted()))

    async def _open_service(self, definition: Definition, settings: Settings) -> None:
        database = self._database(definition, settings)
        await database.open()
        await _refuse_old_schema(database, definition)
        database.on_commit = Nudge(self._bus, settings.instance, definition.name)
        self._build(definition, settings, database)

    def _database(self, definition: Definition, settings: Settings) -> Database:
        pool = _pool(settings, self._roles)
        database = Database(
            settings.dsn(definition.name),
            name=definition.name,
            settings=pool,
            timelines=self._timelines,
            tracing=self._tracing,
        )
        database.doubted = lambda: self._flag.active
        return database

    def _build(self, definition: Definition, settings: Settings, database: Database) -> None:
        self.databases[definition.name] = database
        parts = self.parts[definition.name] = definition.build(
            Resources(
                settings=settings,
                database=database,
                bus=self._bus,
                cache=self._cache,
                limiter=self._limiter,
                tracing=self._tracing,
                verifier=self._verifier,
                tokens=ServiceTokens(secrets.derive(settings.secret_key, "service tokens"), definition.name),
                ask=self._ask,
            )
        )
        if parts.notes is not None:
            self._health.notes[definition.name] = parts.notes

    async def close(self) -> None:
        """Stop the services' own work and close every resource."""
        for part in self.parts.values():
            for stop in part.stop:
                await stop()
        await asyncio.gather(*(database.close() for database in self.databases.values()))
        await self._remembered.close()
        await self._bus.close()
        await self._cache.close()
        await self._limiter.close()
        await asyncio.to_thread(self._tracing.close)

    def _mounted(self) -> list[Mounted]:
        return [
            Mounted(
                name=definition.name,
                parts=self.parts[definition.name] if "api" in self._roles else Parts(service=None),
                operations=Operations(
                    definition.name,
                    self.databases[definition.name],
                    publishes=definition.stream is not None,
                    queues=self.parts[definition.name].queues,
                ),
                tokens=ServiceTokens(secrets.derive(settings.secret_key, "service tokens"), definition.name),
            )
            for definition, settings in self._services
        ]

    def _public(self, services: list[Mounted]) -> Litestar:
        return public_app(
            services,
            health=self._health,
            verifier=self._verifier,
            limiter=self._limiter,
            traces=self._traces,
            cors_origins=self._common.cors_origins,
            development=self._common.environment == "development",
        )

    def _servers(self, listener: Listener) -> list[Server]:
        services, common = self._mounted(), self._common
        edge = Edge(
            self._public(services),
            hot=[route for service in services for route in service.parts.hot] if common.hot_paths else [],
            limiter=self._limiter,
            rates=common.limits,
            verifier=self._verifier,
            tracing=self._tracing,
            trusted_proxies=common.trusted_proxies,
            flag=self._flag,
            uploads=[upload for service in services for upload in service.parts.uploads],
            origins=origins_in(common.cors_origins),
        )
        found = [listener.public(edge)]
        if "api" in self._roles and listener.internal_port:
            inside = internal_app(services, health=self._health, verifier=self._verifier, traces=self._traces)
            found.append(listener.internal(inside))
        return found

    def _background(self) -> list[Awaitable[None]]:
        work: list[Awaitable[None]] = [self._health.run(), self._flag.run()]
        for definition, settings in self._services:
            name, database = definition.name, self.databases[definition.name]
            if "relay" in self._roles and definition.stream is not None:
                stream = definition.stream.name
                work.append(self._relay(name, database, stream, settings).run())
            if "consumers" in self._roles:
                work += self._consuming(name, database)
        return work

    def _relay(self, name: str, database: Database, stream: str, settings: Settings) -> Relay:
        return Relay(
            name,
            database,
            self._bus,
            self._tracing,
            stream=stream,
            instance=settings.instance,
            resting=lambda: self._flag.active,
        )

    def _consuming(self, name: str, database: Database) -> list[Awaitable[None]]:
        part = self.parts[name]
        runners = [Runner(one, database, self._bus, self._tracing, courtesy=self._courtesy) for one in part.consumers]
        self._runners += runners
        return [
            *(runner.run() for runner in runners),
            *(runner.hear_advisories(ADVISORIES) for runner in runners),
            _redrive(database, runners),
            Scheduler(
                database,
                (*part.jobs, retention_job(name, database, [c.name for c in part.consumers])),
                resting=lambda: self._flag.active,
            ).run(),
        ]

    async def _declare_streams(self) -> None:
        """Declare the streams; where the broker does not answer in time, whoever needs one has it made."""
        try:
            await self._bus.ensure_streams(self._streams)
        except (TimeoutError, BrokerUnavailable) as error:
            log.warning("streams not declared", error=repr(error))

    def _subject(self, name: str) -> str:
        return f"{name}.{self._common.instance}"

    async def _ask(self, subject: str, payload: bytes) -> bytes:
        """Ask a service: in this process where it is here, over the broker otherwise."""
        for part in self.parts.values():
            if subject in part.queries:
                return await part.queries[subject](payload)
        return await self._bus.request(self._subject(subject), payload)

    async def _fetch_keys(self) -> bytes:
        try:
            return await self._ask(_JWKS, b"")
        except BrokerUnavailable:
            async with httpx2.AsyncClient(timeout=2) as client:
                try:
                    return (await client.get(f"{self._common.accounts_url or self._common.public_url}/api/v1/auth/jwks")).content
                except httpx2.HTTPError as error:
                    raise Unavailable("Signing keys cannot be read.") from error

    async def _fetch_key_owner(self, key: str) -> Principal | None:
        answer = await self._ask(_API_KEY, key.encode())
        return msgspec.json.decode(answer, type=Principal | None)

    async def _on_suspended(self, message: Msg) -> None:
        envelope = decode_envelope(message.data)
        self._verifier.revoke(envelope.aggregate_id, envelope.occurred_at.timestamp())


async def _refuse_old_schema(database: Database, definition: Definition) -> None:
    """Refuse to start on a schema older than the code; a database that is away is met later, by 503s."""
    try:
        async with database.snapshot() as connection:
            standing = await migrate.standing(connection, migrate.load(definition.package))
    except DatabaseUnavailable:
        log.warning("database away at start", service=definition.name)
        return
    if missing := standing.pending:
        raise SchemaBehind(f"{definition.name}: {len(missing)} migrations are missing ({missing[0]} ...): run careforall migrate")
    if standing.unknown:
        log.warning("database is of a newer release than this code", service=definition.name, migrations=standing.unknown)


async def _redrive(database: Database, runners: Sequence[Runner]) -> None:
    """Look, once for all consumers of a service, whether somebody asked for a dead letter to be tried again."""
    while True:
        await asyncio.sleep(_REDRIVE_EVERY)
        with contextlib.suppress(*PASSING, asyncpg.PostgresError):
            wanted = {row["consumer"] for row in await database.fetch(inbox.CONSUMERS_TO_RETRY)}
            for runner in runners:
                if runner.consumer.name in wanted:
                    await runner.redrive()


def _sized(stream: Stream, settings: Settings) -> Stream:
    """Give a stream as many copies and at most as much room as this broker has."""
    room = min(stream.max_bytes, settings.stream_max_bytes)
    return msgspec.structs.replace(stream, replicas=settings.stream_replicas, max_bytes=room)


def _hearing(hear: Callable[[bytes], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
    async def heard(message: Msg) -> None:
        await hear(message.data)

    return heard


def _otlp(settings: Settings) -> str:
    """Where traces go: to the given collector, else on a development instance to our own memory."""
    if settings.otlp_url or settings.environment != "development":
        return settings.otlp_url
    return f"{settings.internal_url}/v1/traces"


def _trace_name(name: str, roles: frozenset[str]) -> str:
    return f"careforall-{name}" if roles == frozenset(ROLES) else f"careforall-{name}-{'-'.join(sorted(roles))}"


def _calm_collector() -> None:
    """What was loaded at start lives for ever: take it out of the collector's sight and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
