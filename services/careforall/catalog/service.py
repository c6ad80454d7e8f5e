"""Use cases of the catalog: changing it (see `writing` and `sorting`) and showing it."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET

from careforall.catalog import events, repository, sorting, writing
from careforall.catalog.domain import Category, Image, Product, Variant
from careforall.catalog.errors import ImageNotFound, ProductNotFound, VariantNotFound
from careforall.catalog.importing import Importing
from careforall.catalog.listing import Listing
from careforall.catalog.reviewing import Reviewing
from careforall.catalog.schemas import (
    CategoryPatch,
    ImagePatch,
    NewCategory,
    NewImage,
    NewProduct,
    NewVariant,
    ProductOut,
    ProductPatch,
    VariantPatch,
    product_out,
)
from careforall.contracts.catalog import ProductsAsked, ProductSnapshot, ProductStatus, ProductsTold, ProductTold
from careforall.kit import json, offers
from careforall.kit.context import NOBODY
from careforall.kit.db import Connection, Database
from careforall.kit.errors import FieldError, Problem
from careforall.kit.ids import new_id
from careforall.kit.learning import MOST_ASKED
from careforall.kit.outbox import Outgoing


class CatalogService:
    """What the API and the consumers call."""

    def __init__(self, database: Database, listing: Listing, importing: Importing) -> None:
        self.database = database
        self.listing = listing
        self.importing = importing
        self.reviewing = Reviewing(database)

    async def create_product(self, connection: Connection, new: NewProduct) -> ProductOut:
        """Create a product in the caller's transaction."""
        return await _shown(connection, await writing.create(connection, new))

    async def replace_product(self, product_id: UUID, new: NewProduct, version: int | None) -> ProductOut:
        """Make a product what the caller says."""
        return await self._change(
            product_id, lambda found: msgspec.structs.replace(found, **writing.fields_of(new, found)), version
        )

    async def change_product(self, product_id: UUID, patch: ProductPatch, version: int | None) -> ProductOut:
        """Change what is given."""
        return await self._change(product_id, lambda found: _patched(found, patch), version)

    async def remove_product(self, product_id: UUID, version: int | None) -> None:
        """Sell a product no more."""
        await self.database.run(lambda connection: writing.remove(connection, product_id, version))

    async def add_variant(self, connection: Connection, product_id: UUID, new: NewVariant, version: int | None) -> ProductOut:
        """Add a variant to a product in the caller's transaction."""
        variant = Variant(id=new_id(), **msgspec.structs.asdict(new))
        return await _change_one(
            connection, product_id, lambda found: msgspec.structs.replace(found, variants=(*found.variants, variant)), version
        )

    async def change_variant(self, product_id: UUID, variant_id: UUID, patch: VariantPatch, version: int | None) -> ProductOut:
        """Change a variant."""
        changing = _changing("variants", variant_id, patch, VariantNotFound())
        return await self.database.run(lambda connection: _change_one(connection, product_id, changing, version))

    async def remove_variant(self, product_id: UUID, variant_id: UUID, version: int | None) -> ProductOut:
        """Take a variant out of a product."""
        return await self._change(product_id, _removing("variants", variant_id, VariantNotFound()), version)

    async def add_image(self, connection: Connection, product_id: UUID, new: NewImage, version: int | None) -> ProductOut:
        """Add an image in the caller's transaction; a primary one takes the place of the primary one before."""
        image = Image(id=new_id(), **msgspec.structs.asdict(new))

        def added(found: Product) -> Product:
            return msgspec.structs.replace(found, images=(*_one_primary(found.images, image), image))

        return await _change_one(connection, product_id, added, version)

    async def change_image(self, product_id: UUID, image_id: UUID, patch: ImagePatch, version: int | None) -> ProductOut:
        """Change an image; made primary, it takes the place of the primary one before."""
        changing = _changing("images", image_id, patch, ImageNotFound())

        def changed(found: Product) -> Product:
            after = changing(found)
            image = next(one for one in after.images if one.id == image_id)
            return msgspec.structs.replace(after, images=_one_primary(after.images, image))

        return await self.database.run(lambda connection: _change_one(connection, product_id, changed, version))

    async def remove_image(self, product_id: UUID, image_id: UUID, version: int | None) -> ProductOut:
        """Take an image out of a product."""
        return await self._change(product_id, _removing("images", image_id, ImageNotFound()), version)

    async def product_for_staff(self, product_id: UUID) -> ProductOut:
        """Return a product, INACTIVE ones and variants too."""
        async with self.database.snapshot() as connection:
            found = await repository.product(connection, product_id)
            if found is None or found.removed:
                raise ProductNotFound
            return await _shown(connection, found)

    async def products_for_staff(
        self, status: ProductStatus | None, text: str, before: UUID | None, limit: int
    ) -> list[ProductOut]:
        """Return products, newest first."""
        async with self.database.snapshot() as connection:
            found = await repository.for_staff(connection, status, text, before, limit)
            return await _all_shown(connection, found)

    async def create_category(self, connection: Connection, new: NewCategory) -> Category:
        """Create a category in the caller's transaction."""
        return await sorting.create(connection, new)

    async def change_category(self, category_id: UUID, patch: CategoryPatch, version: int | None) -> Category:
        """Change or move a category."""
        return await self.database.run(lambda connection: sorting.change(connection, category_id, patch, version))

    async def remove_category(self, category_id: UUID, version: int | None) -> None:
        """Delete an empty category."""
        await self.database.run(lambda connection: sorting.remove(connection, category_id, version))

    async def keep_stock(self, connection: Connection, facts: Sequence[tuple[str, int, int]]) -> None:
        """Keep what inventory says, (SKU, available, version), in the caller's transaction."""
        if await offers.keep_stock(connection, facts):
            await repository.next_generation(connection)

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present state of products as events, for projections that start anew."""
        found = await repository.listed(connection, after, limit)
        return [events.product_event(ProductSnapshot, one, NOBODY) for one in found]

    async def answer_products_of(self, payload: bytes) -> bytes:
        """Answer `query.catalog.products_of`, from what is committed."""
        skus = msgspec.json.decode(payload, type=ProductsAsked).skus[:MOST_ASKED]
        async with self.database.snapshot() as connection:
            taken = await repository.taken_skus(connection, skus)
            found = await repository.products(connection, list({one.product_id for one in taken.values()}))
        told = [ProductTold(version=one.version, product=events.product_state(ProductSnapshot, one)) for one in found]
        return json.encode(ProductsTold(products=told))

    async def _change(self, product_id: UUID, change: writing.Change, version: int | None) -> ProductOut:
        async def work(connection: Connection) -> ProductOut:
            return await _shown(connection, await writing.change(connection, product_id, change, version))

        return await self.database.run(work)


async def _change_one(connection: Connection, product_id: UUID, change: writing.Change, version: int | None) -> ProductOut:
    """Change one variant or image: what is at fault is named as in the body that said it."""
    try:
        return await _shown(connection, await writing.change(connection, product_id, change, version))
    except Problem as problem:
        problem.errors = tuple(_shortened(error) for error in problem.errors)
        raise


def _patched(found: Product, patch: ProductPatch) -> Product:
    fields = {name: getattr(patch, name) for name in patch.__struct_fields__ if name != "version"}
    changes = {name: value for name, value in fields.items() if value is not UNSET}
    if "category" in changes:
        changes["category"] = changes["category"] or ""
    if "variants" in changes:
        changes["variants"] = writing.variants_of(changes["variants"], found.variants)
    if "images" in changes:
        changes["images"] = writing.images_of(changes["images"], found.images)
    return msgspec.structs.replace(found, **changes)


def _changing(part: str, part_id: UUID, patch: VariantPatch | ImagePatch, missing: Problem) -> writing.Change:
    """Return a change of one variant or image of a product."""
    fields = {name: getattr(patch, name) for name in patch.__struct_fields__}
    changes = {name: value for name, value in fields.items() if value is not UNSET}

    def changed(found: Product) -> Product:
        parts = getattr(found, part)
        if all(one.id != part_id for one in parts):
            raise missing
        after = tuple(msgspec.structs.replace(one, **changes) if one.id == part_id else one for one in parts)
        return msgspec.structs.replace(found, **{part: after})

    return changed


def _removing(part: str, part_id: UUID, missing: Problem) -> writing.Change:
    def changed(found: Product) -> Product:
        parts = getattr(found, part)
        rest = tuple(one for one in parts if one.id != part_id)
        if len(rest) == len(parts):
            raise missing
        return msgspec.structs.replace(found, **{part: rest})

    return changed


def _one_primary(images: Sequence[Image], image: Image) -> tuple[Image, ...]:
    if not image.is_primary:
        return tuple(images)
    return tuple(one if one.id == image.id else msgspec.structs.replace(one, is_primary=False) for one in images)


def _shortened(error: FieldError) -> FieldError:
    """Return an error of /variants/3/sku as one of /sku."""
    kind, _, rest = error.pointer.removeprefix("/").partition("/")
    if kind not in {"variants", "images"} or "/" not in rest:
        return error
    return msgspec.structs.replace(error, pointer="/" + rest.partition("/")[2])


async def _shown(connection: Connection, product: Product) -> ProductOut:
    [shown] = await _all_shown(connection, [product])
    return shown


async def _all_shown(connection: Connection, products: Sequence[Product]) -> list[ProductOut]:
    available = await offers.available(connection, [variant.sku for one in products for variant in one.variants])
    return [product_out(one, available, staff=True) for one in products]
