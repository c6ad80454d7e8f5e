"""Reviews: written by those who bought, let pass by moderators, voted on by others; each step with its effect on the rating.

A review counts while it is APPROVED. Whatever changes that moves sum and count, the product's average, what lists and search
show, and the events of both in one transaction, with the product locked first.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from msgspec import UNSET

from careforall.catalog import events, repository, repository_categories, writing
from careforall.catalog import repository_reviews as reviews
from careforall.catalog.domain import Product
from careforall.catalog.errors import AlreadyReviewed, NotABuyer, OwnReview, ProductNotFound, ReviewNotFound
from careforall.catalog.repository_reviews import Purchase
from careforall.catalog.review import Review, ReviewSort, Vote, checked, counted
from careforall.catalog.schemas_reviews import NewReview, ReviewPatch
from careforall.contracts.catalog import ProductUpdated
from careforall.contracts.reviews import ReviewStatus
from careforall.kit import idempotency, outbox
from careforall.kit.context import current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import VersionConflict
from careforall.kit.http.answers import scope_of
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id

WRITING = "POST /products/{id}/reviews"
"""The route whose stored answers quote what was written."""


class Reviewing:
    """What the API and the consumers call about reviews."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, connection: Connection, product_id: UUID, author_id: UUID, new: NewReview) -> Review:
        """Write a review in the caller's transaction; it waits for a moderator.

        Raises:
            ProductNotFound: It is not for sale.
            NotABuyer: The author has not bought it.
            AlreadyReviewed: The author has a review of it.
        """
        product = await repository.product(connection, product_id)
        if product is None or not product.visible:
            raise ProductNotFound
        if not await reviews.has_bought(connection, author_id, product_id):
            raise NotABuyer
        written = checked(_written(product_id, author_id, new))
        if not await reviews.insert(connection, written):
            raise AlreadyReviewed
        await outbox.insert(connection, [events.review_event(written, current())])
        return written

    async def change(self, review_id: UUID, author_id: UUID, patch: ReviewPatch, version: int | None) -> Review:
        """Change one's own review; it waits for a moderator again.

        Raises:
            ReviewNotFound: There is none of this author.
            VersionConflict: It is another version by now.
        """

        def changed(found: Review) -> Review:
            _refuse_stale(found, version)
            fields = {name: getattr(patch, name) for name in ("rating", "title", "text")}
            given = {name: value for name, value in fields.items() if value is not UNSET}
            return msgspec.structs.replace(found, **given, status="PENDING", reason="")

        return await self._database.run(lambda connection: _step(connection, review_id, changed, of=author_id))

    async def remove(self, review_id: UUID, author_id: UUID) -> None:
        """Take back one's own review; the author may write another.

        Raises:
            ReviewNotFound: There is none of this author.
        """
        await self._database.run(lambda connection: _step(connection, review_id, _emptied, of=author_id))

    async def decide(self, review_id: UUID, status: ReviewStatus, reason: str, version: int | None) -> Review:
        """Let a review pass or not, as staff; the same decision again changes nothing.

        Raises:
            ReviewNotFound: There is none.
            VersionConflict: Its author changed it since it was read.
        """

        def decided(found: Review) -> Review:
            _refuse_stale(found, version)
            return msgspec.structs.replace(found, status=status, reason=reason)

        return await self._database.run(lambda connection: _step(connection, review_id, decided))

    async def vote(self, review_id: UUID, user_id: UUID, *, helpful: bool | None) -> Vote:
        """Say whether a review helps, differently than before, or take that back (None).

        Raises:
            ReviewNotFound: None is shown.
            OwnReview: It is the caller's own.
        """

        async def work(connection: Connection) -> Vote:
            found = await reviews.lock(connection, review_id)
            if found is None or (found.status != "APPROVED" and found.author_id != user_id):
                raise ReviewNotFound
            if found.author_id == user_id:
                raise OwnReview
            return await reviews.vote(connection, review_id, user_id, helpful=helpful)

        return await self._database.run(work)

    async def review(self, review_id: UUID, visitor: Principal | None) -> Review:
        """Return a review that is shown, or one's own, or any to staff.

        Raises:
            ReviewNotFound: There is none for this caller.
        """
        async with self._database.connection() as connection:
            found = await reviews.review(connection, review_id)
        own = found is not None and visitor is not None and (visitor.is_admin or visitor.user_id == found.author_id)
        if found is None or not (found.status == "APPROVED" or own):
            raise ReviewNotFound
        return found

    async def of_product(
        self, product_id: UUID, sort: ReviewSort, rating: int | None, before: UUID | None, limit: int
    ) -> list[Review]:
        """Return what is shown of a product: the newest first, or what most found helpful.

        Raises:
            ProductNotFound: It is not for sale.
        """
        async with self._database.snapshot() as connection:
            product = await repository.product(connection, product_id)
            if product is None or not product.visible:
                raise ProductNotFound
            return await reviews.of_product(connection, product_id, sort, rating, before, limit)

    async def of_author(self, author_id: UUID, before: UUID | None, limit: int) -> list[Review]:
        """Return what somebody wrote, newest first."""
        async with self._database.connection() as connection:
            return await reviews.of_author(connection, author_id, before, limit)

    async def queue(self, status: ReviewStatus, product_id: UUID | None, after: UUID | None, limit: int) -> list[Review]:
        """Return reviews in a status, oldest first."""
        async with self._database.connection() as connection:
            return await reviews.queue(connection, status, product_id, after, limit)

    async def keep_purchases(self, connection: Connection, purchases: Sequence[Purchase]) -> None:
        """Keep who bought what, in the caller's transaction."""
        await reviews.keep_purchases(connection, purchases)

    async def erase(self, connection: Connection, user_ids: Sequence[UUID]) -> None:
        """Forget people in the caller's transaction: what they wrote, voted and bought."""
        await idempotency.forget(connection, [scope_of(WRITING, None, str(user_id)) for user_id in user_ids])
        for review_id in await reviews.ids_of(connection, user_ids):
            await _step(connection, review_id, _emptied)
        for review_id, user_id in await reviews.voted_by(connection, user_ids):
            await reviews.lock(connection, review_id)  # so that no vote of this moment is missed in the count
            await reviews.vote(connection, review_id, user_id, helpful=None)
        await reviews.forget_purchases(connection, user_ids)


async def _step(connection: Connection, review_id: UUID, change: Callable[[Review], Review], *, of: UUID | None = None) -> Review:
    """Change a review, the rating of its product where that follows, and tell of both; what stays the same is not told."""
    await repository_categories.share_tree(connection)
    known = await reviews.review(connection, review_id)
    if known is None or (of is not None and known.author_id != of):
        raise ReviewNotFound
    products = await repository.lock_products(connection, [known.product_id])
    found = await reviews.lock(connection, review_id)
    if found is None:
        raise ReviewNotFound
    changed = change(found)
    if changed == found:
        return found
    stored = checked(msgspec.structs.replace(changed, version=found.version + 1, updated_at=datetime.now(UTC)))
    await reviews.update(connection, stored)
    await outbox.insert(connection, [events.review_event(stored, current())])
    await _move_rating(connection, stored.product_id, products, counted([found]), counted([stored]))
    return stored


async def _move_rating(
    connection: Connection,
    product_id: UUID,
    products: Sequence[Product],
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    """Let a locked product follow what its reviews add up to; one that was removed only keeps the sum."""
    if before == after:
        return
    total = await reviews.add_rating(connection, product_id, after[0] - before[0], after[1] - before[1])
    rated = [
        msgspec.structs.replace(writing.stepped(one), rating_average=total.average, rating_count=total.rating_count)
        for one in products
    ]
    if rated:
        await writing.save(connection, ProductUpdated, rated)


def _written(product_id: UUID, author_id: UUID, new: NewReview) -> Review:
    now = datetime.now(UTC)
    return Review(
        id=new_id(),
        product_id=product_id,
        author_id=author_id,
        status="PENDING",
        rating=new.rating,
        title=new.title,
        text=new.text,
        reason="",
        helpful=0,
        unhelpful=0,
        version=1,
        created_at=now,
        updated_at=now,
    )


def _emptied(found: Review) -> Review:
    return msgspec.structs.replace(found, status="REMOVED", title="", text="", reason="")


def _refuse_stale(found: Review, version: int | None) -> None:
    if version is not None and version != found.version:
        raise VersionConflict(found.version)
