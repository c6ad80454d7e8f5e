"""RFC 9457 documents: the one shape of every refusal, whichever way a request took."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import asyncpg
import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.params import ParameterKwarg

from careforall.kit import constraints, json
from careforall.kit.errors import FieldError, InvalidInput, Malformed, Problem
from careforall.kit.http import plain
from careforall.kit.http.identity import request_id

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?:field|argument) `(?P<name>[^`]+)`")
_MISSING = re.compile(r"Missing required \w+ parameter '(?P<name>[^']+)'")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class ProblemDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a refused caller reads."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    request_id: str = ""
    errors: tuple[FieldError, ...] = ()


def render(problem: Problem, identifier: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of a refusal."""
    document = ProblemDocument(
        type=f"/docs/problems#{problem.code}",
        title=problem.title,
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        request_id=identifier,
        retryable=problem.retry_after is not None,
        errors=problem.errors,
    )
    facts = {**msgspec.to_builtins(document), **problem.facts}
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(problem.retry_after).encode()))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="careforall"'))
    return problem.status, headers, json.encode(facts)


def answer(problem: Problem, scope: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of a refusal as whoever asks can read it: a page for browsers, else the document."""
    identifier = request_id(scope)
    status, headers, body = render(problem, identifier)
    if not plain.wanted(scope):
        return status, headers, body
    kept = [field for field in headers if field[0] != b"content-type"]
    return status, [*plain.HEADERS, *kept], plain.refusal(problem, identifier)


def from_validation(error: msgspec.ValidationError) -> InvalidInput:
    """Turn msgspec's sentence into a refusal that points at the field."""
    field = field_error(str(error))
    return InvalidInput(field.message, errors=[field])


def field_error(sentence: str) -> FieldError:
    """Read pointer and code out of a validation sentence."""
    found = _AT.search(sentence)
    pointer = _pointer(found["path"]) if found else ""
    message = _AT.sub("", sentence)
    name = _FIELD.search(message)
    if "missing required" in message and name:
        return FieldError(pointer=f"{pointer}/{name['name']}", code="required_field", message="this field is required")
    if "unknown field" in message and name:
        return FieldError(pointer=f"{pointer}/{name['name']}", code="unknown_field", message="this field is not known")
    return FieldError(pointer=pointer, code="invalid_value", message=message)


def _pointer(path: str) -> str:
    return "".join(f"/{name or index}" for name, index in _STEP.findall(path))


def as_problem(error: Exception) -> Problem:
    """Translate whatever a handler raised."""
    if isinstance(error, Problem):
        return error
    found = _refusal(error)
    if found is None:
        log.error("unexpected error", error=type(error).__name__, exc_info=error)
        return _Internal()
    return found


def _refusal(error: Exception) -> Problem | None:
    """Return what the caller did wrong, or None where the fault is ours."""
    match error:
        case ValidationException():
            return _from_litestar(error)
        case msgspec.ValidationError():
            return from_validation(error)
        case msgspec.DecodeError():  # what the strict check cannot know: an empty body, a lone surrogate
            return Malformed(f"{error}.")
        case HTTPException():
            return _from_http(error)
        case asyncpg.PostgresError() if constraints.is_refusal(error):
            return constraints.as_problem(error)
        case _:
            return None


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler for everything."""
    problem = _from_litestar(error, _called(request)) if isinstance(error, ValidationException) else as_problem(error)
    status, headers, body = answer(problem, request.scope)
    rest = {name.decode(): value.decode() for name, value in headers}
    said = error.headers if isinstance(error, HTTPException) else None  # such as Allow
    return Response(body, status_code=status, headers={**(said or {}), **rest})


def _called(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return how callers name the parameters of a handler, by the names of its arguments."""
    taken = request.route_handler.parsed_fn_signature.parameters
    known = {name: field.kwarg_definition for name, field in taken.items()}
    return {name: one.name for name, one in known.items() if isinstance(one, ParameterKwarg) and one.name}


def _from_decoding(error: msgspec.DecodeError) -> Problem:
    """A value of the wrong shape, or what the strict check cannot know: an empty body, a lone surrogate."""
    return from_validation(error) if isinstance(error, msgspec.ValidationError) else Malformed(f"{error}.")


class _Internal(Problem):
    """A defect of ours; the log has the details under the same request id."""

    status = 500
    code = "internal_error"
    title = "Something went wrong on our side"


def _from_litestar(error: ValidationException, called: Mapping[str, str] = MappingProxyType({})) -> Problem:
    extra = error.extra if isinstance(error.extra, list) else []
    if any(isinstance(item, dict) and item.get("key") == "data" and item.get("message") == "'data'" for item in extra):
        return Malformed("The body is empty.")
    errors = [_litestar_field(item, called) for item in extra if isinstance(item, dict)]
    if missing := _MISSING.search(error.detail):
        errors.append(FieldError(pointer=f"/{missing['name']}", code="required_field", message="this parameter is required"))
    return InvalidInput(errors[0].message if errors else error.detail, errors=errors)


def _litestar_field(item: dict[str, Any], called: Mapping[str, str]) -> FieldError:
    key = str(item.get("key", ""))
    if item.get("source") != "body":
        key = called.get(key, key)
    found = field_error(str(item.get("message", "invalid")))
    if found.pointer or not key or key == "data":
        return found
    return msgspec.structs.replace(found, pointer="/" + key.removeprefix("data.").replace(".", "/"))


def _from_http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)

    class FrameworkProblem(Problem):
        """A refusal of the framework, such as an unknown path or method."""

    FrameworkProblem.status = int(status)
    FrameworkProblem.code = status.phrase.lower().replace(" ", "_")
    FrameworkProblem.title = status.phrase
    return FrameworkProblem(error.detail if status < HTTPStatus.INTERNAL_SERVER_ERROR else "")
