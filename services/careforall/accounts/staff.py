"""What administrators do with accounts and API keys, and how the first administrator comes to be."""

import hashlib
import secrets as randomness
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from careforall.accounts import events, repository, repository_keys
from careforall.accounts.domain import (
    ADMIN_SCOPE,
    ApiKey,
    Profile,
    User,
    UserStatus,
    checked_password,
    tidy,
)
from careforall.accounts.errors import ApiKeyNotFound, UserNotFound
from careforall.accounts.passwords import Passwords
from careforall.accounts.people import Forget, locked, newcomer, refuse_last_admin
from careforall.contracts.accounts import EmailVerified, UserSuspended
from careforall.contracts.mail import checked_email
from careforall.kit import outbox
from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput, VersionConflict
from careforall.kit.http.identity import Principal, Role
from careforall.kit.ids import new_id
from careforall.kit.text import refuse_texts, text_error

_KEY_MARK = "cfa_"
_HINT = 12


class Staff:
    """Administers accounts and API keys."""

    def __init__(self, database: Database, *, passwords: Passwords, forget: Forget) -> None:
        self._database = database
        self._passwords = passwords
        self._forget = forget

    async def users(
        self, *, search: str, role: Role | None, status: UserStatus | None, after: UUID | None, limit: int
    ) -> list[User]:
        """Return users whose mail or name contains a text, newest first."""
        refuse_texts(text_error("/search", search, limit=100))
        async with self._database.connection() as connection:
            return await repository.users(connection, search=tidy(search), role=role, status=status, after=after, limit=limit)

    async def user(self, identifier: UUID) -> User:
        """Return a user.

        Raises:
            UserNotFound: There is none.
        """
        async with self._database.connection() as connection:
            found = await repository.user(connection, identifier)
        if found is None:
            raise UserNotFound
        return found

    async def change_standing(
        self, identifier: UUID, *, role: Role | None, status: UserStatus | None, version: int | None
    ) -> User:
        """Give a user another role or status; their tokens end at once where either takes something away.

        Raises:
            UserNotFound: There is none.
            VersionConflict: The caller has read another version.
            LastAdmin: Nobody would be left to run the platform.
        """

        async def transaction(connection: Connection) -> tuple[User, bool]:
            if (role or "ADMIN") != "ADMIN" or (status or "ACTIVE") != "ACTIVE":
                await refuse_last_admin(connection, identifier)
            before = await locked(connection, identifier, version)
            wanted_role, wanted_status = role or before.role, status or before.status
            if (wanted_role, wanted_status) == (before.role, before.status):
                return before, False
            after = await repository.update_standing(connection, identifier, wanted_role, wanted_status)
            return after, await _end_tokens(connection, before, after)

        user, ended = await self._database.run(transaction)
        if ended:
            self._forget(identifier)
        return user

    async def create_admin(self, email: str, password: str | None = None) -> tuple[str, str]:
        """Make an administrator, or make the account of this mail one with this password; without one, a password is made up.

        A repeat changes nothing, so that installers may run it every time.

        Returns:
            The mail and the password, to be shown once.
        """
        mail = checked_email(email)
        typed = checked_password(password or randomness.token_urlsafe(18), self._passwords.breached, email=mail)
        if await self._is_admin(mail, typed):
            return mail, typed
        password_hash = await self._passwords.hash(typed)

        async def transaction(connection: Connection) -> None:
            fresh = newcomer(mail, Profile(), role="ADMIN", verified=True)
            made = await repository.insert_user(connection, fresh, password_hash)
            user = made or await _promoted(connection, mail, password_hash)
            await outbox.insert(connection, [events.about(user, EmailVerified(user_id=user.id, email=user.email))])

        await self._database.run(transaction)
        return mail, typed

    async def has_admin(self) -> bool:
        """Tell whether there is an active administrator, so that an installer makes the first one only."""
        return bool(await self._database.run(repository.lock_admins))

    async def _is_admin(self, mail: str, password: str) -> bool:
        async with self._database.connection() as connection:
            known = await repository.credentials(connection, mail)
        standing = known is not None and (known.role, known.status) == ("ADMIN", "ACTIVE")
        return standing and known is not None and await self._passwords.matches(known.password_hash, password)

    async def create_person(self, email: str, password: str) -> str:
        """Make a plain account whose mail counts as proven, or keep the one that is there; return the mail."""
        mail = checked_email(email)
        password_hash = await self._passwords.hash(checked_password(password, self._passwords.breached, email=mail))

        async def transaction(connection: Connection) -> None:
            fresh = newcomer(mail, Profile(), role="USER", verified=True)
            user = await repository.insert_user(connection, fresh, password_hash)
            if user is not None:
                await outbox.insert(connection, [events.about(user, EmailVerified(user_id=user.id, email=user.email))])

        await self._database.run(transaction)
        return mail

    async def api_keys(self, *, after: UUID | None, limit: int) -> list[ApiKey]:
        """Return the keys in force, newest first."""
        async with self._database.connection() as connection:
            return await repository_keys.api_keys(connection, after=after, limit=limit)

    async def api_key(self, identifier: UUID) -> ApiKey:
        """Return a key.

        Raises:
            ApiKeyNotFound: There is none in force.
        """

        async def transaction(connection: Connection) -> ApiKey:
            return await _found_key(connection, identifier)

        return await self._database.run(transaction)

    async def create_api_key(
        self, owner_id: UUID, *, name: str, scopes: tuple[str, ...], expires_at: datetime | None
    ) -> tuple[ApiKey, str]:
        """Make a key that speaks for its maker within its scopes; the key itself is returned here and never again."""
        secret = _KEY_MARK + randomness.token_urlsafe(32)
        now = datetime.now(UTC)
        key = _checked_key(
            ApiKey(
                id=new_id(),
                hint=secret[:_HINT],
                name=name,
                owner_id=owner_id,
                scopes=scopes,
                expires_at=expires_at,
                last_used_at=None,
                version=1,
                created_at=now,
            ),
            now,
        )

        async def transaction(connection: Connection) -> ApiKey:
            return await repository_keys.insert_api_key(connection, key, _hash(secret))

        return await self._database.run(transaction), secret

    async def change_api_key(self, identifier: UUID, change: Callable[[ApiKey], ApiKey], version: int | None) -> ApiKey:
        """Rename a key, or give it other scopes or another expiry.

        Raises:
            ApiKeyNotFound: There is none in force.
            VersionConflict: It was changed since the caller read it.
        """

        async def transaction(connection: Connection) -> ApiKey:
            before = await _found_key(connection, identifier)
            if version is not None and version != before.version:
                raise VersionConflict(before.version)
            return await repository_keys.update_api_key(connection, _checked_key(change(before), datetime.now(UTC)))

        return await self._database.run(transaction)

    async def revoke_api_key(self, identifier: UUID) -> None:
        """Revoke a key; processes that just saw it may accept it for another half minute.

        Raises:
            ApiKeyNotFound: There is none in force.
        """

        async def transaction(connection: Connection) -> None:
            if not await repository_keys.revoke_api_key(connection, identifier):
                raise ApiKeyNotFound

        await self._database.run(transaction)

    async def key_owner(self, key: str) -> Principal | None:
        """Return whom a key speaks for, or None; staff rights need the scope `admin` and an owner who still has them."""

        async def transaction(connection: Connection) -> repository_keys.KeyOwner | None:
            found = await repository_keys.key_owner(connection, _hash(key))
            if found is not None:
                await repository_keys.note_key_use(connection, found.key_id)
            return found

        owner = await self._database.run(transaction)
        if owner is None:
            return None
        return Principal(
            user_id=owner.user_id,
            email=owner.email,
            role="ADMIN" if ADMIN_SCOPE in owner.scopes and owner.owner_is_admin else "USER",
            email_verified=owner.email_verified,
            scopes=owner.scopes,
            of_staff=owner.owner_is_admin,
        )


async def _end_tokens(connection: Connection, before: User, after: User) -> bool:
    """End what a changed user holds; tell whether there is anything to end (a return to ACTIVE ends nothing)."""
    if after.status != "ACTIVE":
        await repository_keys.end_sessions(connection, after.id, after.status)
        event = UserSuspended(user_id=after.id, reason=after.status)
    elif after.role != before.role:
        event = UserSuspended(user_id=after.id, reason="ROLE_CHANGED")
    else:
        return False
    await outbox.insert(connection, [events.about(after, event)])
    return True


async def _promoted(connection: Connection, mail: str, password_hash: str) -> User:
    known = await repository.lock_user_by_email(connection, mail)
    if known is None:
        raise UserNotFound
    await repository.update_standing(connection, known.id, "ADMIN", "ACTIVE")
    user = await repository.update_password(connection, known.id, password_hash)
    await repository_keys.end_sessions(connection, user.id, "PASSWORD_CHANGED")
    await outbox.insert(connection, [events.about(user, UserSuspended(user_id=user.id, reason="PASSWORD_CHANGED"))])
    return user


async def _found_key(connection: Connection, identifier: UUID) -> ApiKey:
    found = await repository_keys.api_key(connection, identifier)
    if found is None:
        raise ApiKeyNotFound
    return found


def _checked_key(key: ApiKey, now: datetime) -> ApiKey:
    name = tidy(key.name)
    refuse_texts(text_error("/name", name, limit=100))
    if not name:
        raise InvalidInput.field("/name", "required_field", "this field is required")
    if key.expires_at is not None and key.expires_at <= now:
        raise InvalidInput.field("/expires_at", "in_the_past", "the key would have expired already")
    return msgspec.structs.replace(key, name=name, scopes=tuple(sorted(set(key.scopes))))


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
