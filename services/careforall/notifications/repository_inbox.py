"""The SQL of inboxes: in-app messages, the local mailbox, and the tickets that open streams."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit.db import Connection, Database
from careforall.notifications.domain import InboxItem, KeptMail, Reader, StoredMail


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail for the local mailbox; without words it is put into them when somebody reads it."""

    id: UUID
    subject_id: UUID
    sender: str
    recipient: str
    subject: str
    text: str
    html: str


class InAppMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered message for somebody's inbox."""

    id: UUID
    user_id: UUID
    subject_id: UUID
    template: str
    title: str
    body: str


async def put_mails(connection: Connection, mails: Sequence[Mail]) -> None:
    """Store a batch of mails; one that is there stays, one whose recipient was erased meanwhile is left out."""
    await _put_mails(connection, _PUT_MAILS, mails)


async def put_new_mails(connection: Connection, mails: Sequence[Mail]) -> None:
    """Store the mails of messages that this very transaction stores."""
    await _put_mails(connection, _PUT_NEW_MAILS, mails)


async def _put_mails(connection: Connection, statement: str, mails: Sequence[Mail]) -> None:
    await connection.execute(
        statement,
        [m.id for m in mails],
        [m.subject_id for m in mails],
        [m.sender for m in mails],
        [m.recipient for m in mails],
        [m.subject for m in mails],
        [m.text for m in mails],
        [m.html for m in mails],
    )


async def put_in_app(connection: Connection, messages: Sequence[InAppMessage]) -> None:
    """Store a batch of in-app messages under the same rules, after whatever was stored before: streams go on by that order."""
    await connection.execute(_ONE_AFTER_ANOTHER)
    await connection.execute(
        _PUT_IN_APP,
        [m.id for m in messages],
        [m.user_id for m in messages],
        [m.subject_id for m in messages],
        [m.template for m in messages],
        [m.title for m in messages],
        [m.body for m in messages],
    )


async def in_app(database: Database, user_id: UUID, *, unread: bool, before: UUID | None, limit: int) -> list[InboxItem]:
    """Return somebody's inbox, newest first."""
    return [InboxItem(**row) for row in await database.fetch(_IN_APP, user_id, unread, before, limit)]


async def in_app_after(database: Database, user_id: UUID, after: UUID) -> list[InboxItem]:
    """Return what came into somebody's inbox after a message, oldest first."""
    return [InboxItem(**row) for row in await database.fetch(_IN_APP_AFTER, user_id, after)]


async def newest_in_app(database: Database, user_id: UUID) -> UUID | None:
    """Return what came into somebody's inbox last, if anything did."""
    row = await database.fetchrow(_NEWEST_IN_APP, user_id)
    return row["id"] if row else None


async def mark_read(connection: Connection, user_id: UUID, identifier: UUID) -> InboxItem | None:
    """Mark one message of somebody's inbox as read."""
    row = await connection.fetchrow(_MARK_READ, user_id, identifier)
    return InboxItem(**row) if row else None


async def mailbox(
    database: Database, *, to: str | None, subject_id: UUID | None, before: UUID | None, limit: int
) -> list[KeptMail]:
    """Return mails of the local mailbox, newest first."""
    return [_kept(row) for row in await database.fetch(_MAILBOX, to.lower() if to else None, subject_id, before, limit)]


async def mailbox_message(database: Database, identifier: UUID) -> KeptMail | None:
    """Return one mail of the local mailbox."""
    row = await database.fetchrow(_MAILBOX_MESSAGE, identifier)
    return _kept(row) if row else None


async def put_ticket(connection: Connection, digest: bytes, reader: Reader) -> None:
    """Keep a ticket for 30 seconds, and sweep those that ended."""
    await connection.execute(_SWEEP_TICKETS)
    await connection.execute(_PUT_TICKET, digest, reader.user_id, reader.issued_at, reader.until)


async def take_ticket(connection: Connection, digest: bytes) -> Reader | None:
    """Use up a ticket; return whom it speaks for."""
    row = await connection.fetchrow(_TAKE_TICKET, digest)
    return Reader(**row) if row else None


def _kept(row: asyncpg.Record) -> KeptMail:
    return KeptMail(
        mail=StoredMail(**{name: row[name] for name in StoredMail.__struct_fields__}),
        template=row["template"],
        language=row["language"],
        payload=msgspec.json.decode(row["payload"], type=dict[str, str]),
    )


_PUT_MAILS = """
INSERT INTO mailbox_messages (id, subject_id, sender, recipient, subject, text_body, html_body)
SELECT mail.id, mail.subject_id, mail.sender, mail.recipient, mail.subject, mail.text_body, mail.html_body
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS mail (id, subject_id, sender, recipient, subject, text_body, html_body)
JOIN notifications ON notifications.id = mail.id AND notifications.recipient = mail.recipient
FOR SHARE OF notifications
ON CONFLICT (id) DO NOTHING
"""
_PUT_NEW_MAILS = """
INSERT INTO mailbox_messages (id, subject_id, sender, recipient, subject, text_body, html_body)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
"""
_ONE_AFTER_ANOTHER = "SELECT pg_advisory_xact_lock(hashtext('notifications.in_app'))"
_PUT_IN_APP = """
INSERT INTO in_app_messages (id, user_id, subject_id, template, title, body)
SELECT message.id, message.user_id, message.subject_id, message.template, message.title, message.body
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[])
    AS message (id, user_id, subject_id, template, title, body)
JOIN notifications ON notifications.id = message.id AND notifications.recipient = message.user_id::text
FOR SHARE OF notifications
ON CONFLICT (id) DO NOTHING
"""
_IN_APP = """
SELECT id, subject_id, template, title, body, created_at, read_at
FROM in_app_messages
WHERE user_id = $1 AND (NOT $2 OR read_at IS NULL) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
"""
_IN_APP_AFTER = """
SELECT id, subject_id, template, title, body, created_at, read_at
FROM in_app_messages
WHERE user_id = $1
  AND (created_at, id) > (coalesce((SELECT created_at FROM in_app_messages WHERE user_id = $1 AND id = $2), '-infinity'), $2)
ORDER BY created_at, id
LIMIT 100
"""
_NEWEST_IN_APP = "SELECT id FROM in_app_messages WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1"
_MARK_READ = """
UPDATE in_app_messages SET read_at = coalesce(read_at, clock_timestamp())
WHERE user_id = $1 AND id = $2
RETURNING id, subject_id, template, title, body, created_at, read_at
"""
_MAIL = """
SELECT mail.id, mail.subject_id, mail.sender, mail.recipient, mail.subject, mail.text_body AS text, mail.html_body AS html,
       mail.created_at, message.template, message.language, message.payload
FROM mailbox_messages AS mail
JOIN notifications AS message ON message.id = mail.id
"""
_MAILBOX = (
    _MAIL
    + """
WHERE ($1::text IS NULL OR lower(mail.recipient) = $1)
  AND ($2::uuid IS NULL OR mail.subject_id = $2)
  AND ($3::uuid IS NULL OR mail.id < $3)
ORDER BY mail.id DESC
LIMIT $4
"""
)
_MAILBOX_MESSAGE = _MAIL + " WHERE mail.id = $1"
_SWEEP_TICKETS = "DELETE FROM stream_tickets WHERE expires_at < clock_timestamp()"
_PUT_TICKET = """
INSERT INTO stream_tickets (ticket_hash, user_id, expires_at, issued_at, session_ends_at)
VALUES ($1, $2, clock_timestamp() + interval '30 seconds', $3, $4)
"""
_TAKE_TICKET = """
DELETE FROM stream_tickets
WHERE ticket_hash = $1 AND expires_at >= clock_timestamp()
RETURNING user_id, issued_at, session_ends_at AS until
"""
