"""Waiting for events and ending tasks so that no cancellation is lost.

`asyncio.wait_for` of Python 3.11 swallows a cancellation that meets its result, and a process told to stop would then wait for a
task that goes on for ever; it is banned by the linter, and what libraries do with it is met by asking again.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

_ASK_AGAIN = 1.0


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
