"""Refusals in the company's own shape: `{"error": {type, code, message, param}}`, never our problem documents.

Its own room because API and control answer in this shape while the rest of the platform does not.
"""

import re
from typing import Any

import msgspec
from litestar import Request, Response

from careforall.kit import json
from careforall.kit.errors import IdempotencyKeyInUse, IdempotencyKeyRequired, IdempotencyKeyReused, Problem
from careforall.kit.http.problem import as_problem
from careforall.simulator.schemas import ErrorOut

_SERVER_ERROR, _UNPROCESSABLE, _TOO_MANY, _UNAUTHORIZED = 500, 422, 429, 401
_NAME = re.compile(r"/?(?P<name>[^/\[]+)")
_CODES = {
    "required_field": "parameter_missing",
    "unknown_field": "parameter_unknown",
    "invalid_value": "parameter_invalid",
}


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A finished refusal."""

    status: int
    body: bytes
    headers: dict[str, str]


def refused(error: Exception) -> Refused:
    """Return what the company answers to whatever went wrong."""
    found = as_problem(error)
    status = 400 if found.status == _UNPROCESSABLE else found.status
    first = found.errors[0] if found.errors else None
    code = first.code if first else found.code
    shown = ErrorOut(
        type=_type(found),
        code=_CODES.get(code, code),
        message=found.detail,
        param=_parameter(first.pointer) if first else None,
    )
    return Refused(status=status, body=json.encode({"error": shown}), headers=_headers(found))


def refusal(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Render whatever a handler raised."""
    found = refused(error)
    return Response(found.body, status_code=found.status, media_type="application/json", headers=found.headers)


def _type(problem: Problem) -> str:
    if isinstance(problem, IdempotencyKeyInUse | IdempotencyKeyReused | IdempotencyKeyRequired):
        return "idempotency_error"
    if problem.status >= _SERVER_ERROR:
        return "api_error"
    return "rate_limit_error" if problem.status == _TOO_MANY else "invalid_request_error"


def _parameter(pointer: str) -> str | None:
    found = _NAME.match(pointer)
    return found["name"] if found else None


def _headers(problem: Problem) -> dict[str, str]:
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    if problem.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="simulator"'
    return headers
