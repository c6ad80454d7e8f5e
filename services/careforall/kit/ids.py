"""Identifiers made by the application: UUIDv7, so that inserts stay sorted and no database extension is needed."""

import re
from datetime import UTC, datetime
from operator import attrgetter
from uuid import UUID

import uuid_utils.compat

NIL = UUID(int=0)
by_id = attrgetter("int")
"""Sorts UUIDs as the database does, without a Python call for each comparison."""
_LAST = datetime.max.replace(tzinfo=UTC).timestamp()
_CANONICAL = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def new_id() -> UUID:
    """Return a fresh UUIDv7 (milliseconds since the epoch, then random bits)."""
    return uuid_utils.compat.uuid7()


def id_at(moment: datetime, noise: int) -> UUID:
    """Return the UUIDv7 of a moment with 74 bits of the caller's noise, for data about the past."""
    milliseconds = int(moment.timestamp() * 1000)
    high, low = (noise >> 62) & 0xFFF, noise & (2**62 - 1)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (high << 64) | (2 << 62) | low)


def born_at(identifier: UUID) -> datetime | None:
    """Return the time inside a UUIDv7, or None for any other kind of UUID and for times past all dates."""
    if identifier.version != 7:  # noqa: PLR2004 - the version number of RFC 9562 is its own name
        return None
    seconds = (identifier.int >> 80) / 1000
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds < _LAST else None


def parse_id(text: str) -> UUID | None:
    """Return the UUID written in `text` in its canonical hyphenated form, else None; the nil id is no id."""
    if not _CANONICAL.fullmatch(text):
        return None
    identifier = UUID(text)
    return None if identifier == NIL else identifier
