"""Who calls: every way to forge, reuse or bend an access token or a service token ends in 401."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from careforall.kit.errors import Unavailable
from careforall.kit.http.identity import InvalidToken, Principal, ServiceTokens, Verifier
from careforall.kit.ids import new_id
from careforall_testing.callers import Callers

SEED = b"s" * 32


class Accounts:
    """Where a verifier asks: counts the questions, and may be away."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self.away = False
        self.asked = 0
        self.keys: dict[str, Principal] = {}

    async def jwks(self) -> bytes:
        self.asked += 1
        if self.away:
            raise Unavailable
        return self.callers.jwks

    async def owner(self, key: str) -> Principal | None:
        self.asked += 1
        return self.keys.get(key)


@pytest.fixture
def callers() -> Callers:
    return Callers()


@pytest.fixture
def accounts(callers: Callers) -> Accounts:
    return Accounts(callers)


@pytest.fixture
def verifier(accounts: Accounts) -> Verifier:
    return Verifier(accounts.jwks, accounts.owner)


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unsigned(callers: Callers, header: dict[str, Any]) -> str:
    return f"{encoded(header)}.{callers.token().split('.')[1]}."


def hs256_with_the_public_key(callers: Callers) -> str:
    body = f"{encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': callers.key.kid})}.{callers.token().split('.')[1]}"
    public = callers.key.as_pem(private=False)
    return f"{body}.{encoded(hmac.digest(public, body.encode(), hashlib.sha256))}"


def with_a_key_of_its_own(callers: Callers, **header: Any) -> str:
    stranger = OKPKey.generate_key("Ed25519", {"kid": callers.key.kid or ""})
    return callers.token(key=stranger, header=header)


def tampered(callers: Callers) -> str:
    head, payload, signature = callers.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{head}.{encoded(claims | {'role': 'ADMIN'})}.{signature}"


FORGERIES: dict[str, Callable[[Callers], str]] = {
    "none": lambda callers: unsigned(callers, {"alg": "none", "typ": "at+jwt"}),
    "no_algorithm": lambda callers: unsigned(callers, {"typ": "at+jwt"}),
    "hs256_with_the_public_key": hs256_with_the_public_key,
    "foreign_key_same_kid": with_a_key_of_its_own,
    "unknown_kid": lambda callers: with_a_key_of_its_own(callers, kid="nobody"),
    "jwk_header": lambda callers: with_a_key_of_its_own(callers, jwk=Callers().key.as_dict(private=False)),
    "jku_header": lambda callers: with_a_key_of_its_own(callers, jku="https://example.org/jwks"),
    "tampered_role": tampered,
    "cut_signature": lambda callers: callers.token()[:-2],
    "wrong_type": lambda callers: callers.token(header={"typ": "JWT"}),
    "service_type": lambda callers: callers.token(header={"typ": "service+jwt"}),
    "wrong_audience": lambda callers: callers.token(aud="somebody-else"),
    "wrong_issuer": lambda callers: callers.token(iss="somebody-else"),
    "audience_list": lambda callers: callers.token(aud=["careforall-api"]),
    "expired": lambda callers: callers.token(exp=time.time() - 1),
    "exp_as_string": lambda callers: callers.token(exp=str(time.time() + 600)),
    "no_exp": lambda callers: callers.token(exp=None),
    "issued_in_the_future": lambda callers: callers.token(iat=time.time() + 3600),
    "no_subject": lambda callers: callers.token(sub=None),
    "subject_is_no_id": lambda callers: callers.token(sub="admin"),
    "unknown_role": lambda callers: callers.token(role="ROOT"),
    "no_mail": lambda callers: callers.token(email=None),
    "verified_as_string": lambda callers: callers.token(email_verified="true"),
    "too_long": lambda callers: callers.token(email="x" * 5000),
    "two_parts": lambda callers: callers.token().rpartition(".")[0],
    "empty_parts": lambda _: "..",
    "no_base64": lambda _: "%%%.%%%.%%%",
    "payload_is_an_array": lambda callers: f"{callers.token().split('.')[0]}.{encoded([1])}.{callers.token().split('.')[2]}",
    "binary": lambda _: "\xff\xfe",
}


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_token_that_does_not_hold_is_a_401_also_the_second_time(verifier: Verifier, callers: Callers, kind: str) -> None:
    token = FORGERIES[kind](callers)
    for _ in range(2):
        with pytest.raises(InvalidToken) as refused:
            await verifier.token(token)
        assert refused.value.status == 401


async def test_a_critical_header_nobody_understands_is_refused(verifier: Verifier, callers: Callers) -> None:
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": callers.key.kid, "crit": ["exp2"], "exp2": 1}
    body = f"{encoded(header)}.{callers.token().split('.')[1]}"
    private = callers.key.private_key
    assert isinstance(private, Ed25519PrivateKey)
    signature = private.sign(body.encode())
    with pytest.raises(InvalidToken):
        await verifier.token(f"{body}.{encoded(signature)}")


async def test_a_good_token_says_who_calls_and_is_verified_once(verifier: Verifier, callers: Callers, accounts: Accounts) -> None:
    user = new_id()
    token = callers.token(sub=str(user), role="ADMIN", email="staff1@example.org")
    for _ in range(3):
        found = await verifier.token(token)
        assert (found.user_id, found.email, found.is_admin, found.email_verified) == (user, "staff1@example.org", True, True)
    assert accounts.asked == 1


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token abc", "bearer"])
async def test_an_authorization_header_of_another_kind_is_a_401(verifier: Verifier, header: str) -> None:
    with pytest.raises(InvalidToken):
        await verifier.principal({b"authorization": header.encode()})


async def test_nobody_is_nobody(verifier: Verifier) -> None:
    assert await verifier.principal({}) is None


async def test_a_remembered_token_ends_when_it_expires(verifier: Verifier, callers: Callers) -> None:
    token = callers.token(exp=time.time() + 0.3)
    await verifier.token(token)
    while time.time() < json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["exp"]:
        await verifier.principal({})
    for _ in range(2):
        with pytest.raises(InvalidToken, match="sign in again"):
            await verifier.token(token)


async def test_rule_21_a_suspension_refuses_every_token_issued_before_and_none_issued_after(
    verifier: Verifier, callers: Callers
) -> None:
    user, other = new_id(), new_id()
    old, bystander = callers.token(sub=str(user), iat=time.time() - 5), callers.token(sub=str(other), iat=time.time() - 5)
    await verifier.token(old)
    verifier.revoke(user)
    for token in (old, callers.token(sub=str(user), iat=time.time() - 5, email="donor2@example.org")):
        with pytest.raises(InvalidToken):
            await verifier.token(token)
    assert (await verifier.token(bystander)).user_id == other
    assert (await verifier.token(callers.token(sub=str(user), iat=time.time() + 1))).user_id == user


async def test_a_new_signing_key_is_fetched_when_a_token_asks_for_it(
    verifier: Verifier, accounts: Accounts, callers: Callers
) -> None:
    await verifier.token(callers.token())
    verifier._keys_at -= 2  # noqa: SLF001 - lets the second pass that bounds how often keys are asked for
    accounts.callers = Callers()
    fresh = accounts.callers.token()
    assert (await verifier.token(fresh)).role == "USER"
    assert accounts.asked == 2


async def test_a_flood_of_forged_tokens_asks_for_keys_at_most_once_a_second(
    verifier: Verifier, accounts: Accounts, callers: Callers
) -> None:
    for _ in range(50):
        with pytest.raises(InvalidToken):
            await verifier.token(with_a_key_of_its_own(callers))
    assert accounts.asked <= 2


async def test_accounts_away_is_a_503_before_the_first_keys_and_no_matter_afterwards(
    verifier: Verifier, accounts: Accounts, callers: Callers
) -> None:
    accounts.away = True
    with pytest.raises(Unavailable):
        await verifier.token(callers.token())
    accounts.away = False
    await verifier.token(callers.token())
    accounts.away = True
    verifier._keys_at -= 3600  # noqa: SLF001 - the keys are an hour old
    await verifier.token(callers.token(email="donor2@example.org"))


async def test_an_api_key_is_asked_for_once_and_an_unknown_one_is_a_401(verifier: Verifier, accounts: Accounts) -> None:
    accounts.keys["good"] = Principal(user_id=new_id(), email="staff1@example.org", role="ADMIN", scopes=("donations:read",))
    for _ in range(3):
        found = await verifier.principal({b"x-api-key": b"good"})
        assert found == accounts.keys["good"]
    assert accounts.asked == 1
    with pytest.raises(InvalidToken):
        await verifier.principal({b"x-api-key": b"bad"})


async def test_rule_21_a_suspension_forgets_the_user_s_api_keys(verifier: Verifier, accounts: Accounts) -> None:
    accounts.keys["good"] = Principal(user_id=new_id(), email="staff1@example.org", role="ADMIN")
    await verifier.principal({b"x-api-key": b"good"})
    verifier.revoke(accounts.keys.pop("good").user_id)
    with pytest.raises(InvalidToken):
        await verifier.principal({b"x-api-key": b"good"})


def test_rule_21_a_service_token_opens_the_routes_of_its_audience_only() -> None:
    donations, payments = ServiceTokens(SEED, "donations"), ServiceTokens(SEED, "payments")
    token = payments.issue("donations")
    assert donations.check(f"Bearer {token}") == "payments"
    with pytest.raises(InvalidToken):
        payments.check(f"Bearer {token}")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Bearer a.b.c", f"Bearer {'x' * 5000}"])
def test_rule_21_what_is_no_service_token_opens_nothing(header: str | None) -> None:
    with pytest.raises(InvalidToken):
        ServiceTokens(SEED, "donations").check(header)


def test_rule_21_neither_users_nor_other_installations_can_pose_as_a_service() -> None:
    donations = ServiceTokens(SEED, "donations")
    for token in (ServiceTokens(b"t" * 32, "payments").issue("donations"), Callers().token(aud="donations")):
        with pytest.raises(InvalidToken):
            donations.check(f"Bearer {token}")
