"""Settings of the sync service."""

import re

from careforall.kit.settings import AtLeastOne, Settings, split
from careforall.kit.stripe.keys import is_live, refuse_wrong_mode


class SyncSettings(Settings, frozen=True, kw_only=True):
    """Where customers are mirrored, and how patiently."""

    stripe_secret_key: str = ""
    """Secret or restricted key of Stripe that may write customers; empty carries nothing there until it is set."""
    stripe_webhook_secrets: str = ""
    """Signing secrets (whsec_) of the endpoint /api/v1/sync/webhook/stripe, comma separated; empty hears of no changes there."""
    stripe_base: str = ""
    """Where Stripe's API is answered instead of its own address; for tests, refused in production."""
    delivery_calls: AtLeastOne = 8
    """Calls to a target at the same time."""
    delivery_seconds: float = 4.0
    """Deadline of one call to a target."""
    delivery_retries: int = 5
    """Failed tries after which a change becomes a dead letter."""
    delivery_retry_seconds: float = 5.0
    """Seconds before the first repeat; each later pause is four times as long, at most an hour."""
    delivery_pause_seconds: float = 30.0
    """How long a target is left alone after three failures in a row; then one call tries whether it is back."""

    webhook_posts: AtLeastOne = 4
    """Posts to one endpoint of an integrator at the same time; each endpoint has places of its own."""
    webhook_seconds: float = 15.0
    """Deadline of one post."""
    webhook_pauses: str = "5,300,1800,7200,18000,36000,50400,72000,86400"
    """Seconds before each repeat of a post that was not answered by 2xx, comma separated; after the last it is given up on."""
    webhook_allow_private: bool = False
    """Let webhooks reach plain HTTP and addresses of private networks; for tests and closed networks only."""

    def __post_init__(self) -> None:
        """Refuse keys of the wrong mode."""
        super().__post_init__()
        if self.stripe_secret_key:
            refuse_wrong_mode(self.stripe_secret_key, self.environment)
        if self.stripe_base and self.environment == "production":
            raise ValueError("CAREFORALL_STRIPE_BASE sends the key elsewhere: not in production")
        if not all(re.fullmatch(r"\d+(\.\d+)?", pause) for pause in split(self.webhook_pauses)):
            raise ValueError("CAREFORALL_WEBHOOK_PAUSES holds seconds, none below 0, with commas between")

    @property
    def stripe_livemode(self) -> bool:
        """Whether Stripe's key is one of live mode."""
        return is_live(self.stripe_secret_key)

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The live secrets of Stripe's webhooks."""
        return split(self.stripe_webhook_secrets)

    @property
    def pauses(self) -> tuple[float, ...]:
        """The pauses between posts."""
        return tuple(float(pause) for pause in split(self.webhook_pauses))
