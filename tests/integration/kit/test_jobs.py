"""Timed work on real PostgreSQL: a job runs on one process at a time, and goes on after its session was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from careforall.kit import tasks
from careforall.kit.db import Database
from careforall.kit.jobs import Job, Scheduler
from careforall_testing.polling import eventually

END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE '%-session' AND pid <> pg_backend_pid()
"""


class Work:
    """Counts how often it ran, and how many ran at once."""

    def __init__(self) -> None:
        self.runs = self.at_once = self._running = 0

    async def __call__(self) -> None:
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        await asyncio.sleep(0.02)
        self._running -= 1
        self.runs += 1


@asynccontextmanager
async def scheduled(database: Database, *jobs: Job) -> AsyncIterator[None]:
    """Two processes with the same jobs."""
    running = [asyncio.ensure_future(Scheduler(database, jobs).run()) for _ in range(2)]
    try:
        yield
    finally:
        await tasks.end(running)


@pytest.mark.parametrize("exclusive", [True, False])
async def test_an_exclusive_job_never_runs_twice_at_once(database: Database, *, exclusive: bool) -> None:
    work = Work()
    async with scheduled(database, Job(name="test", every=0.005, work=work, exclusive=exclusive)):
        await eventually(lambda: work.runs >= 20)
    assert work.at_once == (1 if exclusive else 2)


async def test_a_job_that_rests_is_left_out_for_as_long_as_it_is_said_and_its_neighbours_go_on(database: Database) -> None:
    view, other = Work(), Work()
    resting = True
    jobs = (Job(name="view", every=0.01, work=view, rests=True), Job(name="other", every=0.01, work=other))
    running = asyncio.ensure_future(Scheduler(database, jobs, resting=lambda: resting).run())
    try:
        await eventually(lambda: other.runs > 5)
        assert view.runs == 0
        resting = False
        await eventually(lambda: view.runs > 1)
    finally:
        await tasks.end([running])


async def test_jobs_go_on_after_their_session_was_lost(database: Database) -> None:
    work, other = Work(), Work()
    async with scheduled(database, Job(name="one", every=0.01, work=work), Job(name="other", every=0.01, work=other)):
        await eventually(lambda: work.runs and other.runs)
        await database.fetch(END_SESSIONS)
        seen = work.runs, other.runs
        await eventually(lambda: work.runs > seen[0] + 5 and other.runs > seen[1] + 5)


async def test_a_job_that_fails_runs_again(database: Database) -> None:
    failures = 0

    async def fails() -> None:
        nonlocal failures
        failures += 1
        raise ValueError("not now")

    async with scheduled(database, Job(name="test", every=0.01, work=fails)):
        await eventually(lambda: failures >= 3)
