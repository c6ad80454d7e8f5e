"""Joining and proving to own a mail: sign-up, verification links, forgotten passwords.

Links carry a random token; the database keeps its hash, and an event takes the link to notifications, which writes the mail.
"""

import hashlib
import secrets as randomness
from uuid import UUID

from careforall.accounts import events, repository, repository_keys
from careforall.accounts.domain import LinkPurpose, Profile, User, checked_password, checked_profile
from careforall.accounts.errors import EmailTaken, InvalidLink
from careforall.accounts.limits import CredentialLimits
from careforall.accounts.passwords import Passwords
from careforall.accounts.people import Forget, newcomer
from careforall.accounts.settings import AccountsSettings
from careforall.contracts.accounts import (
    EmailVerificationRequested,
    EmailVerified,
    PasswordResetRequested,
    UserRegistered,
    UserSuspended,
)
from careforall.contracts.mail import checked_email
from careforall.kit import outbox
from careforall.kit.db import Connection, Database


class Registration:
    """Makes accounts and lets people back into them."""

    def __init__(
        self, database: Database, settings: AccountsSettings, *, passwords: Passwords, limits: CredentialLimits, forget: Forget
    ) -> None:
        self._database = database
        self._settings = settings
        self._passwords = passwords
        self._limits = limits
        self._forget = forget

    async def signup(self, email: str, password: str, profile: Profile, *, client: str) -> User:
        """Make an account and mail a verification link.

        Raises:
            EmailTaken: There is one with this mail.
            InvalidInput: Naming the fields at fault.
        """
        await self._limits.newcomer(client)
        mail = checked_email(email)
        typed = checked_password(password, self._passwords.breached, email=mail)
        new = newcomer(mail, checked_profile(profile))
        password_hash = await self._passwords.hash(typed)

        async def transaction(connection: Connection) -> User:
            user = await repository.insert_user(connection, new, password_hash)
            if user is None:
                raise EmailTaken
            url = await self._verification_url(connection, user.id)
            event = UserRegistered(user_id=user.id, email=user.email, first_name=user.first_name, verification_url=url)
            await outbox.insert(connection, [events.about(user, event)])
            return user

        return await self._database.run(transaction)

    async def request_verification(self, email: str, *, client: str) -> None:
        """Mail a new verification link where there is an unproven account; the caller learns nothing.

        Raises:
            TooManyRequests: Too many tries for this mail or from this address.
        """
        mail = checked_email(email)
        await self._limits.verification(mail, client)

        async def transaction(connection: Connection) -> None:
            user = await repository.lock_user_by_email(connection, mail)
            if user is None or user.status != "ACTIVE" or user.email_verified:
                return
            url = await self._verification_url(connection, user.id)
            event = EmailVerificationRequested(user_id=user.id, email=user.email, verification_url=url)
            await outbox.insert(connection, [events.about(user, event)])

        await self._database.run(transaction)

    async def verify_email(self, token: str, *, client: str) -> User:
        """Use up a verification link; gifts given as a guest join the account from here on.

        Raises:
            InvalidLink: The link is unknown, expired or used.
        """
        await self._limits.newcomer(client)

        async def transaction(connection: Connection) -> User:
            user_id = await repository_keys.use_link(connection, _hash(token), "VERIFY_EMAIL")
            if user_id is None:
                raise InvalidLink
            user = await repository.verify_email(connection, user_id)
            event = EmailVerified(user_id=user.id, email=user.email)
            await outbox.insert(connection, [events.about(user, event)])
            return user

        return await self._database.run(transaction)

    async def request_reset(self, email: str, *, client: str) -> None:
        """Mail a link to set a new password where there is an account; the caller learns nothing.

        Raises:
            TooManyRequests: Too many tries for this mail or from this address.
        """
        mail = checked_email(email)
        await self._limits.reset(mail, client)
        seconds = self._settings.reset_minutes * 60

        async def transaction(connection: Connection) -> None:
            user = await repository.lock_user_by_email(connection, mail)
            if user is None or user.status != "ACTIVE":
                return
            token = randomness.token_urlsafe(32)
            await repository_keys.insert_link(
                connection, token_hash=_hash(token), user_id=user.id, purpose="RESET_PASSWORD", seconds=seconds
            )
            url = f"{self._settings.public_url}/reset-password?token={token}"
            event = PasswordResetRequested(user_id=user.id, email=user.email, reset_url=url)
            await outbox.insert(connection, [events.about(user, event)])

        await self._database.run(transaction)

    async def reset_password(self, token: str, password: str, *, client: str) -> None:
        """Set a new password by a mailed link; all sessions end, and the mail counts as proven.

        Raises:
            InvalidLink: The link is unknown, expired or used.
            InvalidInput: The password is not acceptable; the link stays good.
        """
        await self._limits.newcomer(client)
        mail = await self._peek(token, "RESET_PASSWORD")
        if mail is None:
            raise InvalidLink
        typed = checked_password(password, self._passwords.breached, email=mail)
        password_hash = await self._passwords.hash(typed)

        async def transaction(connection: Connection) -> UUID:
            user_id = await repository_keys.use_link(connection, _hash(token), "RESET_PASSWORD")
            before = await repository.lock_user(connection, user_id) if user_id is not None else None
            if before is None:
                raise InvalidLink
            user = await repository.update_password(connection, before.id, password_hash)
            await repository_keys.end_sessions(connection, user.id, "PASSWORD_CHANGED")
            rows = [events.about(user, UserSuspended(user_id=user.id, reason="PASSWORD_CHANGED"))]
            if not before.email_verified:
                rows.append(events.about(user, EmailVerified(user_id=user.id, email=user.email)))
            await outbox.insert(connection, rows)
            return user.id

        self._forget(await self._database.run(transaction))

    async def holds(self, token: str, purpose: LinkPurpose, *, client: str) -> bool:
        """Whether a mailed link can still be used; looking does not use it up."""
        await self._limits.newcomer(client)
        return await self._peek(token, purpose) is not None

    async def _peek(self, token: str, purpose: LinkPurpose) -> str | None:
        async with self._database.connection() as connection:
            return await repository_keys.peek_link(connection, _hash(token), purpose)

    async def _verification_url(self, connection: Connection, user_id: UUID) -> str:
        token = randomness.token_urlsafe(32)
        seconds = self._settings.verification_hours * 3600
        await repository_keys.insert_link(
            connection, token_hash=_hash(token), user_id=user_id, purpose="VERIFY_EMAIL", seconds=seconds
        )
        return f"{self._settings.public_url}/verify-email?token={token}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
