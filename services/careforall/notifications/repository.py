"""The SQL of messages and of people; inboxes have `repository_inbox`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit.db import Connection, Database
from careforall.notifications.domain import Draft, Entry, Notification, Outbound, Person, Wish

_encode = msgspec.json.Encoder().encode


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to note on a message that was tried."""

    id: UUID
    status: str
    counted: bool
    delay: float
    error: str


async def insert(connection: Connection, entries: Sequence[Entry]) -> set[UUID]:
    """Store messages that were not stored before; return the ids of the new ones."""
    if not entries:
        return set()
    entries = sorted(entries, key=lambda entry: _unique_key(entry.draft))
    ordered = [entry.draft for entry in entries]
    rows = await connection.fetch(
        _INSERT,
        [entry.id for entry in entries],
        [draft.cause_event_id for draft in ordered],
        [draft.fact for draft in ordered],
        [draft.subject_id for draft in ordered],
        [draft.template for draft in ordered],
        [draft.channel for draft in ordered],
        [draft.recipient for draft in ordered],
        [draft.language for draft in ordered],
        [draft.user_id for draft in ordered],
        [draft.donor_key for draft in ordered],
        [_encode(draft.payload).decode() for draft in ordered],
        ["SENT" if entry.sent else "PENDING" for entry in entries],
    )
    return {row["id"] for row in rows}


async def find_cause(connection: Connection, draft: Draft) -> Notification | None:
    """Return the message that is already there for a draft."""
    row = await connection.fetchrow(_BY_CAUSE, draft.cause_event_id, draft.template, draft.recipient, draft.channel)
    return _out(row) if row else None


async def people_by_mail(connection: Connection, mails: Sequence[str]) -> dict[str, Person]:
    """Return the owners of verified mails, by mail in lower case."""
    rows = await connection.fetch(_PEOPLE_BY_MAIL, sorted({mail.lower() for mail in mails}))
    return {row["email"].lower(): _person(row) for row in rows}


async def people_by_id(connection: Connection, users: Sequence[UUID]) -> dict[UUID, Person]:
    """Return accounts by user id."""
    rows = await connection.fetch(_PEOPLE_BY_ID, sorted(set(users)))
    return {row["user_id"]: _person(row) for row in rows}


async def remember_people(connection: Connection, people: Sequence[Person]) -> None:
    """Keep the newest version of accounts."""
    newest = {person.user_id: person for person in sorted(people, key=lambda person: person.version)}
    found = [newest[user_id] for user_id in sorted(newest)]
    await connection.execute(
        _REMEMBER,
        [person.user_id for person in found],
        [person.email for person in found],
        [person.verified for person in found],
        [person.version for person in found],
    )


async def prefer(connection: Connection, wishes: Sequence[Wish]) -> None:
    """Keep the newest preferences of people."""
    newest = {wish.user_id: wish for wish in sorted(wishes, key=lambda wish: wish.at)}
    found = [newest[user_id] for user_id in sorted(newest)]
    await connection.execute(
        _PREFER,
        [wish.user_id for wish in found],
        [wish.email for wish in found],
        [wish.language for wish in found],
        [wish.in_app for wish in found],
        [wish.at for wish in found],
    )


async def keep_erasures_away(connection: Connection) -> None:
    """Let nobody be erased until this transaction has stored what it says: an erasure that began sooner would not see it."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtext('notifications.erasures'))")


async def erase_alone(connection: Connection) -> None:
    """Wait for who is storing messages, and let others store none until people are erased; before anything is read."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('notifications.erasures'))")


async def erased(connection: Connection, keys: Sequence[str]) -> Mapping[str, datetime]:
    """Return when the people behind keys were erased."""
    return {row["key"]: row["erased_at"] for row in await connection.fetch(_ERASED, sorted(set(keys)))}


async def mailed_lately(connection: Connection, paces: Sequence[tuple[str, str]], most: int) -> dict[tuple[str, str], int]:
    """Return how many mails addresses got within the hour, by address in lower case and template; counts up to `most`."""
    rows = await connection.fetch(_MAILED_LATELY, [mail for mail, _ in paces], [template for _, template in paces], most)
    return {(row["mail"], row["template"]): row["mails"] for row in rows}


async def erase(connection: Connection, *, user_id: UUID, email: str, donor_key: str, at: datetime, pseudonym: str) -> None:
    """Forget a person: addresses become a pseudonym, contents go, what waits is never sent."""
    gifts = [row["subject_id"] for row in await connection.fetch(_GIFTS, user_id)]
    await connection.execute(_NOTE_ERASURE, sorted({donor_key, str(user_id), *map(str, gifts)} - {""}), at)
    erased = await connection.fetch(_ERASE_NOTIFICATIONS, user_id, email.lower(), donor_key, pseudonym, gifts)
    await connection.execute(_ERASE_NAMES, user_id, donor_key, gifts)
    await connection.execute(_ERASE_MAILBOX, email.lower(), pseudonym, [row["id"] for row in erased])
    await connection.execute(_ERASE_IN_APP, user_id)
    await connection.execute(_ERASE_TICKETS, user_id)
    await connection.execute(_ERASE_PERSON, user_id)


async def claim(connection: Connection, channel: str, limit: int, lease: float) -> list[Outbound]:
    """Lease due messages of one channel to this worker, oldest first."""
    rows = await connection.fetch(_CLAIM, channel, limit, lease)
    return sorted((_outbound(row) for row in rows), key=lambda message: message.id)


async def hold(connection: Connection, identifiers: Sequence[UUID], lease: float) -> None:
    """Lease messages that are being sent for longer."""
    await connection.execute(_HOLD, identifiers, lease)


async def settle(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Note what became of leased messages."""
    ordered = sorted(verdicts, key=lambda verdict: verdict.id)
    await connection.execute(
        _SETTLE,
        [v.id for v in ordered],
        [v.status for v in ordered],
        [int(v.counted) for v in ordered],
        [v.delay for v in ordered],
        [v.error for v in ordered],
    )


async def of_subject(
    database: Database,
    subject_id: UUID,
    *,
    user_id: UUID | None,
    email: str | None,
    everything: bool,
    before: UUID | None,
    limit: int,
) -> list[Notification]:
    """Return the messages about a subject that a caller may see, newest first."""
    rows = await database.fetch(_OF_SUBJECT, subject_id, user_id, email, everything, before, limit)
    return [_out(row) for row in rows]


async def dead(database: Database, *, before: UUID | None, limit: int) -> list[Notification]:
    """Return the dead letters, newest first."""
    return [_out(row) for row in await database.fetch(_DEAD, before, limit)]


async def revive(connection: Connection, identifier: UUID) -> bool:
    """Give a dead letter a new life."""
    return bool(await connection.fetchval(_REVIVE, identifier))


def _unique_key(draft: Draft) -> tuple[str, str, str, str]:
    return str(draft.cause_event_id), draft.template, draft.channel, draft.recipient


def _person(row: asyncpg.Record) -> Person:
    return Person(
        user_id=row["user_id"], email=row["email"], verified=row["verified"], language=row["language"], in_app=row["in_app"]
    )


def _outbound(row: asyncpg.Record) -> Outbound:
    values: dict[str, Any] = dict(row)
    return Outbound(**{**values, "payload": msgspec.json.decode(values["payload"], type=dict[str, str])})


def _out(row: asyncpg.Record) -> Notification:
    return Notification(**row)


_INSERT = """
INSERT INTO notifications
    (id, cause_event_id, fact, subject_id, template, channel, recipient, language, user_id, donor_key, payload, status, sent_at)
SELECT draft.*, CASE WHEN draft.status = 'SENT' THEN clock_timestamp() END
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[], $10::text[],
    $11::jsonb[], $12::text[]
) AS draft (id, cause_event_id, fact, subject_id, template, channel, recipient, language, user_id, donor_key, payload, status)
ON CONFLICT DO NOTHING
RETURNING id
"""
_BY_CAUSE = """
SELECT id, subject_id, template, channel, recipient, language, status, retry_count, next_retry_at, error, created_at, sent_at
FROM notifications
WHERE cause_event_id = $1 AND template = $2 AND recipient = $3 AND channel = $4
"""
_PEOPLE_BY_MAIL = """
SELECT DISTINCT ON (lower(email)) user_id, email, verified, language, in_app
FROM people
WHERE lower(email) = ANY($1::text[]) AND verified
ORDER BY lower(email), user_id
"""
_PEOPLE_BY_ID = "SELECT user_id, email, verified, language, in_app FROM people WHERE user_id = ANY($1::uuid[])"
_REMEMBER = """
INSERT INTO people (user_id, email, verified, version)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::integer[])
ON CONFLICT (user_id) DO UPDATE
SET email = excluded.email, verified = excluded.verified, version = excluded.version
WHERE excluded.version > people.version
"""
_PREFER = """
INSERT INTO people (user_id, email, language, in_app, preferred_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[])
ON CONFLICT (user_id) DO UPDATE
SET language = excluded.language, in_app = excluded.in_app, preferred_at = excluded.preferred_at
WHERE people.preferred_at IS NULL OR people.preferred_at < excluded.preferred_at
"""
_ERASED = "SELECT key, erased_at FROM erased_people WHERE key = ANY($1::text[])"
_MAILED_LATELY = """
SELECT asked.mail, asked.template, lately.mails
FROM unnest($1::text[], $2::text[]) AS asked (mail, template)
CROSS JOIN LATERAL (
    SELECT count(*) AS mails
    FROM (
        SELECT 1 FROM notifications
        WHERE lower(recipient) = asked.mail
          AND created_at > statement_timestamp() - interval '1 hour'
          AND channel = 'EMAIL'
          AND template = asked.template
        LIMIT $3
    ) AS found
) AS lately
"""
_NOTE_ERASURE = """
INSERT INTO erased_people (key, erased_at)
SELECT key, $2 FROM unnest($1::text[]) AS key
ON CONFLICT (key) DO UPDATE SET erased_at = greatest(erased_people.erased_at, excluded.erased_at)
"""
# Only the first message about a gift knows who was signed in.
_GIFTS = "SELECT subject_id FROM notifications WHERE user_id = $1 AND template = 'donation_received'"
_ERASE_NOTIFICATIONS = """
UPDATE notifications
SET recipient = $4,
    payload = '{}',
    error = CASE WHEN status = 'SENT' THEN error ELSE 'the recipient was erased' END,
    status = CASE WHEN status = 'SENT' THEN status ELSE 'DEAD' END,
    leased_until = NULL
WHERE id IN (
    SELECT id FROM notifications
    WHERE channel <> 'WEBHOOK' AND (user_id = $1 OR lower(recipient) = $2 OR donor_key = $3 OR subject_id = ANY($5::uuid[]))
    ORDER BY id
    FOR UPDATE
)
RETURNING id
"""
_ERASE_NAMES = """
UPDATE notifications
SET payload = payload - 'donor_name'
WHERE id IN (
    SELECT id FROM notifications
    WHERE channel = 'WEBHOOK' AND payload ? 'donor_name' AND (user_id = $1 OR donor_key = $2 OR subject_id = ANY($3::uuid[]))
    ORDER BY id
    FOR UPDATE
)
"""
_ERASE_MAILBOX = """
UPDATE mailbox_messages SET recipient = $2, subject = '', text_body = '', html_body = ''
WHERE lower(recipient) = $1 OR id = ANY($3::uuid[])
"""
_ERASE_IN_APP = "DELETE FROM in_app_messages WHERE user_id = $1"
_ERASE_TICKETS = "DELETE FROM stream_tickets WHERE user_id = $1"
_ERASE_PERSON = "DELETE FROM people WHERE user_id = $1"
_CLAIM = """
UPDATE notifications
SET leased_until = clock_timestamp() + make_interval(secs => $3)
WHERE id IN (
    SELECT id FROM notifications
    WHERE channel = $1
      AND status IN ('PENDING', 'FAILED')
      AND (next_retry_at IS NULL OR next_retry_at <= clock_timestamp())
      AND (leased_until IS NULL OR leased_until <= clock_timestamp())
    ORDER BY id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id, subject_id, template, channel, recipient, language, user_id, payload, retry_count, created_at
"""
_HOLD = """
UPDATE notifications
SET leased_until = clock_timestamp() + make_interval(secs => $2)
WHERE id IN (SELECT id FROM notifications WHERE id = ANY($1::uuid[]) AND status IN ('PENDING', 'FAILED') ORDER BY id FOR UPDATE)
"""
_SETTLE = """
UPDATE notifications
SET status = done.status,
    retry_count = notifications.retry_count + done.counted,
    next_retry_at = CASE WHEN done.status = 'FAILED' THEN clock_timestamp() + make_interval(secs => done.delay) END,
    leased_until = NULL,
    error = nullif(done.error, ''),
    sent_at = CASE WHEN done.status = 'SENT' THEN clock_timestamp() END
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::float8[], $5::text[]) AS done (id, status, counted, delay, error)
WHERE notifications.id = done.id AND notifications.status IN ('PENDING', 'FAILED')
"""
_OF_SUBJECT = """
SELECT id, subject_id, template, channel, recipient, language, status, retry_count, next_retry_at, error, created_at, sent_at
FROM notifications
WHERE subject_id = $1
  AND ($4 OR (channel <> 'WEBHOOK' AND (user_id = $2 OR lower(recipient) = lower($3))))
  AND ($5::uuid IS NULL OR id < $5)
ORDER BY id DESC
LIMIT $6
"""
_DEAD = """
SELECT id, subject_id, template, channel, recipient, language, status, retry_count, next_retry_at, error, created_at, sent_at
FROM notifications
WHERE status = 'DEAD' AND ($1::uuid IS NULL OR id < $1)
ORDER BY id DESC
LIMIT $2
"""
_REVIVE = """
UPDATE notifications SET status = 'PENDING', retry_count = 0, next_retry_at = NULL, leased_until = NULL
WHERE id = $1 AND status = 'DEAD' AND payload <> '{}'
RETURNING true
"""
