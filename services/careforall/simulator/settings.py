"""Settings of the simulator."""

from careforall.kit import secrets
from careforall.kit.settings import AtLeastOne, Settings

WEBHOOK_PATH = "/api/v1/payments/webhook/simulator"


class SimulatorSettings(Settings, frozen=True, kw_only=True):
    """Who may call the simulated company, and where and how it calls back; all of it has a default."""

    simulator_api_key: str = ""
    """What callers send as bearer token; empty derives one from the root secret."""
    simulator_secrets: str = ""
    """Webhook secrets, comma separated, the first signs; empty derives one from the root secret."""
    simulator_webhook_url: str = ""
    """Where events go; empty means the payments webhook of `public_url`."""
    simulator_fee_points: int = 0
    """What the company keeps of each payment, in hundredths of a percent, and tells with it; 0 tells nothing."""
    webhook_flights: AtLeastOne = 32
    """Webhooks in flight at once."""
    webhook_timeout: float = 5.0
    """Seconds a receiver may take."""
    webhook_days: float = 3.0
    """Days after which an undelivered event is given up."""

    @property
    def api_key(self) -> str:
        """The key that opens the company's API."""
        return self.simulator_api_key or secrets.derive(self.secret_key, "simulator api key").hex()

    @property
    def signing_secret(self) -> str:
        """The secret that signs webhooks: the whole text is the key, prefix and all."""
        first = self.simulator_secrets.split(",")[0].strip()
        return first or secrets.derive(self.secret_key, "simulator webhooks").hex()

    @property
    def webhook_url(self) -> str:
        """Where events go."""
        return self.simulator_webhook_url or self.public_url.rstrip("/") + WEBHOOK_PATH
