"""SQL of the tree of categories."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from careforall.catalog.domain import Category, is_slug
from careforall.kit.db import Connection


async def tree(connection: Connection) -> list[Category]:
    """Return all categories, parents before their children."""
    return [_category(row) for row in await connection.fetch(_CATEGORY + " ORDER BY level, display_order, slug")]


async def lock_tree(connection: Connection) -> None:
    """Let nobody else change the tree before this transaction ends; reading and using it goes on."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('catalog.categories'))")


async def share_tree(connection: Connection) -> None:
    """Let nobody change the tree before this transaction ends; the first lock of whoever uses it."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtext('catalog.categories'))")


async def categories(connection: Connection, slugs: Sequence[str]) -> dict[str, Category]:
    """Return categories by slug; what cannot be a slug names nothing."""
    possible = [slug for slug in slugs if is_slug(slug)]
    rows = await connection.fetch(_CATEGORY + " WHERE slug = ANY($1::text[])", possible)
    return {row["slug"]: _category(row) for row in rows}


async def category(connection: Connection, category_id: UUID) -> Category | None:
    """Return a category."""
    row = await connection.fetchrow(_CATEGORY + " WHERE id = $1", category_id)
    return _category(row) if row else None


async def below(connection: Connection, slug: str) -> list[Category]:
    """Return the categories below one, parents first."""
    rows = await connection.fetch(_CATEGORY + " WHERE $1 = ANY(path) AND slug <> $1 ORDER BY level, id", slug)
    return [_category(row) for row in rows]


async def insert_category(connection: Connection, new: Category) -> None:
    """Store a new category."""
    await connection.execute(_INSERT, *_values(new))


async def update_categories(connection: Connection, changed: Sequence[Category]) -> None:
    """Store changed categories."""
    await connection.executemany(_UPDATE, [_values(one) for one in changed])


async def delete_category(connection: Connection, category_id: UUID) -> None:
    """Delete an empty category."""
    await connection.execute("DELETE FROM categories WHERE id = $1", category_id)


async def used(connection: Connection, category_id: UUID) -> bool:
    """Whether categories, or products that are not removed, are in a category; removed ones leave it."""
    await connection.execute(_LEAVE, category_id)
    return bool(await connection.fetchval(_USED, category_id))


async def product_ids(connection: Connection, category_ids: Sequence[UUID]) -> list[UUID]:
    """Return the products in some categories."""
    return [row["id"] for row in await connection.fetch(_PRODUCT_IDS, list(category_ids))]


def _category(row: asyncpg.Record) -> Category:
    return Category(**{**row, "path": tuple(row["path"])})


def _values(one: Category) -> tuple[Any, ...]:
    return (one.id, one.slug, one.name, one.parent_id, one.level, list(one.path), one.display_order, one.version)


_CATEGORY = "SELECT id, slug, name, parent_id, level, path, display_order, version FROM categories"
_INSERT = """
INSERT INTO categories (id, slug, name, parent_id, level, path, display_order, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_UPDATE = """
UPDATE categories
SET slug = $2, name = $3, parent_id = $4, level = $5, path = $6, display_order = $7, version = $8
WHERE id = $1
"""
_LEAVE = "UPDATE products SET category_id = NULL WHERE category_id = $1 AND removed"
_USED = """
SELECT EXISTS (SELECT FROM categories WHERE parent_id = $1)
    OR EXISTS (SELECT FROM products WHERE category_id = $1 AND NOT removed)
"""
_PRODUCT_IDS = "SELECT id FROM products WHERE category_id = ANY($1::uuid[]) AND NOT removed ORDER BY id"
