"""A review as a value, what may be written, and what follows for the rating of its product; pure."""

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.reviews import ReviewStatus
from careforall.kit.text import refuse_texts, text_error

ReviewSort = Literal["newest", "helpful"]
"""In which order reviews of a product are shown."""

MAX_TITLE = 120
MAX_TEXT = 5000
MAX_REASON = 500
_HUNDREDTH = Decimal("0.01")


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What a buyer says of a product; only an APPROVED one is shown and counts."""

    id: UUID
    product_id: UUID
    author_id: UUID
    status: ReviewStatus
    rating: int
    title: str
    text: str
    reason: str
    helpful: int
    unhelpful: int
    version: int
    created_at: datetime
    updated_at: datetime


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What approved reviews of a product add up to."""

    rating_sum: int
    rating_count: int

    @property
    def average(self) -> Decimal:
        """The mean, rounded half up to two places; 0 without a review."""
        if not self.rating_count:
            return Decimal(0)
        return (Decimal(self.rating_sum) / self.rating_count).quantize(_HUNDREDTH, ROUND_HALF_UP)


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """The votes of a review after one of them changed; `yours` is None where the caller has none."""

    helpful: int
    unhelpful: int
    yours: bool | None


def checked(review: Review) -> Review:
    """Return a review that may be stored.

    Raises:
        InvalidInput: Naming the texts at fault.
    """
    refuse_texts(
        text_error("/title", review.title, limit=MAX_TITLE),
        text_error("/text", review.text, limit=MAX_TEXT, lines=True),
        text_error("/reason", review.reason, limit=MAX_REASON),
    )
    return review


def counted(reviews: Sequence[Review | None]) -> tuple[int, int]:
    """Return sum and count of those that count."""
    ratings = [one.rating for one in reviews if one is not None and one.status == "APPROVED"]
    return sum(ratings), len(ratings)
