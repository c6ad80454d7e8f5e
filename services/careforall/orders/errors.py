"""Refusals of the orders service.

Problem
+-- CartNotFound             404 cart_not_found
+-- CheckoutNotFound         404 checkout_not_found
+-- OrderNotFound            404 order_not_found
+-- ReturnNotFound           404 return_not_found
+-- CartNotActive            409 cart_not_active
+-- CartEmpty                422 cart_empty
+-- OutOfStock               409 out_of_stock
+-- ProductUnavailable       409 product_unavailable
+-- PriceChanged             409 price_changed
+-- NothingToPay             409 nothing_to_pay
+-- CheckoutExpired          409 checkout_expired
+-- CheckoutEnded            409 checkout_ended
+-- StillMoving              409 order_busy
+-- IllegalTransition        409 illegal_transition
+-- NotReturnable            409 not_returnable
+-- PaymentDeclined          402 payment_declined
+-- InventoryUnavailable     503 inventory_unavailable
+-- PricingUnavailable       503 pricing_unavailable
+-- CartsUnavailable         503 carts_unavailable
+-- AccountsUnavailable      503 accounts_unavailable
"""

from careforall.kit.errors import Conflict, InvalidInput, NotFound, Problem, Unavailable


class CartNotFound(NotFound):
    """There is no such cart, or it is somebody else's."""

    code = "cart_not_found"
    title = "There is no such cart"


class CheckoutNotFound(NotFound):
    """There is no such checkout, or it is somebody else's."""

    code = "checkout_not_found"
    title = "There is no such checkout"


class OrderNotFound(NotFound):
    """There is no such order, or it is somebody else's."""

    code = "order_not_found"
    title = "There is no such order"


class ReturnNotFound(NotFound):
    """There is no such return."""

    code = "return_not_found"
    title = "There is no such return"


class CartNotActive(Conflict):
    """The cart was bought, merged or given up already."""

    code = "cart_not_active"
    title = "This cart cannot be bought any more"


class CartEmpty(InvalidInput):
    """There is nothing in the cart."""

    code = "cart_empty"
    title = "The cart is empty"


class OutOfStock(Conflict):
    """Too little is left of some SKUs; nothing is reserved or charged."""

    code = "out_of_stock"
    title = "Too little is in stock"


class ProductUnavailable(Conflict):
    """A product is not sold any more."""

    code = "product_unavailable"
    title = "A product is not sold any more"


class PriceChanged(Conflict):
    """The price rose since it was shown: pay again to accept the new one, which is kept for you now."""

    code = "price_changed"
    title = "The price has changed: pay again to accept it"


class NothingToPay(Conflict):
    """Coupons take off all that the goods cost; orders of nothing cannot be paid. Nothing is held."""

    code = "nothing_to_pay"
    title = "There is nothing to pay"


class CheckoutExpired(Conflict):
    """The checkout took too long; nothing was charged, and the cart is as it was."""

    code = "checkout_expired"
    title = "This checkout has expired, please start again"


class CheckoutEnded(Conflict):
    """The checkout failed or was given up; nothing was charged."""

    code = "checkout_ended"
    title = "This checkout has ended, please start again"


class StillMoving(Conflict):
    """The order is just being paid or confirmed; see how it ends first."""

    code = "order_busy"
    title = "The order is just changing, please retry"

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class IllegalTransition(Conflict):
    """The state machine has no such step."""

    code = "illegal_transition"
    title = "An order cannot take this step"


class NotReturnable(Conflict):
    """This cannot be sent back any more, or not that much of it."""

    code = "not_returnable"
    title = "This cannot be returned"


class PaymentDeclined(Problem):
    """The means of payment was declined; the goods stay reserved, so that another can be tried."""

    status = 402
    code = "payment_declined"
    title = "The payment was declined, please try another means of payment"


class InventoryUnavailable(Unavailable):
    """Stock cannot be reserved right now; nothing was charged, and the cart is kept."""

    code = "inventory_unavailable"
    title = "Stock cannot be reserved right now, please retry"


class PricingUnavailable(Unavailable):
    """Prices cannot be asked for right now; nothing was charged, and the cart is kept."""

    code = "pricing_unavailable"
    title = "Prices cannot be asked for right now, please retry"


class CartsUnavailable(Unavailable):
    """The cart cannot be read right now."""

    code = "carts_unavailable"
    title = "The cart cannot be read right now, please retry"


class AccountsUnavailable(Unavailable):
    """The addresses cannot be read right now."""

    code = "accounts_unavailable"
    title = "The addresses cannot be read right now, please retry"
