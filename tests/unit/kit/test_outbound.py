"""Which addresses may be called that others have named, and that the address which was checked is the one that is called."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from careforall.kit.outbound import (
    Answer,
    ForbiddenTarget,
    NoAnswer,
    Outbound,
    UnknownHost,
    checked_url,
    is_public,
    waiting,
)
from careforall_testing.certificates import Authority, tls_of
from careforall_testing.loopback import Answered, Asked, listening

HOST = "hooks.example.org"
NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:192.168.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "fd00:ec2::254",
        "fec0::1",
        "64:ff9b:1::1",
        "2001:0:7f00:1::80ff:fffe",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "203.0.113.9",
        "2001:db8::1",
        "3fff::1",
        "240.0.0.1",
    ],
)
def test_inner_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "https://user:secret@example.org/",
        "https://",
        "https://example.org:99999/",
        "example.org",
        "",
        "https://user@example.org/",
        "https://example.org:22/",
        "https://example.org:80/",
        "https://example.org:0/",
        "https://example.org/a b",
        "https://example.org/\r\nx: y",
        "https://good.example\\@127.0.0.1/",
        "https://b\u00fccher.example/",
        "https://example.org/" + "x" * 2000,
        "gopher://example.org/",
        "https:///etc/passwd",
        "//example.org/x",
    ],
)
def test_urls_that_are_not_plain_https_are_refused(url: str) -> None:
    with pytest.raises(ForbiddenTarget):
        checked_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["https://example.org/x?y=z", "https://example.org:443/", "https://example.org:8443/x"])
def test_plain_https_is_allowed(url: str) -> None:
    assert checked_url(url, allow_private=False).hostname == "example.org"


def test_plain_http_and_any_port_are_allowed_only_where_that_is_set() -> None:
    assert checked_url("http://127.0.0.1:81/x", allow_private=True).port == 81
    with pytest.raises(ForbiddenTarget):
        checked_url("ftp://127.0.0.1/x", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0177.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[::ffff:a9fe:a9fe]/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/x",
        "https://LOCALHOST:8443/x",
        "https://0/x",
        "https://10.0.0.1:8443/x",
    ],
)
async def test_names_and_numbers_of_our_own_network_are_not_called(url: str) -> None:
    async with Outbound(seconds=5) as outbound:
        with pytest.raises(ForbiddenTarget, match="private network"):
            await outbound.check(url)
        with pytest.raises(ForbiddenTarget, match="private network"):
            await outbound.post(url, b"{}", {})


def answering(*rounds: list[str]) -> tuple[Callable[..., Any], list[str]]:
    """A resolver that answers differently each time, and the names it was asked for."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        asked.append(host)
        found = rounds[min(len(asked), len(rounds)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return look_up, asked


@asynccontextmanager
async def receiver(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """An endpoint on this machine, its port, and the heads of the requests it got."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    look_up, _ = answering(["1.1.1.1", "10.0.0.1"])
    async with Outbound(seconds=5, look_up=look_up) as outbound:
        with pytest.raises(ForbiddenTarget):
            await outbound.check("https://mixed.example/x")


async def test_the_address_that_was_checked_is_the_one_that_is_called() -> None:
    look_up, asked = answering(["127.0.0.1"], ["127.9.9.9"])
    async with (
        receiver(b"HTTP/1.1 204 X\r\n\r\n") as (port, heads),
        Outbound(seconds=5, allow_private=True, look_up=look_up) as out,
    ):
        assert await out.post(f"http://rebinding.example:{port}/hook", b"{}", {}) == Answer(status=204)
    assert asked == ["rebinding.example"], "a name is asked for once a call"
    assert f"host: rebinding.example:{port}".encode() in heads[0].lower()


async def test_a_name_that_turned_private_since_it_was_registered_is_not_called() -> None:
    look_up, asked = answering(["1.1.1.1"], ["127.0.0.1"])
    async with Outbound(seconds=5, look_up=look_up) as outbound:
        await outbound.check("https://rebinding.example/x")
        with pytest.raises(ForbiddenTarget):
            await outbound.post("https://rebinding.example/x", b"{}", {})
    assert len(asked) == 2


async def test_the_next_address_is_tried_where_the_first_takes_no_connection() -> None:
    look_up, _ = answering(["127.0.0.9", "127.0.0.1"])
    async with (
        receiver(b"HTTP/1.1 200 X\r\n\r\n") as (port, heads),
        Outbound(seconds=5, allow_private=True, look_up=look_up) as out,
    ):
        assert (await out.post(f"http://two.example:{port}/", b"{}", {})).status == 200
    assert len(heads) == 1


async def test_redirects_are_answers_and_are_not_followed() -> None:
    moved = b"HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n"
    async with receiver(moved) as (port, heads), Outbound(seconds=5, allow_private=True) as outbound:
        assert (await outbound.post(f"http://127.0.0.1:{port}/", b"{}", {})).status == 302
    assert len(heads) == 1


async def test_an_endless_answer_is_cut_off() -> None:
    endless = b"HTTP/1.1 200 X\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 200_000
    async with receiver(endless) as (port, _), Outbound(seconds=5, allow_private=True) as outbound:
        assert (await outbound.post(f"http://127.0.0.1:{port}/", b"{}", {})).status == 200


async def test_no_answer_and_no_host_say_so() -> None:
    look_up, _ = answering([])
    never = threading.Event()

    def silent(*_: Any) -> list[Any]:
        never.wait(10)
        return []

    async with receiver(b"") as (port, _), Outbound(seconds=0.3, allow_private=True) as outbound:
        with pytest.raises(NoAnswer, match="RemoteProtocolError"):
            await outbound.post(f"http://127.0.0.1:{port}/", b"{}", {})
        with pytest.raises(UnknownHost):
            await outbound.check("https://nobody.invalid/")
        with pytest.raises(UnknownHost):
            await outbound.check(f"https://{'x' * 64}.example/")
    async with Outbound(seconds=5, look_up=look_up) as outbound:
        with pytest.raises(UnknownHost):
            await outbound.check("https://empty.example/")
    async with Outbound(seconds=0.1, look_up=silent) as outbound:
        with pytest.raises(NoAnswer, match="no answer in"):
            await outbound.check("https://slow.example/")
        never.set()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Sun, 31 Jan 2027 12:02:00 GMT", 120.0),
        ("Sun, 31 Jan 2027 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert waiting(header, NOW) == seconds


@asynccontextmanager
async def tls_receiver(served: ssl.SSLContext, trusted: Authority) -> AsyncIterator[tuple[Outbound, str, list[bytes]]]:
    """A caller that trusts an authority, the URL of a receiver behind TLS, and the bodies that it got."""
    bodies: list[bytes] = []

    async def take(asked: Asked) -> Answered:
        bodies.append(asked.body)
        return Answered(status=204)

    context = ssl.create_default_context(cadata=trusted.root.pem.decode())
    look_up, _ = answering(["127.0.0.1"])
    async with (
        listening(take, tls=served) as url,
        Outbound(seconds=5, allow_private=True, look_up=look_up, trusted=context) as out,
    ):
        yield out, f"https://{HOST}:{urlsplit(url).port}/hook", bodies


async def test_a_receiver_is_known_by_the_certificate_of_its_name_though_its_address_is_called() -> None:
    authority = Authority()
    async with tls_receiver(tls_of(authority, HOST), authority) as (out, url, bodies):
        assert await out.post(url, b'{"of": "ours"}', {}) == Answer(status=204)
    assert bodies == [b'{"of": "ours"}']


@pytest.mark.parametrize("flaw", ["another name", "over", "another authority", "the address"])
async def test_a_receiver_that_cannot_show_who_it_is_is_told_nothing(flaw: str) -> None:
    authority, stranger = Authority(), Authority("Somebody Else")
    served = {
        "another name": lambda: tls_of(authority, "evil.example.org"),
        "over": lambda: tls_of(authority, HOST, days=-1),
        "another authority": lambda: tls_of(stranger, HOST),
        "the address": lambda: tls_of(authority, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
    }[flaw]()
    async with tls_receiver(served, authority) as (out, url, bodies):
        with pytest.raises(NoAnswer, match="ConnectError"):
            await out.post(url, b'{"of": "ours"}', {})
    assert bodies == []
