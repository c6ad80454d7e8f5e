"""The tree of categories: made, moved and pruned under one lock, with the products in it told anew."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET

from careforall.catalog import domain, repository, repository_categories, writing
from careforall.catalog.domain import Category
from careforall.catalog.errors import CategoryInUse, CategoryNotFound
from careforall.catalog.schemas import CategoryPatch, NewCategory
from careforall.kit.db import Connection
from careforall.kit.errors import DuplicateEntry, FieldError, InvalidInput, VersionConflict
from careforall.kit.ids import new_id


async def create(connection: Connection, new: NewCategory) -> Category:
    """Create a category in the caller's transaction."""
    await repository_categories.lock_tree(connection)
    plain = Category(
        id=new_id(),
        slug=new.slug or domain.slug_of(new.name)[:100].strip("-"),
        name=new.name,
        parent_id=None,
        level=0,
        path=(),
        display_order=new.display_order,
        version=1,
    )
    category = domain.checked_category(_below(plain, await _parent(connection, new.parent)))
    await _refuse_taken(connection, category)
    await repository_categories.insert_category(connection, category)
    await repository.next_generation(connection)
    return category


async def change(connection: Connection, category_id: UUID, patch: CategoryPatch, version: int | None) -> Category:
    """Change or move a category with all below it; the products in it are told of with their new path."""
    await repository_categories.lock_tree(connection)
    found = await _found(connection, category_id, version)
    changed = await _changed(connection, found, patch)
    await _refuse_taken(connection, changed)
    rest = await repository_categories.below(connection, found.slug)
    moved = [changed, *_carried(changed, rest)]
    for one in moved:
        domain.checked_category(one)
    await repository_categories.update_categories(connection, moved)
    if changed.path != found.path:
        products = await repository_categories.product_ids(connection, [one.id for one in moved])
        await writing.retell(connection, products)
    await repository.next_generation(connection)
    return changed


async def remove(connection: Connection, category_id: UUID, version: int | None) -> None:
    """Delete a category that nothing is in."""
    await repository_categories.lock_tree(connection)
    found = await _found(connection, category_id, version)
    if await repository_categories.used(connection, found.id):
        raise CategoryInUse
    await repository_categories.delete_category(connection, found.id)
    await repository.next_generation(connection)


async def _found(connection: Connection, category_id: UUID, version: int | None) -> Category:
    found = await repository_categories.category(connection, category_id)
    if found is None:
        raise CategoryNotFound
    if version is not None and version != found.version:
        raise VersionConflict(found.version)
    return found


async def _parent(connection: Connection, slug: str | None) -> Category | None:
    if not slug:
        return None
    found = await repository_categories.categories(connection, [slug])
    if slug not in found:
        raise InvalidInput.field("/parent", "unknown_category", "there is no category with this slug")
    return found[slug]


async def _changed(connection: Connection, found: Category, patch: CategoryPatch) -> Category:
    names = ("name", "slug", "display_order")
    changes = {name: getattr(patch, name) for name in names if getattr(patch, name) is not UNSET}
    changed = msgspec.structs.replace(found, **changes, version=found.version + 1)
    wanted = patch.parent if patch.parent is not UNSET else (found.path[-2] if found.level else None)
    parent = await _parent(connection, wanted)
    if parent is not None and found.slug in parent.path:
        raise InvalidInput.field("/parent", "own_descendant", "a category cannot be below itself")
    return _below(changed, parent)


def _carried(changed: Category, rest: Sequence[Category]) -> list[Category]:
    """Return what is below a category, given parents first, with the paths that follow from the category's new one."""
    parents = {changed.id: changed}
    for one in rest:
        parent = parents.get(one.parent_id) if one.parent_id else None
        if parent is not None:
            parents[one.id] = msgspec.structs.replace(_below(one, parent), version=one.version + 1)
    return list(parents.values())[1:]


def _below(category: Category, parent: Category | None) -> Category:
    path = (*(parent.path if parent else ()), category.slug)
    return msgspec.structs.replace(category, parent_id=parent.id if parent else None, level=len(path) - 1, path=path)


async def _refuse_taken(connection: Connection, category: Category) -> None:
    known = await repository_categories.categories(connection, [category.slug])
    if category.slug in known and known[category.slug].id != category.id:
        raise DuplicateEntry(errors=[FieldError(pointer="/slug", code="duplicate_entry", message="already taken")])
