"""SQL of reviews, their votes, the ratings they add up to, and who bought what."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec

from careforall.catalog.review import Review, ReviewSort, Total, Vote
from careforall.kit.db import Connection

_FIELDS = tuple(Review.__struct_fields__)


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """What an order says of a product; where it names none, its SKU says which."""

    order_id: UUID
    user_id: UUID
    product_id: UUID | None
    sku: str
    bought: bool
    version: int


async def keep_purchases(connection: Connection, purchases: Sequence[Purchase]) -> None:
    """Keep who bought what, where the order is newer than what is known of it."""
    names = ("order_id", "user_id", "product_id", "sku", "bought", "version")
    await connection.execute(_KEEP_PURCHASES, *([getattr(one, name) for one in purchases] for name in names))


async def has_bought(connection: Connection, user_id: UUID, product_id: UUID) -> bool:
    """Whether somebody bought a product."""
    return bool(await connection.fetchval(_HAS_BOUGHT, user_id, product_id))


async def insert(connection: Connection, review: Review) -> bool:
    """Store a new review; False where its author has one of this product."""
    return bool(await connection.fetchval(_INSERT, *(getattr(review, name) for name in _FIELDS)))


async def update(connection: Connection, review: Review) -> None:
    """Store a changed review; its votes are counted by `vote` alone."""
    names = ("id", "status", "rating", "title", "text", "reason", "version", "updated_at")
    await connection.execute(_UPDATE, *(getattr(review, name) for name in names))


async def review(connection: Connection, review_id: UUID) -> Review | None:
    """Return a review that is not removed."""
    row = await connection.fetchrow(_REVIEW, review_id)
    return _review(row) if row else None


async def lock(connection: Connection, review_id: UUID) -> Review | None:
    """Lock and return a review that is not removed."""
    row = await connection.fetchrow(_REVIEW + " FOR UPDATE", review_id)
    return _review(row) if row else None


async def of_product(
    connection: Connection, product_id: UUID, sort: ReviewSort, rating: int | None, before: UUID | None, limit: int
) -> list[Review]:
    """Return what is shown of a product in an order, behind the review `before`."""
    return [_review(row) for row in await connection.fetch(_OF_PRODUCT[sort], product_id, rating, before, limit)]


async def of_author(connection: Connection, author_id: UUID, before: UUID | None, limit: int) -> list[Review]:
    """Return what somebody wrote, newest first."""
    return [_review(row) for row in await connection.fetch(_OF_AUTHOR, author_id, before, limit)]


async def queue(connection: Connection, status: str, product_id: UUID | None, after: UUID | None, limit: int) -> list[Review]:
    """Return reviews in a status, oldest first."""
    return [_review(row) for row in await connection.fetch(_QUEUE, status, product_id, after, limit)]


async def ids_of(connection: Connection, author_ids: Sequence[UUID]) -> list[UUID]:
    """Return the reviews of some authors that are not removed."""
    return [row["id"] for row in await connection.fetch(_IDS_OF, list(author_ids))]


async def add_rating(connection: Connection, product_id: UUID, rating_sum: int, rating_count: int) -> Total:
    """Add to what the reviews of a product add up to, and return it."""
    await connection.execute(_KNOW_RATING, product_id)
    row = await connection.fetchrow(_ADD_RATING, product_id, rating_sum, rating_count)
    assert row is not None, "made by the statement before"
    return Total(**row)


async def vote(connection: Connection, review_id: UUID, user_id: UUID, *, helpful: bool | None) -> Vote:
    """Keep or take back (None) a vote on a locked review, and return its votes."""
    if helpful is None:
        await connection.execute(_UNVOTE, review_id, user_id)
    else:
        await connection.execute(_VOTE, review_id, user_id, helpful)
    row = await connection.fetchrow(_COUNT_VOTES, review_id)
    assert row is not None, "the review is locked"
    return Vote(**row, yours=helpful)


async def voted_by(connection: Connection, user_ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Return the votes of some users: (review, user), in the order in which reviews are locked."""
    return [(row["review_id"], row["user_id"]) for row in await connection.fetch(_VOTED_BY, list(user_ids))]


async def forget_purchases(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Forget what some users bought."""
    await connection.execute("DELETE FROM purchases WHERE user_id = ANY($1::uuid[])", list(user_ids))


def _review(row: asyncpg.Record) -> Review:
    return Review(**row)


_KEEP_PURCHASES = """
WITH said AS (
    SELECT n.order_id, coalesce(n.product_id, v.product_id) AS product_id, n.user_id, n.bought, n.version
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::integer[])
        AS n (order_id, user_id, product_id, sku, bought, version)
    LEFT JOIN variants AS v ON v.sku = n.sku
)
INSERT INTO purchases AS p (order_id, product_id, user_id, bought, version)
SELECT DISTINCT ON (order_id, product_id) order_id, product_id, user_id, bought, version
FROM said
WHERE product_id IS NOT NULL
ORDER BY order_id, product_id, version DESC, bought DESC
ON CONFLICT (order_id, product_id) DO UPDATE SET bought = excluded.bought, version = excluded.version
WHERE p.version < excluded.version
"""
_HAS_BOUGHT = "SELECT EXISTS (SELECT FROM purchases WHERE user_id = $1 AND product_id = $2 AND bought)"
_INSERT = """
INSERT INTO reviews (
    id, product_id, author_id, status, rating, title, text, reason, helpful, unhelpful, version, created_at, updated_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (product_id, author_id) WHERE status <> 'REMOVED' DO NOTHING
RETURNING true
"""
_UPDATE = """
UPDATE reviews SET status = $2, rating = $3, title = $4, text = $5, reason = $6, version = $7, updated_at = $8 WHERE id = $1
"""
_REVIEW = """
SELECT id, product_id, author_id, status, rating, title, text, reason, helpful, unhelpful, version, created_at, updated_at
FROM reviews
WHERE id = $1 AND status <> 'REMOVED'
"""
_NEWEST = """
SELECT id, product_id, author_id, status, rating, title, text, reason, helpful, unhelpful, version, created_at, updated_at
FROM reviews
WHERE product_id = $1 AND status = 'APPROVED' AND ($2::integer IS NULL OR rating = $2) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
"""
_MOST_HELPFUL = """
SELECT id, product_id, author_id, status, rating, title, text, reason, helpful, unhelpful, version, created_at, updated_at
FROM reviews
WHERE product_id = $1 AND status = 'APPROVED' AND ($2::integer IS NULL OR rating = $2)
  AND ($3::uuid IS NULL OR (helpful, id) < (SELECT helpful, id FROM reviews WHERE id = $3))
ORDER BY helpful DESC, id DESC
LIMIT $4
"""
_OF_PRODUCT: Mapping[ReviewSort, str] = {"newest": _NEWEST, "helpful": _MOST_HELPFUL}
_OF_AUTHOR = """
SELECT id, product_id, author_id, status, rating, title, text, reason, helpful, unhelpful, version, created_at, updated_at
FROM reviews
WHERE author_id = $1 AND status <> 'REMOVED' AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3
"""
_QUEUE = """
SELECT id, product_id, author_id, status, rating, title, text, reason, helpful, unhelpful, version, created_at, updated_at
FROM reviews
WHERE status = $1 AND ($2::uuid IS NULL OR product_id = $2) AND ($3::uuid IS NULL OR id > $3)
ORDER BY id
LIMIT $4
"""
_IDS_OF = "SELECT id FROM reviews WHERE author_id = ANY($1::uuid[]) AND status <> 'REMOVED' ORDER BY product_id, id"
_KNOW_RATING = """
INSERT INTO product_ratings (product_id, rating_sum, rating_count) VALUES ($1, 0, 0) ON CONFLICT (product_id) DO NOTHING
"""
_ADD_RATING = """
UPDATE product_ratings SET rating_sum = rating_sum + $2, rating_count = rating_count + $3 WHERE product_id = $1
RETURNING rating_sum, rating_count
"""
_VOTE = """
INSERT INTO review_votes (review_id, user_id, helpful) VALUES ($1, $2, $3)
ON CONFLICT (review_id, user_id) DO UPDATE SET helpful = excluded.helpful
"""
_UNVOTE = "DELETE FROM review_votes WHERE review_id = $1 AND user_id = $2"
_COUNT_VOTES = """
UPDATE reviews
SET helpful = (SELECT count(*) FROM review_votes WHERE review_id = $1 AND helpful),
    unhelpful = (SELECT count(*) FROM review_votes WHERE review_id = $1 AND NOT helpful)
WHERE id = $1
RETURNING helpful, unhelpful
"""
_VOTED_BY = "SELECT review_id, user_id FROM review_votes WHERE user_id = ANY($1::uuid[]) ORDER BY review_id, user_id"
