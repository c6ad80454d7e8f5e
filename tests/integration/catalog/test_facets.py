"""Facets equal the results: whatever the catalogue holds and whatever is asked, each count is what is left when it is chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from careforall.kit import offers as kept
from careforall.kit.db import Connection, Database, PoolSettings
from careforall.kit.faceted import BOUNDS, Counts, Wanted, counts, matches, next_cursor, range_end
from careforall.kit.offers import Offer
from careforall_testing.platform import fresh_database
from careforall_testing.servers import ServerUrls

BRANDS = ("", "Acorn", "Birch")
PRICES = tuple(Decimal(text) for text in ("1.00", "9.99", "10.00", "24.999", "25.00", "1000.00"))
TERMS = ("color=red", "color=blue", "size=m", "size=l")


class Rollback(Exception):
    """Ends a transaction of which nothing shall stay."""


@pytest.fixture(scope="module")
async def database(servers: ServerUrls) -> AsyncIterator[Database]:
    async with fresh_database(servers.postgres, "catalog") as url:
        opened = Database(url, name="catalog", settings=PoolSettings(max_size=1, acquire_timeout=10, connect_timeout=10))
        await opened.open()
        async with opened.connection() as connection:
            await connection.execute("ALTER TABLE offers DROP CONSTRAINT offers_product_id_fkey")
        yield opened
        await opened.close()


@st.composite
def offer_lists(draw: st.DrawFn) -> list[Offer]:
    """The offers of some products."""
    found: list[Offer] = []
    for number in range(draw(st.integers(0, 8))):
        brand, rating = draw(st.sampled_from(BRANDS)), Decimal(draw(st.integers(0, 50))) / 10
        path = draw(st.sampled_from([(), ("a",), ("a", "b"), ("c",)]))
        for place in range(draw(st.integers(1, 3))):
            terms = draw(st.lists(st.sampled_from(TERMS), unique=True))
            offer = Offer(
                product_id=UUID(int=number + 1),
                place=place,
                sku=None,
                name=f"Product {number % 3}",
                brand=brand,
                categories=path,
                price=draw(st.sampled_from(PRICES)),
                rating=rating,
                sellable=True,
                in_stock=draw(st.booleans()),
                terms=tuple(terms),
            )
            found.append(offer)
    return found


WANTED = st.builds(
    Wanted,
    category=st.sampled_from(["", "a", "b"]),
    brands=st.sampled_from([(), ("Acorn",), ("Acorn", "Birch")]),
    min_price=st.sampled_from([None, *PRICES]),
    max_price=st.sampled_from([None, *PRICES]),
    rating=st.sampled_from([None, Decimal(2), Decimal(4)]),
    in_stock=st.sampled_from([None, True, False]),
    terms=st.sampled_from([(), (("color=red",),), (("color=blue", "color=red"), ("size=m",))]),
    sort=st.sampled_from(["newest", "price_asc", "price_desc", "rating", "name"]),
    size=st.integers(1, 4),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offers=offer_lists(), wanted=WANTED)
async def test_facets_are_the_results(database: Database, offers: list[Offer], wanted: Wanted) -> None:
    async def work(connection: Connection) -> None:
        await kept.store(connection, [], offers)
        await check(connection, offers, wanted)
        raise Rollback

    with pytest.raises(Rollback):
        await database.run(work)


async def check(connection: Connection, offers: Sequence[Offer], wanted: Wanted) -> None:
    counted = await counts(connection, wanted)
    assert counted.total == len({offer.product_id for offer in offers if meets(offer, wanted)})
    assert await everything(connection, wanted) == counted.total
    for brand in counted.brands:
        assert await left(connection, wanted, brands=(brand.value,)) == brand.count
    for term in counted.terms:
        assert await left(connection, wanted, terms=(*wanted.terms, (term.value,))) == term.count
    for least, count in enumerate(counted.ratings, 1):
        assert await left(connection, wanted, rating=max(wanted.rating or Decimal(0), Decimal(least))) == count
    await check_prices(connection, counted, wanted)


async def check_prices(connection: Connection, counted: Counts, wanted: Wanted) -> None:
    for index, count in enumerate(counted.ranges):
        low, high = max(Decimal(BOUNDS[index]), wanted.min_price or Decimal(0)), range_end(index)
        most = wanted.max_price if high is None else high if wanted.max_price is None else min(high, wanted.max_price)
        assert await left(connection, wanted, min_price=low, max_price=most) == count


async def left(connection: Connection, wanted: Wanted, **further: object) -> int:
    """How many results a further filter leaves."""
    return await everything(connection, msgspec.structs.replace(wanted, **further))


async def everything(connection: Connection, wanted: Wanted) -> int:
    """How many products all pages show together; none twice, the order unbroken."""
    seen: list[UUID] = []
    while True:
        found = await matches(connection, wanted)
        seen += [match.id for match in found[: wanted.size]]
        cursor = next_cursor(wanted, found)
        if cursor is None:
            assert len(set(seen)) == len(seen)
            return len(seen)
        wanted = msgspec.structs.replace(wanted, cursor=cursor)


def meets(offer: Offer, wanted: Wanted) -> bool:
    """The same filters, said in another language."""
    return all(
        (
            not wanted.category or wanted.category in offer.categories,
            not wanted.brands or offer.brand in wanted.brands,
            wanted.min_price is None or offer.price >= wanted.min_price,
            wanted.max_price is None or offer.price <= wanted.max_price,
            wanted.rating is None or offer.rating >= wanted.rating,
            wanted.in_stock is None or offer.in_stock == wanted.in_stock,
            all(set(group) & set(offer.terms) for group in wanted.terms),
        )
    )
