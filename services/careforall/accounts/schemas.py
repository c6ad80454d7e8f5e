"""HTTP shapes of accounts. Input forbids unknown fields, so nobody gives themselves a role."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.accounts.domain import AddressType, UserStatus
from careforall.kit.http.identity import Role

MailIn = Annotated[str, Meta(max_length=320, description="Compared without regard to case.")]
PasswordIn = Annotated[str, Meta(description="8 to 128 characters.")]
TokenIn = Annotated[str, Meta(min_length=1, max_length=200)]
NameIn = Annotated[str, Meta(max_length=100)]
PhoneIn = Annotated[str, Meta(max_length=32)]
LineIn = Annotated[str, Meta(max_length=200)]
CountryIn = Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166, such as GB.")]
ScopeIn = Annotated[str, Meta(pattern="^(admin|[a-z_]{1,30}:(read|write))$", description="`admin`, or such as donations:read.")]
ScopesIn = Annotated[tuple[ScopeIn, ...], Meta(min_length=1, max_length=20)]
Zoned = Annotated[datetime, Meta(tz=True)]
Channel = Literal["EMAIL", "SMS", "PUSH", "IN_APP", "WEBHOOK"]
Topic = Literal["PROMOTION", "CART_REMINDER", "PRICE_DROP", "FLASH_ALERT"]
LanguageIn = Annotated[str, Meta(pattern="^[a-z]{2}$")]


class Signup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make an account."""

    email: MailIn
    password: PasswordIn
    first_name: NameIn = ""
    last_name: NameIn = ""


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open a session."""

    email: Annotated[str, Meta(max_length=320)]
    password: str


class Refresh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a session."""

    refresh_token: TokenIn


class Logout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End one session by its refresh token; without one, all sessions of the caller."""

    refresh_token: TokenIn | None = None


class VerifyEmail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prove a mail by the `token` of the mailed link, or ask for a new link by `email`."""

    token: TokenIn | None = None
    email: MailIn | None = None


class ForgotPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for a link that sets a new password."""

    email: MailIn


class ResetPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set a new password by the token of the mailed link."""

    token: TokenIn
    password: PasswordIn


class JwksOut(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON Web Key Set; pick a key by `kid`."""

    keys: list[dict[str, str]]


class ProfilePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change what one tells about oneself; absent fields stay. `version` may also come as If-Match."""

    first_name: NameIn | UnsetType = UNSET
    last_name: NameIn | UnsetType = UNSET
    phone: PhoneIn | UnsetType = UNSET
    version: int | UnsetType = UNSET


class StandingPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change role or status of a user. `version` may also come as If-Match."""

    role: Role | UnsetType = UNSET
    status: UserStatus | UnsetType = UNSET
    version: int | UnsetType = UNSET


class NewAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add an address; the first of its type becomes the default."""

    type: AddressType
    name: LineIn
    line1: LineIn
    city: NameIn
    country: CountryIn
    line2: LineIn = ""
    region: NameIn = ""
    postal_code: Annotated[str, Meta(max_length=20)] = ""
    phone: PhoneIn = ""
    is_default: bool = False


class AddressPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change an address; absent fields stay. `version` may also come as If-Match."""

    type: AddressType | UnsetType = UNSET
    name: LineIn | UnsetType = UNSET
    line1: LineIn | UnsetType = UNSET
    city: NameIn | UnsetType = UNSET
    country: CountryIn | UnsetType = UNSET
    line2: LineIn | UnsetType = UNSET
    region: NameIn | UnsetType = UNSET
    postal_code: Annotated[str, Meta(max_length=20)] | UnsetType = UNSET
    phone: PhoneIn | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET


class PreferencesPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change what one wants to hear; absent fields stay."""

    language: LanguageIn | UnsetType = UNSET
    channels: set[Channel] | UnsetType = UNSET
    topics: set[Topic] | UnsetType = UNSET


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make an API key that speaks for its maker within its scopes."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: ScopesIn
    expires_at: Zoned | None = None


class ApiKeyPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change an API key; absent fields stay."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    scopes: ScopesIn | UnsetType = UNSET
    expires_at: Zoned | None | UnsetType = UNSET
    version: int | UnsetType = UNSET


class UserOut(msgspec.Struct, frozen=True, kw_only=True):
    """A user as they and staff see them."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    phone: str
    role: Role
    status: UserStatus
    email_verified: bool
    version: int
    created_at: datetime
    updated_at: datetime


class AddressOut(msgspec.Struct, frozen=True, kw_only=True):
    """An address."""

    id: UUID
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
    version: int
    created_at: datetime
    updated_at: datetime


class PreferencesOut(msgspec.Struct, frozen=True, kw_only=True):
    """What one wants to hear and how; receipts and security mails are always sent."""

    language: str
    channels: tuple[str, ...]
    topics: tuple[str, ...]


class SessionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class ExportOut(msgspec.Struct, frozen=True, kw_only=True):
    """Everything accounts knows about a person; gifts are in /donations/history."""

    exported_at: datetime
    user: UserOut
    addresses: list[AddressOut]
    preferences: PreferencesOut
    sessions: list[SessionOut]


class ErasureOut(msgspec.Struct, frozen=True, kw_only=True):
    """The record that remains."""

    id: UUID
    erased_at: datetime


class ApiKeyOut(msgspec.Struct, frozen=True, kw_only=True):
    """A key in force; `hint` is how it begins."""

    id: UUID
    name: str
    hint: str
    owner_id: UUID
    scopes: tuple[str, ...]
    expires_at: datetime | None
    last_used_at: datetime | None
    version: int
    created_at: datetime


class ApiKeyCreated(ApiKeyOut, frozen=True, kw_only=True):
    """A new key. `key` is shown here and never again; send it as X-API-Key."""

    key: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Said to everybody, whether there is such an account or not."""

    status: Literal["accepted"] = "accepted"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The mail is proven."""

    email_verified: bool = True
