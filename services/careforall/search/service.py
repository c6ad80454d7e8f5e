"""Use cases of search: keeping the index, finding in it, and making it anew while it serves."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from uuid import UUID

from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput, Locked
from careforall.kit.faceted import Wanted
from careforall.kit.text import can_be_shown
from careforall.search import repository, schemas
from careforall.search.errors import IndexBusy
from careforall.search.index import Index, Known
from careforall.search.schemas import SearchAnswer

Facts = tuple[Sequence[Known], Sequence[tuple[str, int, int]]]
"""Products, and stock as (SKU, available, version)."""


_TRIES = 100
_PAUSE = 0.1


class SearchService:
    """What the API, the consumers and `careforall reindex` call."""

    def __init__(self, database: Database, index: Index) -> None:
        self._database = database
        self._index = index

    async def keep(self, connection: Connection, facts: Facts) -> None:
        """Keep what others say in the caller's transaction."""
        products, stock = facts
        if products:
            await self._index.put(connection, products)
        if stock:
            await self._index.put_stock(connection, stock)

    async def search(self, text: str, wanted: Wanted) -> SearchAnswer:
        """Find products; where nothing holds the words as typed, find what was probably meant."""
        query = _checked(text)
        found = await self._index.find(query, wanted)
        if found.counts.total == 0 and (meant := await self._index.correct(query)) is not None:
            other = await self._index.find(meant, wanted)
            if other.counts.total:
                return schemas.answer(query, meant, wanted, other)
        return schemas.answer(query, None, wanted, found)

    async def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return names and words that begin so."""
        return await self._index.suggest(_checked(prefix), limit)

    async def rebuild(self, pages: AsyncIterator[Facts]) -> int:
        """Make the index anew out of all that its owners know, while the old one serves; return how many products it has.

        What is told meanwhile goes into the old index and is carried over when the new one takes its place.
        """
        await self._database.run(repository.begin_anew)
        total, last = 0, None
        async for page in pages:
            await self._database.run(partial(self._beside, page))
            total += len(page[0])
            last = max([one.product_id for one in page[0]], default=last)
        await self._swap(last)
        return total

    async def _swap(self, last: UUID | None) -> None:
        """Put the new index in the place of the old, in a moment when nobody holds a table of it.

        Raises:
            IndexBusy: There was no such moment; the old index serves on.
        """

        async def work(connection: Connection) -> None:
            told = await repository.told_since(connection, last)
            await self._beside(told, connection)
            await repository.take_over(connection)

        for _ in range(_TRIES):
            try:
                return await self._database.run(work)
            except Locked:
                await asyncio.sleep(_PAUSE)
        raise IndexBusy

    async def _beside(self, facts: Facts, connection: Connection) -> None:
        await repository.work_beside(connection)
        await self.keep(connection, facts)


def _checked(text: str) -> str:
    """Return what was typed, without space around it.

    Raises:
        InvalidInput: It is empty, or holds what no text can.
    """
    words = text.strip()
    if not words:
        raise InvalidInput.field("/q", "required_field", "say what to look for")
    if not can_be_shown(words):
        raise InvalidInput.field("/q", "invalid_character", "control and format characters are not accepted")
    return words
