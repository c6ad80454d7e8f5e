"""Settings of the notifications service."""

from email.utils import parseaddr
from typing import Annotated, Literal

import msgspec

from careforall.kit.settings import AtLeastOne, Settings


class NotificationsSettings(Settings, frozen=True, kw_only=True):
    """Which provider carries mail, where integrators listen, how often a message is tried."""

    email_provider: Literal["mailbox", "smtp"] = "mailbox"
    """`mailbox` keeps mails in the database and shows them on a page of development instances."""
    email_from: str = "CareForAll <no-reply@careforall.invalid>"
    smtp_host: str = "127.0.0.1"
    smtp_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 25
    smtp_username: str = ""
    smtp_password: str = ""
    smtp_tls: Literal["none", "starttls", "tls"] = "starttls"
    smtp_connections: AtLeastOne = 8
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
    send_batch: AtLeastOne = 500
    """Messages claimed at once by one channel."""

    def __post_init__(self) -> None:
        """Refuse what every mail would fail by."""
        super().__post_init__()
        if bool(self.smtp_username) != bool(self.smtp_password):
            raise ValueError("smtp_username and smtp_password belong together: set both or none")
        if "@" not in parseaddr(self.email_from)[1]:
            raise ValueError("email_from must hold an address, such as Charity <no-reply@example.org>")
