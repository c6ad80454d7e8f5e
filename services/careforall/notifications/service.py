"""Use cases of notifications: fold events into messages, accept messages of other services, show them to whom they concern."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from email_validator import EmailNotValidError, validate_email

from careforall.contracts.accounts import EmailVerified, UserErased, UserRegistered
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message
from careforall.kit.errors import DuplicateEntry, InvalidInput
from careforall.kit.http.identity import Principal
from careforall.kit.ids import NIL, new_id, parse_id
from careforall.kit.outbound import ForbiddenTarget, checked_url
from careforall.notifications import repository, repository_inbox
from careforall.notifications.channels.base import DirectCarrier, Letter
from careforall.notifications.domain import (
    TEMPLATES,
    AccountEvent,
    DonationEvent,
    Draft,
    Entry,
    InboxItem,
    KeptMail,
    Notification,
    OrderEvent,
    Outbound,
    Person,
    Reader,
    StoredMail,
    erasure_keys,
    pace_of,
    pseudonym,
    wanted,
    wish_of,
    within_pace,
)
from careforall.notifications.drafting import Setting, account_draft, donation_drafts, order_drafts
from careforall.notifications.errors import InvalidTicket, NotificationNotFound, UnknownTemplate, UnusablePayload
from careforall.notifications.metrics import SENDS
from careforall.notifications.rendering import NO_WORDS, Rendered, Renderer, RenderingError


class NotificationsService:
    """Everything one can ask of notifications."""

    def __init__(
        self,
        database: Database,
        renderer: Renderer,
        setting: Setting,
        *,
        allow_private: bool,
        direct: DirectCarrier | None = None,
    ) -> None:
        self._database = database
        self._renderer = renderer
        self._setting = setting
        self._allow_private = allow_private
        self._direct = direct

    async def fold_donations(self, connection: Connection, messages: Sequence[Message[DonationEvent]]) -> None:
        """Keep the messages that donation events cause; runs in the consumer's transaction."""
        people = await repository.people_by_mail(connection, [message.event.donor_email for message in messages])
        givers = [user for message in messages if (user := getattr(message.event, "user_id", None))]
        accounts = await repository.people_by_id(connection, givers) if givers else {}
        drafts = [
            (draft, message.occurred_at)
            for message in messages
            for draft in donation_drafts(message, people, accounts, self._setting)
        ]
        await self._keep(connection, drafts)

    async def fold_orders(self, connection: Connection, messages: Sequence[Message[OrderEvent]]) -> None:
        """Keep the messages that orders cause; runs in the consumer's transaction."""
        accounts = await repository.people_by_id(connection, [message.event.user_id for message in messages])
        drafts = [
            (draft, message.occurred_at) for message in messages for draft in order_drafts(message, accounts, self._setting)
        ]
        await self._keep(connection, drafts)

    async def fold_accounts(self, connection: Connection, messages: Sequence[Message[AccountEvent]]) -> None:
        """Keep accounts and the mails to them, then forget who wants to be forgotten; in the consumer's transaction."""
        if any(isinstance(message.event, UserErased) for message in messages):
            await repository.erase_alone(connection)
        await self._remember(connection, messages)
        people = await repository.people_by_id(connection, [message.event.user_id for message in messages])
        drafts = [
            (draft, message.occurred_at)
            for message in messages
            if (draft := account_draft(message, people, self._setting)) is not None
        ]
        await self._keep(connection, drafts)
        for message in messages:
            if isinstance(message.event, UserErased):
                await self._erase(connection, message.event, message.occurred_at)

    async def send(self, draft: Draft) -> Notification:
        """Accept a message of another service; a repeat of the same cause returns the first one.

        Raises:
            UnknownTemplate: No template has this name.
            UnusablePayload: The template cannot be filled.
            InvalidInput: The channel cannot reach the recipient.
        """
        self._check(draft)

        async def work(connection: Connection) -> Notification:
            await self._store(connection, [draft])
            found = await repository.find_cause(connection, draft)
            if found is None:
                raise DuplicateEntry("This was already said, under another cause.")
            return found

        return await self._database.run(work)

    async def of_subject(self, principal: Principal, subject_id: UUID, before: UUID | None, limit: int) -> list[Notification]:
        """Return the messages about a subject that the caller may see.

        Raises:
            NotificationNotFound: There are none, or none of theirs.
        """
        found = await repository.of_subject(
            self._database,
            subject_id,
            user_id=principal.user_id,
            email=principal.email if principal.email_verified else None,
            everything=principal.is_admin,
            before=before,
            limit=limit,
        )
        if not found and before is None:
            raise NotificationNotFound
        return found

    async def dead(self, before: UUID | None, limit: int) -> list[Notification]:
        """Return the messages given up on."""
        return await repository.dead(self._database, before=before, limit=limit)

    async def revive(self, identifier: UUID) -> None:
        """Try a message again that was given up on.

        Raises:
            NotificationNotFound: No dead letter with something to say has this id.
        """
        if not await self._database.run(lambda connection: repository.revive(connection, identifier)):
            raise NotificationNotFound

    async def inbox(self, user_id: UUID, *, unread: bool, before: UUID | None, limit: int) -> list[InboxItem]:
        """Return somebody's inbox."""
        return await repository_inbox.in_app(self._database, user_id, unread=unread, before=before, limit=limit)

    async def inbox_after(self, user_id: UUID, after: UUID) -> list[InboxItem]:
        """Return what came into somebody's inbox after a message."""
        return await repository_inbox.in_app_after(self._database, user_id, after)

    async def newest_in_inbox(self, user_id: UUID) -> UUID:
        """Return what came into somebody's inbox last; NIL when nothing did."""
        return await repository_inbox.newest_in_app(self._database, user_id) or NIL

    async def mark_read(self, user_id: UUID, identifier: UUID) -> InboxItem:
        """Mark a message as read.

        Raises:
            NotificationNotFound: It is not in the caller's inbox.
        """
        found = await self._database.run(lambda connection: repository_inbox.mark_read(connection, user_id, identifier))
        if found is None:
            raise NotificationNotFound
        return found

    async def ticket(self, principal: Principal) -> str:
        """Return a ticket that opens the caller's stream once within 30 seconds."""
        ticket = secrets.token_urlsafe(24)
        reader = _reader(principal)
        await self._database.run(lambda connection: repository_inbox.put_ticket(connection, _digest(ticket), reader))
        return ticket

    async def reader(self, principal: Principal | None, ticket: str | None) -> Reader:
        """Return whose stream to open: by ticket, or by the token sent.

        Raises:
            InvalidTicket: Neither holds.
        """
        if ticket is not None:
            taken = await self._database.run(lambda connection: repository_inbox.take_ticket(connection, _digest(ticket)))
            if taken is None:
                raise InvalidTicket
            return taken
        if principal is None:
            raise InvalidTicket("Send a token, or ask for a ticket first.")
        return _reader(principal)

    async def mailbox(self, *, to: str | None, subject_id: UUID | None, before: UUID | None, limit: int) -> list[StoredMail]:
        """Return mails of the local mailbox."""
        found = await repository_inbox.mailbox(self._database, to=to, subject_id=subject_id, before=before, limit=limit)
        return [self._in_words(kept) for kept in found]

    async def mail(self, identifier: UUID) -> StoredMail:
        """Return one mail of the local mailbox.

        Raises:
            NotificationNotFound: There is none with this id.
        """
        found = await repository_inbox.mailbox_message(self._database, identifier)
        if found is None:
            raise NotificationNotFound
        return self._in_words(found)

    async def _keep(self, connection: Connection, drafts: Sequence[tuple[Draft, datetime]]) -> None:
        await repository.keep_erasures_away(connection)
        erased = await repository.erased(connection, [key for draft, _ in drafts for key in erasure_keys(draft)])
        await self._store(connection, await self._paced(connection, wanted(drafts, erased)))

    async def _paced(self, connection: Connection, drafts: list[Draft]) -> list[Draft]:
        """Leave out mails that anybody may have caused where their recipient had enough of them within the hour.

        Batches of several processes count side by side, so that each may let as many through.
        """
        limited = {pace_of(draft) for draft in drafts if draft.limited}
        if not limited:
            return drafts
        most = self._setting.pledge_mails_per_hour
        sent = await repository.mailed_lately(connection, sorted(limited), most)
        kept = within_pace(drafts, sent, most)
        SENDS.labels(channel="EMAIL", outcome="left_out").inc(len(drafts) - len(kept))
        return kept

    async def _store(self, connection: Connection, drafts: Sequence[Draft]) -> None:
        """Store messages, and deliver along with them what needs no other company."""
        drafted = [(new_id(), draft) for draft in drafts]
        letters = self._letters(drafted)
        entries = [Entry(id=identifier, draft=draft, sent=identifier in letters) for identifier, draft in drafted]
        new = await repository.insert(connection, entries)
        if self._direct is not None and (ours := [letters[identifier] for identifier in letters if identifier in new]):
            await self._direct.write(connection, ours)
            SENDS.labels(channel=self._direct.channel, outcome="sent").inc(len(ours))

    def _letters(self, drafted: Sequence[tuple[UUID, Draft]]) -> dict[UUID, Letter]:
        """Return what is delivered at once; what cannot be put into words is left to the sender, which says why."""
        if self._direct is None:
            return {}
        return {
            identifier: Letter(message=_outbound(identifier, draft), words=NO_WORDS)
            for identifier, draft in drafted
            if draft.channel == self._direct.channel and self._renderer.fills(draft.template, draft.language, draft.payload)
        }

    def _in_words(self, kept: KeptMail) -> StoredMail:
        """Return a mail as its recipient would read it."""
        if kept.mail.subject or not kept.payload:
            return kept.mail
        try:
            words = self._renderer.render(kept.template, kept.language, kept.payload)
        except RenderingError as error:
            words = Rendered(subject="(cannot be shown)", text=str(error), html="")
        return msgspec.structs.replace(kept.mail, subject=words.subject, text=words.text, html=words.html)

    async def _remember(self, connection: Connection, messages: Sequence[Message[AccountEvent]]) -> None:
        """Keep what events say about people who were not erased since."""
        erased = await repository.erased(connection, [str(message.event.user_id) for message in messages])
        present = [m for m in messages if m.occurred_at > erased.get(str(m.event.user_id), _NEVER)]
        people = [
            Person(
                user_id=message.event.user_id,
                email=message.event.email,
                verified=isinstance(message.event, EmailVerified),
                version=message.aggregate_version,
            )
            for message in present
            if isinstance(message.event, UserRegistered | EmailVerified)
        ]
        if people:
            await repository.remember_people(connection, people)
        wishes = [wish for message in present if (wish := wish_of(message)) is not None]
        if wishes:
            await repository.prefer(connection, wishes)

    async def _erase(self, connection: Connection, event: UserErased, at: datetime) -> None:
        await repository.erase(
            connection,
            user_id=event.user_id,
            email=event.email,
            donor_key=event.donor_key,
            at=at,
            pseudonym=pseudonym(event.donor_key),
        )

    def _check(self, draft: Draft) -> None:
        if draft.template not in TEMPLATES:
            raise UnknownTemplate.field("/template", "unknown_template", f"one of {', '.join(TEMPLATES)}")
        if draft.channel != "WEBHOOK":
            self._check_words(draft)
        if reason := self._unreachable(draft):
            raise InvalidInput.field("/recipient", "invalid_recipient", reason)

    def _check_words(self, draft: Draft) -> None:
        try:
            self._renderer.render(draft.template, draft.language, draft.payload)
        except RenderingError as error:
            raise UnusablePayload.field("/payload", "unusable_payload", str(error)) from error

    def _unreachable(self, draft: Draft) -> str | None:
        """Return why a channel cannot reach its recipient."""
        try:
            match draft.channel:
                case "EMAIL":
                    validate_email(draft.recipient, check_deliverability=False, test_environment=True)
                case "IN_APP":
                    return None if parse_id(draft.recipient) else "the recipient of IN_APP is a user id"
                case "WEBHOOK":
                    checked_url(draft.recipient, allow_private=self._allow_private)
        except (EmailNotValidError, ForbiddenTarget) as error:
            return str(error)
        return None


def _outbound(identifier: UUID, draft: Draft) -> Outbound:
    return Outbound(
        id=identifier,
        subject_id=draft.subject_id,
        template=draft.template,
        channel=draft.channel,
        recipient=draft.recipient,
        language=draft.language,
        user_id=draft.user_id,
        payload=draft.payload,
        retry_count=0,
        created_at=datetime.now(UTC),
    )


_NEVER = datetime.min.replace(tzinfo=UTC)


def _reader(principal: Principal) -> Reader:
    issued_at, until = (datetime.fromtimestamp(at, tz=UTC) for at in (principal.issued_at, principal.expires_at))
    return Reader(user_id=principal.user_id, issued_at=issued_at, until=until)


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
