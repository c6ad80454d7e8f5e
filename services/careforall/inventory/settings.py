"""Settings of the inventory service."""

from careforall.kit.settings import AtLeastOne, Settings


class InventorySettings(Settings, frozen=True, kw_only=True):
    """How stock is kept."""

    default_warehouse: str = "main"
    """Where stock of a SKU goes that lies nowhere yet, when nobody names a warehouse."""
    batch_size: AtLeastOne = 512
    """Requests per shared transaction at most."""
    batch_flights: AtLeastOne = 1
    """Shared transactions in flight at once; they wait for one another at a hot SKU, so more seldom help."""
    sweep_seconds: float = 2.0
    """How often holds that ran out are expired."""
    step_days: int = 30
    """How long the answers of steps are kept; asked again later, a step is a new one."""
    observe_seconds: float = 30.0
    """How often stock is compared with its holds for the metrics."""
