"""The shop of the demo: a tree of categories and a few hundred products with variants, the same ones every time."""

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import product as pairs
from typing import NamedTuple

from careforall.catalog import repository_categories, sorting, writing
from careforall.catalog.schemas import NewCategory, NewImage, NewProduct, NewVariant
from careforall.contracts.catalog import ProductCreated
from careforall.kit.db import Connection, Database

_SEED = 20_260_102
_BATCH = 50
_BRANDS = ("Fairfield", "Greenleaf", "Harbour", "Littlewood", "Openhand", "Riverbank")
_SIZES = ("s", "m", "l", "xl")
_DESCRIPTION = "{name} by {brand}. What it earns goes to the campaigns you find here."


class Shelf(NamedTuple):
    """A category below another, what stands in it, of what it is made, what it costs about, and how its variants differ."""

    parent: str
    name: str
    things: tuple[str, ...]
    materials: tuple[str, ...]
    price: int
    varies: dict[str, tuple[str, ...]]


_COLORS = ("red", "blue", "green", "black", "natural")
_SHELVES = (
    Shelf("Clothing", "Shirts", ("T-shirt", "Polo shirt", "Hoodie", "Blouse"), ("cotton", "linen", "hemp"), 22, {"size": _SIZES}),
    Shelf(
        "Clothing", "Socks", ("Ankle socks", "Knee socks", "Hiking socks"), ("wool", "cotton", "bamboo"), 8, {"size": _SIZES[:3]}
    ),
    Shelf("Clothing", "Bags", ("Tote bag", "Backpack", "Shoulder bag"), ("canvas", "hemp", "felt"), 28, {"color": _COLORS}),
    Shelf("Kitchen", "Mugs", ("Coffee mug", "Tea cup", "Travel mug"), ("clay", "enamel", "glass"), 12, {"color": _COLORS}),
    Shelf("Kitchen", "Textiles", ("Tea towel", "Apron", "Oven glove"), ("cotton", "linen"), 14, {"color": _COLORS[:3]}),
    Shelf(
        "Stationery",
        "Paper",
        ("Notebook", "Calendar", "Greeting card"),
        ("recycled paper", "grass paper"),
        7,
        {"format": ("a5", "a4")},
    ),
    Shelf("Stationery", "Writing", ("Pencil set", "Fountain pen", "Marker set"), ("wood", "metal"), 11, {"color": _COLORS[:4]}),
    Shelf("Toys", "Plush", ("Bear", "Rescue dog", "Elephant", "Whale"), ("cotton", "wool"), 19, {"size": _SIZES[:3]}),
    Shelf("Toys", "Games", ("Memory game", "Puzzle", "Building blocks"), ("wood", "cardboard"), 24, {}),
)


async def load_shop(database: Database) -> str:
    """Make the demo's categories and products once; return what was done in a sentence."""
    if not await database.run(_make_categories):
        return "demo shop is there already"
    products = list(_products(random.Random(_SEED)))  # noqa: S311 - made-up data from a fixed seed
    for start in range(0, len(products), _BATCH):
        await _store(database, products[start : start + _BATCH])
    return f"demo shop: {len(products)} products in {len(_slugs())} categories"


async def _make_categories(connection: Connection) -> bool:
    await repository_categories.lock_tree(connection)
    if await repository_categories.categories(connection, _slugs()):
        return False
    for parent in dict.fromkeys(shelf.parent for shelf in _SHELVES):
        await sorting.create(connection, NewCategory(name=parent, slug=parent.lower()))
    for shelf in _SHELVES:
        await sorting.create(connection, NewCategory(name=shelf.name, slug=_slug(shelf), parent=shelf.parent.lower()))
    return True


async def _store(database: Database, products: Sequence[NewProduct]) -> None:
    async def work(connection: Connection) -> None:
        await repository_categories.share_tree(connection)
        await writing.save(connection, ProductCreated, [writing.made(one) for one in products], slug_given=False)

    await database.run(work)


def _products(pick: random.Random) -> Iterator[NewProduct]:
    number = 0
    for shelf in _SHELVES:
        for thing, material, brand in pairs(shelf.things, shelf.materials, pick.sample(_BRANDS, 5)):
            number += 1
            yield _product(pick, shelf, f"{thing}, {material}", material, brand, number)


def _product(pick: random.Random, shelf: Shelf, name: str, material: str, brand: str, number: int) -> NewProduct:
    price = Decimal(shelf.price) * pick.randint(60, 180) / 100
    base = price.quantize(Decimal(1)) + Decimal("0.90")
    return NewProduct(
        name=name,
        description=_DESCRIPTION.format(name=name, brand=brand),
        brand=brand,
        category=_slug(shelf),
        base_price=base,
        sale_price=(base * Decimal("0.8")).quantize(Decimal("0.01")) if number % 6 == 0 else None,
        currency="EUR",
        attributes={"material": material},
        variants=_variants(shelf, number),
        images=[NewImage(url=f"https://images.example.org/shop/{number}.jpg", alt=name, is_primary=True)],
    )


def _variants(shelf: Shelf, number: int) -> list[NewVariant]:
    """Return a variant for each value; the largest of several sizes costs a little more."""
    code = f"DEMO-{number:04d}"
    made = [
        NewVariant(
            sku=f"{code}-{value.upper()}",
            attributes={name: value},
            price_difference=Decimal("2.00") if value == _SIZES[-1] else Decimal(0),
        )
        for name, values in shelf.varies.items()
        for value in values
    ]
    return made or [NewVariant(sku=code)]


def _slug(shelf: Shelf) -> str:
    return f"{shelf.parent}-{shelf.name}".lower()


def _slugs() -> list[str]:
    return [*dict.fromkeys(shelf.parent.lower() for shelf in _SHELVES), *(_slug(shelf) for shelf in _SHELVES)]


async def skus_of(database: Database) -> list[str]:
    """Return every SKU there is, in order."""
    return [row["sku"] for row in await database.fetch("SELECT sku FROM variants ORDER BY sku")]
