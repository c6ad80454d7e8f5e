"""Settings of the orders service."""

from careforall.contracts.payments import GatewayName
from careforall.kit.settings import AtLeastOne, Settings


class OrdersSettings(Settings, frozen=True, kw_only=True):
    """How long buyers may take, how often they may order, and how sagas are driven."""

    default_gateway: GatewayName = "simulator"
    """Whom the money of an order is asked from."""
    orders_per_minute: int = 10
    """Direct orders of one user a minute."""
    checkout_seconds: int = 900
    """How long a checkout holds stock, coupons and price."""
    checkout_grace_seconds: int = 900
    """How long after that it may still be paid, where stock and price allow."""
    payment_seconds: int = 900
    """How long an order waits for its money."""
    price_rise_percent: float = 2.0
    """How much dearer a checkout may have become, once its price lock ran out, without asking the buyer again."""
    return_days: int = 30
    """How long after delivery an order may be sent back."""
    saga_lease_seconds: float = 8.0
    """How long a saga belongs to who drives it; then another takes it over. Longer than a step waits for its answer."""
    saga_wait_seconds: float = 6.0
    """How long a buyer waits for the saga before the answer is 202 with a status URL."""
    saga_tries: AtLeastOne = 60
    """Tries of one step before a person is told; it is repeated more slowly from then on."""
    batch_size: AtLeastOne = 256
    """Saga steps per shared transaction at most."""
    batch_flights: AtLeastOne = 2
    """Shared transactions of saga steps in flight at once."""
    observe_seconds: float = 15.0
    """How often sagas and sales are counted for the metrics."""
    erasure_seconds: float = 3600.0
    """How often orders of buyers who asked to be forgotten are looked at for those that have ended since."""
