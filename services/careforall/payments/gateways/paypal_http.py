"""How PayPal is called: a bearer token shared until shortly before its end, and its refusals in our words.

One 401 renews the token and repeats the call. 409, 429, 5xx, silence and unreadable answers are unknown, other refusals known.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx2
import msgspec
import structlog

from careforall.payments.gateways.base import GatewayNotAsked, GatewayRefused, GatewayUnknown, plain

T = TypeVar("T")
log = structlog.get_logger(__name__)

_UNAUTHORIZED, _SERVER_ERROR = 401, 500
_BUSY = frozenset({408, 409, 425, 429})
_STILL_RUNNING = frozenset({"PREVIOUS_REQUEST_IN_PROGRESS", "ORDER_COMPLETION_IN_PROGRESS"})
_JSON = {"Content-Type": "application/json"}
_MARGIN = 60.0
"""Seconds before its end at which a token is replaced; half its life where that is shorter."""


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float


class _Problem(msgspec.Struct, frozen=True):
    issue: str = ""
    description: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    name: str = ""
    message: str = ""
    debug_id: str = ""
    details: list[_Problem] = []
    error: str = ""
    error_description: str = ""


_decode_token = msgspec.json.Decoder(_Token).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def nothing(_: bytes) -> None:
    """Decode an answer without a body."""


class Api:
    """PayPal's API with a token of its own.

    Args:
        base: Its base URL.
        client_id: Client id of the app.
        client_secret: Its secret.
        seconds: Deadline of connecting and of each read.
    """

    def __init__(self, base: str, client_id: str, client_secret: str, *, seconds: float) -> None:
        self._client = httpx2.AsyncClient(
            base_url=base, timeout=httpx2.Timeout(seconds, connect=min(seconds, 2.0)), trust_env=False
        )
        self._login = httpx2.BasicAuth(client_id, client_secret)
        self._renewing = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def get(self, path: str, decode: Callable[[bytes], T], *, params: Mapping[str, str] | None = None) -> T:
        """Ask for something."""
        return await self._call("GET", path, decode, params=params)

    async def post(self, path: str, decode: Callable[[bytes], T], body: object, *, key: str) -> T:
        """Have something done once, however often it is sent on this key, and return the whole object."""
        headers = {"PayPal-Request-Id": key, "Prefer": "return=representation", **_JSON}
        return await self._call("POST", path, decode, content=msgspec.json.encode(body), headers=headers)

    async def patch(self, path: str, body: object) -> None:
        """Change something."""
        await self._call("PATCH", path, nothing, content=msgspec.json.encode(body), headers=_JSON)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _call(self, method: str, path: str, decode: Callable[[bytes], T], **request: Any) -> T:
        token = await self._current()
        response = await self._send(method, path, token, **request)
        if response.status_code == _UNAUTHORIZED:
            response = await self._send(method, path, await self._current(instead_of=token), **request)
        return _read(response, f"{method} {path}", decode)

    async def _send(self, method: str, path: str, token: str, **request: Any) -> httpx2.Response:
        headers = {**request.pop("headers", {}), "Authorization": f"Bearer {token}"}
        try:
            return await self._client.request(method, path, headers=headers, **request)
        except httpx2.HTTPError as error:
            raise GatewayUnknown(f"{type(error).__name__} on {method} {path}") from error

    async def _current(self, *, instead_of: str = "") -> str:
        """Return a token that lasts a while; whoever needs a new one at the same time waits for the one that asks."""
        async with self._renewing:
            if self._token == instead_of or time.monotonic() >= self._good_until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        path = "/v1/oauth2/token"
        try:
            response = await self._client.post(path, data={"grant_type": "client_credentials"}, auth=self._login)
        except httpx2.HTTPError as error:
            raise GatewayUnknown(f"{type(error).__name__} on POST {path}") from error
        asked_at = time.monotonic()
        token = _read(response, f"POST {path}", _decode_token)
        self._token = token.access_token
        self._good_until = asked_at + max(token.expires_in - _MARGIN, token.expires_in / 2)


def _read(response: httpx2.Response, what: str, decode: Callable[[bytes], T]) -> T:
    if response.status_code >= _SERVER_ERROR or response.status_code in _BUSY:
        raise GatewayUnknown(f"{response.status_code} on {what}")
    try:
        if response.is_success:
            return decode(response.content)
        refusal = _decode_refusal(response.content)
    except msgspec.MsgspecError as error:
        raise GatewayUnknown(f"unreadable answer on {what}") from error
    raise _refused(refusal, response.status_code, what)


def _refused(refusal: _Refusal, status: int, what: str) -> GatewayRefused | GatewayNotAsked | GatewayUnknown:
    first = refusal.details[0] if refusal.details else _Problem()
    code = plain(first.issue or refusal.name or refusal.error, 80)
    message = plain(first.description or refusal.message or refusal.error_description)
    log.info("paypal refused", call=what, code=code, debug_id=plain(refusal.debug_id, 80))
    if status == _UNAUTHORIZED:
        return GatewayNotAsked("gateway_credentials", f"PayPal does not accept our credentials: {code}")
    if code in _STILL_RUNNING:
        return GatewayUnknown(f"{code} on {what}")
    return GatewayRefused(code, message or code)
