"""Small pieces handlers share: finished answers, versions from If-Match, idempotency calls from headers."""

import hashlib
import re
from typing import Annotated, Any

from litestar import Request, Response
from litestar.params import HeaderParameter
from litestar.status_codes import HTTP_304_NOT_MODIFIED
from msgspec import UNSET, UnsetType

from careforall.kit import json
from careforall.kit.errors import IdempotencyKeyRefused, IdempotencyKeyRequired, InvalidInput
from careforall.kit.http.identity import Principal
from careforall.kit.idempotency import MAX_KEY, Answer, Call, checked_key, fingerprint
from careforall.kit.retention import IDEMPOTENCY

REPLAYED = "Idempotent-Replayed"
_KEY_NAME = "Idempotency-Key"
_KEY_SHAPE = {"minLength": 1, "maxLength": MAX_KEY}
_KEY = (
    "A name of your own for this request, 1 to 255 printable ASCII characters. A repeat with the same key and body gets the "
    f"stored answer, marked `{REPLAYED}: true`, and does nothing again; with another body it is refused with 422 "
    f"`idempotency_key_reused`. Keys are remembered for {IDEMPOTENCY.days} days."
)
IdempotencyKey = Annotated[str | None, HeaderParameter(name=_KEY_NAME, description=_KEY, schema_extra=_KEY_SHAPE)]
RequiredKey = Annotated[
    str | None,
    HeaderParameter(
        name=_KEY_NAME,
        required=True,  # says the document; without one `required_key` refuses in our own words
        description=f"Required: without one it is 400 `idempotency_key_required`. {_KEY}",
        schema_extra=_KEY_SHAPE,
    ),
]
_VERSION = re.compile(r"[0-9]{1,9}")
RefusedKey = Annotated[
    str | None,
    HeaderParameter(
        name=_KEY_NAME,
        description="Refused (400 `idempotency_key_refused`): the answer holds a secret that is not kept, so no repeat has it.",
    ),
]


def finished(answer: Answer, headers: dict[str, str] | None = None) -> Response[Any]:
    """Return an answer whose bytes are already made."""
    extra = {REPLAYED: "true"} if answer.replayed else {}
    return Response(answer.body, status_code=answer.status, media_type="application/json", headers={**(headers or {}), **extra})


def encoded(status: int, body: object) -> tuple[int, bytes]:
    """Return status and bytes as `idempotency.once` stores them."""
    return status, json.encode(body)


def scope_of(route: str, principal: Principal | None, guest: str = "") -> str:
    """Return whose key it is: keys of one caller and route never meet those of another (rule 20)."""
    return f"{route}|{principal.user_id if principal else guest}"


async def idempotent_call(
    request: Request[Any, Any, Any], key: str | None, route: str, principal: Principal | None, *, guest: str = ""
) -> Call | None:
    """Return the idempotency call of a request, or None where it brings no key.

    The key comes from the handler's own parameter, so that no route reads one that its description does not name.
    """
    checked = checked_key(key)
    return await _call(request, checked, scope_of(route, principal, guest)) if checked is not None else None


async def required_call(request: Request[Any, Any, Any], key: str | None, route: str, principal: Principal) -> Call:
    """Return the idempotency call of a request that moves money.

    Raises:
        IdempotencyKeyRequired: It brings no key.
    """
    return await _call(request, required_key(key), scope_of(route, principal))


def refuse_key(key: str | None) -> None:
    """Refuse a key where no repeat can be answered.

    Raises:
        IdempotencyKeyRefused: There is one.
    """
    if key is not None:
        raise IdempotencyKeyRefused


def required_key(key: str | None) -> str:
    """Return a usable key.

    Raises:
        IdempotencyKeyRequired: There is none.
    """
    checked = checked_key(key)
    if checked is None:
        raise IdempotencyKeyRequired
    return checked


def wanted_version(in_body: int | UnsetType | None, if_match: str | None) -> int | None:
    """Return the version the caller has read, from the body or If-Match (either style), or None.

    Raises:
        InvalidInput: If-Match is not an ETag of ours, or contradicts the body.
    """
    body = in_body if isinstance(in_body, int) else None
    if in_body is UNSET or in_body is None:
        body = None
    if if_match is None or if_match == "*":
        return body
    tag = if_match.removeprefix("W/").strip('"').partition(".")[0]  # after the dot: what else the answer showed
    if not _VERSION.fullmatch(tag):
        raise InvalidInput.field("/If-Match", "invalid_value", 'send the version as If-Match: "3"')
    if body is not None and body != int(tag):
        raise InvalidInput.field("/version", "invalid_value", "the version in the body and If-Match differ")
    return int(tag)


def conditional(
    request: Request[Any, Any, Any], body: bytes, headers: dict[str, str], *, version: int | None = None
) -> Response[Any]:
    """Return an answer that may be kept, or 304 where the caller has it; its ETag begins with the version, if there is one."""
    mark = hashlib.sha256(body).hexdigest()[:16]
    tag = f'"{mark}"' if version is None else f'"{version}.{mark}"'
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    extra = {**headers, "ETag": tag}
    if tag in known or "*" in known:
        return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers=extra)
    return Response(body, media_type="application/json", headers=extra)


def etag(version: int) -> dict[str, str]:
    """Return the ETag header of a version."""
    return {"ETag": f'"{version}"'}


async def _call(request: Request[Any, Any, Any], key: str, scope: str) -> Call:
    mark = fingerprint(request.method, str(request.url.path), scope, await request.body())
    return Call(scope=scope, key=key, fingerprint=mark)
