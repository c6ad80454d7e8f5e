"""Lists: `{items, next_cursor}` over keyset cursors that stay stable while rows are inserted."""

import base64
import binascii
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from careforall.kit.errors import InvalidInput
from careforall.kit.ids import parse_id

T = TypeVar("T")

MAX_LIMIT = 100

LimitQuery = Annotated[int, QueryParameter(name="limit", ge=1, le=MAX_LIMIT, description="Items per page, at most 100.")]
CursorQuery = Annotated[str | None, QueryParameter(name="cursor", description="`next_cursor` of the page before.")]


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list, and where the next begins."""

    items: list[T]
    next_cursor: str | None = None


def cursor_of(identifier: UUID) -> str:
    """Return the opaque cursor that continues after `identifier`."""
    return base64.urlsafe_b64encode(identifier.bytes).decode().rstrip("=")


def read_cursor(cursor: str | None, pointer: str = "/cursor") -> UUID | None:
    """Return the id inside a cursor, which came in the parameter that `pointer` names.

    Raises:
        InvalidInput: `invalid_cursor` for anything we did not make.
    """
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise InvalidInput.field(pointer, "invalid_cursor", "use next_cursor of the page before") from None


def page(items: list[T], *, limit: int, last: UUID | None) -> Page[T]:
    """Build a page out of at most `limit` items; `last` is the id of the last one."""
    return Page(items=items, next_cursor=cursor_of(last) if last is not None and len(items) == limit else None)


def path_id(text: str) -> UUID:
    """Return the id in a path; what is not an id names nothing that exists.

    Raises:
        NotFound: If it is malformed or nil.
    """
    from careforall.kit.errors import NotFound  # noqa: PLC0415 - keeps the import list of a leaf module short

    found = parse_id(text)
    if found is None:
        raise NotFound
    return found
