"""Settings of the payments service."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from careforall.contracts.payments import GatewayName
from careforall.kit import secrets
from careforall.kit.settings import AtLeastOne, Settings, split
from careforall.kit.stripe.keys import is_live, refuse_wrong_mode

_PAYPAL_LIVE = "https://api-m.paypal.com"
_PAYPAL_SANDBOX = "https://api-m.sandbox.paypal.com"
_LIVE_WEBHOOKS = 2


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
    paypal_client_id: str = ""
    """Client id of the app at PayPal; empty leaves PayPal out."""
    paypal_client_secret: str = ""
    """Secret of the app at PayPal."""
    paypal_webhook_ids: str = ""
    """Ids of the webhooks registered at PayPal, comma separated; two are live while one is replaced."""
    paypal_live: bool = False
    """Move real money, in production only; false is PayPal's sandbox, in development only."""
    paypal_base: str = ""
    """Base URL of PayPal's API; empty means that of the sandbox, or the live one."""
    paypal_trust_anchor: str = ""
    """PEM file of the roots that may stand behind PayPal's webhook certificates; empty means those of this machine."""
    paypal_certificate_host: str = ""
    """One loopback address more, as host:port, that webhook certificates may come from; for tests, never with `paypal_live`."""
    default_gateway: GatewayName = "simulator"
    """Used where nobody names a gateway."""
    gateway_order: str = ""
    """Gateways to go on to, comma separated, after one refused to make something payable; empty stays with the intent's own."""
    intent_hours: float = 24.0
    """Hours until an unpaid intent fails."""
    max_attempts: AtLeastOne = 10
    """Declined attempts after which an intent fails."""
    pays_per_minute: AtLeastOne = 60
    """How often one address may start an attempt (card testing)."""
    gateway_seconds: float = 4.0
    """Deadline of one call to a gateway."""
    gateway_tries: AtLeastOne = 3
    """Calls on one idempotency key before an outcome is left unknown."""
    gateway_calls: AtLeastOne = 64
    """Calls to one gateway at the same time (bulkhead)."""
    reconcile: bool = True
    """Whether payments are compared with the gateways; false stops all of it."""
    reconcile_seconds: float = 3600.0
    """How often a comparison goes on where the last one came to; once a day another looks back two days."""
    reconcile_days: float = 7.0
    """How far back a comparison looks by itself, after however long an outage."""
    reconcile_calls_per_second: float = 5.0
    """Calls a second to a gateway while comparing."""
    reconcile_calls: AtLeastOne = 20000
    """Calls in one comparison at most; the next goes on."""
    completion_seconds: float = 300.0
    """Seconds after which the gift of a captured payment should be complete; else the payment is announced again."""
    webhook_batch: AtLeastOne = 128
    """Webhook events, or steps of checkouts, per shared transaction at most; small ones in flight keep the database and this
    process busy."""
    webhook_flights: AtLeastOne = 2
    """Shared transactions of each kind in flight at once."""

    def __post_init__(self) -> None:
        """Refuse secrets nobody may rely on, and keys that move money where they must not or none where they should."""
        super().__post_init__()
        if bool(self.stripe_secret_key) != bool(split(self.stripe_webhook_secrets)):
            raise ValueError(
                "CAREFORALL_STRIPE_SECRET_KEY and CAREFORALL_STRIPE_WEBHOOK_SECRETS belong together: set both or none"
            )
        if self.stripe_secret_key:
            refuse_wrong_mode(self.stripe_secret_key, self.environment)
        if self.default_gateway == "stripe" and not self.stripe_secret_key:
            raise ValueError("CAREFORALL_DEFAULT_GATEWAY is stripe, which is not set up: CAREFORALL_STRIPE_SECRET_KEY is missing")
        if self.stripe_base and self.environment == "production":
            raise ValueError("CAREFORALL_STRIPE_BASE sends the key elsewhere: not in production")
        wrong = next((message for found, message in _wrong_with_paypal(self) if found), "")
        if wrong:
            raise ValueError(wrong)
        if unknown := [name for name in split(self.gateway_order) if name not in self.askable]:
            raise ValueError(f"CAREFORALL_GATEWAY_ORDER names {unknown[0]}, which is not set up here")

    @property
    def askable(self) -> tuple[str, ...]:
        """The companies that are set up and can be asked; money that is none exists in development only."""
        there = {
            "simulator": self.environment == "development",
            "stripe": bool(self.stripe_secret_key),
            "paypal": bool(self.paypal_client_id),
        }
        return tuple(name for name, is_there in there.items() if is_there)

    @property
    def stripe_livemode(self) -> bool:
        """Whether Stripe's key moves real money."""
        return is_live(self.stripe_secret_key)

    @property
    def paypal_url(self) -> str:
        """Base URL of PayPal's API."""
        return (self.paypal_base or (_PAYPAL_LIVE if self.paypal_live else _PAYPAL_SANDBOX)).rstrip("/")

    @property
    def simulator_base(self) -> str:
        """Base URL of the simulator."""
        return (self.simulator_url or f"{self.public_url}/simulator").rstrip("/")

    @property
    def simulator_key(self) -> str:
        """Bearer key for the simulator."""
        return self.simulator_api_key or secrets.derive(self.secret_key, "simulator api key").hex()


def _wrong_with_paypal(settings: PaymentsSettings) -> Iterator[tuple[bool, str]]:
    """Yield what may not be, and the sentence that names the variable at fault."""
    named, base = bool(settings.paypal_client_id), settings.paypal_url
    ids = split(settings.paypal_webhook_ids)
    host = urlsplit(base).hostname or ""
    yield named and not settings.paypal_client_secret, "paypal_client_secret must be set where paypal_client_id is"
    yield named and not ids, "paypal_webhook_ids must be set where paypal_client_id is: disputes are told by webhooks only"
    yield not named and bool(settings.paypal_client_secret or ids), "paypal_client_id must be set where other paypal settings are"
    yield not named and settings.paypal_live, "paypal_live needs paypal_client_id"
    yield not named and settings.default_gateway == "paypal", "default_gateway is paypal, but paypal_client_id is not set"
    yield len(ids) > _LIVE_WEBHOOKS, "paypal_webhook_ids may name two webhooks at most"
    yield settings.paypal_live and settings.environment != "production", "paypal_live is for environment=production only"
    yield settings.paypal_live and base != _PAYPAL_LIVE, f"paypal_base must be empty or {_PAYPAL_LIVE} with paypal_live"
    yield not settings.paypal_live and _is_live(host), "paypal_base is a live one, but paypal_live is not set"
    yield not base.startswith("https://") and not _is_loopback(host), "paypal_base must be https, or a loopback address"
    certificates = settings.paypal_certificate_host
    yield bool(certificates) and settings.paypal_live, "paypal_certificate_host is for tests: never with paypal_live"
    yield (
        bool(certificates) and not _is_loopback(certificates.rpartition(":")[0]),
        "paypal_certificate_host must be a loopback address with a port, such as 127.0.0.1:8443",
    )
    yield (
        named and settings.environment == "production" and not settings.paypal_live,
        "paypal_live is not set: production would take gifts paid in PayPal's sandbox, where money is made up",
    )


def _is_live(host: str) -> bool:
    return host.endswith("paypal.com") and not host.endswith(".sandbox.paypal.com")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
