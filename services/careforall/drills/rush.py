"""People in a rush: all want the same at once, some at a time get through, and many click twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
IMPATIENT = 0.3
"""The share of those who click twice."""


async def rush(people: Iterable[T], come: Callable[[T], Awaitable[None]], *, workers: int) -> None:
    """Let everybody come, so many at the same time."""
    waiting = iter(people)

    async def some() -> None:
        for person in waiting:
            await come(person)

    await asyncio.gather(*(some() for _ in range(workers)))


async def clicked(click: Callable[[], Awaitable[T]], chance: random.Random) -> list[T]:
    """Click once, or twice at the same moment, and return what each click was answered."""
    return await asyncio.gather(*(click() for _ in range(2 if chance.random() < IMPATIENT else 1)))
