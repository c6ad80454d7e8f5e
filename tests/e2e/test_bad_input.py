"""The bad-input catalogue over the running platform: one named test per kind.

Each refusal has its exact status, code and pointer; no row is stored, nothing is a 5xx, no secret reaches a log.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc.jwk import OctKey, OKPKey

from careforall.kit import secrets
from careforall.kit.ids import NIL, new_id
from careforall_testing.callers import Callers
from careforall_testing.journey import PASSWORD, Journey
from careforall_testing.polling import eventually
from careforall_testing.refusals import KEPT, Refusals, refusals
from careforall_testing.signing import GENERIC, JSON, SIMULATOR, sign_generic, sign_simulator, sign_standard

DONATIONS = "/api/v1/donations"
CAMPAIGNS = "/api/v1/campaigns"
PAN = "4111 1111 1111 1111"
CAP = 64 * 1024
NOTHING = str(NIL)
STRANGER = "01900000-0000-7000-8000-000000000031"
MALFORMED = (400, "malformed_json")
INVALID = (422, "invalid_value")
UNSIGNED = (401, "invalid_signature")
TOKENLESS = (401, "invalid_token")

pytestmark = pytest.mark.timeout(180)


class Ground:
    """What every test stands on: an open campaign with one captured gift, and the platform at rest."""

    def __init__(self, refused: Refusals, campaign: str, gift: dict[str, Any]) -> None:
        self.refused = refused
        self.journey = refused.journey
        self.campaign = campaign
        self.gift = gift
        self.secret = self.journey.platform.environment["CAREFORALL_WEBHOOK_SECRETS"]
        self.simulator_secret = self.journey.platform.environment["CAREFORALL_SIMULATOR_SECRETS"]

    def body(self, **changes: Any) -> bytes:
        """A gift as JSON; a change to None leaves the field out."""
        found = self.journey.gift_body(self.campaign, **changes)
        return json.dumps({name: value for name, value in found.items() if value is not None}).encode()

    def amount(self, number: str) -> bytes:
        """A gift whose amount is written without quotes."""
        return self.body(amount=0).replace(b'"amount": 0', f'"amount": {number}'.encode())

    def event(self, **changes: Any) -> bytes:
        """The body of a webhook about the captured gift."""
        told = {"event_id": str(new_id()), "payment_intent_id": self.gift["payment_intent"]["id"], "status": "SUCCESS"}
        return json.dumps(told | changes).encode()

    async def gift_refused(
        self, body: Any, expected: tuple[int, str], pointer: tuple[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Give in a way that must be refused."""
        return await self.refused.refused("POST", DONATIONS, expected, pointer, content=body, headers={**JSON, **(headers or {})})

    async def event_refused(self, body: bytes, headers: dict[str, str], *, path: str = GENERIC) -> None:
        """Deliver a webhook that nobody of ours has signed."""
        await self.refused.refused("POST", path, UNSIGNED, content=body, headers={**JSON, **headers})


@pytest.fixture(scope="module")
async def ground(journey: Journey) -> AsyncIterator[Ground]:
    async with refusals(journey) as refused:
        campaign = await journey.campaign()
        gift = await journey.completed_gift(campaign)
        await refused.at_rest()
        yield Ground(refused, campaign, gift)


# The shape of JSON


@pytest.mark.parametrize("body", [b"", b" ", b"{", b'{"campaign_id": "', b"{}}", b"{'a': 1}", b'{"a": 1,}', b"\x00"], ids=repr)
async def test_truncated_empty_or_broken_json(ground: Ground, body: bytes) -> None:
    await ground.gift_refused(body, MALFORMED)


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"gift"', b"true"], ids=repr)
async def test_json_that_is_no_object(ground: Ground, body: bytes) -> None:
    await ground.gift_refused(body, INVALID, ("", "invalid_value"))


async def test_a_key_given_twice(ground: Ground) -> None:
    await ground.gift_refused(ground.body().removesuffix(b"}") + b', "amount": "1.00"}', MALFORMED)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_nan_and_infinity(ground: Ground, number: str) -> None:
    await ground.gift_refused(ground.amount(number), MALFORMED)


async def test_deep_nesting(ground: Ground) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    await ground.gift_refused(ground.body(extra_data={"deep": 0}).replace(b"0}", deep + b"}"), MALFORMED)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
async def test_another_encoding(ground: Ground, encoding: str) -> None:
    await ground.gift_refused(ground.body().decode().encode(encoding), MALFORMED)


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"\\ud800", b"\xc0\x80", b"\xed\xa0\x80"], ids=repr)
async def test_invalid_utf_8_and_lone_surrogates(ground: Ground, bad: bytes) -> None:
    await ground.gift_refused(ground.body(donor_name="Ada").replace(b"Ada", bad), MALFORMED)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_another_content_type(ground: Ground, kind: str) -> None:
    await ground.gift_refused(ground.body(), (415, "unsupported_media_type"), headers={"Content-Type": kind})


async def test_a_gzip_body(ground: Ground) -> None:
    await ground.gift_refused(gzip.compress(ground.body()), (415, "unsupported_media_type"), headers={"Content-Encoding": "gzip"})


# Size


async def test_one_byte_more_than_the_cap(ground: Ground) -> None:
    document = await ground.gift_refused(ground.body().ljust(CAP + 1), (413, "body_too_large"))
    assert document["limit"] == CAP


async def test_a_body_of_exactly_the_cap_is_read(ground: Ground) -> None:
    await ground.gift_refused(ground.body(amount="0").ljust(CAP), INVALID, ("/amount", "not_positive"))


async def test_a_chunked_body_above_the_cap(ground: Ground) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield ground.body()
        for _ in range(9):
            yield b" " * 8192

    await ground.gift_refused(chunks(), (413, "body_too_large"))


async def test_a_webhook_of_two_megabytes(ground: Ground) -> None:
    body = ground.event().ljust(2 * 1024 * 1024)
    await ground.refused.refused(
        "POST", GENERIC, (413, "body_too_large"), content=body, headers=sign_generic(ground.secret, body)
    )


# Money


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "not_positive"),
        ("-0", "not_positive"),
        ("-1", "not_positive"),
        ("1" + "0" * 23, "too_large"),
        ("9223372036854775808", "too_large"),
        ("1.001", "too_many_decimals"),
        ("NaN", "not_a_number"),
    ],
)
async def test_an_amount_that_is_no_gift(ground: Ground, amount: str, code: str) -> None:
    await ground.gift_refused(ground.body(amount=amount), INVALID, ("/amount", code))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("1" + "0" * 30, "too_large"),
        ("1e30", "too_large"),
        ("1e400", "too_large"),
        ("-1", "not_positive"),
        ("0.30000000000000004", "too_many_decimals"),
    ],
)
async def test_a_number_that_is_no_gift(ground: Ground, number: str, code: str) -> None:
    await ground.gift_refused(ground.amount(number), INVALID, ("/amount", code))


@pytest.mark.parametrize("amount", ["ten", "", "1,50", "0x10", True, [], {}], ids=repr)
async def test_an_amount_that_is_no_number(ground: Ground, amount: Any) -> None:
    await ground.gift_refused(ground.body(amount=amount), INVALID, ("/amount", "invalid_value"))


async def test_yen_with_cents(ground: Ground) -> None:
    yen = {"title": "Wells", "goal": "1000.50", "currency": "JPY"}
    await ground.refused.refused(
        "POST", CAMPAIGNS, INVALID, ("/goal", "too_many_decimals"), json=yen, headers=ground.journey.admin
    )


@pytest.mark.parametrize(
    ("currency", "code"),
    [("XXQ", "unknown_currency"), ("eur", "unknown_currency"), ("USD", "foreign_currency"), ("EURO", "invalid_value")],
)
async def test_an_unknown_or_foreign_currency(ground: Ground, currency: str, code: str) -> None:
    await ground.gift_refused(ground.body(currency=currency), INVALID, ("/currency", code))


# Ids and fields


@pytest.mark.parametrize("campaign", [NOTHING, STRANGER], ids=["nil", "foreign"])
async def test_a_nil_or_foreign_campaign(ground: Ground, campaign: str) -> None:
    await ground.gift_refused(ground.body(campaign_id=campaign), (404, "campaign_not_found"))


@pytest.mark.parametrize("campaign", ["", "1", "x" * 36, "../x", 7, []], ids=repr)
async def test_a_malformed_campaign(ground: Ground, campaign: Any) -> None:
    await ground.gift_refused(ground.body(campaign_id=campaign), INVALID, ("/campaign_id", "invalid_value"))


@pytest.mark.parametrize("identifier", [NOTHING, STRANGER, "1", "x" * 300, "%00", "..%2f..%2fetc"])
@pytest.mark.parametrize("path", [DONATIONS, CAMPAIGNS, "/api/v1/payments", "/api/v1/users"])
async def test_a_path_that_names_nothing(ground: Ground, path: str, identifier: str) -> None:
    answer = await ground.journey.client.get(f"{path}/{identifier}", headers=ground.journey.admin)
    assert answer.status_code in {404, 405}, answer.text


@pytest.mark.parametrize("field", ["status", "id", "is_admin", "user_id", "refunded_amount", "__proto__"])
async def test_an_unknown_field(ground: Ground, field: str) -> None:
    await ground.gift_refused(ground.body(**{field: "x"}), INVALID, (f"/{field}", "unknown_field"))


@pytest.mark.parametrize("field", ["campaign_id", "donor_email", "amount"])
async def test_a_missing_field(ground: Ground, field: str) -> None:
    await ground.gift_refused(ground.body(**{field: None}), INVALID, (f"/{field}", "required_field"))


@pytest.mark.parametrize("field", ["donor_name", "message"])
@pytest.mark.parametrize("text", ["a\x00b", "\u202eada", "\x1b[31m"], ids=repr)
async def test_nul_and_other_characters_nobody_can_see(ground: Ground, field: str, text: str) -> None:
    await ground.gift_refused(ground.body(**{field: text}), INVALID, (f"/{field}", "invalid_character"))


async def test_nul_in_extra_data(ground: Ground) -> None:
    await ground.gift_refused(ground.body(extra_data={"a": "\x00"}), INVALID, ("/extra_data", "too_long"))


@pytest.mark.parametrize(
    "mail", ["nobody", "a@b", "a@example.org\r\nBcc: b@example.org", "a\x00b@example.org", "<a@example.org>"]
)
async def test_a_mail_that_is_none(ground: Ground, mail: str) -> None:
    await ground.gift_refused(ground.body(donor_email=mail), INVALID, ("/donor_email", "invalid_email"))


async def test_a_card_number_in_the_message(ground: Ground) -> None:
    await ground.gift_refused(ground.body(message=f"my card is {PAN}"), INVALID, ("/message", "card_number"))


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=1000000000", ("/limit", "invalid_value")),
        ("limit=0", ("/limit", "invalid_value")),
        ("limit=ten", ("/limit", "invalid_value")),
        ("cursor=forged", ("/cursor", "invalid_cursor")),
        ("status=OPEN", ("/status", "invalid_value")),
    ],
)
async def test_a_query_that_makes_no_sense(ground: Ground, query: str, pointer: tuple[str, str]) -> None:
    await ground.refused.refused("GET", f"{CAMPAIGNS}?{query}", INVALID, pointer)


@pytest.mark.parametrize("at", ["2026-02-30T00:00:00Z", "10000-01-01T00:00:00Z", "tomorrow", 7], ids=repr)
async def test_a_date_that_does_not_exist(ground: Ground, at: Any) -> None:
    body = {"title": "Wells", "goal": "10.00", "currency": "EUR", "ends_at": at}
    await ground.refused.refused(
        "POST", CAMPAIGNS, INVALID, ("/ends_at", "invalid_value"), json=body, headers=ground.journey.admin
    )


# State


async def test_a_paused_campaign(ground: Ground) -> None:
    paused = await ground.journey.campaign(status="PAUSED")
    await ground.gift_refused(ground.body(campaign_id=paused), (409, "campaign_not_open"))


async def test_a_version_somebody_else_has_changed(ground: Ground) -> None:
    await ground.refused.refused(
        "PATCH",
        f"{CAMPAIGNS}/{ground.campaign}",
        (409, "version_conflict"),
        json={"title": "Other", "version": 99},
        headers=ground.journey.admin,
    )


# Idempotency-Key


async def test_an_idempotency_key_with_another_body(ground: Ground) -> None:
    key = {"Idempotency-Key": str(new_id())}
    await ground.journey.give(ground.campaign, headers=key)
    await ground.refused.at_rest()
    await ground.gift_refused(ground.body(amount="11.00"), (422, "idempotency_key_reused"), headers=key)


@pytest.mark.parametrize("key", ["", "k" * 256, "k" * 10_000])
async def test_an_empty_or_endless_idempotency_key(ground: Ground, key: str) -> None:
    await ground.gift_refused(ground.body(), INVALID, headers={"Idempotency-Key": key})


async def test_staff_moves_no_money_without_a_key(ground: Ground) -> None:
    path = f"/api/v1/payments/{ground.gift['payment_intent']['id']}/refund"
    await ground.refused.refused(
        "POST", path, (400, "idempotency_key_required"), json={"reason": "asked for"}, headers=ground.journey.admin
    )


@pytest.mark.parametrize(
    ("amount", "code"),
    [("10.01", "refund_exceeds_captured"), ("0", "not_positive"), ("-1", "not_positive"), ("1e30", "too_large")],
)
async def test_a_refund_that_is_none(ground: Ground, amount: str, code: str) -> None:
    path = f"/api/v1/payments/{ground.gift['payment_intent']['id']}/refund"
    headers = {**ground.journey.admin, "Idempotency-Key": str(new_id())}
    expected = (422, "refund_exceeds_captured" if code == "refund_exceeds_captured" else "invalid_value")
    body = {"reason": "asked for", "amount": amount}
    await ground.refused.refused("POST", path, expected, ("/amount", code), json=body, headers=headers)


# Callers


async def _real_key(ground: Ground) -> OKPKey:
    """The platform's own signing key, opened with its root secret."""
    environment = ground.journey.platform.environment
    async with ground.journey.platform.database("accounts") as accounts:
        row = await accounts.fetchrow("SELECT kid, sealed_private_key FROM signing_keys ORDER BY signs_from LIMIT 1")
    assert row is not None
    seal = AESGCM(secrets.derive(environment["CAREFORALL_SECRET_KEY"], "signing keys"))
    sealed = row["sealed_private_key"]
    return OKPKey.import_key(json.loads(seal.decrypt(sealed[:12], sealed[12:], row["kid"].encode())))


@pytest.mark.parametrize(
    "authorization", ["Bearer nonsense", "Bearer", "Bearer a.b.c", "Basic dXNlcjpwYXNz", "Bearer " + "x" * 5000]
)
async def test_a_token_that_is_none(ground: Ground, authorization: str) -> None:
    await ground.gift_refused(ground.body(), TOKENLESS, headers={"Authorization": authorization})


async def test_a_token_of_a_foreign_key(ground: Ground) -> None:
    real = await _real_key(ground)
    for header in ({}, {"kid": real.kid}):
        token = Callers().token(header=header, role="ADMIN")
        await ground.gift_refused(ground.body(), TOKENLESS, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": 1_700_000_000.5},
        {"exp": None},
        {"exp": "tomorrow"},
        {"aud": "somebody-else"},
        {"iss": "somebody-else"},
        {"sub": "nobody"},
        {"role": "OWNER"},
    ],
    ids=repr,
)
async def test_an_expired_or_foreign_token_of_our_own_key(ground: Ground, claims: dict[str, Any]) -> None:
    real = await _real_key(ground)
    token = Callers().token(key=real, header={"kid": real.kid}, **claims)
    await ground.gift_refused(ground.body(), TOKENLESS, headers={"Authorization": f"Bearer {token}"})


async def test_a_token_of_our_own_key_with_another_algorithm(ground: Ground) -> None:
    real = await _real_key(ground)
    good = Callers().token(key=real, header={"kid": real.kid})
    unsigned = good.rpartition(".")[0] + "."
    public = OctKey.import_key(json.dumps(real.as_dict(private=False)))
    symmetric = Callers().token(key=public, header={"kid": real.kid, "alg": "HS256"})
    for token in (unsigned, symmetric, good[:-4] + "AAAA"):
        await ground.gift_refused(ground.body(), TOKENLESS, headers={"Authorization": f"Bearer {token}"})


async def test_the_same_claims_without_the_flaw_are_let_in(ground: Ground) -> None:
    real = await _real_key(ground)
    token = Callers().token(key=real, header={"kid": real.kid})
    await ground.gift_refused(
        ground.body(amount="0"), INVALID, ("/amount", "not_positive"), headers={"Authorization": f"Bearer {token}"}
    )


async def test_a_reused_refresh_token_ends_the_session(ground: Ground) -> None:
    journey = ground.journey
    await journey.sign_up("donor31@example.org")
    login = await journey.client.post("/api/v1/auth/login", json={"email": "donor31@example.org", "password": PASSWORD})
    first = login.json()["refresh_token"]
    second = (await journey.client.post("/api/v1/auth/refresh", json={"refresh_token": first})).json()["refresh_token"]
    async with journey.platform.database("accounts") as accounts:  # the grace for lost answers is over
        await accounts.execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 hour' WHERE used_at IS NOT NULL")
    await ground.refused.at_rest()
    for stolen in (first, second):
        await ground.refused.refused(
            "POST", "/api/v1/auth/refresh", (401, "invalid_refresh_token"), json={"refresh_token": stolen}
        )


@pytest.mark.parametrize("mail", ["donor31@example.org", "nobody31@example.org"])
async def test_a_wrong_password_and_an_unknown_mail_are_told_alike(ground: Ground, mail: str) -> None:
    body = {"email": mail, "password": "not the password"}
    document = await ground.refused.refused("POST", "/api/v1/auth/login", (401, "invalid_credentials"), json=body)
    assert mail not in json.dumps(document)


@pytest.mark.parametrize("password", ["x", "1234567", "p" * 129])
async def test_a_password_of_the_wrong_length(ground: Ground, password: str) -> None:
    body = {"email": "donor32@example.org", "password": password}
    document = await ground.refused.refused("POST", "/api/v1/auth/signup", INVALID, json=body)
    assert document["errors"][0]["pointer"] == "/password"
    assert password not in document["detail"] or len(password) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CAMPAIGNS),
        ("GET", f"{DONATIONS}/export"),
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/admin/outbox/dead-letter"),
        ("POST", "/api/v1/admin/outbox/process"),
    ],
)
async def test_admin_routes_are_closed(ground: Ground, method: str, path: str) -> None:
    request: dict[str, Any] = {"json": {"title": "Wells", "goal": "10.00", "currency": "EUR"}} if method == "POST" else {}
    await ground.refused.refused(method, path, (401, "unauthorized"), **request)
    stranger = await ground.journey.sign_up("donor33@example.org")
    await ground.refused.at_rest()
    await ground.refused.refused(method, path, (403, "forbidden"), headers=stranger, **request)


async def test_a_spoofed_forwarded_address_is_not_believed(ground: Ground) -> None:
    marker = "203.0.113.77"
    await ground.gift_refused(ground.body(amount="0"), INVALID, headers={"X-Forwarded-For": marker, "X-Request-Id": "spoofed-31"})

    def logged() -> str | None:
        return next((line for line in ground.refused.logs().splitlines() if "spoofed-31" in line), None)

    line = await eventually(logged, what="the request in the log")
    assert json.loads(line)["client"] == "127.0.0.1"
    assert marker not in ground.refused.logs()


# Webhooks


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "sha256=00", "md5=00", "sha256=" + "0" * 64, "sha256=é"],
)
async def test_a_wrong_signature(ground: Ground, signature: str) -> None:
    headers = {b"X-Signature": signature.encode(), b"Content-Type": b"application/json"}
    await ground.refused.refused("POST", GENERIC, UNSIGNED, content=ground.event(), headers=headers)


async def test_no_signature(ground: Ground) -> None:
    await ground.event_refused(ground.event(), {})


async def test_a_signature_of_another_secret(ground: Ground) -> None:
    body = ground.event()
    for secret in ("another secret", ground.simulator_secret):
        await ground.event_refused(body, sign_generic(secret, body))


async def test_a_signature_of_another_body(ground: Ground) -> None:
    body = ground.event()
    headers = sign_generic(ground.secret, body)
    for changed in (body + b" ", body.replace(b"SUCCESS", b"FAILED"), json.dumps(json.loads(body), indent=1).encode()):
        await ground.event_refused(changed, headers)


@pytest.mark.parametrize("offset", [-301, 301, -3600, 3600 * 24])
async def test_a_timestamp_more_than_five_minutes_off(ground: Ground, offset: int) -> None:
    body, at = ground.event(), time.time() + offset + (1 if offset > 0 else -1)
    await ground.event_refused(body, sign_standard(ground.secret, body, event="evt-31", at=at))
    await ground.event_refused(body, sign_simulator(ground.simulator_secret, body, at=at), path=SIMULATOR)


@pytest.mark.parametrize("at", ["-1", "", "now", "1e9", "1795261171160"])
async def test_a_timestamp_that_is_none(ground: Ground, at: str) -> None:
    body = ground.event()
    await ground.event_refused(body, sign_standard(ground.secret, body, event="evt-32", at=at))
    await ground.event_refused(body, sign_simulator(ground.simulator_secret, body, at=at), path=SIMULATOR)


async def test_a_replayed_webhook_gets_the_bytes_of_the_first_answer(ground: Ground) -> None:
    body = ground.event()
    headers = sign_generic(ground.secret, body)
    before = await ground.refused.stored()
    first = await ground.journey.client.post(GENERIC, content=body, headers=headers)
    again = [await ground.journey.client.post(GENERIC, content=body, headers=headers) for _ in range(3)]
    assert (first.status_code, first.json()["reason"]) == (200, "duplicate_transition")
    assert {(answer.status_code, answer.content) for answer in again} == {(200, first.content)}
    assert {answer.headers["idempotent-replayed"] for answer in again} == {"true"}
    after = await ground.refused.stored()
    assert after["payments.webhook_events"] == before["payments.webhook_events"] + 1
    ground.refused.unchanged(before, after, keeps=KEPT)


async def test_an_event_id_with_another_body(ground: Ground) -> None:
    first = ground.event(event_id="evt-33")
    assert (await ground.journey.client.post(GENERIC, content=first, headers=sign_generic(ground.secret, first))).is_success
    other = ground.event(event_id="evt-33", status="FAILED")
    await ground.refused.refused(
        "POST", GENERIC, (422, "idempotency_key_reused"), keeps=KEPT, content=other, headers=sign_generic(ground.secret, other)
    )


@pytest.mark.parametrize("body", [b"", b"{", b'{"status": "SUCCESS"', b"\xff"], ids=repr)
async def test_a_signed_webhook_that_is_no_json(ground: Ground, body: bytes) -> None:
    headers = sign_generic(ground.secret, body)
    await ground.refused.refused("POST", GENERIC, MALFORMED, keeps=KEPT, content=body, headers=headers)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"status": "PAID"}, ("/status", "invalid_value")),
        ({"status": 7}, ("/status", "invalid_value")),
        ({"payment_intent_id": None}, ("/payment_intent_id", "invalid_value")),
        ({"amount": "ten"}, ("/amount", "invalid_value")),
    ],
    ids=repr,
)
async def test_a_signed_webhook_that_makes_no_sense(ground: Ground, changes: dict[str, Any], pointer: tuple[str, str]) -> None:
    body = ground.event(**changes)
    await ground.refused.refused(
        "POST", GENERIC, INVALID, pointer, keeps=KEPT, content=body, headers=sign_generic(ground.secret, body)
    )


@pytest.mark.parametrize("payment", [STRANGER, NOTHING, "pi_unknown", "x" * 5000])
async def test_a_webhook_about_an_unknown_payment(ground: Ground, payment: str) -> None:
    body = ground.event(payment_intent_id=payment)
    await ground.refused.refused(
        "POST", GENERIC, (404, "payment_not_found"), keeps=KEPT, content=body, headers=sign_generic(ground.secret, body)
    )


@pytest.mark.parametrize("status", ["FAILED", "AUTHORIZED", "INITIATED"])
async def test_a_step_the_payment_cannot_take_moves_nothing(ground: Ground, status: str) -> None:
    body = ground.event(status=status, timestamp="2999-01-01T00:00:00Z")
    before = await ground.refused.stored()
    answer = await ground.journey.client.post(GENERIC, content=body, headers=sign_generic(ground.secret, body))
    assert (answer.status_code, answer.json()["status"]) == (400, "rejected"), answer.text
    assert answer.json()["reason"] == "invalid_transition"
    ground.refused.unchanged(before, await ground.refused.stored(), keeps=KEPT)
    assert (await ground.journey.donation(ground.gift))["status"] == "COMPLETED"


# Afterwards


async def test_nothing_was_a_5xx_and_no_secret_or_card_number_is_in_a_log(ground: Ground) -> None:
    await ground.gift_refused(ground.body(message=f"my card is {PAN}"), INVALID, ("/message", "card_number"))
    body = ground.event()
    await ground.event_refused(body, {"X-Signature": "sha256=" + "1" * 64})
    metrics = (await ground.journey.client.get("/metrics")).text
    requests = [line for line in metrics.splitlines() if line.startswith("http_requests_total")]
    counted = [line for line in requests if "/readyz" not in line]  # which says 503 until the process is ready
    assert counted
    assert not [line for line in counted if 'status="5' in line]
    logs = ground.refused.logs()
    unwanted = [*ground.refused.secrets(), PASSWORD, PAN, PAN.replace(" ", ""), "example.org"]
    assert not [text for text in unwanted if text in logs]
