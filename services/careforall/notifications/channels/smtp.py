"""Mail by SMTP. A crash between the server's answer and our note repeats a mail under the same Message-ID."""

from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from http import HTTPStatus
from typing import Any

import aiosmtplib
from typing_extensions import override

from careforall.notifications.channels.base import Letter, each
from careforall.notifications.domain import SENT, Channel, Outcome
from careforall.notifications.settings import NotificationsSettings

_TIMEOUT = 15.0
_TAKING_TIMEOUT = 600.0
"""What RFC 5321 asks of clients: a server that looks through a mail before it says yes has taken it when we give up sooner."""


class _Client(aiosmtplib.SMTP):
    """Waits longer for the answer to a mail than for others."""

    @override
    async def data(self, message: str | bytes, /, **_: Any) -> aiosmtplib.SMTPResponse:
        return await super().data(message, timeout=_TAKING_TIMEOUT)


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
        try:
            async with self._client() as client:
                await client.send_message(_mail(letter, self._settings.email_from))
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refused(error.recipients[0])
        except aiosmtplib.SMTPResponseException as error:
            return _refused(error)
        except (TimeoutError, aiosmtplib.SMTPException, OSError) as error:
            return Outcome(error=type(error).__name__)
        except ValueError as error:
            return Outcome(error=f"unusable address: {type(error).__name__}", lasting=True)
        return SENT

    def _client(self) -> _Client:
        settings = self._settings
        return _Client(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username or None,
            password=settings.smtp_password or None,
            use_tls=settings.smtp_tls == "tls",
            start_tls=settings.smtp_tls == "starttls",
            timeout=_TIMEOUT,
        )


def _refused(error: aiosmtplib.SMTPResponseException) -> Outcome:
    """SMTP's own rule: 5xx is for ever, 4xx is for now.

    What is refused before the recipient is named is no fault of the mail: our address, login or sender is ours to repair.
    """
    lasting = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(error, _OF_THE_MAIL)
    return Outcome(error=f"{error.code} {type(error).__name__}", lasting=lasting)


_OF_THE_MAIL = (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError)


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
