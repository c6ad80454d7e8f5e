"""What people do with their own data: profile, addresses, preferences, export, erasure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from careforall.accounts import events, repository, repository_keys
from careforall.accounts.domain import (
    MAX_ADDRESSES,
    Address,
    AddressFields,
    Preferences,
    Profile,
    Session,
    User,
    checked_address,
    checked_profile,
)
from careforall.accounts.errors import AddressNotFound, LastAdmin, TooManyAddresses, UserNotFound
from careforall.contracts import addresses as parcels
from careforall.contracts.accounts import UserErased, UserSuspended
from careforall.contracts.donor import DonorKeys
from careforall.kit import outbox
from careforall.kit.db import Connection, Database
from careforall.kit.errors import VersionConflict
from careforall.kit.http.identity import Role
from careforall.kit.ids import NIL, new_id
from careforall.kit.outbox import Outgoing
from careforall.kit.reads import SharedRead

Forget = Callable[[UUID], None]
"""Ends a user's access tokens in this process at once; others hear the event."""


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What remains of a person: that they asked to be forgotten, and when it was done."""

    id: UUID
    user_id: UUID
    erased_at: datetime


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Everything this service knows about a person."""

    exported_at: datetime
    user: User
    addresses: list[Address]
    preferences: Preferences
    sessions: list[Session]


class People:
    """Reads and changes what belongs to the caller."""

    def __init__(self, database: Database, donor_keys: DonorKeys, *, forget: Forget) -> None:
        self._database = database
        self._donor_keys = donor_keys
        self._forget = forget
        self._receiving: SharedRead[UUID, tuple[str, list[Address]]] = SharedRead(database, _receiving)

    async def me(self, user_id: UUID) -> User:
        """Return the caller.

        Raises:
            UserNotFound: The account was erased while its token still lives.
        """
        async with self._database.connection() as connection:
            found = await repository.user(connection, user_id)
        if found is None:
            raise UserNotFound
        return found

    async def change_profile(self, user_id: UUID, profile: Profile, version: int | None) -> User:
        """Store what the caller tells about themselves."""
        checked = checked_profile(profile)

        async def transaction(connection: Connection) -> User:
            await locked(connection, user_id, version)
            return await repository.update_profile(connection, user_id, checked)

        return await self._database.run(transaction)

    async def addresses(self, user_id: UUID) -> list[Address]:
        """Return the caller's addresses, oldest first."""
        async with self._database.connection() as connection:
            return await repository.addresses(connection, user_id)

    async def addresses_for(self, user_id: UUID, identifiers: Sequence[UUID]) -> parcels.Addresses:
        """Return those of the given addresses that are this user's own, with the mail receipts go to."""
        email, found = await self._receiving.ask(user_id)
        return parcels.Addresses(
            email=email,
            addresses=[_for_parcels(one) for one in found if one.id in identifiers],
        )

    async def address(self, user_id: UUID, identifier: UUID) -> Address:
        """Return one of the caller's addresses.

        Raises:
            AddressNotFound: There is none, or it is somebody else's.
        """
        async with self._database.connection() as connection:
            return await _own_address(connection, identifier, user_id)

    async def add_address(self, connection: Connection, user_id: UUID, fields: AddressFields) -> Address:
        """Store an address in the caller's transaction; the first of its kind becomes the default.

        Raises:
            TooManyAddresses: There are as many as we keep.
        """
        checked = checked_address(fields)
        await locked(connection, user_id)
        known = await repository.addresses(connection, user_id)
        if len(known) >= MAX_ADDRESSES:
            raise TooManyAddresses
        first = not any(address.type == checked.type for address in known)
        if checked.is_default:
            await repository.clear_default(connection, user_id, checked.type)
        wanted = msgspec.structs.replace(checked, is_default=checked.is_default or first)
        return await repository.insert_address(connection, new_id(), user_id, wanted)

    async def change_address(
        self, user_id: UUID, identifier: UUID, change: Callable[[Address], AddressFields], version: int | None
    ) -> Address:
        """Store a changed address; there is exactly one default of each kind as long as there is any address.

        Raises:
            AddressNotFound: There is none, or it is somebody else's.
            VersionConflict: It was changed since the caller read it.
        """

        async def transaction(connection: Connection) -> Address:
            await locked(connection, user_id)
            before = await _own_address(connection, identifier, user_id)
            if version is not None and version != before.version:
                raise VersionConflict(before.version)
            wanted = checked_address(change(before))
            if wanted.is_default:
                await repository.clear_default(connection, user_id, wanted.type)
            await repository.update_address(connection, identifier, wanted)
            for kind in sorted({before.type, wanted.type}):
                await repository.ensure_default(connection, user_id, kind)
            return await _own_address(connection, identifier, user_id)

        return await self._database.run(transaction)

    async def delete_address(self, user_id: UUID, identifier: UUID) -> None:
        """Delete an address; the oldest other one of its kind becomes the default where it was.

        Raises:
            AddressNotFound: There is none, or it is somebody else's.
        """

        async def transaction(connection: Connection) -> None:
            await locked(connection, user_id)
            found = await _own_address(connection, identifier, user_id)
            await repository.delete_address(connection, identifier)
            await repository.ensure_default(connection, user_id, found.type)

        await self._database.run(transaction)

    async def preferences(self, user_id: UUID) -> Preferences:
        """Return what the caller wants to hear, or what everybody starts with."""
        async with self._database.connection() as connection:
            return await repository.preferences(connection, user_id) or Preferences()

    async def change_preferences(self, user_id: UUID, change: Callable[[Preferences], Preferences]) -> Preferences:
        """Store what the caller wants to hear and tell notifications."""

        async def transaction(connection: Connection) -> Preferences:
            await locked(connection, user_id)
            before = await repository.preferences(connection, user_id) or Preferences()
            stored = await repository.upsert_preferences(connection, user_id, change(before))
            user = await repository.update_profile(connection, user_id, Profile())
            await outbox.insert(connection, [events.about(user, events.preferences(user, stored))])
            return stored

        return await self._database.run(transaction)

    async def export(self, user_id: UUID) -> Export:
        """Return everything this service knows about the caller."""

        async def transaction(connection: Connection) -> Export:
            user = await locked(connection, user_id)
            return Export(
                exported_at=datetime.now(UTC),
                user=user,
                addresses=await repository.addresses(connection, user_id),
                preferences=await repository.preferences(connection, user_id) or Preferences(),
                sessions=await repository_keys.sessions_of(connection, user_id),
            )

        return await self._database.run(transaction)

    async def erase(self, user_id: UUID) -> Erasure:
        """Forget the caller: the person goes, pseudonymous financial facts and the record of the erasure stay.

        Anybody can sign up under any mail, so what others keep under it goes only if the caller has proved that it is theirs.

        Raises:
            LastAdmin: Nobody would be left to run the platform.
        """

        async def transaction(connection: Connection) -> Erasure:
            await refuse_last_admin(connection, user_id)
            user = await locked(connection, user_id)
            mail = user.email if user.email_verified else ""
            donor_key = self._donor_keys.of(mail) if mail else ""
            record = Erasure(id=new_id(), user_id=user_id, erased_at=datetime.now(UTC))
            await repository.erase_user(connection, record_id=record.id, user_id=user_id, donor_key=donor_key)
            await outbox.insert(connection, _farewell(user, mail, donor_key))
            return record

        erased = await self._database.run(transaction)
        self._forget(user_id)
        return erased

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return preferences of people by id, for projections that start anew."""
        found = await repository.people_with_preferences(connection, after or NIL, limit)
        return [events.snapshot(user, wanted) for user, wanted in found]


async def _receiving(connection: Connection, user_ids: Sequence[UUID]) -> list[tuple[str, list[Address]]]:
    found = await repository.receiving(connection, user_ids)
    return [found.get(one, ("", [])) for one in user_ids]


async def locked(connection: Connection, user_id: UUID, version: int | None = None) -> User:
    """Return a user locked for a change.

    Raises:
        UserNotFound: There is none.
        VersionConflict: The caller has read another version.
    """
    found = await repository.lock_user(connection, user_id)
    if found is None:
        raise UserNotFound
    if version is not None and version != found.version:
        raise VersionConflict(found.version)
    return found


async def refuse_last_admin(connection: Connection, leaving: UUID) -> None:
    """Refuse to lose the only administrator; administrators are locked first, so that two cannot leave at once.

    Raises:
        LastAdmin: `leaving` is the only one.
    """
    if await repository.lock_admins(connection) == [leaving]:
        raise LastAdmin


def newcomer(mail: str, profile: Profile, *, role: Role = "USER", verified: bool = False) -> User:
    """Return a user about to be stored."""
    now = datetime.now(UTC)
    return User(
        id=new_id(),
        email=mail,
        first_name=profile.first_name or "",
        last_name=profile.last_name or "",
        phone=profile.phone or "",
        role=role,
        status="ACTIVE",
        email_verified_at=now if verified else None,
        version=1,
        created_at=now,
        updated_at=now,
    )


async def _own_address(connection: Connection, identifier: UUID, user_id: UUID) -> Address:
    found = await repository.address(connection, identifier, user_id)
    if found is None:
        raise AddressNotFound
    return found


def _farewell(user: User, mail: str, donor_key: str) -> list[Outgoing]:
    gone = msgspec.structs.replace(user, version=user.version + 1)
    return [
        events.about(gone, UserSuspended(user_id=user.id, reason="DELETED")),
        events.about(gone, UserErased(user_id=user.id, email=mail, donor_key=donor_key)),
    ]


def _for_parcels(address: Address) -> parcels.Address:
    return parcels.Address(
        address_id=address.id,
        name=address.name,
        line1=address.line1,
        line2=address.line2,
        city=address.city,
        region=address.region,
        postal_code=address.postal_code,
        country=address.country,
    )
