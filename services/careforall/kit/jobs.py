"""Timed work inside a process: each job runs on one process at a time (advisory lock) and survives its own failures."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from careforall.kit.db import Connection, Database
from careforall.kit.metrics import JOB_RUNS

log = structlog.get_logger(__name__)

_NAMESPACE = 0x4A4F4253


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A named piece of work with its period in seconds; `exclusive` runs it on one process per database.

    `rests` leaves it out while the database is said to take no writes, as for refreshing what is read.
    """

    name: str
    every: float
    work: Callable[[], Awaitable[object]]
    exclusive: bool = True
    rests: bool = False


class Scheduler:
    """Runs the jobs of one service; their locks live on one session of its own."""

    def __init__(self, database: Database, jobs: tuple[Job, ...], *, resting: Callable[[], bool] = lambda: False) -> None:
        self._database = database
        self._jobs = jobs
        self._resting = resting
        self._session: Connection | None = None
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Run all jobs until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number, job in enumerate(self._jobs):
                    group.create_task(self._loop(job, number))
        finally:
            self._hang_up()

    async def _loop(self, job: Job, number: int) -> None:
        while True:
            await asyncio.sleep(job.every * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
            if job.rests and self._resting():
                JOB_RUNS.labels(job=job.name, outcome="rested").inc()
                continue
            try:
                ran = await self._once(job, number)
            except Exception as error:  # noqa: BLE001 - a failed run must not end the schedule
                JOB_RUNS.labels(job=job.name, outcome="failed").inc()
                log.warning("job failed", job=job.name, error=repr(error))
            else:
                JOB_RUNS.labels(job=job.name, outcome="ran" if ran else "elsewhere").inc()

    async def _once(self, job: Job, number: int) -> bool:
        if not job.exclusive:
            await job.work()
            return True
        if not await self._asked(_LOCK, number):
            return False
        try:
            await job.work()
        finally:
            await self._asked(_UNLOCK, number)
        return True

    async def _asked(self, statement: str, number: int) -> bool:
        """Ask the session, opening it anew after a loss, with which its locks went."""
        async with self._turn:
            if self._session is None or self._session.is_closed():
                self._session = await self._database.dedicated()
            try:
                return bool(await self._session.fetchval(statement, _NAMESPACE, number))
            except BaseException:
                self._hang_up()
                raise

    def _hang_up(self) -> None:
        if self._session is not None:
            self._session.terminate()


_LOCK = "SELECT pg_try_advisory_lock($1, $2)"
_UNLOCK = "SELECT pg_advisory_unlock($1, $2)"
