"""Settings of the pricing service."""

from careforall.kit.settings import AtLeastOne, Settings


class PricingSettings(Settings, frozen=True, kw_only=True):
    """How many locks share a transaction, how long coupons outlive a price, and how often anybody may ask for one."""

    batch_size: AtLeastOne = 512
    """Steps of checkouts per shared transaction at most."""
    batch_flights: AtLeastOne = 2
    """Shared transactions in flight at once."""
    hold_grace_seconds: float = 300.0
    """How long a coupon stays held after the price's lock ended, so that a payment begun in time may still use it."""
    sweep_seconds: float = 5.0
    """How often coupon holds that ran out are given back."""
    rate_quotes: int = 120
    """Quotes a minute that one address may ask for at POST /pricing/quote."""
