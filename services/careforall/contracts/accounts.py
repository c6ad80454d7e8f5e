"""Events of the accounts service. Mails travel only to notifications, which writes to the person."""

from typing import ClassVar, Literal
from uuid import UUID

from careforall.kit.envelope import Event


class _User(Event, frozen=True, kw_only=True):
    user_id: UUID


class UserRegistered(_User, frozen=True, kw_only=True):
    """Somebody signed up; `verification_url` goes to them by mail."""

    SUBJECT: ClassVar[str] = "accounts.user_registered"

    email: str
    first_name: str = ""
    verification_url: str


class EmailVerificationRequested(_User, frozen=True, kw_only=True):
    """A new verification link was asked for; `verification_url` goes to the person by mail."""

    SUBJECT: ClassVar[str] = "accounts.email_verification_requested"

    email: str
    verification_url: str


class EmailVerified(_User, frozen=True, kw_only=True):
    """The mail is proven; guests' donations of this mail join the account."""

    SUBJECT: ClassVar[str] = "accounts.email_verified"

    email: str


class PasswordResetRequested(_User, frozen=True, kw_only=True):
    """A reset was asked for; `reset_url` goes to the person by mail."""

    SUBJECT: ClassVar[str] = "accounts.password_reset_requested"

    email: str
    reset_url: str


class PreferencesChanged(_User, frozen=True, kw_only=True):
    """What a person wants to hear about and how, in full; also sent as the snapshot. Receipts and security mails always go."""

    SUBJECT: ClassVar[str] = "accounts.preferences_changed"

    email: str
    language: str = "en"
    channels: tuple[str, ...] = ("EMAIL", "IN_APP")
    topics: tuple[str, ...] = ()


class SignedIn(_User, frozen=True, kw_only=True):
    """Somebody opened a session and sent the cart that they had filled as a guest; said only where there is one."""

    SUBJECT: ClassVar[str] = "accounts.signed_in"

    guest_cart_id: UUID


class UserSuspended(_User, frozen=True, kw_only=True):
    """All tokens of the user end now (suspension, deletion or a changed role)."""

    SUBJECT: ClassVar[str] = "accounts.user_suspended"

    reason: Literal["SUSPENDED", "DELETED", "ROLE_CHANGED", "PASSWORD_CHANGED"] = "SUSPENDED"


class UserErased(_User, frozen=True, kw_only=True):
    """The person is forgotten; `donor_key` finds pseudonymous facts that stay, `email` lets owners erase their copy.

    Both are empty where the mail was never proved: only what hangs on `user_id` goes.
    """

    SUBJECT: ClassVar[str] = "accounts.user_erased"

    email: str
    donor_key: str
