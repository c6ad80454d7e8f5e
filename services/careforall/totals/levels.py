"""The read path: memory of the process, Redis, materialised view, base; each miss warms the levels above.

Reads of one moment travel together: a campaign has one flight at a time and all campaigns of a moment share their queries, so
a hot key that expires costs one query. What was read once is remembered as the last known value while the database is away.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from careforall.kit import json
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.errors import PASSING, DatabaseUnavailable
from careforall.kit.metrics import CACHE_HITS, CACHE_MISSES, CACHE_RATIO
from careforall.totals import repository
from careforall.totals.counting import CounterReader
from careforall.totals.domain import Level, Reading, Totals
from careforall.totals.settings import TotalsSettings

_UNKNOWN_MEMORY = 1000
_TOP_SECONDS = 2.0
_TOP_SIZE = 100
_REDIS_DEADLINE = 0.5


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A reading with its encoded form, good until `until` on the monotonic clock."""

    reading: Reading
    body: bytes
    until: float


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis holds of a campaign."""

    totals: Totals
    cached_at: datetime


_decode = msgspec.json.Decoder(Stored).decode


def redis_key(campaign_id: UUID) -> str:
    """Return the key of a campaign in Redis."""
    return f"totals:1:{campaign_id}"


def stored(data: bytes | None) -> Stored | None:
    """Return what Redis holds, None where it is nothing we can read."""
    try:
        return _decode(data) if data is not None else None
    except msgspec.MsgspecError:
        return None


class Tally:
    """Hits and misses of one level."""

    def __init__(self, level: str) -> None:
        self._hits = CACHE_HITS.labels(service="totals", cache_type=level)
        self._misses = CACHE_MISSES.labels(service="totals", cache_type=level)
        self._counts = [0, 0]
        CACHE_RATIO.labels(service="totals", cache_type=level).set_function(self._ratio)

    def count(self, hits: int, misses: int) -> None:
        """Count reads."""
        self._hits.inc(hits)
        self._misses.inc(misses)
        self._counts[0] += hits
        self._counts[1] += misses

    def _ratio(self) -> float:
        total = sum(self._counts)
        return self._counts[0] / total if total else 0.0


class Memory:
    """The newest answer per campaign, bounded: the least recently stored goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self.get = self._answers.get

    def put(self, key: str, answer: Answer) -> None:
        """Remember an answer."""
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)


class Levels:
    """The read path of one process.

    Args:
        encode: Makes the body of an answer.
        warm: Told of campaigns whose totals Redis lacks.
    """

    def __init__(
        self,
        database: Database,
        cache: Cache,
        settings: TotalsSettings,
        *,
        encode: Callable[[Reading], bytes],
        warm: Callable[[Iterable[UUID]], None],
    ) -> None:
        self._database = database
        self._cache = cache
        self._settings = settings
        self._encode = encode
        self._warm = warm
        self._counters = CounterReader(database)
        self._memory = Memory(settings.memory_campaigns)
        self._strangers = Memory(_UNKNOWN_MEMORY)
        self._flights: dict[UUID, asyncio.Future[Answer]] = {}
        self._boarding: list[UUID] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._top: list[UUID] = []
        self._top_until = 0.0
        self._process = Tally("process")
        self._redis = Tally("redis")
        self._view = Tally("materialized_view")
        self._base = Tally("base_table")

    def ready(self, key: str) -> bytes | None:
        """Return the body of a campaign whose id is written `key`, if it is in memory, fresh and not in doubt."""
        answer = self._memory.get(key)
        if answer is None or answer.until < time.monotonic() or answer.reading.stale or not self._database.available:
            return None
        self._process.count(1, 0)
        return answer.body

    async def read(self, campaign_id: UUID) -> Answer:
        """Return the totals of a campaign from the uppermost level that has them.

        Raises:
            DatabaseUnavailable: No level below answers and nothing is remembered.
        """
        if (answer := self._fresh(campaign_id)) is not None:
            self._process.count(1, 0)
            return answer
        self._process.count(0, 1)
        return await asyncio.shield(self._flight(campaign_id))

    async def read_all(self, campaign_ids: Sequence[UUID]) -> list[Answer]:
        """Return the totals of several campaigns in order."""
        return list(await asyncio.gather(*(self.read(campaign_id) for campaign_id in campaign_ids)))

    async def top(self, limit: int) -> list[UUID]:
        """Return the campaigns that raised most, a few seconds old at most; while the database is away as last known."""
        if self._top_until < time.monotonic():
            with contextlib.suppress(*PASSING):
                self._top = await repository.top(self._database, _TOP_SIZE)
            self._top_until = time.monotonic() + _TOP_SECONDS
        return self._top[:limit]

    async def realtime(self, campaign_id: UUID) -> Answer:
        """Return the counters, or the last known value while the database is away, slow or locked."""
        try:
            totals = await self._counters.read(campaign_id)
        except PASSING:
            return await self.read(campaign_id)
        return self._answer(Reading(totals=self._named(totals), level="realtime", cached_at=datetime.now(UTC)))

    def renew(self, fresh: Sequence[Totals]) -> None:
        """Take over totals that were just read from the counters, where a campaign is in memory with older ones."""
        for totals in fresh:
            known = self._memory.get(str(totals.campaign_id))
            if known is not None and known.reading.totals.revision < totals.revision:
                self._remember(Reading(totals=totals, level="redis", cached_at=datetime.now(UTC)))

    def _fresh(self, campaign_id: UUID) -> Answer | None:
        key = str(campaign_id)
        answer = self._shelf(key).get(key)
        if answer is None or answer.until < time.monotonic():
            return None
        if self._database.available:
            return None if answer.reading.stale else answer
        return answer if answer.reading.stale else self._doubted(answer)

    def _doubted(self, answer: Answer) -> Answer:
        """The database went away while this answer was in memory: keep it for its time, marked."""
        stale = msgspec.structs.replace(answer.reading, stale=True)
        marked = Answer(reading=stale, body=self._encode(stale), until=answer.until)
        key = str(stale.totals.campaign_id)
        self._shelf(key).put(key, marked)
        return marked

    def _shelf(self, key: str) -> Memory:
        return self._strangers if self._memory.get(key) is None else self._memory

    def _flight(self, campaign_id: UUID) -> "asyncio.Future[Answer]":
        flight = self._flights.get(campaign_id)
        if flight is None:
            flight = self._flights[campaign_id] = asyncio.get_running_loop().create_future()
            if not self._boarding:
                asyncio.get_running_loop().call_soon(self._depart)
            self._boarding.append(campaign_id)
        return flight

    def _depart(self) -> None:
        boarded, self._boarding = self._boarding, []
        task = asyncio.ensure_future(self._land(boarded))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _land(self, campaign_ids: Sequence[UUID]) -> None:
        try:
            found = await self._find(campaign_ids)
            for campaign_id in campaign_ids:
                self._settle(campaign_id, found.get(campaign_id))
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to everyone who waits
            self._fail(campaign_ids, error)
        finally:
            self._fail(campaign_ids, DatabaseUnavailable())  # also when the task itself is ended: nobody waits for ever

    def _settle(self, campaign_id: UUID, reading: Reading | None) -> None:
        try:
            answer = self._remember(reading) if reading is not None else self._last_known(campaign_id)
        except DatabaseUnavailable as error:
            self._fail([campaign_id], error)
        else:
            self._flights.pop(campaign_id).set_result(answer)

    def _fail(self, campaign_ids: Sequence[UUID], error: Exception) -> None:
        for campaign_id in campaign_ids:
            if (flight := self._flights.pop(campaign_id, None)) is not None:
                flight.set_exception(error)
                flight.exception()  # a caller may have gone; the others still get it

    async def _find(self, campaign_ids: Sequence[UUID]) -> dict[UUID, Reading]:
        """Go down the levels; what is missing from the result could not be asked for."""
        found = await self._from_redis(campaign_ids)
        try:
            if missing := [campaign_id for campaign_id in campaign_ids if campaign_id not in found]:
                found |= await self._from_view(missing)
            if missing := [campaign_id for campaign_id in missing if campaign_id not in found]:
                found |= await self._from_base(missing)
        except PASSING:
            return found
        self._warm(
            reading.totals.campaign_id for reading in found.values() if reading.level != "redis" and reading.totals.currency
        )
        return found

    async def _from_redis(self, campaign_ids: Sequence[UUID]) -> dict[UUID, Reading]:
        values: Sequence[bytes | None] = ()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REDIS_DEADLINE):
                values = await self._cache.get_many([redis_key(campaign_id) for campaign_id in campaign_ids])
        held = [value for data in values if (value := stored(data)) is not None]
        self._redis.count(len(held), len(campaign_ids) - len(held))
        return {value.totals.campaign_id: self._reading(value.totals, "redis", value.cached_at) for value in held}

    async def _from_view(self, campaign_ids: Sequence[UUID]) -> dict[UUID, Reading]:
        rows = await repository.from_view(self._database, campaign_ids)
        self._view.count(len(rows), len(campaign_ids) - len(rows))
        return {totals.campaign_id: self._reading(totals, "materialized_view", at) for totals, at in rows}

    async def _from_base(self, campaign_ids: Sequence[UUID]) -> dict[UUID, Reading]:
        rows = await repository.recount(self._database, campaign_ids)
        known = sum(1 for totals in rows if totals.currency)
        self._base.count(known, len(rows) - known)
        return {totals.campaign_id: self._reading(totals, "base_table", datetime.now(UTC)) for totals in rows}

    def _reading(self, totals: Totals, level: Level, cached_at: datetime) -> Reading:
        return Reading(totals=totals, level=level, cached_at=cached_at, stale=not self._database.available)

    def _remember(self, reading: Reading) -> Answer:
        memory = self._memory if reading.totals.currency else self._strangers
        answer = self._answer(msgspec.structs.replace(reading, totals=self._named(reading.totals)))
        memory.put(str(reading.totals.campaign_id), answer)
        return answer

    def _last_known(self, campaign_id: UUID) -> Answer:
        key = str(campaign_id)
        known = self._shelf(key).get(key)
        if known is None:
            raise DatabaseUnavailable
        answer = self._answer(msgspec.structs.replace(known.reading, stale=True))
        self._shelf(key).put(key, answer)
        return answer

    def _answer(self, reading: Reading) -> Answer:
        return Answer(reading=reading, body=self._encode(reading), until=time.monotonic() + self._settings.process_seconds)

    def _named(self, totals: Totals) -> Totals:
        """Zeros of a campaign that nobody told us of yet are shown in the platform's currency."""
        return totals if totals.currency else msgspec.structs.replace(totals, currency=self._settings.default_currency)


def encode_stored(totals: Totals) -> bytes:
    """Return what is put into Redis."""
    return json.encode(Stored(totals=totals, cached_at=datetime.now(UTC)))
