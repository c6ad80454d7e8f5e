"""What an index has to do, whoever keeps it; the same tests hold for every one."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from careforall.contracts.catalog import ProductSnapshot
from careforall.kit.db import Connection
from careforall.kit.faceted import Counts, Match, Wanted

START, END = "\ue000", "\ue001"
"""Mark what was found in a text; no text of the catalog holds them, so they outlive escaping."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A product as the catalog told of it last."""

    product_id: UUID
    version: int
    product: ProductSnapshot


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A product that was found, with what was found marked in its name and in a piece of its description."""

    match: Match
    product: ProductSnapshot
    name: str
    description: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A page of hits (`matches` holds one more where there are more), and all of them counted."""

    hits: list[Hit]
    matches: list[Match]
    counts: Counts


class Index(Protocol):
    """Finds products by words; what is put is found from the next search on."""

    async def put(self, connection: Connection, products: Sequence[Known]) -> None:
        """Keep products where they are newer than what is known; one that is INACTIVE is found no more."""

    async def put_stock(self, connection: Connection, facts: Sequence[tuple[str, int, int]]) -> None:
        """Keep (SKU, available, version) where newer than what is known."""

    async def find(self, text: str, wanted: Wanted) -> Found:
        """Find what holds all words of a text (`-` before a word: not this one), or has it as SKU."""

    async def correct(self, text: str) -> str | None:
        """Return the text with its unknown words replaced by known ones that look alike, or None where there are none."""

    async def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return names of products, then words, that begin so."""
