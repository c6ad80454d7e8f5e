"""What services that keep a copy of the catalog's products share: which version counts, and asking for what the copy lacks."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any
from uuid import UUID

from careforall.contracts.catalog import PRODUCTS_OF, ProductEvent, ProductsAsked, ProductsTold
from careforall.kit.db import Connection, Database
from careforall.kit.learning import Learning
from careforall.kit.service import Ask

Versioned = tuple[ProductEvent, int]
"""The state of a product and its version."""


def newest(told: Sequence[Versioned]) -> dict[UUID, Versioned]:
    """Return the newest of what is told of each product."""
    return {event.product_id: (event, version) for event, version in sorted(told, key=lambda one: one[1])}


def learning(
    database: Database,
    ask: Ask,
    *,
    present: Callable[[Sequence[str]], Awaitable[Collection[str]]],
    keep: Callable[[Connection, Sequence[Versioned]], Awaitable[Any]],
) -> Learning[ProductsTold]:
    """Return what asks the catalog for products of SKUs that a copy lacks.

    Args:
        database: Holds the copy.
        ask: Asks another service now.
        present: Returns those of some SKUs that the copy has.
        keep: Puts products into the copy where they are newer, as consumers do.
    """

    async def fold(told: ProductsTold) -> None:
        products = [(one.product, one.version) for one in told.products]
        await database.run(lambda connection: keep(connection, products))

    return Learning(ask, PRODUCTS_OF, ProductsTold, present=present, question=lambda skus: ProductsAsked(skus=skus), fold=fold)
