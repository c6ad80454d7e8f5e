"""Use cases of audit: append events with a link of the chain, show them with their proof, verify the chain, export its head."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from careforall.audit import domain, repository
from careforall.audit.domain import AuditEvent, Check, Fault, Link, Proof
from careforall.audit.errors import EventNotFound, LinkNotFound, ReportNotFound
from careforall.audit.repository import Filter
from careforall.audit.signing import SignedHead, Signer
from careforall.audit.verification.report import Report
from careforall.kit import secrets
from careforall.kit.consumer import AnyEvent
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message
from careforall.kit.ids import new_id
from careforall.kit.tracing import trace_id_of

_ERASED = "accounts.user_erased"
_LINKS_AT_ONCE = 50


class AuditService:
    """Everything one can ask of the audit log."""

    def __init__(self, database: Database, *, secret_key: str) -> None:
        self._database = database
        self._signer = Signer(secret_key)
        self._key = secrets.derive(secret_key, "audit persons")

    async def append(self, connection: Connection, messages: Sequence[Message[AnyEvent]]) -> None:
        """Log a batch of events and link it; runs in the consumer's transaction."""
        batch_id = new_id()
        drafts = [self._drafted(message, batch_id) for message in messages]
        await self._note_erasures(connection, drafts)
        gone = await repository.erased(connection, [draft.person for draft in drafts if draft.person])
        events = [without_parts(draft) if _is_gone(draft, gone) else draft for draft in drafts]
        new = await repository.append(connection, events)
        if gone:
            await repository.erase(connection)
        await self._link(connection, batch_id, [event for event in events if event.event_id in new])

    async def erase(self) -> int:
        """Erase again: an event that was being logged while its person was erased may have slipped through."""
        return await self._database.run(repository.erase)

    async def events(self, wanted: Filter, before: UUID | None, limit: int) -> list[AuditEvent]:
        """Return events, newest first."""
        return await repository.events(self._database, wanted, before, limit)

    async def event(self, identifier: UUID) -> tuple[AuditEvent, Proof | None]:
        """Return an event with the proof that the chain contains it.

        Raises:
            EventNotFound: The log has no such event.
        """
        found = await repository.event(self._database, identifier)
        if found is None:
            raise EventNotFound
        link = await repository.link_of_batch(self._database, found.batch_id)
        if link is None:
            return found, None
        batch = sorted(await repository.events_of_batches(self._database, [found.batch_id]), key=lambda event: event.event_id)
        leaves = [domain.leaf(event) for event in batch]
        position = [event.event_id for event in batch].index(identifier)
        return found, Proof(leaf=leaves[position], steps=domain.proof(leaves, position), link=link)

    async def head(self) -> SignedHead:
        """Return the head of the chain, signed.

        Raises:
            LinkNotFound: Nothing was logged yet.
        """
        found = await repository.head(self._database)
        if found is None:
            raise LinkNotFound("The chain has no link yet.")
        return self._signer.sign(found, datetime.now(UTC).date())

    async def verify(self, first: int, count: int) -> Check:
        """Recompute `count` links from `first` on.

        Raises:
            LinkNotFound: The chain does not reach back to the link before `first`.
        """
        previous = await repository.link(self._database, first - 1) if first > 1 else None
        if first > 1 and previous is None:
            raise LinkNotFound
        checked = 0
        found: list[Fault] = []
        while checked < count:
            links = await repository.links(self._database, first + checked, min(_LINKS_AT_ONCE, count - checked))
            if not links:
                break
            found += await self._faults(previous, links)
            previous = links[-1]
            checked += len(links)
        return Check(first=first, links=checked, last=previous, faults=found)

    async def export(self) -> bool:
        """Keep today's signed head, if today has none; return whether one was kept."""
        found = await repository.head(self._database)
        if found is None:
            return False
        signed = self._signer.sign(found, datetime.now(UTC).date())
        return await self._database.run(lambda connection: repository.export_head(connection, signed))

    async def report(self) -> Report:
        """Return what the last continuous verification found.

        Raises:
            ReportNotFound: None has run yet.
        """
        found = await repository.newest_report(self._database)
        if found is None:
            raise ReportNotFound
        return msgspec.json.decode(found, type=Report)

    def person(self, mail: str) -> bytes:
        """Return the key under which the log finds a person."""
        return bytes.fromhex(secrets.sign(self._key, mail.strip().lower().encode()))

    async def _link(self, connection: Connection, batch_id: UUID, events: Sequence[AuditEvent]) -> None:
        if not events:
            return
        leaves = [domain.leaf(event) for event in sorted(events, key=lambda event: event.event_id.int)]
        previous, now = await repository.hold_chain(connection)
        await repository.add_link(connection, domain.next_link(previous, batch_id=batch_id, leaves=leaves, created_at=now))

    async def _faults(self, previous: Link | None, links: Sequence[Link]) -> list[Fault]:
        events = await repository.events_of_batches(self._database, [link.batch_id for link in links])
        batches: dict[UUID, list[AuditEvent]] = {link.batch_id: [] for link in links}
        for event in events:
            batches[event.batch_id].append(event)
        found: list[Fault] = []
        for link in links:
            found += domain.faults(previous, link, batches[link.batch_id])
            previous = link
        return found

    async def _note_erasures(self, connection: Connection, drafts: Sequence[AuditEvent]) -> None:
        people = {draft.person: draft.occurred_at for draft in drafts if draft.event_type == _ERASED and draft.person}
        if people:
            await repository.note_erasures(connection, people)

    def _drafted(self, message: Message[AnyEvent], batch_id: UUID) -> AuditEvent:
        parted = domain.parted(message.event.payload)
        salt = os.urandom(16)
        personal = domain.personal_bytes(parted.personal)
        event = AuditEvent(
            event_id=message.event_id,
            batch_id=batch_id,
            event_type=message.event_type,
            version=message.version,
            aggregate_id=message.aggregate_id,
            aggregate_version=message.aggregate_version,
            occurred_at=message.occurred_at.astimezone(UTC),
            correlation_id=message.correlation_id,
            source=message.source,
            trace_id=trace_id_of(message.traceparent),
            body=parted.body,
            commitment=domain.commitment(salt, personal),
            salt=salt,
            personal=personal,
            person=self.person(parted.mail) if parted.mail else None,
        )
        return event if parted.personal else without_parts(event)


def without_parts(event: AuditEvent) -> AuditEvent:
    """Return an event whose personal parts are gone, with the commitment it had."""
    return msgspec.structs.replace(event, salt=None, personal=None, person=None)


def _is_gone(event: AuditEvent, gone: dict[bytes, datetime]) -> bool:
    return event.person is not None and event.person in gone and event.occurred_at <= gone[event.person]
