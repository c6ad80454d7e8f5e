"""What every index has to do, whoever keeps it. A new adapter joins `INDEXES` and has to pass unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from careforall.contracts.catalog import ProductSnapshot, Variant
from careforall.kit.db import Database, PoolSettings
from careforall.kit.faceted import Wanted
from careforall.kit.ids import new_id
from careforall.search.index import END, START, Index, Known
from careforall.search.postgres import PostgresIndex
from careforall.search.service import Facts, SearchService
from careforall_testing.platform import fresh_database
from careforall_testing.servers import ServerUrls

BEST = Wanted(sort="relevance")
INDEXES: dict[str, Callable[[Database], Index]] = {"postgres": lambda database: PostgresIndex(database, candidates=100)}


class Shelf:
    """An index and the means to fill it."""

    def __init__(self, database: Database, index: Index) -> None:
        self.database = database
        self.index = index

    async def put(self, name: str, *, version: int = 1, product_id: UUID | None = None, **facts: Any) -> UUID:
        """Put a product."""
        identifier = product_id or new_id()
        one = known(name, identifier, version, **facts)
        await self.database.run(lambda connection: self.index.put(connection, [one]))
        return identifier

    async def stock(self, sku: str, available: int, version: int) -> None:
        """Put stock."""
        await self.database.run(lambda connection: self.index.put_stock(connection, [(sku, available, version)]))

    async def names(self, text: str, wanted: Wanted = BEST) -> list[str]:
        """What a search finds."""
        return [hit.product.name for hit in (await self.index.find(text, wanted)).hits]


@pytest.fixture(params=INDEXES)
async def shelf(servers: ServerUrls, request: pytest.FixtureRequest) -> AsyncIterator[Shelf]:
    async with fresh_database(servers.postgres, "search") as url:
        database = Database(url, name="search", settings=PoolSettings(max_size=2, acquire_timeout=10, connect_timeout=10))
        await database.open()
        yield Shelf(database, INDEXES[request.param](database))
        await database.close()


async def test_only_the_newest_word_about_a_product_counts(shelf: Shelf) -> None:
    identifier = await shelf.put("Second", version=2)
    await shelf.put("First", version=1, product_id=identifier)
    assert (await shelf.names("second"), await shelf.names("first")) == (["Second"], [])
    await shelf.put("Second", version=3, product_id=identifier, status="INACTIVE")
    await shelf.put("Second", version=2, product_id=identifier)
    assert await shelf.names("second") == []


@pytest.mark.parametrize("stock_first", [True, False])
async def test_stock_and_product_meet_in_any_order(shelf: Shelf, stock_first: bool) -> None:
    there = Wanted(sort="relevance", in_stock=True)
    if stock_first:
        await shelf.stock("A-1", 3, version=2)
    await shelf.put("Anvil", variants=(Variant(variant_id=new_id(), sku="A-1"),))
    if not stock_first:
        await shelf.stock("A-1", 3, version=2)
    assert await shelf.names("anvil", there) == ["Anvil"]
    await shelf.stock("A-1", 0, version=1)
    assert await shelf.names("anvil", there) == ["Anvil"]
    await shelf.stock("A-1", 0, version=3)
    assert await shelf.names("anvil", there) == []


async def test_all_words_are_needed_and_names_come_first(shelf: Shelf) -> None:
    await shelf.put("Garden chair", description="Sturdy.")
    await shelf.put("Sturdy table", description="For the garden.")
    assert await shelf.names("garden sturdy") == await shelf.names("sturdy garden") != []
    assert await shelf.names("garden") == ["Garden chair", "Sturdy table"]
    assert await shelf.names("garden chairs") == ["Garden chair"]
    assert await shelf.names("garden -chair") == ["Sturdy table"]


async def test_counts_are_of_all_that_is_found(shelf: Shelf) -> None:
    for number in range(5):
        await shelf.put(f"Mug {number}", brand="Acorn" if number % 2 else "Birch", attributes={"color": "red"})
    found = await shelf.index.find("mug", Wanted(sort="relevance", size=2))
    assert (len(found.hits), len(found.matches), found.counts.total) == (2, 3, 5)
    assert {one.value: one.count for one in found.counts.brands} == {"Acorn": 2, "Birch": 3}
    assert [(one.value, one.count) for one in found.counts.terms] == [("color=red", 5)]
    assert await shelf.names("mug", Wanted(sort="relevance", brands=("Acorn",))) != []


async def test_words_that_look_alike_are_guessed(shelf: Shelf) -> None:
    await shelf.put("Umbrella", brand="Birch")
    assert await shelf.index.correct("umbrela") == "umbrella"
    assert await shelf.index.correct("Umbrella") is None
    assert await shelf.index.correct("qzxjv") is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("coton shrit", "cotton shirt"),
        ("cottn SHRT", "cotton shirt"),
        ("cotton hsirt", "cotton shirt"),
        ("ctoton shitr", "cotton shirt"),
        ("coton shrit -hodie", "cotton shirt -hoodie"),
        ("shrit shrit", "shirt shirt"),
        ("cotton tae", "cotton tea"),
        ("embroid shrit", "embroidered shirt"),
        ("qzxjv shrit", "qzxjv shirt"),
    ],
)
async def test_every_word_of_a_text_may_be_mistyped(shelf: Shelf, typed: str, meant: str) -> None:
    for name in ("Cotton shirt", "Hoodie", "Tea", "Embroidered", "Shrimp cotter", "Carton shore", "Shorter shrine"):
        await shelf.put(name)
    assert await shelf.index.correct(typed) == meant


async def test_the_word_that_was_meant_is_found_among_many_a_little_like_it(shelf: Shelf) -> None:
    ends = [f"{one}{two}{three}" for one in "bdfgk" for two in "aeiou" for three in "bdfgklmnp"]
    for start in ("sh", "shr", "ri", "it"):
        await shelf.put(" ".join(start + end for end in ends))
    await shelf.put("Shirt")
    assert await shelf.index.correct("shrit") == "shirt"


async def test_what_is_found_is_marked(shelf: Shelf) -> None:
    await shelf.put("Tea cup", description="A cup for tea.")
    [hit] = (await shelf.index.find("cup", BEST)).hits
    assert (hit.name, hit.description) == (f"Tea {START}cup{END}", f"A {START}cup{END} for tea.")


async def test_beginnings_are_completed(shelf: Shelf) -> None:
    for name in ("Tea cup", "Teapot", "Sugar bowl", "100% wool"):
        await shelf.put(name)
    assert await shelf.index.suggest("tea", 3) == ["Tea cup", "Teapot", "tea"]
    assert await shelf.index.suggest("100%", 5) == ["100% wool"]
    assert await shelf.index.suggest("%", 5) == []


async def test_a_rebuild_serves_meanwhile_and_carries_over_what_is_told(shelf: Shelf) -> None:
    service = SearchService(shelf.database, shelf.index)
    kept, changed = await shelf.put("Kept anvil"), await shelf.put("Old anvil")
    await shelf.put("Ghost anvil", product_id=UUID(int=7))

    async def pages() -> AsyncIterator[Facts]:
        yield [known("Kept anvil", kept, 1), known("Old anvil", changed, 1)], [("A-1", 3, 5)]
        assert await shelf.names("ghost") == ["Ghost anvil"], "the old index serves"
        await shelf.put("New anvil", version=2, product_id=changed)
        await shelf.put("Late anvil", variants=(Variant(variant_id=new_id(), sku="A-1"),))

    assert await service.rebuild(pages()) == 2
    assert sorted(await shelf.names("anvil")) == ["Kept anvil", "Late anvil", "New anvil"]
    assert await shelf.names("anvil", Wanted(sort="relevance", in_stock=True)) == ["Late anvil"]
    await shelf.put("Last anvil", version=3, product_id=changed)
    assert await service.rebuild(pages_of(known("Last anvil", changed, 3))) == 1
    assert sorted(await shelf.names("last")) == ["Last anvil"]


async def pages_of(*products: Known) -> AsyncIterator[Facts]:
    yield products, []


def known(name: str, product_id: UUID, version: int, **facts: Any) -> Known:
    """A product as the catalog tells of it."""
    fields: dict[str, Any] = {"status": "ACTIVE", "base_price": Decimal(10), "currency": "EUR", "created_at": datetime.now(UTC)}
    product = ProductSnapshot(product_id=product_id, slug="x", name=name, **(fields | facts))
    return Known(product_id=product_id, version=version, product=product)
