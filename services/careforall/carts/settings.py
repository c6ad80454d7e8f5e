"""Settings of the carts service."""

from careforall.kit.settings import AtLeastOne, Settings


class CartsSettings(Settings, frozen=True, kw_only=True):
    """How many changes share a transaction, how long carts live, and for how long goods are held for them."""

    batch_size: AtLeastOne = 256
    """Changes per shared transaction at most."""
    batch_flights: AtLeastOne = 2
    """Shared transactions in flight at once."""
    guest_cart_days: int = 30
    """Days after its last change at which a guest's cart is abandoned."""
    user_cart_days: int = 90
    """Days after its last change at which a user's cart is abandoned."""
    cart_hold_seconds: int = 600
    """How long inventory holds goods whose policy is AT_CART."""
