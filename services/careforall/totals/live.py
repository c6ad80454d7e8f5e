"""After the commit: fresh counters go into Redis, to the memory of every process and to whoever watches live.

A fold only notes which campaigns it moved and to which revision; nothing goes over the network inside its transaction. The
refresher then reads the counters, writes until Redis is seen to hold the same revision, and sends them as a hint. Hints may be
lost: Redis entries, the second in memory and a poll of watched campaigns are the safety nets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec
import structlog

from careforall.kit import json, tasks
from careforall.kit.bus import Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.errors import PASSING
from careforall.totals import repository
from careforall.totals.domain import Totals
from careforall.totals.errors import TooManyStreams
from careforall.totals.levels import encode_stored, redis_key, stored
from careforall.totals.metrics import STREAMS

log = structlog.get_logger(__name__)

_GATHER = 0.03
_LONGEST_PAUSE = 2.0
_TRIES = 300
_MOST_DEBTS = 20_000
_HINT_SIZE = 200

_decode_hint = msgspec.json.Decoder(list[Totals]).decode


class Debt(msgspec.Struct, kw_only=True):
    """A campaign whose fresh totals Redis has not been seen to hold; `revision` must be visible before that counts."""

    revision: int = 0
    told: int = -1
    tries: int = 0


class Refresher:
    """Brings the upper levels up to date after commits.

    Args:
        hint: Core subject on which processes hear fresh totals.
    """

    def __init__(self, database: Database, cache: Cache, bus: Bus, *, hint: str, seconds: int) -> None:
        self._database = database
        self._cache = cache
        self._bus = bus
        self._hint = hint
        self._seconds = seconds
        self._debts: dict[UUID, Debt] = {}
        self._wake = asyncio.Event()

    def moved(self, revisions: Mapping[UUID, int]) -> None:
        """Note campaigns that an open transaction moves, with the revision that its commit will show."""
        for campaign_id, revision in revisions.items():
            debt = self._debts.setdefault(campaign_id, Debt())
            debt.revision = max(debt.revision, revision)
            debt.tries = 0
        self._wake.set()

    def warm(self, campaign_ids: Iterable[UUID]) -> None:
        """Note campaigns that Redis lacks."""
        for campaign_id in campaign_ids:
            if len(self._debts) < _MOST_DEBTS:
                self._debts.setdefault(campaign_id, Debt())
                self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await tasks.set_within(self._wake, self._pause())
            await asyncio.sleep(_GATHER)
            self._wake.clear()
            try:
                await self.turn()
            except (*PASSING, asyncpg.PostgresError) as error:
                log.info("totals refresh pauses", error=repr(error))
                await asyncio.sleep(0.5)

    async def turn(self) -> None:
        """Refresh everything noted once; what is not confirmed stays for the next turn."""
        campaign_ids = list(self._debts)
        if not campaign_ids:
            return
        fresh = await repository.counters(self._database, campaign_ids)
        held = await self._held(campaign_ids)
        wanting = [totals for totals in fresh if totals.currency and held.get(totals.campaign_id) != totals.revision]
        await self._cache.put({redis_key(t.campaign_id): encode_stored(t) for t in wanting}, seconds=self._seconds)
        self._tell(fresh)
        unconfirmed = {totals.campaign_id for totals in wanting}
        for totals in fresh:
            self._settle(totals, confirmed=totals.campaign_id not in unconfirmed)

    def _settle(self, totals: Totals, *, confirmed: bool) -> None:
        """Forget what Redis was seen to hold; give up after the time in which anything older has expired there."""
        debt = self._debts.get(totals.campaign_id)
        if debt is None:  # settled by a turn that ran beside this one
            return
        debt.tries += 1
        if (confirmed and totals.revision >= debt.revision) or debt.tries > _TRIES:
            del self._debts[totals.campaign_id]

    def _pause(self) -> float | None:
        if not self._debts:
            return None
        fewest = min(debt.tries for debt in self._debts.values())
        return float(min(_LONGEST_PAUSE, _GATHER * 2**fewest))

    async def _held(self, campaign_ids: Sequence[UUID]) -> dict[UUID, int]:
        values = await self._cache.get_many([redis_key(campaign_id) for campaign_id in campaign_ids])
        return {value.totals.campaign_id: value.totals.revision for data in values if (value := stored(data)) is not None}

    def _tell(self, fresh: Sequence[Totals]) -> None:
        news = []
        for totals in fresh:
            debt = self._debts.get(totals.campaign_id)
            if debt is not None and debt.revision and totals.revision > debt.told:
                debt.told = totals.revision
                news.append(totals)
        for start in range(0, len(news), _HINT_SIZE):
            self._bus.hint(self._hint, json.encode(news[start : start + _HINT_SIZE]))


class Follower:
    """One live stream: it always sends the newest totals, so a slow reader skips steps instead of piling them up."""

    def __init__(self, revision: int) -> None:
        self._seen = revision
        self._next: Totals | None = None
        self._event = asyncio.Event()

    def offer(self, totals: Totals) -> None:
        """Take over totals that are newer than what was sent."""
        if totals.revision > self._seen:
            self._seen = totals.revision
            self._next = totals
            self._event.set()

    async def next(self, heartbeat: float) -> Totals | None:
        """Return the next totals, or None when `heartbeat` seconds passed without any."""
        await tasks.set_within(self._event, heartbeat)
        self._event.clear()
        found, self._next = self._next, None
        return found

    def wake(self) -> None:
        """Return from `next` now."""
        self._event.set()


class Hub:
    """The live streams of one process, fed by one shared subscription and one poll."""

    def __init__(
        self, database: Database, *, renew: Callable[[Sequence[Totals]], None], most: int, heartbeat: float, poll: float
    ) -> None:
        self._database = database
        self._renew = renew
        self._most = most
        self._heartbeat = heartbeat
        self._poll = poll
        self._followers: dict[UUID, set[Follower]] = {}
        self._count = 0
        self._closed = False

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._count

    def admit(self) -> None:
        """Refuse one stream too many.

        Raises:
            TooManyStreams: This process serves as many as it may.
        """
        if self._count >= self._most:
            raise TooManyStreams(retry_after=5)

    async def follow(self, first: Totals) -> AsyncIterator[Totals | None]:
        """Yield totals newer than `first`; None is a heartbeat. Closing the iterator ends the stream."""
        follower = Follower(first.revision)
        self._enter(first.campaign_id, follower)
        try:
            while not self._closed:
                yield await follower.next(self._heartbeat)
        finally:
            self._leave(first.campaign_id, follower)

    async def close(self) -> None:
        """End all streams; browsers connect again, to another process if this one goes."""
        self._closed = True
        for followers in self._followers.values():
            for follower in followers:
                follower.wake()

    async def heard(self, data: bytes) -> None:
        """Hear a hint with fresh totals."""
        try:
            fresh = _decode_hint(data)
        except msgspec.MsgspecError:
            log.warning("unreadable totals hint")
            return
        self._renew(fresh)
        self._tell(fresh)

    async def run(self) -> None:
        """Look at the counters of watched campaigns until cancelled, in case a hint got lost."""
        while True:
            await asyncio.sleep(self._poll)
            if self._followers:
                with contextlib.suppress(*PASSING, asyncpg.PostgresError):
                    self._tell(await repository.counters(self._database, list(self._followers)))

    def _tell(self, fresh: Sequence[Totals]) -> None:
        for totals in fresh:
            for follower in self._followers.get(totals.campaign_id, ()):
                follower.offer(totals)

    def _enter(self, campaign_id: UUID, follower: Follower) -> None:
        self._followers.setdefault(campaign_id, set()).add(follower)
        self._counted(1)

    def _leave(self, campaign_id: UUID, follower: Follower) -> None:
        followers = self._followers[campaign_id]
        followers.discard(follower)
        if not followers:
            del self._followers[campaign_id]
        self._counted(-1)

    def _counted(self, step: int) -> None:
        self._count += step
        STREAMS.set(self._count)


class Background:
    """The tasks that run as long as the process does."""

    def __init__(self, *work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._tasks: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """Start them."""
        self._tasks = [asyncio.ensure_future(work()) for work in self._work]

    async def stop(self) -> None:
        """End them."""
        await tasks.end(self._tasks)
