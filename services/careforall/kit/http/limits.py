"""Rate limits, exact under concurrency and cheap under load: hits of one moment on one key travel as one call.

The counting is the `limits` library's sliding window on Redis; while Redis is away each process counts for itself. Of a very
large limit a busy process counts some hits in advance and spends them at once: never more pass, and only hits are lost that it
took and did not need, a thousandth of the limit at most.
"""

import asyncio
import ipaddress
import time
from typing import Any, cast

import limits
import limits.aio
import structlog
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from careforall.kit.cache import Breaker
from careforall.kit.errors import TooManyRequests
from careforall.kit.metrics import RATE_LIMITED

log = structlog.get_logger(__name__)

_STATS_SECONDS = 0.2
_NETWORK_BITS = 64
_LARGE = 60_000
"""Hits a minute from which on a limit is counted in advance: smaller ones see too few hits for it to matter."""
_RESERVED_SECONDS = 1.0
_MOST_KEYS = 10_000
_PACE = 0.002
"""Seconds between two calls on one busy key, so that they count many hits each; a lone hit waits for nobody."""


class Limit:
    """One limit: `amount` hits a minute on each key."""

    def __init__(self, name: str, amount: int) -> None:
        self.name = name
        self.amount = amount
        self.item = limits.RateLimitItemPerMinute(amount)
        self.refused = RATE_LIMITED.labels(limit=name)
        self.policy = f'"{name}";q={amount};w=60'
        """The value of the `RateLimit-Policy` field."""


class _Reserve:
    """Hits counted in advance on one key, to be spent shortly."""

    __slots__ = ("left", "spent", "until")

    def __init__(self, left: int, until: float) -> None:
        self.left = left
        self.until = until
        self.spent = 0

    def spend(self) -> bool:
        """Take one hit, if there is one that is still fresh."""
        if not self.left or time.monotonic() > self.until:
            return False
        self.left -= 1
        self.spent += 1
        return True


class Limiter:
    """Counts hits for one process.

    Args:
        redis_url: Where processes count together.
        prefix: Keeps instances apart.
    """

    def __init__(self, redis_url: str, *, prefix: str, deadline: float = 0.25) -> None:
        self._deadline = deadline
        self._pool = ConnectionPool.from_url(redis_url, socket_timeout=deadline, socket_connect_timeout=deadline)
        self._shared = SlidingWindowCounterRateLimiter(
            limits.aio.storage.RedisStorage(
                f"async+{redis_url}",
                implementation="redispy",
                key_prefix=prefix,
                wrap_exceptions=True,
                connection_pool=cast("Any", self._pool),  # its annotation forgets the option it documents
            )
        )
        self._own = SlidingWindowCounterRateLimiter(limits.aio.storage.MemoryStorage())
        self._breaker = Breaker("rate_limits", pause=5.0)
        self._waiting: dict[tuple[Limit, str], list[asyncio.Future[bool]]] = {}
        self._remaining: dict[tuple[Limit, str], tuple[float, int]] = {}
        self._reserves: dict[tuple[Limit, str], _Reserve] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()

    async def hit(self, limit: Limit, key: str) -> str:
        """Count one hit and return the value of the `RateLimit` field.

        Raises:
            TooManyRequests: The limit is used up; not counted.
        """
        await self.hit_all((limit, key))
        return self.field(limit, key)

    async def hit_all(self, *counters: tuple[Limit, str]) -> None:
        """Count one hit on each counter at the same time.

        Raises:
            TooManyRequests: Of the first limit that is used up; counted on the others.
        """
        queued = [(limit, key, future) for limit, key in counters if (future := self._enter(limit, key)) is not None]
        for limit, key, future in queued:
            if not await future:
                limit.refused.inc()
                wait = await self._wait(limit, key)
                raise TooManyRequests(f"The limit is {limit.amount} requests a minute.", retry_after=wait)

    def field(self, limit: Limit, key: str) -> str:
        """Return the value of the `RateLimit` field: what is left, roughly."""
        left = self._remaining.get((limit, key), (0.0, limit.amount))[1]
        return f'"{limit.name}";r={max(left, 0)};t=60'

    async def reset(self) -> None:
        """Forget all counts; offered on development instances only."""
        self._remaining.clear()
        self._reserves.clear()
        await self._shared.storage.reset()
        await self._own.storage.reset()

    def _enter(self, limit: Limit, key: str) -> asyncio.Future[bool] | None:
        """Spend a hit counted in advance (None), or queue one; the future tells whether it was within the limit."""
        reserve = self._reserves.get((limit, key))
        if reserve is not None and reserve.spend():
            return None
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get((limit, key))
        if waiting is None:
            self._waiting[limit, key] = [future]
            self._start((limit, key))
        else:
            waiting.append(future)
        return future

    def _start(self, counter: tuple[Limit, str]) -> None:
        task = asyncio.ensure_future(self._drain(*counter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, limit: Limit, key: str) -> None:
        """Count what waits on one key, one call at a time; hits that arrive meanwhile share the next call."""
        while futures := self._waiting[limit, key]:
            self._waiting[limit, key] = []
            try:
                await self._count(limit, key, futures)
            except Exception as error:  # noqa: BLE001 - a limit that cannot be counted must not stop what waits behind it
                log.warning("rate limit not counted", limit=limit.name, error=repr(error))
            if len(futures) > 1:
                await asyncio.sleep(_PACE)
        del self._waiting[limit, key]

    async def _count(self, limit: Limit, key: str, futures: list[asyncio.Future[bool]]) -> None:
        """Count all at once; where that is too many, one by one, so that exactly the limit is let through."""
        try:
            ahead = self._ahead(limit, key, len(futures))
            if ahead and await self._take(limit, key, len(futures) + ahead):
                self._reserve(limit, key, ahead)
                _answer(futures, allowed=len(futures))
                await self._note_remaining(limit, key, len(futures) + ahead)
                return
            if await self._take(limit, key, len(futures)):
                _answer(futures, allowed=len(futures))
                await self._note_remaining(limit, key, len(futures))
                return
            allowed = 0
            while allowed < len(futures) and await self._take(limit, key, 1):
                allowed += 1
            _answer(futures, allowed=allowed)
        finally:
            _answer(futures, allowed=len(futures))

    def _ahead(self, limit: Limit, key: str, waiting: int) -> int:
        """Return how many hits to count in advance: as busy as the key is, twice what was spent since the last time."""
        if limit.amount < _LARGE or waiting < 2:  # noqa: PLR2004 - one alone is no crowd
            return 0
        last = self._reserves.get((limit, key))
        return min(limit.amount // 1000, 2 * (waiting + (last.spent if last is not None else 0)))

    def _reserve(self, limit: Limit, key: str, ahead: int) -> None:
        if len(self._reserves) > _MOST_KEYS:
            self._reserves.clear()
        self._reserves[limit, key] = _Reserve(ahead, time.monotonic() + _RESERVED_SECONDS)

    async def _take(self, limit: Limit, key: str, cost: int) -> bool:
        if self._breaker.closed:
            try:
                async with asyncio.timeout(self._deadline):
                    taken = await self._shared.hit(limit.item, limit.name, key, cost=cost)
            except (StorageError, RedisError, OSError, TimeoutError):
                self._breaker.failed()
            else:
                self._breaker.succeeded()
                return taken
        return await self._own.hit(limit.item, limit.name, key, cost=cost)

    async def _note_remaining(self, limit: Limit, key: str, used: int) -> None:
        """Know roughly how many hits are left, asking the store only now and then."""
        at, left = self._remaining.get((limit, key), (0.0, limit.amount))
        if time.monotonic() - at < _STATS_SECONDS or not self._breaker.closed:
            self._remaining[(limit, key)] = (at, left - used)
            return
        if len(self._remaining) > _MOST_KEYS:
            self._remaining.clear()
        self._remaining[(limit, key)] = (time.monotonic(), left - used)
        try:
            async with asyncio.timeout(self._deadline):
                stats = await self._shared.get_window_stats(limit.item, limit.name, key)
        except (StorageError, RedisError, OSError, TimeoutError):
            self._breaker.failed()
        else:
            self._remaining[(limit, key)] = (time.monotonic(), stats.remaining)

    async def _wait(self, limit: Limit, key: str) -> int:
        """Return the seconds after which a retry may pass."""
        strategy = self._shared if self._breaker.closed else self._own
        try:
            async with asyncio.timeout(self._deadline):
                stats = await strategy.get_window_stats(limit.item, limit.name, key)
        except (StorageError, RedisError, OSError, TimeoutError):
            return 60
        return min(60, max(1, int(stats.reset_time - time.time()) + 1))


def _answer(futures: list[asyncio.Future[bool]], *, allowed: int) -> None:
    for index, future in enumerate(futures):
        if not future.done():
            future.set_result(index < allowed)


def network_of(address: str) -> str:
    """Return what a rate limit counts for an address: one host of IPv4, a /64 of IPv6, which is what one customer gets."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
