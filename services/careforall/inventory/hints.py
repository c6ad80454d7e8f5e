"""Sold-out hints in Redis: they refuse a flood early and accept nothing; without Redis all is as exact, only slower (rule 16)."""

import asyncio
import time
from collections.abc import Sequence

from careforall.inventory.book import Book
from careforall.kit.cache import Cache

_SECONDS = 1
"""A hint may be wrong for so long: what is given back meanwhile is refused at most this much longer."""
_MARK = b"1"
_MOST_SKUS = 10_000
"""SKUs kept in mind; only bounds memory."""


class Hints:
    """Which SKUs were sold out a moment ago."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: dict[str, float] = {}
        """Until when there is no need to ask about a SKU, because a batch of this process left some of it."""

    async def refuses(self, sku: str) -> bool:
        """Whether a SKU was sold out within the last second; not asked where a batch of this process has just left some.

        Others may have sold it out since: the next batch finds out, under its locks.
        """
        if self._left.get(sku, 0.0) > time.monotonic():
            return False
        return bool(await self.sold_out([sku]))

    async def sold_out(self, skus: Sequence[str]) -> list[str]:
        """Return the SKUs of which nothing was available within the last second, as far as Redis knows."""
        found = await self._cache.get_many([_key(sku) for sku in skus])
        return [sku for sku, mark in zip(skus, found, strict=True) if mark is not None]

    def after(self, book: Book) -> None:
        """Tell Redis what a batch sold out or found sold out, and what it freed; nobody waits for it."""
        gone = [sku for sku in book.changed_skus | book.lacking if not book.available(sku)]
        back = [sku for sku in book.changed_skus if book.available(sku) and book.was_sold_out(sku)]
        self._remember(book, gone)
        if gone or back:
            task = asyncio.ensure_future(self._tell(gone, back))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _remember(self, book: Book, gone: Sequence[str]) -> None:
        if len(self._left) > _MOST_SKUS:
            self._left.clear()
        self._left.update(dict.fromkeys(book.changed_skus, time.monotonic() + _SECONDS))
        for sku in gone:
            self._left.pop(sku, None)

    async def drain(self) -> None:
        """Wait until Redis has heard everything, or has not answered in time."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _tell(self, gone: list[str], back: list[str]) -> None:
        await self._cache.put({_key(sku): _MARK for sku in gone}, seconds=_SECONDS)
        await self._cache.drop(*(_key(sku) for sku in back))


def _key(sku: str) -> str:
    return f"inventory:soldout:{sku}"
