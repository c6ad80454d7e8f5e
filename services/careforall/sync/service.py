"""Use cases of customers: a change, what is to be carried because of it, and its event are one transaction."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from msgspec import UNSET

from careforall.contracts.mail import checked_email
from careforall.kit import outbox
from careforall.kit.context import Cause, current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import FieldError, VersionConflict
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing
from careforall.kit.text import refuse_texts, text_error
from careforall.sync import events, repository, repository_deliveries
from careforall.sync.domain import Content, Customer, Delivery, EventType, Told
from careforall.sync.errors import CustomerNotFound
from careforall.sync.schemas import CustomerPatch, NewCustomer

_RESERVED = "careforall_"
_ADOPTED_AT_ONCE = 500
_NAME, _KEY, _VALUE = 200, 40, 500


class SyncService:
    """What the API, the consumer and the intake call.

    Args:
        targets: Where customers are mirrored now.
        tries: Failed tries after which a change becomes a dead letter.
    """

    def __init__(self, database: Database, *, targets: Sequence[str], tries: int) -> None:
        self.database = database
        self._targets = tuple(targets)
        self._tries = tries

    async def create(self, connection: Connection, new: NewCustomer) -> Customer:
        """Make a customer in the caller's transaction.

        Raises:
            InvalidInput: Naming the fields at fault.
        """
        content = checked(Content(email=new.email, name=new.name, metadata=new.metadata))
        now = datetime.now(UTC)
        customer = Customer(
            id=new_id(),
            email=content.email,
            name=content.name,
            metadata=dict(content.metadata),
            version=1,
            created_at=now,
            updated_at=now,
        )
        await repository.insert(connection, customer)
        await self._tell(connection, customer, "customer.created", events.created(customer, current()))
        return customer

    async def change(self, customer_id: UUID, patch: CustomerPatch, version: int | None) -> Customer:
        """Change what is given; `version` is the one the caller has read, if they said.

        Raises:
            CustomerNotFound: There is none, or none any more.
            VersionConflict: Somebody else was faster.
        """

        async def work(connection: Connection) -> Customer:
            found = await self._present(connection, customer_id, version)
            changed = _renewed(found, checked(_patched(found.content, patch)))
            await repository.update(connection, changed)
            await self._tell(connection, changed, "customer.updated", events.updated(changed, current()))
            return changed

        return await self.database.run(work)

    async def delete(self, customer_id: UUID, version: int | None) -> None:
        """Delete a customer; nothing of them is kept but the id, until the deletion is carried out and after.

        Raises:
            CustomerNotFound: There is none, or none any more.
            VersionConflict: Somebody else was faster.
        """

        async def work(connection: Connection) -> None:
            await self._end(connection, await self._present(connection, customer_id, version), current())

        await self.database.run(work)

    async def erase(self, connection: Connection, email: str, cause: Cause) -> None:
        """Delete the customer of somebody who is forgotten, in the caller's transaction."""
        found = await repository.locked_by_email(connection, email)
        if found is not None:
            await self._end(connection, found, cause)

    async def customer(self, customer_id: UUID) -> Customer:
        """Return a customer."""
        async with self.database.connection() as connection:
            found = await repository.customer(connection, customer_id)
        if found is None or found.deleted_at is not None:
            raise CustomerNotFound
        return found

    async def customers(self, email: str | None, before: UUID | None, limit: int) -> list[Customer]:
        """Return customers, newest first, or the one of a mail."""
        wanted = checked_email(email) if email is not None else None
        async with self.database.connection() as connection:
            return await repository.customers(connection, wanted, before, limit)

    async def take_over(self, connection: Connection, customer: Customer, delivery: Delivery, told: Told, origin: str) -> None:
        """Apply a change made at a target; it is carried to the others, not back.

        Raises:
            InvalidInput: What it says cannot be kept here.
        """
        assert told.content is not None
        changed = _renewed(customer, checked(told.content))
        await repository.update(connection, changed)
        await repository_deliveries.take_over(connection, delivery, changed.version, told.content, told.at)
        await self._tell(connection, changed, "customer.updated", events.updated(changed, current(), origin))

    async def end_there(self, connection: Connection, customer: Customer, delivery: Delivery, told: Told, origin: str) -> None:
        """Delete a customer who was deleted at a target; the deletion is carried to the others, not back."""
        await repository_deliveries.take_over(connection, delivery, customer.version + 1, None, told.at)
        await self._end(connection, customer, current(), origin)

    async def adopt(self) -> int:
        """Queue customers of whom a target that was set up later has not heard; return how many."""
        adopted = 0
        for target in self._targets:
            adopted += await self._adopt(target)
        return adopted

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present state of customers as events, for projections that start anew."""
        return [events.snapshot(customer) for customer in await repository.after(connection, after, limit)]

    async def _adopt(self, target: str) -> int:
        adopted, last = 0, _ADOPTED_AT_ONCE
        while last == _ADOPTED_AT_ONCE:
            last = await self.database.run(
                lambda connection: repository_deliveries.adopt(connection, target, self._tries, _ADOPTED_AT_ONCE)
            )
            adopted += last
        return adopted

    async def _present(self, connection: Connection, customer_id: UUID, version: int | None) -> Customer:
        found = await repository.locked(connection, customer_id)
        if found is None or found.deleted_at is not None:
            raise CustomerNotFound
        if version is not None and version != found.version:
            raise VersionConflict(found.version)
        return found

    async def _end(self, connection: Connection, customer: Customer, cause: Cause, origin: str = "") -> None:
        now = datetime.now(UTC)
        nothing = msgspec.structs.replace(customer, email="", name="", metadata={}, deleted_at=now)
        ended = msgspec.structs.replace(nothing, version=customer.version + 1, updated_at=now)
        await repository.forget_answers(connection, customer.id)
        await repository.update(connection, ended)
        await self._tell(connection, ended, "customer.deleted", events.deleted(ended, cause, origin))

    async def _tell(self, connection: Connection, customer: Customer, event_type: EventType, event: Outgoing) -> None:
        targets = self._targets if customer.deleted_at is None else ()
        await repository_deliveries.want(connection, targets, customer, event_type, self._tries, event.traceparent)
        await outbox.insert(connection, [event])


def checked(content: Content) -> Content:
    """Return content as it is kept.

    Raises:
        InvalidInput: Naming the fields at fault.
    """
    errors = [text_error("/name", content.name, limit=_NAME)]
    for name, value in content.metadata.items():
        errors += _metadata_errors(name, value)
    email = checked_email(content.email)
    refuse_texts(*errors)
    return msgspec.structs.replace(content, email=email)


def _metadata_errors(name: str, value: str) -> list[FieldError | None]:
    pointer = "/metadata/" + name[:_KEY].replace("~", "~0").replace("/", "~1")
    if not name or name.startswith(_RESERVED) or set(name) & set("[]"):
        words = f"names are not empty, have no brackets and do not begin with {_RESERVED}"
        return [FieldError(pointer=pointer, code="invalid_name", message=words)]
    if not value:
        return [FieldError(pointer=pointer, code="too_short", message="leave the name out instead of an empty value")]
    return [text_error(pointer, name, limit=_KEY), text_error(pointer, value, limit=_VALUE)]


def _patched(content: Content, patch: CustomerPatch) -> Content:
    given: Mapping[str, object] = {name: getattr(patch, name) for name in ("email", "name", "metadata")}
    return msgspec.structs.replace(content, **{name: value for name, value in given.items() if value is not UNSET})


def _renewed(customer: Customer, content: Content) -> Customer:
    return msgspec.structs.replace(
        customer,
        email=content.email,
        name=content.name,
        metadata=dict(content.metadata),
        version=customer.version + 1,
        updated_at=datetime.now(UTC),
    )
