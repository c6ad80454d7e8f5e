"""Access tokens and the keys that sign them: rotated on a timer, announced before use, kept until their last token has ended.

Used by sign-in and refresh, by the JWKS route and query, and by the rotation job. A room of its own because it keeps the
opened key in memory for some seconds, so that a token costs no query.
"""

import os
import time
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwt
from joserfc.jwk import OKPKey

from careforall.accounts import repository_keys as repository
from careforall.accounts.domain import SigningKey, User, published_keys, rotation_due, signing_key
from careforall.accounts.settings import AccountsSettings
from careforall.kit import secrets
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Unavailable
from careforall.kit.http.identity import AUDIENCE, ISSUER, Ended
from careforall.kit.ids import id_at, new_id

_ALGORITHM = "EdDSA"
_NONCE = 12
_REMEMBER_SECONDS = 15.0
_MARGIN = timedelta(minutes=2)
"""Beyond a token's life: clocks that differ, and processes that learn of a new key late."""


class Signing:
    """Issues access tokens and publishes the keys they are verified with."""

    def __init__(self, database: Database, settings: AccountsSettings) -> None:
        self._database = database
        self._seal = AESGCM(secrets.derive(settings.secret_key, "signing keys"))
        self._seconds = settings.access_token_seconds
        self._every = timedelta(days=settings.signing_key_days)
        self._notice = timedelta(seconds=settings.signing_key_notice_seconds)
        self._opened: tuple[str, OKPKey] | None = None
        self._opened_at = 0.0

    async def token(self, user: User) -> str:
        """Return an access token that speaks for a user."""
        kid, key = await self._key()
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user.id),
            "iat": now,
            "exp": int(now) + self._seconds,
            "email": user.email,
            "role": user.role,
            "email_verified": user.email_verified,
        }
        return jwt.encode({"alg": _ALGORITHM, "typ": "at+jwt", "kid": kid}, claims, key, algorithms=[_ALGORITHM])

    async def jwks(self) -> bytes:
        """Return the JWKS document with every key a living token may be signed with, and the next one."""
        async with self._database.connection() as connection:
            keys, now = await repository.signing_keys(connection)
        if not keys:
            keys, now = await self.rotate()
        shown = published_keys(keys, now, token_life=self._token_life)
        return msgspec.json.encode({"keys": [msgspec.Raw(key.public_key.encode()) for key in shown]})

    async def ended(self) -> list[Ended]:
        """Return whose tokens ended before their time, as far back as a token may live."""
        since = id_at(datetime.now(UTC) - self._token_life, 0)
        async with self._database.connection() as connection:
            return await repository.ended(connection, since)

    async def rotate(self) -> tuple[list[SigningKey], datetime]:
        """Make the next key if it is time, forget keys nobody needs, and return what there is with the database's time."""

        async def transaction(connection: Connection) -> tuple[list[SigningKey], datetime]:
            await repository.lock_signing_keys(connection)
            keys, now = await repository.signing_keys(connection)
            if rotation_due(keys, now, every=self._every):
                made = self._make(now, signs_from=now + self._notice if keys else now)
                await repository.insert_signing_key(connection, made)
                keys = [*keys, made]
            kept = published_keys(keys, now, token_life=self._token_life)
            await repository.keep_signing_keys(connection, [key.kid for key in kept])
            return kept, now

        return await self._database.run(transaction)

    @property
    def _token_life(self) -> timedelta:
        return timedelta(seconds=self._seconds) + _MARGIN

    async def _key(self) -> tuple[str, OKPKey]:
        if self._opened is None or time.monotonic() - self._opened_at > _REMEMBER_SECONDS:
            self._opened = await self._open()
            self._opened_at = time.monotonic()
        return self._opened

    async def _open(self) -> tuple[str, OKPKey]:
        async with self._database.connection() as connection:
            keys, now = await repository.signing_keys(connection)
        current = signing_key(keys, now)
        if current is None:
            current = signing_key(*await self.rotate())
        if current is None:
            raise Unavailable("No signing key may be used yet.")
        if self._opened is not None and self._opened[0] == current.kid:
            return self._opened
        return current.kid, self._unsealed(current)

    def _make(self, now: datetime, *, signs_from: datetime) -> SigningKey:
        kid = str(new_id())
        pair = OKPKey.generate_key("Ed25519", parameters={"kid": kid, "use": "sig", "alg": _ALGORITHM}, private=True)
        nonce = os.urandom(_NONCE)
        return SigningKey(
            kid=kid,
            public_key=msgspec.json.encode(pair.as_dict(private=False)).decode(),
            sealed_private_key=nonce + self._seal.encrypt(nonce, msgspec.json.encode(pair.as_dict(private=True)), kid.encode()),
            created_at=now,
            signs_from=signs_from,
        )

    def _unsealed(self, key: SigningKey) -> OKPKey:
        nonce, sealed = key.sealed_private_key[:_NONCE], key.sealed_private_key[_NONCE:]
        try:
            opened = self._seal.decrypt(nonce, sealed, key.kid.encode())
        except InvalidTag as error:
            raise Unavailable("The signing key was sealed under another root secret.") from error
        return OKPKey.import_key(msgspec.json.decode(opened))
