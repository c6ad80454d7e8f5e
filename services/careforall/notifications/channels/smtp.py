"""Mail by SMTP. A crash between the server's answer and our note repeats a mail under the same Message-ID."""

from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from http import HTTPStatus

import aiosmtplib

from careforall.notifications.channels.base import Letter, each
from careforall.notifications.domain import SENT, Channel, Outcome
from careforall.notifications.settings import NotificationsSettings

_TIMEOUT = 15.0


class Smtp:
    """Sends mails to a mail server, a bounded number at once."""

    channel: Channel = "EMAIL"
    provider = "smtp"

    def __init__(self, settings: NotificationsSettings) -> None:
        self._settings = settings
        self.batch = min(settings.send_batch, settings.smtp_connections * 8)

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Send the mails."""
        return await each(letters, self._send, at_once=self._settings.smtp_connections)

    async def _send(self, letter: Letter) -> Outcome:
        settings = self._settings
        try:
            await aiosmtplib.send(
                _mail(letter, settings.email_from),
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.smtp_username or None,
                password=settings.smtp_password or None,
                use_tls=settings.smtp_tls == "tls",
                start_tls=settings.smtp_tls == "starttls",
                timeout=_TIMEOUT,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refused(error.recipients[0])
        except aiosmtplib.SMTPResponseException as error:
            return _refused(error)
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            return Outcome(error=type(error).__name__)
        except ValueError as error:
            return Outcome(error=f"unusable address: {type(error).__name__}", lasting=True)
        return SENT


def _refused(error: aiosmtplib.SMTPResponseException) -> Outcome:
    """SMTP's own rule: 5xx is for ever, 4xx is for now. A refused login is ours to repair, so it is tried again."""
    lasting = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, aiosmtplib.SMTPAuthenticationError)
    return Outcome(error=f"{error.code} {type(error).__name__}", lasting=lasting)


def _mail(letter: Letter, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = letter.message.recipient
    message["Subject"] = letter.words.subject
    message["Date"] = format_datetime(letter.message.created_at)
    message["Message-ID"] = f"<{letter.message.id}@{parseaddr(sender)[1].rpartition('@')[2] or 'localhost'}>"
    message["Content-Language"] = letter.message.language
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.words.text)
    message.add_alternative(letter.words.html, subtype="html")
    return message
