"""HTTP of reviews: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post
from litestar.params import HeaderParameter, QueryParameter

from careforall.catalog.review import Review, ReviewSort, Vote
from careforall.catalog.reviewing import WRITING
from careforall.catalog.schemas_reviews import (
    Approval,
    NewReview,
    NewVote,
    OwnReviewOut,
    Rejection,
    ReviewOut,
    ReviewPatch,
    own_review_out,
    review_out,
)
from careforall.catalog.service import CatalogService
from careforall.contracts.reviews import ReviewStatus
from careforall.kit import idempotency
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, wanted_version
from careforall.kit.http.identity import Principal, admin_only, signed_in
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
RatingQuery = Annotated[int | None, QueryParameter(ge=1, le=5, description="Only those of this rating.")]
SortQuery = Annotated[ReviewSort, QueryParameter(description="`newest`, or `helpful`: most votes that say so first.")]
_OF_PRODUCT = "/products/{id:str}/reviews"
_REVIEW = "/reviews/{id:str}"


@post(_OF_PRODUCT, guards=[signed_in], summary="Review a product")
async def write_review(
    service: CatalogService,
    principal: Principal,
    id: str,
    data: NewReview,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[OwnReviewOut]:
    """Review a product that one bought, once; the review is shown when a moderator lets it pass.

    Errors: 403 `not_a_buyer`, 404 `product_not_found`, 409 `already_reviewed`, 422 with the fields at fault.
    """
    product_id = path_id(id)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, own_review_out(await service.reviewing.write(connection, product_id, principal.user_id, data)))

    call = await idempotent_call(request, idempotency_key, WRITING, principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get(_OF_PRODUCT, summary="List reviews of a product")
async def list_reviews(
    service: CatalogService,
    id: str,
    sort: SortQuery = "newest",
    rating: RatingQuery = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[ReviewOut]:
    """Return the reviews of a product that moderators let pass, newest first or those first that most found helpful.

    Votes cast between two pages may move a review from one to the other.
    """
    found = await service.reviewing.of_product(path_id(id), sort, rating, read_cursor(cursor), limit)
    return page([review_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@get("/reviews", guards=[signed_in], summary="One's own reviews")
async def own_reviews(
    service: CatalogService, principal: Principal, cursor: CursorQuery = None, limit: LimitQuery = 20
) -> Page[OwnReviewOut]:
    """Return what the caller wrote, newest first, in whatever status."""
    found = await service.reviewing.of_author(principal.user_id, read_cursor(cursor), limit)
    return _own_page(found, limit)


@get(_REVIEW, summary="Show a review")
async def get_review(service: CatalogService, visitor: Principal | None, id: str) -> Response[ReviewOut | OwnReviewOut]:
    """Return a review that is shown; its author and staff see it in every status, and where it stands."""
    found = await service.reviewing.review(path_id(id), visitor)
    if visitor is not None and (visitor.is_admin or visitor.user_id == found.author_id):
        return Response(own_review_out(found), headers=etag(found.version))
    return Response(review_out(found))


@patch(_REVIEW, guards=[signed_in], summary="Change one's review")
async def patch_review(
    service: CatalogService, principal: Principal, id: str, data: ReviewPatch, if_match: IfMatch = None
) -> Response[OwnReviewOut]:
    """Change what is given; the review waits for a moderator again and does not count until then."""
    version = wanted_version(data.version, if_match)
    return _versioned(await service.reviewing.change(path_id(id), principal.user_id, data, version))


@delete(_REVIEW, guards=[signed_in], summary="Take back one's review")
async def delete_review(service: CatalogService, principal: Principal, id: str) -> None:
    """Take a review back with all that was written; another may be written."""
    await service.reviewing.remove(path_id(id), principal.user_id)


@post("/reviews/{id:str}/votes", guards=[signed_in], status_code=200, summary="Say whether a review helps")
async def vote_on_review(service: CatalogService, principal: Principal, id: str, data: NewVote) -> Vote:
    """Vote, change one's vote, or take it back with null. Errors: 403 `own_review`, 404 for a review that is not shown."""
    return await service.reviewing.vote(path_id(id), principal.user_id, helpful=data.helpful)


@get("/admin/reviews", guards=[admin_only], summary="Reviews to moderate")
async def list_queue(
    service: CatalogService,
    status: ReviewStatus = "PENDING",
    product_id: UUID | None = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[OwnReviewOut]:
    """Return reviews in a status, oldest first."""
    return _own_page(await service.reviewing.queue(status, product_id, read_cursor(cursor), limit), limit)


@post("/admin/reviews/{id:str}/approve", guards=[admin_only], status_code=200, summary="Let a review pass")
async def approve_review(service: CatalogService, id: str, data: Approval, if_match: IfMatch = None) -> Response[OwnReviewOut]:
    """Show a review and count it. Errors: 409 `version_conflict` where its author changed it since it was read."""
    version = wanted_version(data.version, if_match)
    return _versioned(await service.reviewing.decide(path_id(id), "APPROVED", "", version))


@post("/admin/reviews/{id:str}/reject", guards=[admin_only], status_code=200, summary="Do not let a review pass")
async def reject_review(service: CatalogService, id: str, data: Rejection, if_match: IfMatch = None) -> Response[OwnReviewOut]:
    """Keep a review from being shown, or take it down again; it counts no more."""
    version = wanted_version(data.version, if_match)
    return _versioned(await service.reviewing.decide(path_id(id), "REJECTED", data.reason, version))


ROUTES = (
    *(write_review, list_reviews, own_reviews, get_review, patch_review, delete_review, vote_on_review),
    *(list_queue, approve_review, reject_review),
)


def _own_page(found: list[Review], limit: int) -> Page[OwnReviewOut]:
    return page([own_review_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


def _versioned(review: Review) -> Response[OwnReviewOut]:
    return Response(own_review_out(review), headers=etag(review.version))
