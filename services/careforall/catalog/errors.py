"""Refusals of the catalog service.

Problem
+-- ProductNotFound       404 product_not_found
+-- VariantNotFound       404 variant_not_found
+-- ImageNotFound         404 image_not_found
+-- CategoryNotFound      404 category_not_found
+-- CategoryInUse         409 category_in_use
+-- ReviewNotFound        404 review_not_found
+-- NotABuyer             403 not_a_buyer
+-- OwnReview             403 own_review
+-- AlreadyReviewed       409 already_reviewed
+-- ImportNotFound        404 import_not_found
+-- ImportEnded           409 import_ended
"""

from careforall.kit.errors import Conflict, Forbidden, NotFound


class ProductNotFound(NotFound):
    """There is no such product, or it is not for sale."""

    code = "product_not_found"
    title = "There is no such product"


class VariantNotFound(NotFound):
    """The product has no such variant."""

    code = "variant_not_found"
    title = "There is no such variant"


class ImageNotFound(NotFound):
    """The product has no such image."""

    code = "image_not_found"
    title = "There is no such image"


class CategoryNotFound(NotFound):
    """There is no such category."""

    code = "category_not_found"
    title = "There is no such category"


class CategoryInUse(Conflict):
    """Products or categories are in it: move them first."""

    code = "category_in_use"
    title = "The category is not empty"


class ImportNotFound(NotFound):
    """There is no such import."""

    code = "import_not_found"
    title = "There is no such import"


class ImportEnded(Conflict):
    """The import is over: what it did is done."""

    code = "import_ended"
    title = "The import is over"


class ReviewNotFound(NotFound):
    """There is no such review, or not for this caller."""

    code = "review_not_found"
    title = "There is no such review"


class NotABuyer(Forbidden):
    """Only who bought a product may review it; a purchase of this moment may not be known yet."""

    code = "not_a_buyer"
    title = "Only buyers may review a product"


class OwnReview(Forbidden):
    """Nobody votes on what they wrote."""

    code = "own_review"
    title = "You cannot vote on your own review"


class AlreadyReviewed(Conflict):
    """There is one review for each buyer and product: change that one."""

    code = "already_reviewed"
    title = "You have reviewed this product"
