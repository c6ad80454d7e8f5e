"""Events of reviews, which the catalog owns. Each carries the state after the change (rule 5), without what was written."""

from typing import ClassVar, Literal
from uuid import UUID

from careforall.kit.envelope import Event

ReviewStatus = Literal["PENDING", "APPROVED", "REJECTED", "REMOVED"]


class _Review(Event, frozen=True, kw_only=True):
    review_id: UUID
    product_id: UUID
    author_id: UUID
    rating: int
    status: ReviewStatus


class ReviewSubmitted(_Review, frozen=True, kw_only=True):
    """A buyer wrote or changed a review; it waits for a moderator and counts for nothing until then."""

    SUBJECT: ClassVar[str] = "catalog.review_submitted"


class ReviewApproved(_Review, frozen=True, kw_only=True):
    """A review is shown and counts; the product's new rating comes with `catalog.product_updated`."""

    SUBJECT: ClassVar[str] = "catalog.review_approved"


class ReviewRejected(_Review, frozen=True, kw_only=True):
    """A moderator did not let a review pass, or took it back."""

    SUBJECT: ClassVar[str] = "catalog.review_rejected"

    reason: str = ""


class ReviewRemoved(_Review, frozen=True, kw_only=True):
    """A review is gone, and what was written with it."""

    SUBJECT: ClassVar[str] = "catalog.review_removed"
