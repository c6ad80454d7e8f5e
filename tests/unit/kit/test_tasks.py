"""Ending tasks: a cancellation that comes at the worst moment is not lost, and one that a library lost is asked for again."""

from __future__ import annotations

import asyncio

from careforall.kit import tasks


async def test_an_event_is_waited_for_no_longer_than_said() -> None:
    event = asyncio.Event()
    assert not await tasks.set_within(event, 0.01)
    event.set()
    assert await tasks.set_within(event, 5)


async def test_a_cancellation_that_meets_the_event_ends_the_task() -> None:
    event = asyncio.Event()

    async def work() -> None:
        while True:
            await tasks.set_within(event, 5)
            event.clear()
            await asyncio.sleep(0)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.01)
    event.set()
    task.cancel()
    await asyncio.wait({task}, timeout=0.5)
    assert task.cancelled()


async def test_a_task_that_lost_its_cancellation_is_cancelled_again() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    await tasks.end([task])
    assert task.cancelled()


async def test_nothing_to_end_is_no_trouble() -> None:
    await tasks.end([])
