"""The index in PostgreSQL: full text by weight for words, trigrams for what was mistyped."""

import re
from collections.abc import Sequence

from careforall.contracts.listing import offers_of
from careforall.kit import offers
from careforall.kit.db import Connection, Database
from careforall.kit.faceted import Wanted
from careforall.search import domain, repository
from careforall.search.index import Found, Hit, Known

_WORD = re.compile(r"\w+")
_SHORTEST = 3
_MOST_WORDS = 10
_NEAREST = 50
"""Known words that are compared with a given one."""


class PostgresIndex:
    """See `Index`."""

    def __init__(self, database: Database, *, candidates: int) -> None:
        self._database = database
        self._candidates = candidates

    async def put(self, connection: Connection, products: Sequence[Known]) -> None:
        """Keep products where newer."""
        newest = {one.product_id: one for one in sorted(products, key=lambda one: one.version)}
        newer = await repository.keep_products(connection, [newest[key] for key in sorted(newest)])
        await repository.store_documents(connection, newer)
        available = await offers.lock_stock(connection, [variant.sku for one in newer for variant in one.product.variants])
        made = [offer for one in newer for offer in offers_of(one.product_id, one.product, available)]
        await offers.store(connection, [one.product_id for one in newer], made)

    async def put_stock(self, connection: Connection, facts: Sequence[tuple[str, int, int]]) -> None:
        """Keep stock where newer."""
        await offers.keep_stock(connection, facts)

    async def find(self, text: str, wanted: Wanted) -> Found:
        """Find products, at most as many candidates as the settings allow."""
        async with self._database.snapshot() as connection:
            matches, counts = await repository.find(connection, text, self._candidates, wanted)
            page = matches[: wanted.size]
            texts = await repository.texts(connection, [match.id for match in page], text)
        hits = [
            Hit(match=match, product=one.product, name=one.name, description=one.description)
            for match in page
            for one in (texts[match.id],)
        ]
        return Found(hits=hits, matches=matches, counts=counts)

    async def correct(self, text: str) -> str | None:
        """Replace unknown words by known ones that look alike."""
        words = [word for word in dict.fromkeys(_WORD.findall(text.lower())) if len(word) >= _SHORTEST]
        async with self._database.snapshot() as connection:
            alike = domain.meant(await repository.near(connection, words[:_MOST_WORDS], _NEAREST))
        corrected = _WORD.sub(lambda found: alike.get(found[0].lower(), found[0]), text)
        return corrected if corrected.lower() != text.lower() else None

    async def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return what begins so."""
        async with self._database.connection() as connection:
            found = await repository.names(connection, prefix, limit)
        return list(dict.fromkeys(found))
