"""Who may tell us something: the catalogue of signatures that must not hold, and those that must."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from careforall.kit.signatures import GenericScheme, TimedScheme

BODY = b'{"status": "SUCCESS"}'
NOW = 1_790_000_000.0
OLD, NEW, FOREIGN = "old-secret", "whsec_" + base64.b64encode(b"new-secret-of-24-bytes!!").decode(), "foreign"

generic = GenericScheme((OLD, NEW))
timed = TimedScheme(b"simulator-signature", (OLD, NEW))


def mac(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def plain(value: str) -> dict[bytes, bytes]:
    return {b"x-signature": value.encode("latin-1")}


def stamped(value: str) -> dict[bytes, bytes]:
    return {b"simulator-signature": value.encode("latin-1")}


def at(secret: str, seconds: str, body: bytes = BODY) -> str:
    return mac(secret, seconds.encode() + b"." + body)


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_both_live_secrets_hold_while_one_is_rotated(secret: str) -> None:
    assert await generic.holds(plain(f"sha256={mac(secret, BODY)}"), BODY, NOW)
    assert await generic.holds(plain(f"sha256={mac(secret, BODY).upper()}"), BODY, NOW)
    assert await timed.holds(stamped(f"t={NOW:.0f},v1={at(secret, f'{NOW:.0f}')}"), BODY, NOW)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha256=",
        mac(OLD, BODY),
        f"sha1={mac(OLD, BODY)}",
        f"sha256={mac(OLD, BODY)[:-1]}",
        f"sha256={mac(OLD, BODY)}{mac(OLD, BODY)}",
        f"sha256={mac(OLD, BODY)}, sha256={mac(OLD, BODY)}",
        f"sha256={base64.b64encode(bytes.fromhex(mac(OLD, BODY))).decode()}",
        f"sha256={mac(FOREIGN, BODY)}",
        f"sha256={mac('', BODY)}",
        f"sha256={mac(OLD, BODY + b' ')}",
        "sha256=ä" + "0" * 63,
    ],
)
async def test_a_wrong_plain_signature_does_not_hold(value: str) -> None:
    assert not await generic.holds(plain(value), BODY, NOW)


async def test_every_flipped_byte_of_the_body_breaks_the_signature() -> None:
    headers = plain(f"sha256={mac(OLD, BODY)}")
    for index in range(len(BODY)):
        changed = bytearray(BODY)
        changed[index] ^= 1
        assert not await generic.holds(headers, bytes(changed), NOW)


async def test_nothing_holds_without_a_signature_or_without_secrets() -> None:
    assert not await generic.holds({}, BODY, NOW)
    assert not await timed.holds({}, BODY, NOW)
    assert not await GenericScheme(()).holds(plain(f"sha256={mac('', BODY)}"), BODY, NOW)
    assert not await TimedScheme(b"simulator-signature", ()).holds(stamped(f"t={NOW:.0f},v1={at('', f'{NOW:.0f}')}"), BODY, NOW)


@pytest.mark.parametrize("skew", [0, 300, -300, 301, -301, 86_400])
async def test_a_signed_time_may_be_five_minutes_off(skew: int) -> None:
    seconds, near = f"{NOW + skew:.0f}", abs(skew) <= 300
    assert await timed.holds(stamped(f"t={seconds},v1={at(OLD, seconds)}"), BODY, NOW) is near
    assert await generic.holds(standard(at_seconds=seconds), BODY, NOW) is near


@pytest.mark.parametrize("seconds", ["", "-1790000000", "1790000000000", "1.79e9", "soon", "\uff11\uff17", "1" * 40])
async def test_a_strange_time_does_not_hold(seconds: str) -> None:
    raw = seconds.encode()
    signed = mac(OLD, raw + b"." + BODY)
    assert not await timed.holds({b"simulator-signature": b"t=%b,v1=%b" % (raw, signed.encode())}, BODY, NOW)


async def test_one_right_signature_among_several_is_enough() -> None:
    seconds = f"{NOW:.0f}"
    right, wrong = at(NEW, seconds), at(FOREIGN, seconds)
    assert await timed.holds(stamped(f"t={seconds},v1={wrong},v1={right},v0={wrong}"), BODY, NOW)
    assert not await timed.holds(stamped(f"t={seconds},v0={right}"), BODY, NOW)
    assert not await timed.holds(stamped(f"t={seconds},t={seconds},v1={right}"), BODY, NOW)
    assert not await timed.holds(stamped("v1=" + right), BODY, NOW)
    assert not await timed.holds(stamped(f"t={seconds},v1={right}," + "v1=0," * 1000), BODY, NOW)


def standard(*, identifier: str = "msg_1", at_seconds: str = f"{NOW:.0f}", key: bytes | None = None) -> dict[bytes, bytes]:
    secret = base64.b64decode(NEW.removeprefix("whsec_")) if key is None else key
    signed = f"{identifier}.{at_seconds}.".encode() + BODY
    signature = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
    return {
        b"webhook-id": identifier.encode(),
        b"webhook-timestamp": at_seconds.encode(),
        b"webhook-signature": b"v1," + signature,
    }


async def test_standard_webhooks_hold_with_the_decoded_secret() -> None:
    assert await generic.holds(standard(), BODY, NOW)
    several = standard() | {b"webhook-signature": b"v1,AAAA v1a,xyz " + standard()[b"webhook-signature"]}
    assert await generic.holds(several, BODY, NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {b"webhook-id": b""},
        {b"webhook-id": b"msg_2"},
        {b"webhook-timestamp": b""},
        {b"webhook-signature": b""},
        {b"webhook-signature": b"v1,not-base64!"},
        {b"webhook-signature": b"v1,"},
        {b"webhook-signature": b"v2," + standard()[b"webhook-signature"][3:]},
        {b"webhook-signature": b"v1a," + standard()[b"webhook-signature"][3:]},
        standard(key=b"foreign-secret-of-24-byte"),
    ],
)
async def test_broken_standard_webhooks_do_not_hold(changed: dict[bytes, bytes]) -> None:
    assert not await generic.holds(standard() | changed, BODY, NOW)


async def test_a_wrong_plain_signature_is_not_saved_by_a_right_standard_one() -> None:
    assert not await generic.holds(standard() | plain("sha256=00"), BODY, NOW)
