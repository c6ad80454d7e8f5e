"""Settings of the payments service."""

from careforall.kit import secrets
from careforall.kit.settings import Settings


class PaymentsSettings(Settings, frozen=True, kw_only=True):
    """Secrets of the gateways, deadlines of payers and of calls to gateways."""

    webhook_secrets: str = ""
    """Secrets of the generic webhook endpoint, comma separated; two are live while one is rotated. Empty refuses all."""
    simulator_secrets: str = ""
    """Secrets of the simulator's webhooks, comma separated."""
    simulator_url: str = ""
    """Where the simulator answers; empty means `public_url` + /simulator."""
    simulator_api_key: str = ""
    """Key for the simulator; empty means one derived from `secret_key`."""
    default_gateway: str = "simulator"
    """Used where nobody names a gateway."""
    intent_hours: float = 24.0
    """Hours until an unpaid intent fails."""
    max_attempts: int = 10
    """Declined attempts after which an intent fails."""
    pays_per_minute: int = 60
    """How often one address may start an attempt (card testing)."""
    gateway_seconds: float = 4.0
    """Deadline of one call to a gateway."""
    gateway_tries: int = 3
    """Calls on one idempotency key before an outcome is left unknown."""
    gateway_calls: int = 16
    """Calls to one gateway at the same time (bulkhead)."""
    webhook_batch: int = 128
    """Webhook events per shared transaction at most; small ones in flight keep the database and this process busy."""
    webhook_flights: int = 2
    """Shared transactions of webhook events in flight at once."""

    @property
    def simulator_base(self) -> str:
        """Base URL of the simulator."""
        return (self.simulator_url or f"{self.public_url}/simulator").rstrip("/")

    @property
    def simulator_key(self) -> str:
        """Bearer key for the simulator."""
        return self.simulator_api_key or secrets.derive(self.secret_key, "simulator api key").hex()


def split(secrets_list: str) -> tuple[str, ...]:
    """Return the secrets of a comma-separated setting."""
    return tuple(part.strip() for part in secrets_list.split(",") if part.strip())
