"""Read-only connections to the databases of all services, and who hears whose events. Everything here only reads."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase

import asyncpg
import msgspec

_SETTINGS = {
    "application_name": "careforall-verify",
    "default_transaction_read_only": "on",
    "statement_timeout": "600000",
    "jit": "off",
    "timezone": "UTC",
}


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A durable consumer: which service hears which subjects of which stream."""

    consumer: str
    service: str
    stream: str
    filters: tuple[str, ...]

    def hears(self, event_type: str) -> bool:
        """Whether an event type passes the filters."""
        return any(fnmatchcase(event_type, pattern.replace(">", "*")) for pattern in self.filters)


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to verify: databases by service, the stream each service publishes to, and all subscriptions."""

    dsns: Mapping[str, str]
    streams: Mapping[str, str]
    subscriptions: tuple[Subscription, ...]


class Books:
    """Open databases of a platform, by service."""

    def __init__(self, platform: Platform, connections: Mapping[str, asyncpg.Connection]) -> None:
        self.platform = platform
        self._connections = connections
        self._locks = {service: asyncio.Lock() for service in connections}

    @property
    def services(self) -> frozenset[str]:
        """The services whose books are open."""
        return frozenset(self._connections)

    def has(self, *services: str) -> bool:
        """Whether the books of all these services are open."""
        return self.services.issuperset(services)

    async def fetch(self, service: str, sql: str, *args: object) -> list[asyncpg.Record]:
        """Read rows of one service."""
        async with self._locks[service]:
            return list(await self._connections[service].fetch(sql, *args))

    async def value(self, service: str, sql: str, *args: object) -> object:
        """Read one value of one service."""
        async with self._locks[service]:
            return await self._connections[service].fetchval(sql, *args)

    def publishers(self) -> Iterable[tuple[str, str]]:
        """Yield services with open books that publish, each with its stream."""
        return ((service, stream) for service, stream in sorted(self.platform.streams.items()) if service in self.services)

    def subscribers(self, stream: str) -> list[Subscription]:
        """Return the subscriptions to a stream whose services have open books."""
        return [one for one in self.platform.subscriptions if one.stream == stream and one.service in self.services]


@asynccontextmanager
async def opened(platform: Platform) -> AsyncIterator[Books]:
    """Open the books of a platform; a service whose database does not exist has none."""
    async with AsyncExitStack() as stack:
        connections: dict[str, asyncpg.Connection] = {}
        for service, dsn in platform.dsns.items():
            try:
                connection = await asyncpg.connect(dsn, timeout=10, server_settings=_SETTINGS)
            except asyncpg.InvalidCatalogNameError:
                continue
            stack.push_async_callback(connection.close)
            if await connection.fetchval("SELECT to_regclass('outbox') IS NOT NULL"):
                connections[service] = connection
        yield Books(platform, connections)
