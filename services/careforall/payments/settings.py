"""Settings of the payments service."""

from careforall.kit import secrets
from careforall.kit.settings import Settings

_LIVE = ("sk_live_", "rk_live_")
_TEST = ("sk_test_", "rk_test_")


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
    stripe_secret_key: str = ""
    """Secret or restricted key of Stripe (sk_ or rk_, with test_ or live_); empty leaves Stripe out. Live in production only."""
    stripe_webhook_secrets: str = ""
    """Signing secrets of Stripe's webhook endpoint (whsec_), comma separated; two are live while one is rolled."""
    stripe_base: str = ""
    """Where Stripe's API is answered instead of its own address; for tests, refused in production."""
    default_gateway: str = "simulator"
    """Used where nobody names a gateway."""
    gateway_order: str = ""
    """Gateways to go on to, comma separated, after one refused to make something payable; empty stays with the intent's own."""
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
    reconcile: bool = True
    """Whether payments are compared with the gateways; false stops all of it."""
    reconcile_seconds: float = 3600.0
    """How often a comparison goes on where the last one came to; once a day another looks back two days."""
    reconcile_days: float = 7.0
    """How far back a comparison looks by itself, after however long an outage."""
    reconcile_calls_per_second: float = 5.0
    """Calls a second to a gateway while comparing."""
    reconcile_calls: int = 20000
    """Calls in one comparison at most; the next goes on."""
    completion_seconds: float = 300.0
    """Seconds after which the gift of a captured payment should be complete; else the payment is announced again."""
    webhook_batch: int = 128
    """Webhook events per shared transaction at most; small ones in flight keep the database and this process busy."""
    webhook_flights: int = 2
    """Shared transactions of webhook events in flight at once."""

    def __post_init__(self) -> None:
        """Refuse secrets nobody may rely on, and keys that move money where they must not or none where they should."""
        super().__post_init__()
        if bool(self.stripe_secret_key) != bool(split(self.stripe_webhook_secrets)):
            raise ValueError(
                "CAREFORALL_STRIPE_SECRET_KEY and CAREFORALL_STRIPE_WEBHOOK_SECRETS belong together: set both or none"
            )
        if self.stripe_secret_key:
            _refuse_wrong_mode(self.stripe_secret_key, self.environment)
        if self.default_gateway == "stripe" and not self.stripe_secret_key:
            raise ValueError("CAREFORALL_DEFAULT_GATEWAY is stripe, which is not set up: CAREFORALL_STRIPE_SECRET_KEY is missing")
        if self.stripe_base and self.environment == "production":
            raise ValueError("CAREFORALL_STRIPE_BASE sends the key elsewhere: not in production")

    @property
    def stripe_livemode(self) -> bool:
        """Whether Stripe's key moves real money."""
        return self.stripe_secret_key.startswith(_LIVE)

    @property
    def simulator_base(self) -> str:
        """Base URL of the simulator."""
        return (self.simulator_url or f"{self.public_url}/simulator").rstrip("/")

    @property
    def simulator_key(self) -> str:
        """Bearer key for the simulator."""
        return self.simulator_api_key or secrets.derive(self.secret_key, "simulator api key").hex()


def _refuse_wrong_mode(key: str, environment: str) -> None:
    if not key.startswith(_LIVE + _TEST):
        raise ValueError("CAREFORALL_STRIPE_SECRET_KEY is no secret key of Stripe: those begin with sk_ or rk_ and their mode")
    if key.startswith(_LIVE) and environment == "development":
        raise ValueError("CAREFORALL_STRIPE_SECRET_KEY is a live key: development moves no real money, use a test key")
    if key.startswith(_TEST) and environment == "production":
        raise ValueError("CAREFORALL_STRIPE_SECRET_KEY is a test key: production would take gifts nobody pays, use a live key")


def split(secrets_list: str) -> tuple[str, ...]:
    """Return the secrets of a comma-separated setting."""
    return tuple(part.strip() for part in secrets_list.split(",") if part.strip())
