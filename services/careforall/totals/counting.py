"""Realtime reads share queries: each joins the one that starts after it came, so it sees every commit before it."""

import asyncio
from uuid import UUID

from careforall.kit.db import Database
from careforall.kit.errors import DatabaseUnavailable
from careforall.totals import repository
from careforall.totals.domain import Totals


class CounterReader:
    """Reads counters with one query at a time; whoever comes meanwhile goes with the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, asyncio.Future[Totals]] = {}
        self._running: asyncio.Task[None] | None = None

    async def read(self, campaign_id: UUID) -> Totals:
        """Return the counters of a campaign; the currency of an unknown one is empty.

        Raises:
            DatabaseUnavailable: The database is away.
        """
        future = self._waiting.get(campaign_id)
        if future is None:
            future = self._waiting[campaign_id] = asyncio.get_running_loop().create_future()
        if self._running is None:
            self._running = asyncio.ensure_future(self._drain())
        return await asyncio.shield(future)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                wanted, self._waiting = self._waiting, {}
                await self._answer(wanted)
        finally:
            self._running = None

    async def _answer(self, wanted: dict[UUID, "asyncio.Future[Totals]"]) -> None:
        try:
            for totals in await repository.counters(self._database, list(wanted)):
                wanted.pop(totals.campaign_id).set_result(totals)
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to everyone who waits
            _fail(wanted, error)
        finally:
            _fail(wanted, DatabaseUnavailable())  # also when the task itself is ended: nobody waits for ever


def _fail(wanted: dict[UUID, "asyncio.Future[Totals]"], error: Exception) -> None:
    while wanted:
        _, future = wanted.popitem()
        future.set_exception(error)
        future.exception()  # a caller may have gone; the others still get it
