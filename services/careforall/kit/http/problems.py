"""Reads the list of refusals out of the error classes, for the page at /docs/problems and docs/reference/problems.md."""

import inspect
from collections.abc import Iterator
from http import HTTPStatus

import msgspec

from careforall.kit.errors import Problem

_ADVICE = {
    HTTPStatus.BAD_REQUEST: "Correct the request as `detail` says, then send it again.",
    HTTPStatus.UNAUTHORIZED: "Sign in again or send a valid token or API key.",
    HTTPStatus.FORBIDDEN: "Use an account that may do this.",
    HTTPStatus.NOT_FOUND: "Check the id and the address. What belongs to others looks as if it did not exist.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Use a method the API lists for this address.",
    HTTPStatus.CONFLICT: "Read the object again and decide anew.",
    HTTPStatus.GONE: "Start again; this one has ended for good.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Send less.",
    HTTPStatus.REQUEST_TIMEOUT: "Send the body at once, over a better connection.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Send JSON in UTF-8 with `Content-Type: application/json`.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Correct the fields named in `errors`, then send it again.",
    HTTPStatus.TOO_MANY_REQUESTS: "Wait for `Retry-After` seconds, then repeat the request.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Tell the operator the `request_id`; the log has the rest.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Repeat the same request, with the same `Idempotency-Key`, after `Retry-After` seconds.",
}
_ADVICE_BY_CODE = {
    "idempotency_key_in_use": "Repeat the same request after `Retry-After` seconds.",
    "idempotency_key_refused": "Leave the header out. After no answer, look for what was made and delete it, then send it again.",
    "idempotency_key_required": "Add an `Idempotency-Key` header, and keep it for repeats of the same request.",
    "idempotency_key_reused": "Make a new key for a new request; repeat a request only with the same body.",
    "locked": "Repeat the same request after `Retry-After` seconds.",
    "version_conflict": "Read the object again (`current_version` tells its version) and send the change with that version.",
}
_OTHER_COMPANIES = ("careforall.simulator.",)
"""Packages that play another company and answer in its shape, not by problem documents."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One refusal as people look it up."""

    code: str
    status: int
    title: str
    meaning: str
    advice: str


_OF_THE_FRAMEWORK = (
    Entry(
        code="bad_request",
        status=HTTPStatus.BAD_REQUEST,
        title="Bad request",
        meaning="The request cannot be read.",
        advice=_ADVICE[HTTPStatus.BAD_REQUEST],
    ),
    Entry(
        code="method_not_allowed",
        status=HTTPStatus.METHOD_NOT_ALLOWED,
        title="Method Not Allowed",
        meaning="The address exists, but not with this method.",
        advice=_ADVICE[HTTPStatus.METHOD_NOT_ALLOWED],
    ),
)


def catalogue() -> list[Entry]:
    """Return one entry for each code of the error classes loaded so far, by code."""
    found = {entry.code: entry for entry in _OF_THE_FRAMEWORK}
    for kind in sorted(_kinds(Problem), key=lambda kind: (kind.__module__, kind.__qualname__)):
        entry = _entry(kind)
        found.setdefault(entry.code, entry)
    return sorted(found.values())


def _kinds(kind: type[Problem]) -> Iterator[type[Problem]]:
    """Yield the classes that bring a code of their own; those made inside functions are no vocabulary."""
    ours = not kind.__module__.startswith(_OTHER_COMPANIES)
    if ours and "code" in vars(kind) and "<locals>" not in kind.__qualname__:
        yield kind
    for heir in kind.__subclasses__():
        yield from _kinds(heir)


def _entry(kind: type[Problem]) -> Entry:
    meaning = (inspect.getdoc(kind) or kind.title).split("\n\n")[0].replace("\n", " ")
    return Entry(
        code=kind.code,
        status=kind.status,
        title=kind.title,
        meaning=meaning,
        advice=_ADVICE_BY_CODE.get(kind.code) or _ADVICE.get(HTTPStatus(kind.status), "Correct the request as `detail` says."),
    )
