"""Answers that are kept in Redis, under the generation of the catalog they were made of.

Whatever visitors may see changes the generation in its own transaction; so an answer that is found is never out of date, however
many processes there are and whatever Redis loses. With the database away, what was made last is still answered, marked as stale.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from careforall.catalog import repository
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.errors import Unavailable
from careforall.kit.metrics import CACHE_HITS, CACHE_MISSES


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of an answer; `stale` where nobody can tell whether they still hold."""

    body: bytes
    stale: bool = False


class Shelf:
    """The kept answers of one process."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._generation: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, kind: str, name: str, make: Callable[[], Awaitable[bytes]], *, seconds: int) -> Kept:
        """Return an answer that is kept, or make it and keep it.

        Raises:
            DatabaseUnavailable: It is not kept, and cannot be made.
        """
        generation, stale = await self._now()
        key = f"catalog:{generation}:{kind}:{name}"
        body = await self._cache.get(key)
        (CACHE_MISSES if body is None else CACHE_HITS).labels(service="catalog", cache_type=kind).inc()
        if body is None:
            body = await make()
            self._keep(key, body, seconds)
        return Kept(body=body, stale=stale)

    async def _now(self) -> tuple[int, bool]:
        try:
            self._generation = await repository.generation(self._database)
        except Unavailable:
            if self._generation is None:
                raise
            return self._generation, True
        return self._generation, False

    def _keep(self, key: str, body: bytes, seconds: int) -> None:
        task = asyncio.ensure_future(self._cache.put({key: body}, seconds=seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for what is being kept."""
        await asyncio.gather(*self._tasks)
