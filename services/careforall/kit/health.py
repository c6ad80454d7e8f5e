"""What the probes say: ready once resources were opened, afterwards degraded at worst.

So stale reads and clear 503s go on while a dependency is away, and no orchestrator restarts what works.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

import asyncpg
import msgspec

from careforall.kit.bus import Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.errors import PASSING
from careforall.kit.metrics import (
    DATABASE_TIMELINE,
    DEAD_LETTERS,
    OUTBOX_OLDEST,
    OUTBOX_PENDING,
    POOL_IN_USE,
    POOL_SIZE,
    POOL_WAITING,
)

State = Literal["ready", "degraded", "down"]
_EVERY = 2.0


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one service and of what it needs."""

    status: State
    database: Literal["up", "down"]
    """Down is also one that takes no writes."""
    broker: Literal["up", "down"]
    cache: Literal["up", "down"]
    notes: dict[str, str] = {}
    """What else there is to know, by subject, such as what is switched off and why."""


class Health:
    """Watches the dependencies of one process."""

    def __init__(self, databases: Mapping[str, Database], bus: Bus, cache: Cache) -> None:
        self._databases = databases
        self._bus = bus
        self._cache = cache
        self._up: dict[str, bool] = {}
        self._cache_up = False
        self.notes: dict[str, Callable[[], Mapping[str, str]]] = {}
        self.started = False
        self.draining = False
        """Set while a process that was told to stop still answers: it asks for no more work."""

    @property
    def takes_traffic(self) -> bool:
        """Whether new requests may be sent here."""
        return self.started and not self.draining

    async def run(self) -> None:
        """Look every two seconds until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Ask every dependency once; set what the metrics say about them."""
        self._tell_timelines()
        self._cache_up = await self._cache.alive()
        found = await asyncio.gather(*(_observe(name, database) for name, database in self._databases.items()))
        self._up = dict(zip(self._databases, found, strict=True))

    def _tell_timelines(self) -> None:
        """Say which timelines connections are open to, and nothing of those that none is open to any more."""
        DATABASE_TIMELINE.clear()
        for name, database in self._databases.items():
            for cluster, timeline in database.timelines().items():
                DATABASE_TIMELINE.labels(service=name, cluster=cluster).set(timeline)

    def services(self) -> dict[str, ServiceHealth]:
        """Return each service's health."""
        return {name: self._service(name) for name in self._databases}

    def _service(self, name: str) -> ServiceHealth:
        database = self._up.get(name, False)
        all_up = database and self._bus.connected and self._cache_up
        status: State = "down" if not self.started else "ready" if all_up else "degraded"
        return ServiceHealth(
            status=status,
            database=_word(up=database),
            broker=_word(up=self._bus.connected),
            cache=_word(up=self._cache_up),
            notes=dict(self.notes[name]()) if name in self.notes else {},
        )


def _word(*, up: bool) -> Literal["up", "down"]:
    return "up" if up else "down"


async def _observe(name: str, database: Database) -> bool:
    usage = database.usage()
    POOL_SIZE.labels(service=name).set(usage["size"])
    POOL_IN_USE.labels(service=name).set(usage["checked_out"])
    POOL_WAITING.labels(service=name).set(usage["waiting"])
    try:
        row = await database.fetchrow(_BACKLOG)
    except (*PASSING, asyncpg.PostgresError):
        return False
    if row is None:
        return False
    OUTBOX_PENDING.labels(service=name).set(row["pending"])
    OUTBOX_OLDEST.labels(service=name).set(row["oldest"] or 0)
    DEAD_LETTERS.labels(service=name).set(row["dead"])
    return not row["read_only"]


_BACKLOG = """
SELECT current_setting('transaction_read_only')::boolean AS read_only,
       (SELECT count(*) FROM (SELECT FROM outbox WHERE status IN ('PENDING', 'FAILED') LIMIT 100000) AS waiting) AS pending,
       (SELECT extract(epoch FROM clock_timestamp() - created_at)
        FROM outbox WHERE status IN ('PENDING', 'FAILED') ORDER BY id LIMIT 1)::float8 AS oldest,
       (SELECT count(*) FROM outbox WHERE status = 'DEAD')
     + (SELECT count(*) FROM dead_letters WHERE status IN ('DEAD', 'RETRY')) AS dead
"""
