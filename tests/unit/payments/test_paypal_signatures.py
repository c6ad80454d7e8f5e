"""Who may speak as PayPal: what must not hold, and that no foreign host is ever called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from careforall.payments.gateways.paypal_certificates import Certificates, roots
from careforall.payments.gateways.paypal_signatures import PayPalScheme
from careforall_testing.certificates import Authority
from careforall_testing.loopback import Answered
from careforall_testing.paypal_signing import PATH, CertificateHost, Signer

BODY = b'{"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED"}'
OLD, NEW = "8PT597110X687430L", "5GP028458E2496506"
AUTHORITY = Authority()
SIGNER = Signer(AUTHORITY)


@pytest.fixture
async def host() -> AsyncIterator[CertificateHost]:
    async with CertificateHost(SIGNER.chain).serving(AUTHORITY) as serving:
        yield serving


def scheme(host: CertificateHost, *, live: bool = False) -> PayPalScheme:
    certificates = Certificates([AUTHORITY.root.certificate], live=live, loopback=host.address, seconds=2)
    return PayPalScheme((OLD, NEW), certificates)


def headers(host: CertificateHost, signer: Signer = SIGNER, **changed: str) -> dict[bytes, bytes]:
    wanted = {"webhook_id": NEW, "url": f"{host.url}{PATH}", "at": at(0), **changed}
    return {name.lower().encode(): value.encode() for name, value in signer.sign(BODY, **wanted).items()}


def at(skew: float) -> str:
    return datetime.fromtimestamp(NOW + skew, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


NOW = float(int(time.time()))


@pytest.mark.parametrize("webhook_id", [OLD, NEW])
async def test_both_live_webhooks_hold_while_one_is_replaced(host: CertificateHost, webhook_id: str) -> None:
    assert await scheme(host).holds(headers(host, webhook_id=webhook_id), BODY, NOW)


async def test_a_certificate_is_fetched_once_by_all_who_need_it_and_kept_until_it_expires(host: CertificateHost) -> None:
    found = scheme(host)
    assert all(await asyncio.gather(*(found.holds(headers(host), BODY, NOW) for _ in range(8))))
    assert host.asked == [PATH]
    later = SIGNER.leaf.certificate.not_valid_after_utc.timestamp() + 10
    assert not await found.holds(headers(host, at=at(later - NOW)), BODY, later)
    assert host.asked == [PATH, PATH]


async def test_every_changed_byte_of_the_body_breaks_the_signature(host: CertificateHost) -> None:
    found, sent = scheme(host), headers(host)
    for index in range(len(BODY)):
        changed = bytearray(BODY)
        changed[index] ^= 1
        assert not await found.holds(sent, bytes(changed), NOW)
    assert not await found.holds(sent, BODY + b" ", NOW)


@pytest.mark.parametrize("skew", [0, 300, -300, 301, -301, 86_400])
async def test_the_signed_time_may_be_five_minutes_off(host: CertificateHost, skew: int) -> None:
    assert await scheme(host).holds(headers(host, at=at(skew)), BODY, NOW) is (abs(skew) <= 300)


@pytest.mark.parametrize("stamp", ["soon", "1790000000", "2026-11-26T12:00:00", "2026-02-30T00:00:00Z", "+10000-01-01"])
async def test_a_strange_time_does_not_hold(host: CertificateHost, stamp: str) -> None:
    assert not await scheme(host).holds(headers(host, at=stamp), BODY, NOW)
    assert host.asked == []


async def test_another_webhook_or_none_does_not_hold(host: CertificateHost) -> None:
    assert not await scheme(host).holds(headers(host, webhook_id="FOREIGN"), BODY, NOW)
    assert not await PayPalScheme((), Certificates([AUTHORITY.root.certificate], live=False, loopback=host.address)).holds(
        headers(host), BODY, NOW
    )


@pytest.mark.parametrize("name", ["transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo"])
async def test_every_header_is_needed_and_signed(host: CertificateHost, name: str) -> None:
    sent = headers(host)
    key = f"paypal-{name}".encode()
    for changed in (b"", b"x" * 3000, b"\xff", sent[key] + (b"?" if name == "cert-url" else b"A")):
        assert not await scheme(host).holds({**sent, key: changed}, BODY, NOW)
    assert not await scheme(host).holds({other: value for other, value in sent.items() if other != key}, BODY, NOW)


@pytest.mark.parametrize("algorithm", ["SHA1withRSA", "none", "HMACSHA256"])
async def test_only_one_algorithm_holds(host: CertificateHost, algorithm: str) -> None:
    assert not await scheme(host).holds(headers(host, algorithm=algorithm), BODY, NOW)
    assert host.asked == []


FOREIGN = [
    "http://api.paypal.com" + PATH,
    "http://{address}" + PATH,
    "https://{address}.evil.example" + PATH,
    "https://user@{address}" + PATH,
    "https://{address}:1" + PATH,
    "https://{address}" + PATH + "?x=1",
    "https://{address}" + PATH + "#x",
    "https://{address}/%2e%2e/x",
    "https://{address}\\x",
    "https://localhost" + PATH,
    "https://127.0.0.1" + PATH,
    "https://10.0.0.1" + PATH,
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]" + PATH,
    "https://2130706433" + PATH,
    "https://evilpaypal.com" + PATH,
    "https://paypal.com.evil.example" + PATH,
    "https://api.paypal.com@evil.example" + PATH,
    "https://evil.example/paypal.com/x",
    "https://evil.example#.paypal.com/x",
    "https://api.paypal.com:8443" + PATH,
    "https://.paypal.com" + PATH,
    "https://paypal.com" + PATH + "\n",
    "https://API.PAYPAL.COM.evil" + PATH,
    "file:///etc/passwd",
    "//api.paypal.com" + PATH,
]


@pytest.mark.parametrize("url", FOREIGN)
async def test_a_foreign_address_is_refused_and_never_called(host: CertificateHost, url: str, no_network: list[object]) -> None:
    sent = headers(host, url=url.format(address=host.address))
    assert not await scheme(host).holds(sent, BODY, NOW)
    assert host.asked == []
    assert no_network == []


@pytest.fixture
async def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every host anybody looks up or connects to, while it is not stopped."""
    tried: list[object] = []
    loop = asyncio.get_running_loop()
    for name in ("getaddrinfo", "sock_connect"):
        monkeypatch.setattr(loop, name, noting(getattr(loop, name), tried))
    return tried


def noting(call: Callable[..., Awaitable[object]], tried: list[object]) -> Callable[..., Awaitable[object]]:
    async def noted(*given: object, **more: object) -> object:
        tried.append(given)
        return await call(*given, **more)

    return noted


async def test_the_watch_over_the_network_sees_a_call(host: CertificateHost, no_network: list[object]) -> None:
    assert await scheme(host).holds(headers(host), BODY, NOW)
    assert no_network != []


@pytest.mark.parametrize("url", ["https://api.sandbox.paypal.com" + PATH, "https://api.paypal.com/a?b"])
def test_only_plain_addresses_of_paypal_are_allowed(url: str) -> None:
    allowed = Certificates([AUTHORITY.root.certificate], live=True)
    assert not allowed.allows(url)
    assert allowed.allows("https://api.paypal.com" + PATH)
    assert Certificates([AUTHORITY.root.certificate], live=False).allows("https://api.sandbox.paypal.com" + PATH)


async def test_a_redirect_is_not_followed(host: CertificateHost) -> None:
    async with CertificateHost(SIGNER.chain).serving(AUTHORITY) as inner:
        host.answer = Answered(status=302, headers={"location": f"{inner.url}{PATH}"})
        assert not await scheme(host).holds(headers(host), BODY, NOW)
        assert (host.asked, inner.asked) == ([PATH], [])


@pytest.mark.parametrize(
    "answer",
    [
        Answered(status=404, body=SIGNER.chain),
        Answered(body=b""),
        Answered(body=b"not a certificate"),
        Answered(body=SIGNER.leaf.pem),
        Answered(body=SIGNER.chain * 8),
        Answered(body=SIGNER.chain + b"#" * 70_000),
        Answered(body=SIGNER.authority.root.pem),
    ],
)
async def test_what_is_no_whole_chain_of_a_sane_size_does_not_hold(host: CertificateHost, answer: Answered) -> None:
    host.answer = answer
    assert not await scheme(host).holds(headers(host), BODY, NOW)


@pytest.mark.parametrize(
    "signer",
    [
        Signer(Authority("Other Root")),
        Signer(AUTHORITY, days=-1),
        Signer(AUTHORITY, host="messageverificationcerts.paypal.com.evil.example"),
        Signer(AUTHORITY, host="evilpaypal.com"),
    ],
    ids=["other authority", "expired", "foreign name", "name that only ends so"],
)
async def test_a_certificate_of_others_or_of_yesterday_does_not_hold(host: CertificateHost, signer: Signer) -> None:
    host.answer = Answered(body=signer.chain)
    assert not await scheme(host).holds(headers(host, signer), BODY, NOW)
    assert host.asked == [PATH]


async def test_an_authority_below_a_root_may_be_the_anchor() -> None:
    between, name = AUTHORITY.intermediate(), "messageverificationcerts.paypal.com"
    async with CertificateHost(AUTHORITY.issue(between, name).pem).serving(AUTHORITY) as host:
        anchors = [AUTHORITY.root.certificate, between.certificate]
        assert await Certificates(anchors, live=True, loopback=host.address).key(f"{host.url}{PATH}", NOW) is not None
        assert await Certificates(anchors[:1], live=True, loopback=host.address).key(f"{host.url}{PATH}", NOW) is None


async def test_a_bad_address_is_not_called_again_and_again(host: CertificateHost) -> None:
    host.answer = Answered(status=500)
    found = scheme(host)
    for _ in range(5):
        assert not await found.holds(headers(host), BODY, NOW)
    assert host.asked == [PATH]
    host.answer = Answered(body=SIGNER.chain)
    assert await found.holds(headers(host), BODY, NOW + 11)


async def test_a_host_without_a_trusted_certificate_is_not_believed() -> None:
    async with CertificateHost(SIGNER.chain).serving(Authority("Other Root")) as other:
        assert not await scheme(other).holds(headers(other), BODY, NOW)
        assert other.asked == []


async def test_a_host_that_does_not_answer_costs_a_deadline(host: CertificateHost) -> None:
    host.answer = Answered(body=SIGNER.chain, delay=30)
    certificates = Certificates([AUTHORITY.root.certificate], live=False, loopback=host.address, seconds=0.3)
    started = time.monotonic()
    assert not await PayPalScheme((NEW,), certificates).holds(headers(host), BODY, NOW)
    assert time.monotonic() - started < 5


async def test_made_up_addresses_do_not_push_out_the_good_one(host: CertificateHost) -> None:
    found = scheme(host)
    assert await found.holds(headers(host), BODY, NOW)
    host.answer = Answered(status=404)
    for start in range(0, 280, 40):
        made_up = [headers(host, url=f"{host.url}/made-up/{number}") for number in range(start, start + 40)]
        assert not any(await asyncio.gather(*(found.holds(one, BODY, NOW) for one in made_up)))
    assert await found.holds(headers(host), BODY, NOW)
    assert host.asked.count(PATH) == 1


def test_roots_come_from_a_file_or_from_the_machine(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_bytes(b"a comment\n" + AUTHORITY.root.pem + b"\n" + AUTHORITY.root.pem)
    assert roots(str(file)) == [AUTHORITY.root.certificate] * 2
    assert all(isinstance(one, x509.Certificate) for one in roots())
    for empty in (tmp_path / "nothing.pem", tmp_path):
        with pytest.raises(ValueError, match="paypal_trust_anchor"):
            roots(str(empty))
