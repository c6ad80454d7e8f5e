"""Who calls: access tokens verified locally by JWKS and remembered until they expire, API keys, and service tokens.

Verifying EdDSA costs more than a whole request, so a verified token is remembered by its hash. A suspension forgets the user's
tokens at once; without it they end by themselves after ten minutes. Who was suspended comes with the signing keys too: a process
that has just started, or was cut off from the broker, heard nothing of it.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from careforall.kit.errors import Forbidden, Problem, Unauthorized, Unavailable

ISSUER = "careforall"
AUDIENCE = "careforall-api"
ADMIN_SCOPE = "admin"
_ALGORITHMS = ["EdDSA"]
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_MEMORY = 20_000
_MAX_TOKEN = 4096
_JWKS_SECONDS = 60.0
_KEY_SECONDS = 30.0

Role = Literal["USER", "SELLER", "ADMIN"]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A proven caller."""

    user_id: UUID
    email: str
    role: Role
    email_verified: bool = False
    scopes: tuple[str, ...] = ()
    """Only for API keys: what the key may do; empty for people, who may do what their role may."""
    of_staff: bool = False
    """Only for API keys: whether the owner is staff, whatever the key may do."""
    expires_at: float = 0.0
    issued_at: float = 0.0

    def may(self, service: str, *, write: bool) -> bool:
        """Whether an API key's scopes cover a call (`donations:read`, `donations:write`, or `admin` for all)."""
        return not self.scopes or ADMIN_SCOPE in self.scopes or f"{service}:{'write' if write else 'read'}" in self.scopes

    @property
    def is_admin(self) -> bool:
        """Whether the caller is staff."""
        return self.role == "ADMIN"


class InvalidToken(Unauthorized):
    """The token is forged, expired or made for somebody else."""

    code = "invalid_token"
    title = "The token is not valid"


class _Claims(msgspec.Struct, kw_only=True):
    iss: str
    aud: str
    sub: UUID
    exp: float
    iat: float
    email: str
    role: Role
    email_verified: bool = False


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens ended, and when: those issued until then (seconds since the epoch) are worth nothing."""

    user_id: UUID
    at: float


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The JWKS document; asked for over the broker it also tells whose living tokens have ended."""

    keys: list[dict[str, Any]]
    ended: list[Ended] = []


FetchKeys = Callable[[], Awaitable[bytes]]
FetchKeyOwner = Callable[[str], Awaitable[Principal | None]]


class Verifier:
    """Verifies callers in one process.

    Args:
        fetch_keys: Returns the JWKS document.
        fetch_key_owner: Asks the accounts service about an API key; None for an unknown one.
    """

    def __init__(self, fetch_keys: FetchKeys, fetch_key_owner: FetchKeyOwner) -> None:
        self._fetch_keys = fetch_keys
        self._fetch_key_owner = fetch_key_owner
        self._keys: KeySet | None = None
        self._keys_at = 0.0
        self._lock = asyncio.Lock()
        self._known: dict[bytes, Principal] = {}
        self._revoked: dict[UUID, float] = {}
        self._owners: dict[bytes, tuple[float, Principal]] = {}

    async def principal(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        """Return the caller, or None where nobody claims to be anybody.

        Raises:
            InvalidToken: A token or key was sent that does not hold.
        """
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise InvalidToken("Send the token as: Authorization: Bearer TOKEN")
            return await self.token(token)
        key = headers.get(b"x-api-key")
        return await self._by_key(key.decode("latin-1")) if key is not None else None

    async def token(self, token: str) -> Principal:
        """Return whom an access token speaks for.

        Raises:
            InvalidToken: If it does not hold.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        found = known or await self._verify(token)
        if found.expires_at <= time.time() or self.ended(found.user_id, found.issued_at):
            self._known.pop(digest, None)
            raise InvalidToken("The token has ended, sign in again.")
        if known is None:
            self._remember(digest, found)
        return found

    def knows(self, key: str) -> bool:
        """Whether an API key was good when somebody was last asked about it, not long ago."""
        until, _ = self._owners.get(hashlib.sha256(key.encode()).digest(), (0.0, None))
        return until > time.monotonic()

    def ended(self, user_id: UUID, issued_at: float) -> bool:
        """Whether what was issued to a user at a time (seconds since the epoch) ended before its own."""
        return issued_at <= self._revoked.get(user_id, 0.0)

    def revoke(self, user_id: UUID, at: float | None = None) -> None:
        """Refuse all tokens issued to a user until `at` (seconds since the epoch; now if not given)."""
        self._revoked[user_id] = max(self._revoked.get(user_id, 0.0), time.time() if at is None else at)
        self._owners = {key: owner for key, owner in self._owners.items() if owner[1].user_id != user_id}

    def _remember(self, digest: bytes, principal: Principal) -> None:
        if len(self._known) >= _MEMORY:
            self._known.clear()
        self._known[digest] = principal

    async def _verify(self, token: str) -> Principal:
        """Return whom a token of ours speaks for, or spoke for until it ended."""
        if len(token) > _MAX_TOKEN:
            raise InvalidToken
        try:
            decoded = await self._decoded(token)
            if decoded.header.get("typ") != "at+jwt" or "crit" in decoded.header:
                raise InvalidToken
            claims = msgspec.convert(decoded.claims, _Claims)
        except (JoseError, ValueError, msgspec.ValidationError) as error:
            raise InvalidToken from error
        if claims.iss != ISSUER or claims.aud != AUDIENCE or claims.iat > time.time() + 60:
            raise InvalidToken
        return Principal(
            user_id=claims.sub,
            email=claims.email,
            role=claims.role,
            email_verified=claims.email_verified,
            expires_at=claims.exp,
            issued_at=claims.iat,
        )

    async def _decoded(self, token: str) -> jwt.Token:
        try:
            return jwt.decode(token, await self._key_set(fresh=False), algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            if time.monotonic() - self._keys_at < 1:
                raise
        return jwt.decode(token, await self._key_set(fresh=True), algorithms=_ALGORITHMS)

    async def _key_set(self, *, fresh: bool) -> KeySet:
        """Return the signing keys, asking again for unknown ones at most once a second."""
        async with self._lock:
            age = time.monotonic() - self._keys_at
            if self._keys is None or age > _JWKS_SECONDS or (fresh and age > 1):
                await self._refresh()
        if self._keys is None:
            raise Unavailable("Signing keys cannot be read yet, please retry.")
        return self._keys

    async def _refresh(self) -> None:
        try:
            document = msgspec.json.decode(await self._fetch_keys(), type=KeyDocument)
        except (Problem, OSError, msgspec.MsgspecError):
            return  # the keys we have stay good until somebody can be asked
        self._keys = KeySet([OKPKey.import_key(key) for key in document.keys])
        for ended in document.ended:
            self.revoke(ended.user_id, ended.at)
        self._keys_at = time.monotonic()

    async def _by_key(self, key: str) -> Principal:
        digest = hashlib.sha256(key.encode()).digest()
        until, owner = self._owners.get(digest, (0.0, None))
        if owner is not None and until > time.monotonic():
            return owner
        found = await self._fetch_key_owner(key)
        if found is None:
            raise InvalidToken("The API key is unknown, expired or revoked.")
        if len(self._owners) >= _MEMORY:
            self._owners.clear()
        self._owners[digest] = (time.monotonic() + _KEY_SECONDS, found)
        return found


class ServiceTokens:
    """Sixty-second tokens with which services call each other's internal routes (rule 21)."""

    def __init__(self, seed: bytes, service: str) -> None:
        self._key = _ed25519(seed)
        self._service = service

    def issue(self, audience: str) -> str:
        """Return a token that opens the internal routes of `audience` for a minute."""
        now = int(time.time())
        claims = {"iss": self._service, "aud": audience, "iat": now, "exp": now + 60}
        return jwt.encode({"alg": "EdDSA", "typ": "service+jwt"}, claims, self._key, algorithms=_ALGORITHMS)

    def check(self, authorization: str | None) -> str:
        """Return the calling service.

        Raises:
            InvalidToken: If the token is not one for this service.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN:
            raise InvalidToken
        try:
            decoded = jwt.decode(token, self._key, algorithms=_ALGORITHMS)
        except (JoseError, ValueError) as error:
            raise InvalidToken from error
        claims = decoded.claims
        fresh = isinstance(claims.get("exp"), int) and time.time() < claims["exp"] <= time.time() + 61
        if decoded.header.get("typ") != "service+jwt" or claims.get("aud") != self._service or not fresh:
            raise InvalidToken
        return str(claims.get("iss"))


def _ed25519(seed: bytes) -> OKPKey:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - 60 ms of imports, only where tokens are made
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above

    pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return OKPKey.import_key(pem)


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the request headers; of a repeated header the last."""
    return dict(scope["headers"])


def request_id(scope: Any) -> str:
    """Return the id under which this request is logged and answered."""
    return str(scope.get("state", {}).get("request_id", ""))


async def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal | None:
    """Return the caller of a Litestar request, verified once."""
    state = connection.scope["state"]
    if "principal" not in state:
        verifier: Verifier = connection.app.state.verifier
        found = await verifier.principal(headers_of(connection.scope))
        service = connection.route_handler.opt.get("service", "platform")
        state["principal"] = within_scopes(found, service, write=connection.scope.get("method") not in _READS)
    known: Principal | None = state["principal"]
    return known


def within_scopes(principal: Principal | None, service: str, *, write: bool) -> Principal | None:
    """Return the caller, if their API key may do this.

    Raises:
        Forbidden: The key lacks the scope.
    """
    if principal is not None and not principal.may(service, write=write):
        raise Forbidden(f"This API key lacks the scope {service}:{'write' if write else 'read'}.")
    return principal


async def anybody(request: ASGIConnection[Any, Any, Any, Any]) -> Principal | None:
    """Dependency `visitor`: the caller, if they said who they are."""
    return await principal_of(request)


async def somebody(request: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """Dependency `principal`: the caller, who must have said who they are."""
    found = await principal_of(request)
    if found is None:
        raise Unauthorized
    return found


async def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: only proven callers."""
    await somebody(connection)


async def admin_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: only staff."""
    if not (await somebody(connection)).is_admin:
        raise Forbidden("This needs the role ADMIN.")


async def admin_or_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: only staff, and their API keys whose scopes name this service."""
    caller = await somebody(connection)
    if not caller.is_admin and not caller.of_staff:
        raise Forbidden("This needs the role ADMIN, or an API key of staff with the scope of this service.")


async def service_only(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of internal routes: a token of another service for this one."""
    tokens: Mapping[str, ServiceTokens] = connection.app.state.service_tokens
    caller = tokens[handler.opt["service"]].check(connection.headers.get("authorization"))
    connection.scope["state"]["calling_service"] = caller
