"""Access tokens: what verifiers refuse, and how signing keys follow each other without anybody noticing."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from careforall.accounts.signing import Signing

AGE_KEYS = """
UPDATE signing_keys SET created_at = created_at - interval '30 days', signs_from = signs_from - interval '30 days'
"""
START_SIGNING = """
UPDATE signing_keys SET created_at = clock_timestamp() - interval '1 hour', signs_from = clock_timestamp() WHERE kid = $1
"""


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def hs256(key: bytes) -> Callable[[bytes], bytes]:
    def sign(message: bytes) -> bytes:
        mac = hmac.HMAC(key, hashes.SHA256())
        mac.update(message)
        return mac.finalize()

    return sign


class Forge:
    """The service's own key in foreign hands: the strongest forger there is, so that only the named flaw is refused."""

    def __init__(self, token: str, private: bytes, public: dict[str, Any]) -> None:
        header, claims, _ = token.split(".")
        self.header: dict[str, Any] = json.loads(unb64(header))
        self.claims: dict[str, Any] = json.loads(unb64(claims))
        self.public = public
        self.sign: Callable[[bytes], bytes] = Ed25519PrivateKey.from_private_bytes(private).sign

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        return compact(self.header | (header or {}), self.claims | claims, self.sign)


@pytest.fixture
async def forge(accounts: Any) -> Forge:
    token = await accounts.join()
    [jwk] = (await accounts.call("GET", "/auth/jwks")).json()["keys"]
    _, key = await accounts.service.signing._key()  # noqa: SLF001 - only a forger needs the private half
    return Forge(token, unb64(key.as_dict(private=True)["d"]), jwk)


def flawed(forge: Forge, flaw: str) -> str:
    other = Ed25519PrivateKey.generate().sign
    public_text, public_raw = forge.public["x"].encode(), unb64(forge.public["x"])
    made: dict[str, Callable[[], str]] = {
        "alg none": lambda: compact(forge.header | {"alg": "none"}, forge.claims, lambda _: b""),
        "alg None": lambda: compact(forge.header | {"alg": "None"}, forge.claims, lambda _: b""),
        "HS256 with the public key": lambda: compact(forge.header | {"alg": "HS256"}, forge.claims, hs256(public_text)),
        "HS256 with the raw public key": lambda: compact(forge.header | {"alg": "HS256"}, forge.claims, hs256(public_raw)),
        "another key": lambda: compact(forge.header, forge.claims, other),
        "unknown kid": lambda: forge.token({"kid": "another"}),
        "own jwk": lambda: compact(forge.header | {"kid": "x", "jwk": forge.public}, forge.claims, forge.sign),
        "jku": lambda: compact(forge.header | {"kid": "x", "jku": "http://127.0.0.1/jwks"}, forge.claims, forge.sign),
        "crit": lambda: forge.token({"crit": ["exp"], "exp": 1}),
        "unknown crit": lambda: forge.token({"crit": ["x"], "x": True}),
        "typ JWT": lambda: forge.token({"typ": "JWT"}),
        "typ service": lambda: forge.token({"typ": "service+jwt"}),
        "wrong aud": lambda: forge.token(aud="somebody-else"),
        "aud list": lambda: forge.token(aud=["careforall-api", "somebody-else"]),
        "wrong iss": lambda: forge.token(iss="somebody-else"),
        "exp as string": lambda: forge.token(exp=str(int(time.time()) + 600)),
        "exp null": lambda: forge.token(exp=None),
        "expired": lambda: forge.token(exp=int(time.time()) - 1),
        "issued tomorrow": lambda: forge.token(iat=time.time() + 86_400),
        "sub no id": lambda: forge.token(sub="admin"),
        "unknown role": lambda: forge.token(role="ROOT"),
        "no signature": lambda: forge.token().rpartition(".")[0] + ".",
        "two parts": lambda: forge.token().rpartition(".")[0],
        "too long": lambda: forge.token(email="x" * 5000),
        "garbage": lambda: "garbage",
    }
    return made[flaw]()


FLAWS = (
    "alg none",
    "alg None",
    "HS256 with the public key",
    "HS256 with the raw public key",
    "another key",
    "unknown kid",
    "own jwk",
    "jku",
    "crit",
    "unknown crit",
    "typ JWT",
    "typ service",
    "wrong aud",
    "aud list",
    "wrong iss",
    "exp as string",
    "exp null",
    "expired",
    "issued tomorrow",
    "sub no id",
    "unknown role",
    "no signature",
    "two parts",
    "too long",
    "garbage",
)


async def test_flawed_tokens_are_refused_and_a_sound_one_is_not(accounts: Any, forge: Forge) -> None:
    assert (await accounts.call("GET", "/users/me", token=forge.token())).status_code == 200

    answers = {flaw: await accounts.call("GET", "/users/me", token=flawed(forge, flaw)) for flaw in FLAWS}

    refused = {flaw: (answer.status_code, answer.json()["code"]) for flaw, answer in answers.items()}
    assert refused == dict.fromkeys(FLAWS, (401, "invalid_token"))


async def test_the_published_key_says_what_it_is_for_and_keeps_its_secret(accounts: Any) -> None:
    answer = await accounts.call("GET", "/auth/jwks")

    [jwk] = answer.json()["keys"]
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert set(jwk) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (jwk["kty"], jwk["crv"], jwk["use"], jwk["alg"]) == ("OKP", "Ed25519", "sig", "EdDSA")
    [row] = await accounts.database.fetch("SELECT kid, sealed_private_key FROM signing_keys")
    _, key = await accounts.service.signing._key()  # noqa: SLF001 - to look for it where it must not be
    private = key.as_dict(private=True)["d"]
    assert row["kid"] == jwk["kid"]
    assert unb64(private) not in row["sealed_private_key"]
    assert private.encode() not in row["sealed_private_key"]


async def kids(accounts: Any) -> list[str]:
    return [key["kid"] for key in (await accounts.call("GET", "/auth/jwks")).json()["keys"]]


async def test_keys_rotate_with_overlap(accounts: Any) -> None:
    old_token = await accounts.join()
    [old] = await kids(accounts)
    signing = accounts.service.signing

    await accounts.execute(AGE_KEYS)
    await signing.rotate()
    await signing.rotate()
    announced = await kids(accounts)
    fresh = Signing(accounts.database, accounts.settings)
    [new] = [kid for kid in announced if kid != old]
    assert announced == [old, new]
    assert (await fresh._key())[0] == old  # noqa: SLF001 - announced, but it does not sign yet

    await accounts.execute(START_SIGNING, new)
    fresh = Signing(accounts.database, accounts.settings)
    assert (await fresh._key())[0] == new  # noqa: SLF001 - its time has come
    await signing.rotate()
    assert await kids(accounts) == [old, new]
    assert (await accounts.call("GET", "/users/me", token=old_token)).status_code == 200

    await accounts.execute("UPDATE signing_keys SET signs_from = clock_timestamp() - interval '13 minutes' WHERE kid = $1", new)
    await signing.rotate()
    assert await kids(accounts) == [new]


async def test_a_token_of_a_key_the_verifier_has_not_seen_is_accepted_after_asking(accounts: Any) -> None:
    token = await accounts.join()
    assert (await accounts.call("GET", "/users/me", token=token)).status_code == 200
    await accounts.execute("DELETE FROM signing_keys")
    await accounts.service.signing.rotate()
    fresh = Signing(accounts.database, accounts.settings)
    user = await accounts.service.people.me((await accounts.verifier.token(token)).user_id)
    accounts.verifier._keys_at = time.monotonic() - 2  # noqa: SLF001 - the verifier asks at most once a second

    answer = await accounts.call("GET", "/users/me", token=await fresh.token(user))

    assert answer.status_code == 200


async def test_two_processes_make_one_first_key(accounts: Any) -> None:
    import asyncio  # noqa: PLC0415 - only this test races

    await accounts.execute("DELETE FROM signing_keys")
    processes = [Signing(accounts.database, accounts.settings) for _ in range(4)]

    await asyncio.gather(*(process.rotate() for process in processes))

    assert len({(await process._key())[0] for process in processes}) == 1  # noqa: SLF001 - which key signs
    assert len(await kids(accounts)) == 1
