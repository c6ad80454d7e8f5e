"""Routes that take a file of staff as their body: larger than other bodies, and of another type than JSON.

The edge reads such a body only after it knows that the caller is staff, so that nobody else can make a process hold one.
"""

import msgspec


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A method, an exact path and what may be sent there: content types without parameters, and at most so many bytes."""

    method: str
    path: str
    types: tuple[str, ...]
    max_bytes: int
