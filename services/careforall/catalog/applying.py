"""Rows of an imported file become products: what is new is created, what is known is changed, what is wrong is told row by row.

A product is taken whole or not at all. Everything is stored by `writing`, in the caller's transaction, so that an import tells
others and drops caches as staff does who changes one product.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.catalog import domain, meaning, repository, repository_categories, writing
from careforall.catalog.domain import Category, Product, Variant
from careforall.catalog.meaning import Said
from careforall.catalog.repository import TakenSku
from careforall.catalog.schemas import NewProduct
from careforall.catalog.sheet import Row, RowError, Sheet
from careforall.contracts.catalog import ProductCreated, ProductUpdated
from careforall.kit.db import Connection
from careforall.kit.errors import InvalidInput, Problem
from careforall.kit.ids import new_id

_NEEDED = ("name", "base_price", "currency")


class Applied(msgspec.Struct, kw_only=True):
    """What came of rows: each is one of the four."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    errors: list[RowError] = msgspec.field(default_factory=list)


class _Known(msgspec.Struct, kw_only=True):
    """What the catalog holds of what rows speak of: `before` them, and `after` as far as they are read."""

    before: Mapping[UUID, Product]
    after: dict[UUID, Product]
    by_slug: Mapping[str, UUID]
    owners: Mapping[str, TakenSku]
    categories: Mapping[str, Category]
    unnamed: set[UUID]


async def apply(connection: Connection, sheet: Sheet, products: Sequence[Sequence[Row]]) -> Applied:
    """Apply products of a sheet, each given as its rows, in the caller's transaction.

    Raises:
        Problem: Somebody else was faster, and nothing of these rows may be kept; applied one by one they show which.
    """
    await repository_categories.share_tree(connection)
    said = [meaning.read(sheet.columns, rows) for rows in products]
    known, applied = await _known(connection, said), Applied()
    for one in said:
        _take(one, sheet, known, applied)
    await writing.save_all(connection, _savings(known))
    return applied


def refused(sheet: Sheet, rows: Sequence[Row], problem: Problem) -> Applied:
    """Return what came of the rows of one product that could not be stored."""
    said = meaning.read(sheet.columns, rows)
    for error in problem.errors:
        said.refuse(error.pointer.rpartition("/")[2], error.code, error.message)
    if not said.errors:
        said.refuse("", problem.code, problem.detail)
    return Applied(failed=len(rows), errors=said.told())


async def _known(connection: Connection, said: Sequence[Said]) -> _Known:
    skus = [sku for one in said for sku in one.variants if domain.sku_error("", sku) is None]
    owners = await repository.taken_skus(connection, skus)
    slugs = [one.fields.get("slug", "") for one in said]
    taken = await repository.taken_slugs(connection, [slug for slug in slugs if domain.is_slug(slug)])
    ids = {one.product_id for one in owners.values()} | set(taken.values())
    found = {one.id: one for one in await repository.lock_products(connection, list(ids))}
    return _Known(
        before=found,
        after=dict(found),
        by_slug={found[identifier].slug: identifier for identifier in taken.values() if identifier in found},
        owners=owners,
        categories=await repository_categories.categories(connection, [one.fields.get("category", "") for one in said]),
        unnamed=set(),
    )


def _savings(known: _Known) -> list[writing.Saving]:
    changed = [product for product in known.after.values() if product != known.before.get(product.id)]
    return [
        writing.Saving(kind=ProductUpdated, product=writing.stepped(product))
        if product.id in known.before
        else writing.Saving(kind=ProductCreated, product=product, slug_given=product.id not in known.unnamed)
        for product in changed
    ]


def _take(said: Said, sheet: Sheet, known: _Known, applied: Applied) -> None:
    """Make of rows the product they mean, or note why they mean none."""
    found = _found(said, known)
    product = _made(said, found, known)
    if product is None:
        applied.failed += len(said.rows)
        applied.errors += said.told()
        return
    if found is None and "slug" not in said.fields:
        known.unnamed.add(product.id)
        product = _apart(product, sheet)
    known.after[product.id] = product
    _count(said, found, product, applied)


def _found(said: Said, known: _Known) -> Product | None:
    """Return the product that rows speak of, if there is one: by its slug, else by its SKU."""
    slug = said.fields.get("slug")
    owners = {sku: known.owners[sku].product_id for sku in said.variants if sku in known.owners}
    identifier = known.by_slug.get(slug) if slug else next(iter(owners.values()), None)
    for sku, owner in owners.items():
        if owner != identifier or owner not in known.after:
            sentence = f"{sku} belongs to another product, or to one that was removed"
            said.refuse("sku", "duplicate_entry", sentence, line=said.variants[sku].line)
    return known.after.get(identifier) if identifier else None


def _made(said: Said, found: Product | None, known: _Known) -> Product | None:
    """Return the product as the rows say it, with exact amounts; None where something is wrong, which is noted."""
    wrong = {error.column for error in said.errors}
    for column in _NEEDED if found is None and not said.unread else ():
        if column not in said.fields and column not in wrong:
            said.refuse(column, "required_field", f"a new product needs a {column}")
    category = said.fields.get("category", "")
    if category and category not in known.categories:
        said.refuse("category", "unknown_category", "there is no category with this slug")
    if said.errors:
        return None
    changed = _merged(said, found or writing.made(NewProduct(**{name: said.fields[name] for name in _NEEDED})))
    try:
        return domain.checked(changed)
    except InvalidInput as problem:
        for error in problem.errors:
            said.refuse_product(changed, error)
        return None


def _merged(said: Said, product: Product) -> Product:
    changes: dict[str, Any] = dict(said.fields)
    if "images" in changes:
        changes["images"] = writing.images_of(changes["images"], product.images)
    variants = {variant.sku: variant for variant in product.variants}
    for sku, one in said.variants.items():
        variant = variants.get(sku) or Variant(id=new_id(), sku=sku, attributes={}, price_difference=Decimal(0), active=True)
        attributes = _with(variant.attributes, one.attributes)
        variants[sku] = msgspec.structs.replace(variant, **one.fields, attributes=attributes)
    attributes = _with(product.attributes, said.attributes)
    return msgspec.structs.replace(product, **changes, attributes=attributes, variants=tuple(variants.values()))


def _with(known: Mapping[str, str], said: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in {**known, **said}.items() if value}


def _apart(product: Product, sheet: Sheet) -> Product:
    """Return a product whose slug nobody gave so that it takes none that the file gives to another."""
    if product.slug not in sheet.slugs:
        return product
    return msgspec.structs.replace(product, slug=f"{product.slug}-{product.id.hex[-8:]}")


def _count(said: Said, found: Product | None, product: Product, applied: Applied) -> None:
    """Note of each row whether what it says is new, changes something or was known."""
    before = {variant.sku: variant for variant in found.variants} if found else {}
    after = {variant.sku: variant for variant in product.variants}
    same = found is not None and msgspec.structs.replace(found, variants=()) == msgspec.structs.replace(product, variants=())
    new = sum(sku not in before for sku in said.variants) + (said.bare if found is None else 0)
    known = sum(same and before.get(sku) == after[sku] for sku in said.variants) + (said.bare if same else 0)
    applied.created += new
    applied.unchanged += known
    applied.updated += len(said.rows) - new - known
