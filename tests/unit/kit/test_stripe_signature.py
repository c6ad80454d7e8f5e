"""Who may tell us of money in Stripe's name."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from careforall.kit.stripe.signature import StripeScheme

NOW = 1_790_000_000.0
OLD, NEW, FOREIGN = "whsec_old", "whsec_new", "whsec_foreign"
EVENT = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1", "amount": 2500}}}
BODY = json.dumps(EVENT, indent=2).encode()

scheme = StripeScheme((OLD, NEW))


def mac(secret: str, stamp: str, body: bytes = BODY) -> str:
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def header(value: str) -> dict[bytes, bytes]:
    return {b"stripe-signature": value.encode("latin-1")}


def signed(secret: str, *, at: float = NOW, body: bytes = BODY) -> dict[bytes, bytes]:
    return header(f"t={at:.0f},v1={mac(secret, f'{at:.0f}', body)},v0={'0' * 64}")


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_both_secrets_hold_while_one_is_rolled(secret: str) -> None:
    assert await scheme.holds(signed(secret), BODY, NOW)


async def test_stripe_signs_with_both_secrets_while_one_is_rolled() -> None:
    stamp = f"{NOW:.0f}"
    both = header(f"t={stamp},v1={mac(FOREIGN, stamp)},v1={mac(NEW, stamp)}")
    assert await scheme.holds(both, BODY, NOW)
    assert await StripeScheme((NEW,)).holds(both, BODY, NOW)


@pytest.mark.parametrize("skew", [0, 300, -300, 301, -301, 86_400])
async def test_a_signed_time_may_be_five_minutes_off(skew: int) -> None:
    assert await scheme.holds(signed(NEW, at=NOW + skew), BODY, NOW) is (abs(skew) <= 300)


async def test_every_flipped_byte_of_the_body_breaks_the_signature() -> None:
    headers = signed(NEW)
    for index in range(len(BODY)):
        changed = bytearray(BODY)
        changed[index] ^= 1
        assert not await scheme.holds(headers, bytes(changed), NOW)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
async def test_the_same_event_written_anew_is_another_body(separators: tuple[str, str]) -> None:
    assert not await scheme.holds(signed(NEW), json.dumps(EVENT, separators=separators).encode(), NOW)
    assert not await scheme.holds(signed(NEW), json.dumps(EVENT, indent=2, sort_keys=True).encode(), NOW)


@pytest.mark.parametrize("secrets", [(), ("",), (" ",), (FOREIGN,)])
async def test_without_the_right_secret_nothing_holds(secrets: tuple[str, ...]) -> None:
    own = StripeScheme(secrets)
    assert not await own.holds(signed(NEW), BODY, NOW)
    assert not await own.holds(signed(""), BODY, NOW)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=",
        f"t={NOW:.0f}",
        f"v1={mac(NEW, '')}",
        f"t={NOW:.0f},v0={mac(NEW, f'{NOW:.0f}')}",
        f"t={NOW:.0f},v1=",
        f"t={NOW:.0f},v1={mac(NEW, f'{NOW:.0f}')[:-1]}",
        f"t={NOW:.0f},t={NOW:.0f},v1={mac(NEW, f'{NOW:.0f}')}",
        f"t={NOW:.0f}000,v1={mac(NEW, f'{NOW:.0f}000')}",
        f"t=-{NOW:.0f},v1={mac(NEW, f'-{NOW:.0f}')}",
        f"t={NOW:.0f},v1=ä",
        f"t={NOW:.0f},v1={mac(NEW, f'{NOW:.0f}')}," + "v1=0," * 1000,
        "t,v1",
    ],
)
async def test_a_strange_header_does_not_hold(value: str) -> None:
    assert not await scheme.holds(header(value), BODY, NOW)


async def test_a_body_that_is_no_text_does_not_hold() -> None:
    body = b"\xff\xfe"
    assert not await scheme.holds(signed(NEW, body=body), body, NOW)
    assert not await scheme.holds({}, BODY, NOW)
