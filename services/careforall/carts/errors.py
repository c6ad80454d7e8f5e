"""Refusals of the carts service.

Problem
+-- CartNotFound          404 cart_not_found
+-- ItemNotFound          404 item_not_found
+-- CouponNotInCart       404 coupon_not_in_cart
+-- CartClosed            409 cart_closed
+-- CartFull              409 cart_full
+-- CartCurrency          409 cart_currency
+-- ProductInactive       409 product_inactive
+-- OutOfStock            409 out_of_stock
+-- CouponInactive        409 coupon_inactive
+-- UnknownSku            422 unknown_sku
+-- CouponUnknown         422 coupon_unknown
+-- InventoryUnavailable  503 inventory_unavailable
"""

from careforall.kit.errors import Conflict, FieldError, InvalidInput, NotFound, Unavailable


class CartNotFound(NotFound):
    """There is no such cart, or it is somebody else's."""

    code = "cart_not_found"
    title = "There is no such cart"


class ItemNotFound(NotFound):
    """The cart has no such item, or not any more."""

    code = "item_not_found"
    title = "The cart has no such item"


class CouponNotInCart(NotFound):
    """The coupon is not on the cart."""

    code = "coupon_not_in_cart"
    title = "The coupon is not on the cart"


class CartClosed(Conflict):
    """The cart became an order, went into another cart or was abandoned: leave out X-Cart-Id to begin a new one."""

    code = "cart_closed"
    title = "The cart is closed"


class CartFull(Conflict):
    """The cart holds as many different items, or coupons, as it can."""

    code = "cart_full"
    title = "The cart is full"


class CartCurrency(Conflict):
    """The goods are sold in another currency than those in the cart."""

    code = "cart_currency"
    title = "The goods are sold in another currency than those in the cart"


class ProductInactive(Conflict):
    """The product is not sold now."""

    code = "product_inactive"
    title = "The product is not sold now"


class OutOfStock(Conflict):
    """None is left; `skus` names what lacks."""

    code = "out_of_stock"
    title = "None is left"


class CouponInactive(Conflict):
    """The coupon was ended."""

    code = "coupon_inactive"
    title = "The coupon was ended"


class UnknownSku(InvalidInput):
    """Nothing is sold under this SKU."""

    code = "unknown_sku"
    title = "Nothing is sold under this SKU"

    def __init__(self) -> None:
        super().__init__(errors=[FieldError(pointer="/sku", code="unknown_sku", message="nothing is sold under this SKU")])


class CouponUnknown(InvalidInput):
    """There is no such coupon."""

    code = "coupon_unknown"
    title = "There is no such coupon"

    def __init__(self) -> None:
        super().__init__(errors=[FieldError(pointer="/code", code="coupon_unknown", message="there is no such coupon")])


class InventoryUnavailable(Unavailable):
    """These goods are held as soon as they are in a cart, and inventory cannot be asked now; others can be added."""

    code = "inventory_unavailable"
    title = "These goods cannot be held now, please retry"
