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
    """A named piece of work with its period in seconds; `exclusive` runs it on one process per database."""

    name: str
    every: float
    work: Callable[[], Awaitable[object]]
    exclusive: bool = True


class Scheduler:
    """Runs the jobs of one service."""

    def __init__(self, database: Database, jobs: tuple[Job, ...]) -> None:
        self._database = database
        self._jobs = jobs

    async def run(self) -> None:
        """Run all jobs until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number, job in enumerate(self._jobs):
                group.create_task(self._loop(job, number))

    async def _loop(self, job: Job, number: int) -> None:
        while True:
            await asyncio.sleep(job.every * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
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
        session: Connection = await self._database.dedicated()
        try:
            if not await session.fetchval("SELECT pg_try_advisory_lock($1, $2)", _NAMESPACE, number):
                return False
            await job.work()
            return True
        finally:
            session.terminate()
