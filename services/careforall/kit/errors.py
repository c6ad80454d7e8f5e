"""The one root of business errors; `kit.http.problem` turns them into RFC 9457 documents.

Problem
+-- Unavailable        503, retryable: a dependency is away or a queue is full
|   +-- DatabaseUnavailable
|   +-- UnknownOutcome
+-- InvalidInput       422 with one FieldError per field
+-- Conflict / NotFound / Unauthorized / Forbidden / TooManyRequests
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One refused field: a JSON pointer, a stable code and a sentence for people."""

    pointer: str
    code: str
    message: str


class Problem(Exception):
    """A refusal with an HTTP status and a stable machine code.

    Args:
        detail: A sentence for the reader that says what to do next.
        errors: The fields at fault.
        facts: Extra members of the problem document (never personal data).
        retry_after: Seconds after which a retry makes sense.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "Bad request"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        retry_after: int | None = None,
        **facts: object,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.facts = facts


class InvalidInput(Problem):
    """The body was understood but some fields cannot be accepted."""

    status = 422
    code = "invalid_value"
    title = "Some fields are not acceptable"

    @classmethod
    def field(cls, pointer: str, code: str, message: str) -> "InvalidInput":
        """Build the refusal of a single field."""
        return cls(message, errors=[FieldError(pointer=pointer, code=code, message=message)])


class Malformed(Problem):
    """The body is not the JSON it claims to be."""

    code = "malformed_json"
    title = "The body is not valid JSON"


class UnsupportedMediaType(Problem):
    """The body has another content type than the endpoint reads."""

    status = 415
    code = "unsupported_media_type"
    title = "Send JSON with Content-Type: application/json"


class TooLarge(Problem):
    """The body is larger than the endpoint accepts."""

    status = 413
    code = "body_too_large"
    title = "The body is too large"


class TooSlowBody(Problem):
    """The caller took longer than we wait to send the body."""

    status = 408
    code = "body_too_slow"
    title = "The body did not come in time"


class Unauthorized(Problem):
    """The caller did not prove who they are."""

    status = 401
    code = "unauthorized"
    title = "Sign in or send a valid token"


class Forbidden(Problem):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"
    title = "You may not do this"


class NotFound(Problem):
    """There is no such thing, or the caller may not know that there is."""

    status = 404
    code = "not_found"
    title = "There is no such thing"


class Conflict(Problem):
    """The request does not fit the present state."""

    status = 409
    code = "conflict"
    title = "The request does not fit the present state"


class VersionConflict(Conflict):
    """Somebody else changed the thing first; `current_version` tells the version to read."""

    code = "version_conflict"
    title = "The object was changed by somebody else"

    def __init__(self, current_version: int) -> None:
        super().__init__(f"The current version is {current_version}: read it again and repeat.", current_version=current_version)


class DuplicateEntry(Conflict):
    """A unique value is taken."""

    code = "duplicate_entry"
    title = "That value is already taken"


class Locked(Conflict):
    """Another transaction holds the row longer than we wait for locks."""

    code = "locked"
    title = "Another request is changing this, please retry"

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class IdempotencyKeyReused(Problem):
    """The same Idempotency-Key came with another body."""

    status = 422
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used with another request"


class IdempotencyKeyInUse(Conflict):
    """The first request with this Idempotency-Key is still running."""

    code = "idempotency_key_in_use"
    title = "The first request with this Idempotency-Key is still running"

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class IdempotencyKeyRequired(Problem):
    """Staff moved money without an Idempotency-Key."""

    code = "idempotency_key_required"
    title = "Send an Idempotency-Key header with this request"


class IdempotencyKeyRefused(Problem):
    """What this answers is shown once and not kept, so that a repeat under the same Idempotency-Key cannot be answered."""

    code = "idempotency_key_refused"
    title = "Send this request without an Idempotency-Key header"


class TooManyRequests(Problem):
    """A rate limit is used up."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"


class Unavailable(Problem):
    """Something we need is away; nothing was done that could vanish."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable, please retry"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail, retry_after=retry_after)


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or is read-only; the statement had no effect."""

    code = "database_unavailable"
    title = "The database is away, please retry"


class UnknownOutcome(Unavailable):
    """A COMMIT was sent and its fate is not known; a retry with the same key settles it."""

    code = "outcome_unknown"
    title = "The outcome is not known yet, retry with the same key"


class TooSlow(Problem):
    """A statement ran into its time limit and was undone; a message that always does is at fault itself."""

    status = 503
    code = "too_slow"
    title = "This took too long, please retry"

    def __init__(self) -> None:
        super().__init__(retry_after=1)


PASSING = (Unavailable, TooSlow, Locked)
"""What goes by: work that goes on for ever tries again later, and neither ends by it nor takes its process along."""


class Overloaded(Unavailable):
    """The bounded queue is full."""

    code = "overloaded"
    title = "Too much work at once, please retry"
