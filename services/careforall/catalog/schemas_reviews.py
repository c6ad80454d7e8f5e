"""HTTP shapes of reviews. Input forbids unknown fields."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.catalog.review import MAX_REASON, MAX_TEXT, MAX_TITLE, Review
from careforall.contracts.reviews import ReviewStatus

RatingIn = Annotated[int, Meta(ge=1, le=5)]
Title = Annotated[str, Meta(max_length=MAX_TITLE)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class NewReview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a buyer says of a product."""

    rating: RatingIn
    title: Title = ""
    text: Text = ""


class ReviewPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change one's review; absent fields stay. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    rating: RatingIn | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    text: Text | UnsetType = UNSET


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send the version that was read, so that nothing passes which nobody has seen."""

    version: int | UnsetType = UNSET


class Rejection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a review does not pass; its author can read that."""

    version: int | UnsetType = UNSET
    reason: Annotated[str, Meta(max_length=MAX_REASON)] = ""


class NewVote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a review helps; null takes a vote back."""

    helpful: bool | None


class ReviewOut(msgspec.Struct, frozen=True, kw_only=True):
    """A review by a buyer, as everybody sees it."""

    id: UUID
    product_id: UUID
    rating: int
    title: str
    text: str
    helpful: int
    unhelpful: int
    created_at: datetime
    updated_at: datetime


class OwnReviewOut(ReviewOut, frozen=True, kw_only=True):
    """A review as its author and staff see it: where it stands, and why it did not pass."""

    author_id: UUID
    status: ReviewStatus
    reason: str
    version: int


def review_out(review: Review) -> ReviewOut:
    """Return a review as everybody sees it."""
    return ReviewOut(**{name: getattr(review, name) for name in ReviewOut.__struct_fields__})


def own_review_out(review: Review) -> OwnReviewOut:
    """Return a review as its author and staff see it."""
    return OwnReviewOut(**{name: getattr(review, name) for name in OwnReviewOut.__struct_fields__})
