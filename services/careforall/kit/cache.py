"""Redis as a hint: coalesced reads, writes that may be lost, and a breaker so that its absence costs nothing.

Nothing that decides about money or stock lives here. Every method answers within the deadline, with "not there" when in doubt.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from careforall.kit.metrics import BREAKER_OPEN

log = structlog.get_logger(__name__)

_READS = 2
"""Reads under way at once; what is asked for meanwhile travels together."""
_STAMP_DIGITS = 26
# Stamps are compared as texts of one length: as numbers, long ones would be rounded.
_PUT_NEWER = """
local there = redis.call('GETRANGE', KEYS[1], 0, 25)
if there == '' or there <= string.sub(ARGV[1], 1, 26) then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
"""
# One command for all: the client's own SET costs several times as much for each value.
_PUT_ALL = """
for index, key in ipairs(KEYS) do
    redis.call('SET', key, ARGV[index + 1], 'EX', ARGV[1])
end
"""
_WRITES = 8
"""Stamped writes under way at once: fewer than there are connections, beyond which a write would fail."""
_ERRORS = (RedisError, OSError, asyncio.TimeoutError)


class Breaker:
    """Opens after three failures in a row for 30 s, then lets one call probe."""

    def __init__(self, name: str, *, failures: int = 3, pause: float = 30.0) -> None:
        self._name = name
        self._limit = failures
        self._pause = pause
        self._failures = 0
        self._retry_at = 0.0
        self._gauge = BREAKER_OPEN.labels(name=name)

    @property
    def closed(self) -> bool:
        """Whether a call may be tried now; while open, one probe a pause."""
        if self._failures < self._limit:
            return True
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._pause
        return True

    @property
    def probing(self) -> bool:
        """Whether it is open, so that whatever is tried now is a probe."""
        return self._failures >= self._limit

    def succeeded(self) -> None:
        """Close the breaker."""
        if self.probing:
            self._gauge.set(0)
            log.info("breaker closed", breaker=self._name)
        self._failures = 0

    def failed(self) -> None:
        """Count a failure."""
        self._failures += 1
        if self.probing:
            self._retry_at = time.monotonic() + self._pause
            self._gauge.set(1)
        if self._failures == self._limit:
            log.warning("breaker opened", breaker=self._name, failures=self._failures)


class Cache:
    """The Redis client of one process."""

    def __init__(self, url: str, *, prefix: str, deadline: float = 0.25, pause: float = 5.0) -> None:
        self.url = url
        self._prefix = prefix
        self._deadline = deadline
        self.breaker = Breaker("redis", pause=pause)
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=deadline, socket_connect_timeout=deadline, health_check_interval=15, max_connections=16
        )
        self._wanted: dict[str, asyncio.Future[bytes | None]] = {}
        self._scheduled = False
        self._reads = 0
        self._writes = asyncio.Semaphore(_WRITES)
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def alive(self) -> bool:
        """Whether Redis answers a ping now."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._redis.ping()
        except _ERRORS:
            self.breaker.failed()
            return False
        self.breaker.succeeded()
        return True

    async def get(self, key: str) -> bytes | None:
        """Read a value; concurrent reads of one moment travel as one MGET."""
        future = self._wanted.get(key)
        if future is None:
            if not self.breaker.closed:
                return None
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
            self._schedule()
        return await asyncio.shield(future)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read several values in order."""
        return list(await asyncio.gather(*(self.get(key) for key in keys)))

    async def put(self, values: Mapping[str, bytes], *, seconds: int) -> None:
        """Store values for `seconds`; a failure is silence."""
        if not values or not self.breaker.closed:
            return
        try:
            async with asyncio.timeout(self._deadline):
                await self._redis.eval(_PUT_ALL, len(values), *(self._prefix + key for key in values), seconds, *values.values())
        except _ERRORS:
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    async def get_stamped(self, key: str) -> bytes | None:
        """Read a value that `put_newer` stored."""
        found = await self.get(key)
        return found[_STAMP_DIGITS:] if found is not None else None

    async def put_newer(self, key: str, stamp: int, value: bytes, *, seconds: int) -> None:
        """Store a value for `seconds` unless one with a higher stamp is there; a failure is silence."""
        stamped = f"{stamp:0{_STAMP_DIGITS}}".encode() + value
        async with self._writes:
            if not self.breaker.closed:
                return
            try:
                async with asyncio.timeout(self._deadline):
                    await self._redis.eval(_PUT_NEWER, 1, self._prefix + key, stamped, seconds)
            except _ERRORS:
                self.breaker.failed()
            else:
                self.breaker.succeeded()

    async def drop(self, *keys: str) -> None:
        """Forget values; a failure is silence."""
        if not keys or not self.breaker.closed:
            return
        try:
            async with asyncio.timeout(self._deadline):
                await self._redis.delete(*(self._prefix + key for key in keys))
        except _ERRORS:
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    def _schedule(self) -> None:
        """Read once the current burst has been queued, or, where enough reads are under way, as soon as one has returned."""
        if not self._scheduled and self._reads < _READS:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._launch)

    def _launch(self) -> None:
        self._scheduled = False
        wanted, self._wanted = self._wanted, {}
        self._reads += 1
        task = asyncio.ensure_future(self._read(wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, wanted: dict[str, asyncio.Future[bytes | None]]) -> None:
        values: Sequence[bytes | str | None] = [None] * len(wanted)
        try:
            async with asyncio.timeout(self._deadline):
                values = await self._redis.mget([self._prefix + key for key in wanted])
        except _ERRORS:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        finally:
            self._reads -= 1
            if self._wanted:
                self._schedule()
            for future, value in zip(wanted.values(), values, strict=True):
                if not future.done():
                    future.set_result(value if isinstance(value, bytes) else None)
