"""Settings of the donations service."""

from careforall.kit.settings import Settings


class DonationsSettings(Settings, frozen=True, kw_only=True):
    """Who is to take the money, and how many donations share a transaction."""

    default_gateway: str = "simulator"
    """Used where nobody names a gateway."""
    batch_size: int = 512
    """Donations per shared transaction at most."""
    batch_flights: int = 1
    """Shared transactions in flight at once; one gathers the largest batches and measured fastest."""
