"""Waiting for events and ending tasks so that no cancellation is lost.

`asyncio.wait_for` of Python 3.11 swallows a cancellation that meets its result, and a process told to stop would then wait for a
task that goes on for ever; it is banned by the linter, and what libraries do with it is met by asking again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from careforall.kit.errors import Unavailable

_ASK_AGAIN = 1.0
_LOOK_EVERY = 0.2


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, `seconds` at most if given; return whether it was."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until the last has ended, cancelling again what went on."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN)


async def work_off(start: Callable[[int], Awaitable[set[asyncio.Task[None]]]]) -> int:
    """Do pieces of work side by side until none is left or the database is away; return how many were done.

    `start` is told how many are under way and begins as many more as it has places and work for. It is asked again whenever one
    is done, and a few times a second.
    """
    under_way: set[asyncio.Task[None]] = set()
    done_so_far = 0
    try:
        with contextlib.suppress(Unavailable):
            while under_way := under_way | await start(len(under_way)):
                done, under_way = await asyncio.wait(under_way, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
                done_so_far += len(done)
    finally:
        await end(under_way)
    return done_so_far
