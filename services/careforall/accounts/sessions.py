"""Signing in, staying signed in, signing out.

A session is a family of refresh tokens. The successor of a token is derived from it under a key only we have, so that a client
whose answer was lost gets the very same successor again, and the database holds nothing but hashes.
"""

import hashlib
import hmac
import secrets as randomness
from typing import Literal
from uuid import UUID

import msgspec

from careforall.accounts import events, repository, repository_keys
from careforall.accounts.domain import Credentials, RefreshVerdict, User, judge_refresh
from careforall.accounts.errors import AccountSuspended, InvalidCredentials, InvalidRefreshToken
from careforall.accounts.limits import CredentialLimits
from careforall.accounts.passwords import Passwords
from careforall.accounts.settings import AccountsSettings
from careforall.accounts.signing import Signing
from careforall.contracts.accounts import SignedIn
from careforall.contracts.donor import normalised
from careforall.contracts.mail import checked_email
from careforall.kit import outbox, secrets
from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput
from careforall.kit.http.identity import Role
from careforall.kit.ids import new_id


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a signed-in client holds. Send `access_token` as bearer; trade `refresh_token` for new ones before it ends."""

    access_token: str
    refresh_token: str
    expires_in: int
    role: Role
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the word of RFC 6750, no secret


class Sessions:
    """Opens, continues and ends sessions."""

    def __init__(
        self, database: Database, settings: AccountsSettings, *, passwords: Passwords, signing: Signing, limits: CredentialLimits
    ) -> None:
        self._database = database
        self._settings = settings
        self._passwords = passwords
        self._signing = signing
        self._limits = limits
        self._key = secrets.derive(settings.secret_key, "refresh tokens")

    async def login(self, email: str, password: str, *, client: str, guest_cart_id: UUID | None = None) -> Tokens:
        """Open a session; a guest's cart that comes along is announced, so that it is taken over.

        Raises:
            InvalidCredentials: Unknown mail or wrong password, by the same answer in the same time.
            AccountSuspended: The password was right, but the account is closed.
            TooManyRequests: Too many tries for this account or from this address.
        """
        mail = _as_stored(email)
        await self._limits.login(mail, client)
        found = await self._credentials(mail)
        typed = self._passwords.typed(password)
        right = await self._passwords.matches(found.password_hash if found else None, typed)
        if not right or found is None or found.status == "DELETED":
            raise InvalidCredentials
        if found.status == "SUSPENDED":
            raise AccountSuspended
        outdated = self._passwords.is_outdated(found.password_hash)
        anew = await self._passwords.hash(typed) if outdated else None
        return await self._open(found, anew, guest_cart_id)

    async def refresh(self, token: str) -> Tokens:
        """Trade a refresh token for its successor and a new access token.

        Raises:
            InvalidRefreshToken: It is unknown or has ended; a token used before ends the whole session.
        """
        successor = self._successor(token)

        async def transaction(connection: Connection) -> User | None:
            return await self._continue(connection, _hash(token), _hash(successor))

        user = await self._database.run(transaction)
        if user is None:
            raise InvalidRefreshToken
        return await self._tokens(user, successor)

    async def logout(self, token: str | None, user_id: UUID | None) -> None:
        """End the session of a refresh token, or without one all sessions of the caller."""

        async def transaction(connection: Connection) -> None:
            if token is None:
                if user_id is not None:
                    await repository_keys.end_sessions(connection, user_id, "LOGOUT")
                return
            found = await repository_keys.session_of_token(connection, _hash(token))
            if found is not None:
                await repository_keys.end_session(connection, found[0], "LOGOUT")

        await self._database.run(transaction)

    async def _credentials(self, mail: str) -> Credentials | None:
        if "\0" in mail:
            return None  # PostgreSQL stores no NUL, so nobody has this mail
        async with self._database.connection() as connection:
            return await repository.credentials(connection, mail)

    async def _open(self, found: Credentials, anew: str | None, guest_cart_id: UUID | None) -> Tokens:
        token = randomness.token_urlsafe(32)

        async def transaction(connection: Connection) -> User | None:
            session_id = new_id()
            opened = await repository_keys.insert_session(
                connection,
                identifier=session_id,
                user_id=found.user_id,
                password_hash=found.password_hash,
                days=self._settings.session_days,
            )
            if not opened:
                return None  # suspended, or the password changed, since we looked
            await self._store(connection, _hash(token), session_id)
            user = await repository.note_login(connection, found.user_id, anew)
            if guest_cart_id is not None:
                signed_in = SignedIn(user_id=user.id, guest_cart_id=guest_cart_id)
                await outbox.insert(connection, [events.about(user, signed_in)])
            return user

        user = await self._database.run(transaction)
        if user is None:
            raise InvalidCredentials
        return await self._tokens(user, token)

    async def _continue(self, connection: Connection, token_hash: bytes, successor_hash: bytes) -> User | None:
        found = await repository_keys.session_of_token(connection, token_hash)
        if found is None:
            return None
        session_id, user_id = found
        await repository_keys.lock_session(connection, session_id)
        state = await repository_keys.refresh_state(
            connection,
            token_hash=token_hash,
            successor_hash=successor_hash,
            grace_seconds=self._settings.refresh_grace_seconds,
        )
        verdict = judge_refresh(state) if state is not None else RefreshVerdict.ENDED
        if verdict is RefreshVerdict.ENDED:
            return None
        if verdict is RefreshVerdict.REUSED:
            await repository_keys.end_session(connection, session_id, "REUSE")
            return None
        if verdict is RefreshVerdict.ROTATE:
            await repository_keys.use_refresh_token(connection, token_hash)
            await self._store(connection, successor_hash, session_id)
        return await repository.user(connection, user_id)

    async def _store(self, connection: Connection, token_hash: bytes, session_id: UUID) -> None:
        await repository_keys.insert_refresh_token(
            connection, token_hash=token_hash, session_id=session_id, idle_seconds=self._settings.refresh_idle_seconds
        )

    async def _tokens(self, user: User, refresh_token: str) -> Tokens:
        return Tokens(
            access_token=await self._signing.token(user),
            refresh_token=refresh_token,
            expires_in=self._settings.access_token_seconds,
            role=user.role,
        )

    def _successor(self, token: str) -> str:
        return hmac.new(self._key, token.encode(), hashlib.sha256).hexdigest()


def _as_stored(email: str) -> str:
    """Return a mail in the form it has in the database; what is no mail is nobody's."""
    try:
        return checked_email(email)
    except InvalidInput:
        return normalised(email)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
