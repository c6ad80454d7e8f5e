"""Sold-out hints in Redis: they refuse a flood early and accept nothing; without Redis all is as exact, only slower (rule 16)."""

import asyncio
from collections.abc import Sequence

from careforall.inventory.book import Book
from careforall.kit.cache import Cache

_SECONDS = 1
"""A hint may be wrong for so long: what is given back meanwhile is refused at most this much longer."""
_MARK = b"1"


class Hints:
    """Which SKUs were sold out a moment ago."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._tasks: set[asyncio.Task[None]] = set()

    async def sold_out(self, skus: Sequence[str]) -> list[str]:
        """Return the SKUs of which nothing was available within the last second, as far as Redis knows."""
        found = await self._cache.get_many([_key(sku) for sku in skus])
        return [sku for sku, mark in zip(skus, found, strict=True) if mark is not None]

    def after(self, book: Book) -> None:
        """Tell Redis what a batch sold out or found sold out, and what it freed; nobody waits for it."""
        gone = [sku for sku in book.changed_skus | book.lacking if not book.available(sku)]
        back = [sku for sku in book.changed_skus if book.available(sku) and book.was_sold_out(sku)]
        if gone or back:
            task = asyncio.ensure_future(self._tell(gone, back))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until Redis has heard everything, or has not answered in time."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _tell(self, gone: list[str], back: list[str]) -> None:
        await self._cache.put({_key(sku): _MARK for sku in gone}, seconds=_SECONDS)
        await self._cache.drop(*(_key(sku) for sku in back))


def _key(sku: str) -> str:
    return f"inventory:soldout:{sku}"
