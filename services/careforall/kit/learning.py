"""Asking the owner for what a copy lacks, before anybody is told that there is no such thing.

A copy follows its owner by events (rule 5), so what was made a moment ago is shown by its owner before others have heard of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, TypeVar

import msgspec
import structlog

from careforall.kit import json
from careforall.kit.errors import Unavailable
from careforall.kit.service import Ask

log = structlog.get_logger(__name__)

T = TypeVar("T")
MOST_ASKED = 100
"""Keys in one question."""
_REMEMBERED = 100_000


class Learning(Generic[T]):
    """Fills gaps of a copy; a key that was seen there once costs nothing any more.

    Args:
        ask: Asks another service now.
        subject: Where the owner answers.
        kind: What the owner answers with.
        present: Returns those of some keys that the copy has.
        question: Makes the question about some keys.
        fold: Puts an answer into the copy, where it is newer.
    """

    def __init__(
        self,
        ask: Ask,
        subject: str,
        kind: type[T],
        *,
        present: Callable[[Sequence[str]], Awaitable[Collection[str]]],
        question: Callable[[list[str]], msgspec.Struct],
        fold: Callable[[T], Awaitable[None]],
    ) -> None:
        self._ask = ask
        self._subject = subject
        self._kind = kind
        self._present = present
        self._question = question
        self._fold = fold
        self._seen: set[str] = set()
        self._wanted: set[str] = set()
        self._next: asyncio.Task[None] | None = None
        self._one_look = asyncio.Lock()

    async def ensure(self, keys: Collection[str]) -> None:
        """Have in the copy what the owner knows of some keys; where the owner is away the copy stays as it is.

        Whoever comes while others are looking waits for the next look, which is for all of them.
        """
        unseen = set(keys) - self._seen
        if not unseen:
            return
        self._wanted |= unseen
        if self._next is None:
            self._next = asyncio.create_task(self._look())
        await asyncio.shield(self._next)

    async def _look(self) -> None:
        async with self._one_look:
            wanted, self._wanted, self._next = sorted(self._wanted - self._seen), set(), None
            if not wanted:
                return
            present = set(await self._present(wanted))
            self._remember(present)
            missing = [key for key in wanted if key not in present]
            for first in range(0, len(missing), MOST_ASKED):
                await self._learn(missing[first : first + MOST_ASKED])

    async def _learn(self, missing: list[str]) -> None:
        try:
            answer = await self._ask(self._subject, json.encode(self._question(missing)))
        except Unavailable:
            log.info("the owner of what is missing here is away", subject=self._subject, missing=len(missing))
            return
        await self._fold(msgspec.json.decode(answer, type=self._kind))

    def _remember(self, present: set[str]) -> None:
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        self._seen |= present
