"""What visitors see: products, lists with facets, variants and the tree, each as bytes that may be kept."""

import hashlib
from collections.abc import Sequence
from uuid import UUID

import msgspec

from careforall.catalog import repository, repository_categories
from careforall.catalog.errors import ProductNotFound
from careforall.catalog.schemas import ProductOut, VariantList, VariantOut, product_out, tree_of
from careforall.catalog.settings import CatalogSettings
from careforall.catalog.shelf import Kept, Shelf
from careforall.contracts.listing import ProductList, facets, listed, pagination
from careforall.kit import faceted, json, offers
from careforall.kit.db import Database
from careforall.kit.faceted import Wanted

_product = msgspec.json.Decoder(ProductOut).decode


class Listing:
    """The reading side of the catalog."""

    def __init__(self, database: Database, shelf: Shelf, settings: CatalogSettings) -> None:
        self._database = database
        self._shelf = shelf
        self._settings = settings

    async def product(self, product_id: UUID) -> Kept:
        """Return a product that is for sale."""

        async def make() -> bytes:
            async with self._database.snapshot() as connection:
                found = await repository.product(connection, product_id)
                if found is None or not found.visible:
                    raise ProductNotFound
                skus = [variant.sku for variant in found.variants]
                return json.encode(product_out(found, await offers.available(connection, skus)))

        return await self._shelf.read("product", str(product_id), make, seconds=self._settings.product_seconds)

    async def variants(self, product_id: UUID, terms: Sequence[Sequence[str]]) -> VariantList:
        """Return the variants of a product that have, of each group, one `name=value`."""
        product = _product((await self.product(product_id)).body)
        return VariantList(items=[one for one in product.variants if _meets(product, one, terms)])

    async def tree(self) -> Kept:
        """Return the tree of categories."""

        async def make() -> bytes:
            async with self._database.connection() as connection:
                return json.encode(tree_of(await repository_categories.tree(connection)))

        return await self._shelf.read("tree", "all", make, seconds=self._settings.tree_seconds)

    async def products(self, wanted: Wanted) -> Kept:
        """Return a page of products with the facets of all that match."""
        name = hashlib.sha256(msgspec.json.encode(wanted)).hexdigest()
        return await self._shelf.read("list", name, lambda: self._list(wanted), seconds=self._settings.list_seconds)

    async def _list(self, wanted: Wanted) -> bytes:
        async with self._database.snapshot() as connection:
            found = await faceted.matches(connection, wanted)
            counted = await faceted.counts(connection, wanted)
            page = found[: wanted.size]
            products = {one.id: one for one in await repository.products(connection, [match.id for match in page])}
        shown = [listed(products[match.id], match, image_url=products[match.id].picture) for match in page]
        counts = facets(counted, {one.currency for one in products.values()})
        return json.encode(ProductList(products=shown, pagination=pagination(wanted, found, counted), facets=counts))


def _meets(product: ProductOut, variant: VariantOut, terms: Sequence[Sequence[str]]) -> bool:
    has = {f"{name}={value}" for name, value in (product.attributes | variant.attributes).items()}
    return all(has.intersection(group) for group in terms)
