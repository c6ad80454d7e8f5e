"""Settings of the notifications service."""

from typing import Literal

from careforall.kit.settings import Settings


class NotificationsSettings(Settings, frozen=True, kw_only=True):
    """Which provider carries mail, where integrators listen, how often a message is tried."""

    email_provider: Literal["mailbox", "smtp"] = "mailbox"
    """`mailbox` keeps mails in the database and shows them on a page of development instances."""
    email_from: str = "CareForAll <no-reply@careforall.invalid>"
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 25
    smtp_username: str = ""
    smtp_password: str = ""
    smtp_tls: Literal["none", "starttls", "tls"] = "starttls"
    smtp_connections: int = 8
    """Mails under way at once."""
    webhook_url: str = ""
    """Endpoint that hears of donations; empty sends none."""
    webhook_secret: str = ""
    """Standard Webhooks secret (whsec_...); empty derives one from the root secret."""
    webhook_allow_private: bool = False
    """Let webhooks reach plain HTTP and addresses of private networks; for tests and closed networks only."""
    default_language: Literal["en", "de"] = "en"
    max_retries: int = 100
    """Tries after which a message becomes a dead letter; a mail server may be away for almost three days."""
    pledge_mails_per_hour: int = 10
    """Mails to one address about gifts that are not paid (noted, or failed) where their giver is not signed in as its owner."""
    send_batch: int = 500
    """Messages claimed at once by one channel."""
