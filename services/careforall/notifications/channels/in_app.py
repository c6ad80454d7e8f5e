"""The in-app inbox: a batch of messages is one statement, then a hint wakes the open streams of their readers."""

from collections.abc import Callable, Sequence
from uuid import UUID

from careforall.kit.db import Connection, Database
from careforall.notifications import repository_inbox
from careforall.notifications.channels.base import Letter
from careforall.notifications.channels.stored import store
from careforall.notifications.domain import Channel, Outcome


class InApp:
    """Puts messages into inboxes."""

    channel: Channel = "IN_APP"
    provider = "inbox"

    def __init__(self, database: Database, *, batch: int, hint: Callable[[set[str]], None]) -> None:
        self._database = database
        self._hint = hint
        self.batch = batch

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Store the messages and tell the readers' streams."""
        outcomes = await store(self._database, letters, self._write)
        self._hint({letter.message.recipient for letter in letters})
        return outcomes

    async def _write(self, connection: Connection, letters: Sequence[Letter]) -> None:
        await repository_inbox.put_in_app(connection, [_message(letter) for letter in letters])


def _message(letter: Letter) -> repository_inbox.InAppMessage:
    return repository_inbox.InAppMessage(
        id=letter.message.id,
        user_id=UUID(letter.message.recipient),
        subject_id=letter.message.subject_id,
        template=letter.message.template,
        title=letter.words.subject,
        body=letter.words.text,
    )
