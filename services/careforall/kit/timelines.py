"""Which PostgreSQL timeline is the newest of each cluster: a server on a lower one lost an election (rule 18).

All pools of a process share one `Timelines`. `Remembered` keeps it in Redis for some minutes as well, so that a process started
in the middle of a failover does not trust the wrong server; without Redis a process learns anew.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from careforall.kit.cache import Cache

_KEY = "timelines"
_KEEP_SECONDS = 600
"""Longer than a failover, and short enough that a cluster restored onto a lower timeline is not refused for long."""
_TRIES = 5
_decode = msgspec.json.Decoder(dict[str, int]).decode


SERVER_STATE = """
SELECT pg_is_in_recovery() AS standby,
       (SELECT system_identifier FROM pg_control_system())::text AS cluster,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
       END AS timeline
"""
"""What a server says of itself; a standby's timeline is its primary's, and so of no use."""


class Placed(Protocol):
    """A connection that knows which timeline of which cluster it is open to."""

    cluster: str
    timeline: int


def oldest(connections: Iterable[Placed]) -> dict[str, int]:
    """Return the oldest timeline that connections are open to, by the cluster's system identifier."""
    found: dict[str, int] = {}
    for one in connections:
        found[one.cluster] = min(one.timeline, found.get(one.cluster, one.timeline))
    return found


class Timelines:
    """The highest timeline seen per cluster, by the cluster's system identifier."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self.on_rise: Callable[[], None] | None = None
        """Called when a cluster is seen on a higher timeline than before."""

    @property
    def known(self) -> Mapping[str, int]:
        """What was seen so far."""
        return self._highest

    def admit(self, cluster: str, timeline: int) -> bool:
        """Remember `timeline` and tell whether it is not older than what was already seen."""
        before = self._highest.get(cluster, 0)
        self._highest[cluster] = max(before, timeline)
        if timeline > before and self.on_rise is not None:
            self.on_rise()
        return timeline >= before

    def learn(self, others: Mapping[str, int]) -> None:
        """Take over what somebody else saw, where it is higher."""
        for cluster, timeline in others.items():
            self._highest[cluster] = max(self._highest.get(cluster, 0), timeline)


class Remembered:
    """Keeps what a process knows of timelines where the next one finds it."""

    def __init__(self, timelines: Timelines, cache: Cache) -> None:
        self._timelines = timelines
        self._cache = cache
        self._storing: set[asyncio.Task[None]] = set()
        timelines.on_rise = self._rose

    async def recall(self) -> Mapping[str, int]:
        """Learn what other processes saw in the last minutes, and return it."""
        if (stored := await self._cache.get(_KEY)) is None:
            return {}
        try:
            others = _decode(stored)
        except msgspec.MsgspecError:
            return {}
        self._timelines.learn(others)
        return others

    async def close(self) -> None:
        """Wait for what is being stored, which the cache's deadlines bound; before the cache is closed."""
        self._timelines.on_rise = None
        await asyncio.gather(*self._storing)

    def _rose(self) -> None:
        task = asyncio.ensure_future(self._store())
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _store(self) -> None:
        """Store what is known, and look whether somebody who stored at the same moment wrote over it."""
        for _ in range(_TRIES):
            others = await self.recall()
            if others == self._timelines.known:
                return
            await self._cache.put({_KEY: msgspec.json.encode(self._timelines.known)}, seconds=_KEEP_SECONDS)
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter, not a secret
