"""The local mail provider: a batch of mails is one statement into a table that the mailbox page shows.

It usually delivers as messages are stored (`write`), without words, which are found when somebody reads; `carry` serves the
sender, for what was left or given a new life.
"""

from collections.abc import Sequence

from careforall.kit.db import Connection, Database
from careforall.notifications import repository_inbox
from careforall.notifications.channels.base import Letter
from careforall.notifications.channels.stored import store
from careforall.notifications.domain import Channel, Outcome


class Mailbox:
    """Keeps mails instead of sending them."""

    channel: Channel = "EMAIL"
    provider = "mailbox"

    def __init__(self, database: Database, *, sender: str, batch: int) -> None:
        self._database = database
        self._sender = sender
        self.batch = batch

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Store the mails; a repeat finds them stored."""
        return await store(self._database, letters, self._write)

    async def write(self, connection: Connection, letters: Sequence[Letter]) -> None:
        """Store the mails of messages that this transaction stores."""
        await repository_inbox.put_new_mails(connection, [_mail(letter, self._sender) for letter in letters])

    async def _write(self, connection: Connection, letters: Sequence[Letter]) -> None:
        await repository_inbox.put_mails(connection, [_mail(letter, self._sender) for letter in letters])


def _mail(letter: Letter, sender: str) -> repository_inbox.Mail:
    return repository_inbox.Mail(
        id=letter.message.id,
        subject_id=letter.message.subject_id,
        sender=sender,
        recipient=letter.message.recipient,
        subject=letter.words.subject,
        text=letter.words.text,
        html=letter.words.html,
    )
