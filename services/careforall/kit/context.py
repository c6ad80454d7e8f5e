"""Why something happens: the correlation id and trace that travel from a request into rows, messages and logs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What a request or message hands on to everything it causes."""

    correlation_id: str = ""
    traceparent: str | None = None


NOBODY = Cause()
_current: ContextVar[Cause] = ContextVar("cause", default=NOBODY)


def current() -> Cause:
    """Return the cause of the running task."""
    return _current.get()


def enter(cause: Cause) -> None:
    """Set the cause for the rest of the running task."""
    _current.set(cause)


@contextmanager
def within(cause: Cause) -> Iterator[None]:
    """Set the cause for a piece of work, for one of many that a task does."""
    token = _current.set(cause)
    try:
        yield
    finally:
        _current.reset(token)
