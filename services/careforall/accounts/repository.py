"""SQL of people: users, addresses, preferences, erasure records. See `repository_keys` for what lets them in.

Lock order in every transaction: users by id, then what belongs to them.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from careforall.accounts.domain import (
    Address,
    AddressFields,
    AddressType,
    Credentials,
    Preferences,
    Profile,
    User,
    UserStatus,
)
from careforall.kit.db import Connection
from careforall.kit.http.identity import Role


async def insert_user(connection: Connection, user: User, password_hash: str) -> User | None:
    """Store a new user, or return None where the mail is taken."""
    row = await connection.fetchrow(
        _INSERT_USER,
        user.id,
        user.email,
        password_hash,
        user.first_name,
        user.last_name,
        user.phone,
        user.role,
        user.email_verified,
    )
    return _user(row) if row else None


async def user(connection: Connection, identifier: UUID) -> User | None:
    """Return a user."""
    row = await connection.fetchrow(_USER, identifier)
    return _user(row) if row else None


async def lock_user(connection: Connection, identifier: UUID) -> User | None:
    """Return a user, locked for a change."""
    row = await connection.fetchrow(_LOCK_USER, identifier)
    return _user(row) if row else None


async def lock_user_by_email(connection: Connection, email: str) -> User | None:
    """Return the user of a mail, locked for a change."""
    row = await connection.fetchrow(_LOCK_USER_BY_EMAIL, email)
    return _user(row) if row else None


async def credentials(connection: Connection, email: str) -> Credentials | None:
    """Return what a sign-in with this mail is checked against."""
    row = await connection.fetchrow(_CREDENTIALS, email)
    return msgspec.convert(dict(row), Credentials) if row else None


async def users(
    connection: Connection,
    *,
    search: str,
    role: Role | None,
    status: UserStatus | None,
    after: UUID | None,
    limit: int,
) -> list[User]:
    """Return users whose mail or name contains a text, newest first."""
    pattern = f"%{_escaped(search)}%"
    return [_user(row) for row in await connection.fetch(_USERS, pattern, role, status, after, limit)]


async def update_profile(connection: Connection, identifier: UUID, profile: Profile) -> User:
    """Store what a person tells about themselves."""
    row = await connection.fetchrow(_UPDATE_PROFILE, identifier, profile.first_name, profile.last_name, profile.phone)
    return _user(row)


async def update_standing(connection: Connection, identifier: UUID, role: Role, status: UserStatus) -> User:
    """Store role and status."""
    return _user(await connection.fetchrow(_UPDATE_STANDING, identifier, role, status))


async def update_password(connection: Connection, identifier: UUID, password_hash: str) -> User:
    """Store a new password; whoever sets one has proved to own the mail."""
    return _user(await connection.fetchrow(_CHANGE_CREDENTIALS, identifier, password_hash))


async def note_login(connection: Connection, identifier: UUID, password_hash: str | None) -> User:
    """Remember a sign-in, and the same password hashed anew where that was due."""
    return _user(await connection.fetchrow(_NOTE_LOGIN, identifier, password_hash))


async def verify_email(connection: Connection, identifier: UUID) -> User:
    """Store that the mail is proven."""
    return _user(await connection.fetchrow(_VERIFY_EMAIL, identifier))


async def lock_admins(connection: Connection) -> list[UUID]:
    """Return all active administrators, locked in order, so that two of them cannot resign at once."""
    return [row["id"] for row in await connection.fetch(_LOCK_ADMINS)]


async def erase_user(connection: Connection, *, record_id: UUID, user_id: UUID, donor_key: str) -> None:
    """Delete a person with everything they own, and keep the record that this was done."""
    await connection.execute(_INSERT_ERASURE, record_id, user_id, donor_key)
    await connection.execute(_DELETE_USER, user_id)


async def addresses(connection: Connection, user_id: UUID) -> list[Address]:
    """Return a person's addresses, oldest first."""
    return [_address(row) for row in await connection.fetch(_ADDRESSES, user_id)]


async def receiving(connection: Connection, user_ids: Sequence[UUID]) -> dict[UUID, tuple[str, list[Address]]]:
    """Return people's mail with their addresses, oldest first."""
    found: dict[UUID, tuple[str, list[Address]]] = {}
    for row in await connection.fetch(_RECEIVING, user_ids):
        _, known = found.setdefault(row["owner_id"], (row["owner_email"], []))
        if row["id"] is not None:
            known.append(_address(row))
    return found


async def address(connection: Connection, identifier: UUID, user_id: UUID) -> Address | None:
    """Return one of a person's own addresses."""
    row = await connection.fetchrow(_ADDRESS, identifier, user_id)
    return _address(row) if row else None


async def insert_address(connection: Connection, identifier: UUID, user_id: UUID, fields: AddressFields) -> Address:
    """Store a new address."""
    return _address(await connection.fetchrow(_INSERT_ADDRESS, identifier, user_id, *_columns(fields)))


async def update_address(connection: Connection, identifier: UUID, fields: AddressFields) -> Address:
    """Store a changed address."""
    return _address(await connection.fetchrow(_UPDATE_ADDRESS, identifier, *_columns(fields)))


async def delete_address(connection: Connection, identifier: UUID) -> None:
    """Delete an address."""
    await connection.execute(_DELETE_ADDRESS, identifier)


async def clear_default(connection: Connection, user_id: UUID, kind: AddressType) -> None:
    """Make no address of a kind the default."""
    await connection.execute(_CLEAR_DEFAULT, user_id, kind)


async def ensure_default(connection: Connection, user_id: UUID, kind: AddressType) -> None:
    """Make the oldest address of a kind the default where none is."""
    await connection.execute(_ENSURE_DEFAULT, user_id, kind)


async def preferences(connection: Connection, user_id: UUID) -> Preferences | None:
    """Return a person's preferences, if they ever set any."""
    row = await connection.fetchrow(_PREFERENCES, user_id)
    return _preferences(row) if row else None


async def upsert_preferences(connection: Connection, user_id: UUID, wanted: Preferences) -> Preferences:
    """Store preferences."""
    row = await connection.fetchrow(_UPSERT_PREFERENCES, user_id, wanted.language, list(wanted.channels), list(wanted.topics))
    return _preferences(row)


async def people_with_preferences(connection: Connection, after: UUID, limit: int) -> list[tuple[User, Preferences]]:
    """Return people who set preferences, by id."""
    rows = await connection.fetch(_PEOPLE_WITH_PREFERENCES, after, limit)
    return [(_user(row), Preferences(language=row["language"], channels=row["channels"], topics=row["topics"])) for row in rows]


def _user(row: Any) -> User:
    return msgspec.convert(dict(row), User)


def _address(row: Any) -> Address:
    return msgspec.convert(dict(row), Address)


def _preferences(row: Any) -> Preferences:
    return msgspec.convert(dict(row), Preferences)


def _columns(fields: AddressFields) -> Sequence[object]:
    return [getattr(fields, name) for name in AddressFields.__struct_fields__]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_INSERT_USER = """
INSERT INTO users (id, email, password_hash, first_name, last_name, phone, role, email_verified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8 THEN clock_timestamp() END)
ON CONFLICT (email) DO NOTHING
RETURNING id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
"""
_USER = """
SELECT id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
FROM users
WHERE id = $1
"""
_LOCK_USER = """
SELECT id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
FROM users
WHERE id = $1 FOR UPDATE
"""
_LOCK_USER_BY_EMAIL = """
SELECT id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
FROM users
WHERE email = $1 FOR UPDATE
"""
_CREDENTIALS = "SELECT id AS user_id, role, status, password_hash FROM users WHERE email = $1"
_USERS = """
SELECT id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
FROM users
WHERE (email ILIKE $1 OR first_name ILIKE $1 OR last_name ILIKE $1 OR first_name || ' ' || last_name ILIKE $1)
  AND ($2::text IS NULL OR role = $2)
  AND ($3::text IS NULL OR status = $3)
  AND ($4::uuid IS NULL OR id < $4)
ORDER BY id DESC
LIMIT $5
"""
_UPDATE_PROFILE = """
UPDATE users
SET first_name = coalesce($2, first_name),
    last_name = coalesce($3, last_name),
    phone = coalesce($4, phone),
    version = version + 1,
    updated_at = clock_timestamp()
WHERE id = $1
RETURNING id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
"""
_UPDATE_STANDING = """
UPDATE users
SET role = $2, status = $3, version = version + 1, updated_at = clock_timestamp()
WHERE id = $1
RETURNING id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
"""
_CHANGE_CREDENTIALS = """
UPDATE users
SET password_hash = $2,
    email_verified_at = coalesce(email_verified_at, clock_timestamp()),
    version = version + 1,
    updated_at = clock_timestamp()
WHERE id = $1
RETURNING id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
"""
_NOTE_LOGIN = """
UPDATE users
SET last_login_at = clock_timestamp(), password_hash = coalesce($2, password_hash)
WHERE id = $1
RETURNING id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
"""
_VERIFY_EMAIL = """
UPDATE users
SET email_verified_at = coalesce(email_verified_at, clock_timestamp()), version = version + 1, updated_at = clock_timestamp()
WHERE id = $1
RETURNING id, email, first_name, last_name, phone, role, status, email_verified_at, version, created_at, updated_at
"""
_LOCK_ADMINS = "SELECT id FROM users WHERE role = 'ADMIN' AND status = 'ACTIVE' ORDER BY id FOR UPDATE"
_INSERT_ERASURE = "INSERT INTO erasures (id, user_id, donor_key) VALUES ($1, $2, $3)"
_DELETE_USER = "DELETE FROM users WHERE id = $1"
_ADDRESSES = """
SELECT id, user_id, type, name, line1, line2, city, region, postal_code, country, phone, is_default, version,
       created_at, updated_at
FROM addresses
WHERE user_id = $1 ORDER BY id
"""
# One plan for all calls: see `kit/db.py`.
_RECEIVING = """
SELECT u.id AS owner_id, u.email AS owner_email, a.id, a.user_id, a.type, a.name, a.line1, a.line2, a.city, a.region,
       a.postal_code, a.country, a.phone, a.is_default, a.version, a.created_at, a.updated_at
FROM users AS u
LEFT JOIN addresses AS a ON a.user_id = u.id
WHERE u.id = ANY((SELECT $1::uuid[])::uuid[])
ORDER BY a.id
"""
_ADDRESS = """
SELECT id, user_id, type, name, line1, line2, city, region, postal_code, country, phone, is_default, version,
       created_at, updated_at
FROM addresses
WHERE id = $1 AND user_id = $2
"""
_INSERT_ADDRESS = """
INSERT INTO addresses
    (id, user_id, type, name, line1, line2, city, region, postal_code, country, phone, is_default)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING id, user_id, type, name, line1, line2, city, region, postal_code, country, phone, is_default, version,
          created_at, updated_at
"""
_UPDATE_ADDRESS = """
UPDATE addresses
SET type = $2, name = $3, line1 = $4, line2 = $5, city = $6, region = $7, postal_code = $8, country = $9, phone = $10,
    is_default = $11, version = version + 1, updated_at = clock_timestamp()
WHERE id = $1
RETURNING id, user_id, type, name, line1, line2, city, region, postal_code, country, phone, is_default, version,
          created_at, updated_at
"""
_DELETE_ADDRESS = "DELETE FROM addresses WHERE id = $1"
_CLEAR_DEFAULT = """
UPDATE addresses SET is_default = false, version = version + 1, updated_at = clock_timestamp()
WHERE user_id = $1 AND type = $2 AND is_default
"""
_ENSURE_DEFAULT = """
UPDATE addresses SET is_default = true, version = version + 1, updated_at = clock_timestamp()
WHERE id = (SELECT id FROM addresses WHERE user_id = $1 AND type = $2 ORDER BY id LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM addresses WHERE user_id = $1 AND type = $2 AND is_default)
"""
_PREFERENCES = "SELECT language, channels, topics, version FROM preferences WHERE user_id = $1"
_UPSERT_PREFERENCES = """
INSERT INTO preferences (user_id, language, channels, topics)
VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE
SET language = excluded.language, channels = excluded.channels, topics = excluded.topics,
    version = preferences.version + 1, updated_at = clock_timestamp()
RETURNING language, channels, topics, version
"""
_PEOPLE_WITH_PREFERENCES = """
SELECT users.id, users.email, users.first_name, users.last_name, users.phone, users.role, users.status, users.email_verified_at,
       users.version, users.created_at, users.updated_at,
       preferences.language, preferences.channels, preferences.topics
FROM users
JOIN preferences ON preferences.user_id = users.id
WHERE users.id > $1
ORDER BY users.id
LIMIT $2
"""
