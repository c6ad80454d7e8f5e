"""Rules about people without I/O: mails, passwords, texts, refresh tokens and the schedule of signing keys."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit.errors import FieldError, InvalidInput
from careforall.kit.http.identity import Role
from careforall.kit.text import refuse_texts, text_error

UserStatus = Literal["ACTIVE", "SUSPENDED", "DELETED"]
AddressType = Literal["SHIPPING", "BILLING"]
LinkPurpose = Literal["VERIFY_EMAIL", "RESET_PASSWORD"]
SessionEnd = Literal["LOGOUT", "REUSE", "PASSWORD_CHANGED", "SUSPENDED", "DELETED"]

PASSWORD_LENGTHS = range(8, 129)
MAX_ADDRESSES = 50
ADMIN_SCOPE = "admin"
_PHONE = re.compile(r"\+?[0-9 ()./-]{3,32}")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person with an account."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    phone: str
    role: Role
    status: UserStatus
    email_verified_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def email_verified(self) -> bool:
        """Whether the person proved to read this mail."""
        return self.email_verified_at is not None


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in is checked against."""

    user_id: UUID
    role: Role
    status: UserStatus
    password_hash: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What people tell about themselves; None leaves a value as it is."""

    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None


class AddressFields(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send something or whom to bill."""

    type: AddressType
    name: str
    line1: str
    line2: str
    city: str
    region: str
    postal_code: str
    country: str
    phone: str
    is_default: bool


class Address(AddressFields, frozen=True, kw_only=True):
    """A stored address."""

    id: UUID
    user_id: UUID
    version: int
    created_at: datetime
    updated_at: datetime


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """How and about what a person wants to hear from us; receipts and security mails are always sent."""

    language: str = "en"
    channels: tuple[str, ...] = ("EMAIL", "IN_APP")
    topics: tuple[str, ...] = ()
    version: int = 0


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as staff see it after its creation; `hint` is its beginning."""

    id: UUID
    hint: str
    name: str
    owner_id: UUID
    scopes: tuple[str, ...]
    expires_at: datetime | None
    last_used_at: datetime | None
    version: int
    created_at: datetime


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in, as its owner may see it."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class RefreshState(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knows about a presented refresh token, judged by its own clock after the lock."""

    session_ended: bool
    user_active: bool
    expired: bool
    used: bool
    within_grace: bool
    successor_used: bool


class RefreshVerdict(Enum):
    """What to do with a presented refresh token."""

    ROTATE = "rotate"
    REPEAT = "repeat"
    REUSED = "reused"
    ENDED = "ended"


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair that signs access tokens from `signs_from` until a newer one does; the private half is sealed."""

    kid: str
    public_key: str
    sealed_private_key: bytes
    created_at: datetime
    signs_from: datetime


def judge_refresh(state: RefreshState) -> RefreshVerdict:
    """Decide about a refresh token.

    A used token is either the retry of somebody whose answer was lost (shortly after, and nobody used the successor yet) or a
    copy in foreign hands, which ends the whole session.
    """
    if state.session_ended or not state.user_active:
        return RefreshVerdict.ENDED
    if state.used:
        retry = state.within_grace and not state.successor_used
        return RefreshVerdict.REPEAT if retry else RefreshVerdict.REUSED
    return RefreshVerdict.ENDED if state.expired else RefreshVerdict.ROTATE


def signing_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey | None:
    """Return the key that signs now: the newest one whose time has come."""
    ready = [key for key in keys if key.signs_from <= now]
    return max(ready, key=_age, default=None)


def published_keys(keys: Sequence[SigningKey], now: datetime, *, token_life: timedelta) -> list[SigningKey]:
    """Return the keys verifiers must know: the next, the present, and older ones while a token of theirs may live."""
    ordered = sorted(keys, key=_age)
    followers: list[SigningKey | None] = [*ordered[1:], None]
    return [
        key
        for key, follower in zip(ordered, followers, strict=True)
        if follower is None or follower.signs_from > now - token_life
    ]


def rotation_due(keys: Sequence[SigningKey], now: datetime, *, every: timedelta) -> bool:
    """Whether a new signing key is to be made."""
    return all(key.created_at <= now - every for key in keys)


def _age(key: SigningKey) -> tuple[datetime, str]:
    return key.signs_from, key.kid


def checked_password(password: str, breached: Collection[str], *, email: str, pointer: str = "/password") -> str:
    """Return a new password as it is hashed (NFC, so that every keyboard types the same one).

    Raises:
        InvalidInput: If it is too short, too long, well known, or the mail itself.
    """
    typed = unicodedata.normalize("NFC", password)
    folded = typed.casefold()
    if len(typed) < PASSWORD_LENGTHS.start:
        raise InvalidInput.field(pointer, "too_short", f"at least {PASSWORD_LENGTHS.start} characters")
    if len(typed) >= PASSWORD_LENGTHS.stop:
        raise InvalidInput.field(pointer, "too_long", f"at most {PASSWORD_LENGTHS.stop - 1} characters")
    if folded in breached or folded in {email, email.partition("@")[0]}:
        raise InvalidInput.field(pointer, "breached_password", "this password is among the first that others will try")
    return typed


def checked_profile(profile: Profile) -> Profile:
    """Return a profile without surrounding blanks.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    names = (("/first_name", profile.first_name), ("/last_name", profile.last_name))
    refuse_texts(*(text_error(pointer, tidy(name), limit=100) for pointer, name in names if name is not None))
    checked_phone(profile.phone)
    return Profile(
        first_name=None if profile.first_name is None else tidy(profile.first_name),
        last_name=None if profile.last_name is None else tidy(profile.last_name),
        phone=profile.phone,
    )


def checked_phone(phone: str | None) -> None:
    """Refuse what nobody can dial; empty means none.

    Raises:
        InvalidInput: With code `invalid_phone`.
    """
    if phone and not (phone.isascii() and _PHONE.fullmatch(phone)):
        raise InvalidInput.field("/phone", "invalid_phone", "digits, blanks and +()./- only, 3 to 32 of them")


def checked_address(fields: AddressFields) -> AddressFields:
    """Return an address without surrounding blanks.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    limits = {"name": 200, "line1": 200, "line2": 200, "city": 100, "region": 100, "postal_code": 20}
    texts = {name: tidy(getattr(fields, name)) for name in limits}
    refuse_texts(*(text_error(f"/{name}", text, limit=limits[name]) for name, text in texts.items()))
    missing = [name for name in ("name", "line1", "city") if not texts[name]]
    if missing:
        found = [FieldError(pointer=f"/{name}", code="required_field", message="this field is required") for name in missing]
        raise InvalidInput(errors=found)
    checked_phone(fields.phone)
    return msgspec.structs.replace(fields, **texts)


def tidy(text: str) -> str:
    """Return a text in one Unicode form without surrounding blanks."""
    return unicodedata.normalize("NFC", text).strip()
