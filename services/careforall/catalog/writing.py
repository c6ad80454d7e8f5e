"""Changing products: what is stored, what visitors may find and what others are told is one transaction."""

from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.catalog import domain, events, repository, repository_categories
from careforall.catalog.domain import Image, Product, Variant
from careforall.catalog.errors import ProductNotFound
from careforall.catalog.schemas import NewImage, NewProduct, NewVariant
from careforall.contracts.catalog import ProductCreated, ProductRemoved, ProductUpdated
from careforall.contracts.listing import offers_of
from careforall.kit import offers, outbox
from careforall.kit.context import current
from careforall.kit.db import Connection
from careforall.kit.errors import DuplicateEntry, FieldError, InvalidInput, VersionConflict
from careforall.kit.ids import new_id

Change = Callable[[Product], Product]


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """A product to be stored, and what others are told; a slug that nobody gave gets an ending where it is taken."""

    kind: events.Kind
    product: Product
    slug_given: bool = True


async def create(connection: Connection, new: NewProduct, seller_id: UUID | None = None) -> Product:
    """Create a product in the caller's transaction."""
    await repository_categories.share_tree(connection)
    [product] = await save(connection, ProductCreated, [made(new, seller_id)], slug_given=new.slug is not None)
    return product


async def change(connection: Connection, product_id: UUID, change: Change, version: int | None) -> Product:
    """Change a product in the caller's transaction; `version` is the one the caller has read, if they said."""
    await repository_categories.share_tree(connection)
    found = await _locked(connection, product_id, version)
    [product] = await save(connection, ProductUpdated, [stepped(change(found))])
    return product


async def remove(connection: Connection, product_id: UUID, version: int | None) -> None:
    """Remove a product: it stays known as INACTIVE, with its SKUs."""
    await repository_categories.share_tree(connection)
    found = await _locked(connection, product_id, version)
    gone = msgspec.structs.replace(stepped(found), status="INACTIVE", removed=True)
    await save(connection, ProductRemoved, [gone])


async def retell(connection: Connection, product_ids: Sequence[UUID]) -> None:
    """Tell of products whose category changed; the tree is locked."""
    if found := await repository.lock_products(connection, product_ids):
        await save(connection, ProductUpdated, [stepped(one) for one in found])


async def save(
    connection: Connection, kind: events.Kind, products: Sequence[Product], *, slug_given: bool = True
) -> list[Product]:
    """Store products of which others are told the same; see `save_all`."""
    return await save_all(connection, [Saving(kind=kind, product=one, slug_given=slug_given) for one in products])


async def save_all(connection: Connection, savings: Sequence[Saving]) -> list[Product]:
    """Store products, their offers and one event each.

    Raises:
        InvalidInput: Naming the fields at fault.
        DuplicateEntry: A SKU or slug is taken.
    """
    placed = await _placed(connection, [domain.checked(one.product) for one in savings])
    named = await _named(connection, placed, given={one.product.id for one in savings if one.slug_given})
    await _refuse_taken_skus(connection, named)
    tree = await repository_categories.categories(connection, [one.category for one in named])
    await repository.store(connection, named, {slug: category.id for slug, category in tree.items()})
    available = await offers.lock_stock(connection, [variant.sku for one in named for variant in one.variants])
    made_of = [offer for one in named for offer in offers_of(one.id, one, available)]
    await offers.store(connection, [one.id for one in named], made_of)
    told = [events.product_event(saving.kind, one, current()) for saving, one in zip(savings, named, strict=True)]
    await outbox.insert(connection, told)
    await repository.next_generation(connection)
    return named


def made(new: NewProduct, seller_id: UUID | None = None) -> Product:
    """Return the first version of a product."""
    now = datetime.now(UTC)
    return Product(
        **fields_of(new),
        id=new_id(),
        seller_id=seller_id,
        category_path=(),
        rating_average=Decimal(0),
        rating_count=0,
        version=1,
        removed=False,
        created_at=now,
        updated_at=now,
    )


def fields_of(new: NewProduct, known: Product | None = None) -> dict[str, Any]:
    """Return what a caller says of a whole product, with what was known where it says nothing or the same."""
    fields = {name: getattr(new, name) for name in new.__struct_fields__ if name != "version"}
    fields["slug"] = new.slug or (known.slug if known else domain.slug_of(new.name))
    fields["category"] = new.category or ""
    fields["variants"] = variants_of(new.variants, known.variants if known else ())
    fields["images"] = images_of(new.images, known.images if known else ())
    return fields


def variants_of(given: Sequence[NewVariant], known: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return variants as given; one whose SKU was there before keeps its id."""
    ids = {variant.sku: variant.id for variant in known}
    taken: set[UUID] = set()
    made = []
    for one in given:
        identifier = ids.get(one.sku)
        if identifier is None or identifier in taken:
            identifier = new_id()
        taken.add(identifier)
        made.append(Variant(id=identifier, **msgspec.structs.asdict(one)))
    return tuple(made)


def images_of(given: Sequence[NewImage], known: Sequence[Image]) -> tuple[Image, ...]:
    """Return images as given; the first of an address keeps the id it had."""
    ids = {image.url: image.id for image in known}
    return tuple(Image(id=ids.pop(one.url) if one.url in ids else new_id(), **msgspec.structs.asdict(one)) for one in given)


def stepped(product: Product) -> Product:
    """Return the next version of a product."""
    return msgspec.structs.replace(product, version=product.version + 1, updated_at=datetime.now(UTC))


async def _locked(connection: Connection, product_id: UUID, version: int | None) -> Product:
    found = await repository.lock_products(connection, [product_id])
    if not found:
        raise ProductNotFound
    if version is not None and version != found[0].version:
        raise VersionConflict(found[0].version)
    return found[0]


async def _placed(connection: Connection, products: Sequence[Product]) -> list[Product]:
    """Return products with the paths of their categories."""
    known = await repository_categories.categories(connection, [one.category for one in products])
    if any(one.category and one.category not in known for one in products):
        raise InvalidInput.field("/category", "unknown_category", "there is no category with this slug")
    return [msgspec.structs.replace(one, category_path=known[one.category].path if one.category else ()) for one in products]


async def _named(connection: Connection, products: Sequence[Product], *, given: Container[UUID]) -> list[Product]:
    """Return products with slugs of their own; one that nobody gave gets an ending where it is taken."""
    taken = await repository.taken_slugs(connection, [one.slug for one in products])
    named = []
    for one in products:
        other = taken.get(one.slug, one.id) != one.id
        if other and one.id in given and not one.removed:
            raise DuplicateEntry(errors=[FieldError(pointer="/slug", code="duplicate_entry", message="already taken")])
        slug = f"{one.slug}-{one.id.hex[-8:]}" if other and one.id not in given else one.slug
        taken[slug] = one.id
        named.append(msgspec.structs.replace(one, slug=slug))
    return named


async def _refuse_taken_skus(connection: Connection, products: Sequence[Product]) -> None:
    taken = await repository.taken_skus(connection, [variant.sku for one in products for variant in one.variants])
    owners = {sku: found.product_id for sku, found in taken.items()}
    errors = []
    for one in products:
        for index, variant in enumerate(one.variants):
            if owners.setdefault(variant.sku, one.id) != one.id:
                pointer = f"/variants/{index}/sku"
                errors.append(FieldError(pointer=pointer, code="duplicate_entry", message=f"{variant.sku} is taken"))
    if errors:
        raise DuplicateEntry(errors=errors)
