"""Calls to addresses that somebody else has named, such as webhooks: never into our own network.

The host is resolved here, every address it has must be public, and the connection goes to a checked address itself: a name that
answers differently a moment later (DNS rebinding) gains nothing. Redirects are not followed, an answer is read up to a bound, and
nothing of it but its status and `Retry-After` is told to anybody.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import httpx2
import msgspec

WEBHOOK_HEADERS = {"content-type": "application/json", "user-agent": "CareForAll-Webhooks/1"}
HTTPS_PORT = 443
_FIRST_FREE_PORT = 1024
_LONGEST_URL = 2000
_ADDRESSES_TRIED = 3
_READ = 4096
_READ_SECONDS = 2.0
_LOOKUPS = 64

LookUp = Callable[..., Sequence[Any]]
"""What `socket.getaddrinfo` is."""


class ForbiddenTarget(Exception):
    """The URL may not be called: not HTTPS, or an address inside."""


class UnknownHost(Exception):
    """The host of the URL has no address now."""


class NoAnswer(Exception):
    """Nothing that can be read as an answer came back in time; says why."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of an answer; `retry_after` in seconds."""

    status: int
    retry_after: float | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A URL with the addresses that it may be called at."""

    parts: SplitResult
    addresses: tuple[str, ...]

    def at(self, address: str) -> str:
        """Return the URL with an address in place of its host."""
        host = f"[{address}]" if ":" in address else address
        port = f":{self.parts.port}" if self.parts.port else ""
        return self.parts._replace(netloc=f"{host}{port}", fragment="").geturl()


class Outbound:
    """Calls what it is given, within its rules. Open it with `async with`, or close it in the end.

    Args:
        seconds: Deadline of a call, from looking up the host to the head of the answer.
        allow_private: Let calls use plain HTTP and reach any address and port; for development, tests and closed networks.
        look_up: Stands in for the resolver of this machine.
        trusted: Stands in for the authorities that this machine trusts.
    """

    def __init__(
        self,
        *,
        seconds: float,
        allow_private: bool = False,
        look_up: LookUp = socket.getaddrinfo,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self.seconds = seconds
        self._allow_private = allow_private
        self._resolver = _Resolver(look_up)
        # A kept connection is found again by its address alone, and another host may live there.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(
            verify=True if trusted is None else trusted,
            timeout=seconds,
            limits=limits,
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        self._resolver.close()
        await self._client.aclose()

    async def check(self, url: str) -> None:
        """Look whether a URL may be called now.

        Raises:
            ForbiddenTarget: It may not.
            UnknownHost: Its host is not known.
            NoAnswer: Nobody knew in time.
        """
        try:
            async with asyncio.timeout(self.seconds):
                await self._target(url)
        except TimeoutError:
            raise NoAnswer(f"no answer in {self.seconds:g} s") from None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body.

        Raises:
            ForbiddenTarget: The URL may not be called.
            UnknownHost: Its host is not known now.
            NoAnswer: There was none in time.
        """
        try:
            async with asyncio.timeout(self.seconds):
                target = await self._target(url)
                response = await self._sent(target, body, headers)
        except TimeoutError:
            raise NoAnswer(f"no answer in {self.seconds:g} s") from None
        except httpx2.HTTPError as error:
            raise NoAnswer(type(error).__name__) from error
        await _let_go(response)
        return Answer(status=response.status_code, retry_after=waiting(response.headers.get("retry-after"), datetime.now(UTC)))

    async def _target(self, url: str) -> Target:
        parts = checked_url(url, allow_private=self._allow_private)
        addresses = await self._resolver.addresses(parts.hostname or "", parts.port or HTTPS_PORT)
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise ForbiddenTarget("the URL leads into a private network")
        return Target(parts=parts, addresses=addresses[:_ADDRESSES_TRIED])

    async def _sent(self, target: Target, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        """Send to the first address that takes the connection."""
        *others, last = target.addresses
        for address in others:
            with contextlib.suppress(httpx2.ConnectError):
                return await self._sent_to(target, address, body, headers)
        return await self._sent_to(target, last, body, headers)

    async def _sent_to(self, target: Target, address: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        named = {**headers, "host": target.parts.netloc}
        extensions = {"sni_hostname": target.parts.hostname}
        request = self._client.build_request("POST", target.at(address), content=body, headers=named, extensions=extensions)
        return await self._client.send(request, stream=True)


class _Resolver:
    """Looks hosts up in threads of its own, each host once at a time: a name that nobody answers for holds up no other.

    Args:
        look_up: What `socket.getaddrinfo` is.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="look-up")
        self._under_way: dict[tuple[str, int], asyncio.Future[Sequence[Any]]] = {}

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of a host, the best first.

        Raises:
            UnknownHost: There are none now.
        """
        asked = self._under_way.get((host, port)) or self._ask(host, port)
        try:
            found = await asyncio.shield(asked)
        except (OSError, UnicodeError):
            raise UnknownHost(f"the host {host!r} is not known") from None
        if not found:
            raise UnknownHost(f"the host {host!r} has no address")
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, host: str, port: int) -> asyncio.Future[Sequence[Any]]:
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._look_up, host, port, 0, socket.SOCK_STREAM)
        self._under_way[host, port] = asked
        asked.add_done_callback(lambda done: self._answered(host, port, done))
        return asked

    def _answered(self, host: str, port: int, asked: asyncio.Future[Sequence[Any]]) -> None:
        del self._under_way[host, port]
        if not asked.cancelled():
            asked.exception()  # seen, also where whoever asked is gone


def checked_url(url: str, *, allow_private: bool) -> SplitResult:
    """Return the parts of a URL that looks callable.

    Raises:
        ForbiddenTarget: For another scheme than HTTPS, credentials in the URL, a port of other services, or no host.
    """
    if not url.isascii() or not url.isprintable() or {" ", "\\"} & set(url) or len(url) > _LONGEST_URL:
        raise ForbiddenTarget(f"the URL has at most {_LONGEST_URL} characters of ASCII and no blanks")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ForbiddenTarget("the URL cannot be read") from None
    if not usable or parts.username is not None or parts.password is not None:
        raise ForbiddenTarget("the URL needs a host and no credentials")
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise ForbiddenTarget("only https is called")
    if not allow_private and parts.port not in {None, HTTPS_PORT} and (parts.port or 0) < _FIRST_FREE_PORT:
        raise ForbiddenTarget(f"the port is {HTTPS_PORT}, or {_FIRST_FREE_PORT} and above")
    return parts


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet; one wrapped in IPv6 is unwrapped first."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None or found in _NAT64:
            return is_public(str(inner or ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    inside = any(found in network for network in _INSIDE if network.version == found.version)
    return found.is_global and not found.is_multicast and not found.is_reserved and not inside


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_INSIDE = (
    ipaddress.ip_network("168.63.129.16/32"),  # answers machines of a cloud about themselves, under a public address
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),
    ipaddress.ip_network("3fff::/20"),
    ipaddress.ip_network("fec0::/10"),
)
"""What is not the public internet although the standard library of some release says so."""


def waiting(retry_after: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for, written as seconds or as a date; None where it says nothing usable."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


async def _let_go(response: httpx2.Response) -> None:
    """Read a little of an answer whose status is known, for receivers that mind being cut off, and close it."""
    with contextlib.suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(_READ_SECONDS):
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read >= _READ:
                    break
    await response.aclose()
