"""Settings of the donations service."""

from careforall.contracts.payments import GatewayName
from careforall.kit.settings import AtLeastOne, Settings


class DonationsSettings(Settings, frozen=True, kw_only=True):
    """Who is to take the money, and how many donations share a transaction."""

    default_gateway: GatewayName = "simulator"
    """Used where nobody names a gateway."""
    batch_size: AtLeastOne = 512
    """Donations per shared transaction at most."""
    batch_flights: AtLeastOne = 1
    """Shared transactions in flight at once; one gathers the largest batches and measured fastest."""
