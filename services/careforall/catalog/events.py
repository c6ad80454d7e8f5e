"""Builds the events of this service out of its rows; one place, so that every event says the same of the same state."""

from typing import TypeVar

from careforall.catalog.domain import Product
from careforall.catalog.review import Review
from careforall.contracts.catalog import ProductCreated, ProductEvent, ProductRemoved, ProductSnapshot, ProductUpdated, Variant
from careforall.contracts.reviews import ReviewApproved, ReviewRejected, ReviewRemoved, ReviewStatus, ReviewSubmitted
from careforall.kit import outbox
from careforall.kit.context import Cause
from careforall.kit.outbox import Outgoing

SOURCE = "catalog"
T = TypeVar("T", bound=ProductEvent)
Kind = type[ProductCreated | ProductUpdated | ProductRemoved | ProductSnapshot]

_REVIEW_EVENTS: dict[ReviewStatus, type[ReviewSubmitted | ReviewApproved | ReviewRejected | ReviewRemoved]] = {
    "PENDING": ReviewSubmitted,
    "APPROVED": ReviewApproved,
    "REJECTED": ReviewRejected,
    "REMOVED": ReviewRemoved,
}


def review_event(review: Review, cause: Cause) -> Outgoing:
    """Return the event of the status a review has come to."""
    kind = _REVIEW_EVENTS[review.status]
    names = ("product_id", "author_id", "rating", "status", "reason")
    fields = {name: getattr(review, name) for name in names if name in kind.__struct_fields__}
    event = kind(review_id=review.id, **fields)
    return outbox.outgoing(event, aggregate_id=review.id, aggregate_version=review.version, source=SOURCE, cause=cause)


def product_event(kind: Kind, product: Product, cause: Cause) -> Outgoing:
    """Return an event that carries the whole product."""
    event = product_state(kind, product)
    return outbox.outgoing(event, aggregate_id=product.id, aggregate_version=product.version, source=SOURCE, cause=cause)


def product_state(kind: type[T], product: Product) -> T:
    """Return what an event says of the whole product."""
    return kind(
        product_id=product.id,
        slug=product.slug,
        name=product.name,
        description=product.description,
        brand=product.brand,
        category=product.category,
        category_path=product.category_path,
        seller_id=product.seller_id,
        status=product.status,
        base_price=product.base_price,
        sale_price=product.sale_price,
        currency=product.currency,
        attributes=product.attributes,
        variants=_variants(product),
        image_url=product.picture,
        rating_average=product.rating_average,
        rating_count=product.rating_count,
        reservation_policy=product.reservation_policy,
        max_per_order=product.max_per_order,
        shippable=product.shippable,
        tax_category=product.tax_category,
        created_at=product.created_at,
    )


def _variants(product: Product) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            variant_id=one.id,
            sku=one.sku,
            attributes=one.attributes,
            price_difference=one.price_difference,
            active=one.active,
        )
        for one in product.variants
    )
