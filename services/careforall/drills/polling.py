"""Waiting for a condition with a deadline; the only way drills and tests wait for another process, server or task."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


class NotInTime(AssertionError):
    """What was waited for did not come true; the message tells the last thing seen."""


@overload
async def eventually(
    look: Callable[[], Awaitable[T | None]], *, within_s: float = ..., every_s: float = ..., what: str = ...
) -> T: ...


@overload
async def eventually(look: Callable[[], T | None], *, within_s: float = ..., every_s: float = ..., what: str = ...) -> T: ...


async def eventually(look: Callable[[], Any], *, within_s: float = 10.0, every_s: float = 0.02, what: str = "") -> Any:
    """Look again and again until there is something truthy, and return it.

    Raises:
        NotInTime: If the deadline passes; tells the last thing seen.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        seen = await found if inspect.isawaitable(found) else found
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {within_s} s: {what or look}; last seen {seen!r}")
        await asyncio.sleep(every_s)
