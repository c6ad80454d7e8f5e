"""Callers with real tokens: an accounts service reduced to its signing key, for tests that run without accounts.

async with signing_in(running) as callers:
    await running.client.get(path, headers=callers.admin())
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import nats
from joserfc import jwt
from joserfc.jwk import OKPKey
from nats.aio.msg import Msg

from careforall.kit import secrets
from careforall.kit.http.identity import AUDIENCE, ISSUER, ServiceTokens
from careforall.kit.ids import new_id
from careforall_testing.platform import Platform

ALGORITHM = "EdDSA"


class Callers:
    """Issues access tokens under a key of its own, and service tokens under the platform's."""

    def __init__(self, secret_key: str = "") -> None:
        self.key = OKPKey.generate_key("Ed25519", {"kid": str(new_id()), "use": "sig", "alg": ALGORITHM})
        self._secret_key = secret_key

    @property
    def jwks(self) -> bytes:
        """The public half, as accounts publishes it."""
        return msgspec.json.encode({"keys": [self.key.as_dict(private=False)]})

    def token(self, *, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        """An access token of a user; `changes` replace claims, None leaves a claim out."""
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(new_id()),
            "iat": now,
            "exp": now + 600,
            "email": "donor1@example.org",
            "role": "USER",
            "email_verified": True,
        } | changes
        head = {"alg": ALGORITHM, "typ": "at+jwt", "kid": self.key.kid} | (header or {})
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(head, present, key or self.key, algorithms=[head["alg"]])

    def user(self, email: str = "donor1@example.org", *, user_id: UUID | None = None, verified: bool = True) -> dict[str, str]:
        """The headers of somebody who is signed in."""
        return self._bearer(sub=str(user_id or new_id()), email=email, email_verified=verified)

    def admin(self) -> dict[str, str]:
        """The headers of staff."""
        return self._bearer(email="staff1@example.org", role="ADMIN")

    def service(self, name: str, audience: str) -> dict[str, str]:
        """The headers of a service that calls another's internal routes."""
        seed = secrets.derive(self._secret_key, "service tokens")
        return {"Authorization": f"Bearer {ServiceTokens(seed, name).issue(audience)}"}

    def _bearer(self, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**claims)}"}


@asynccontextmanager
async def signing_in(running: Platform) -> AsyncIterator[Callers]:
    """Answer a platform's question for signing keys over its broker, while the context is open."""
    callers = Callers(running.environment["CAREFORALL_SECRET_KEY"])
    client = await nats.connect(running.environment["CAREFORALL_NATS_URL"])

    async def answer(message: Msg) -> None:
        await message.respond(callers.jwks)

    await client.subscribe(f"query.accounts.jwks.{running.instance}", cb=answer)
    await client.flush()
    try:
        yield callers
    finally:
        await client.close()
