"""Messages to integrators by HTTP, signed as Standard Webhooks prescribes, never into our own network.

The host is resolved here, every address it has must be public, and the request goes to the checked address itself: a name that
answers differently a moment later (DNS rebinding) gains nothing. Redirects are not followed.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httpx2
import msgspec
from standardwebhooks import Webhook

from careforall.notifications.channels.base import Letter, each
from careforall.notifications.domain import SENT, Channel, Outcome

_TIMEOUT = 10.0
_AT_ONCE = 8
_MAX_RETRY_AFTER = 3600.0
_BODY = msgspec.json.Encoder(order="sorted")


class ForbiddenTarget(Exception):
    """The URL may not be called: not HTTPS, or an address inside."""


class WebhookCarrier:
    """Calls endpoints of integrators."""

    channel: Channel = "WEBHOOK"
    provider = "webhook"
    batch = 64

    def __init__(self, *, secret: str | bytes, allow_private: bool = False) -> None:
        self._signer = Webhook(secret)
        self._allow_private = allow_private

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Deliver the messages."""
        async with httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client:
            return await each(letters, lambda letter: self._post(client, letter), at_once=_AT_ONCE)

    async def _post(self, client: httpx2.AsyncClient, letter: Letter) -> Outcome:
        try:
            parts, address = await target(letter.message.recipient, allow_private=self._allow_private)
            response = await client.send(self._request(client, letter, parts, address))
        except ForbiddenTarget as error:
            return Outcome(error=str(error), lasting=True)
        except (httpx2.HTTPError, OSError) as error:
            return Outcome(error=type(error).__name__)
        return judged(response.status_code, response.headers.get("retry-after"))

    def _request(self, client: httpx2.AsyncClient, letter: Letter, parts: SplitResult, address: str) -> httpx2.Request:
        body = _BODY.encode({"id": str(letter.message.id), "template": letter.message.template, "data": letter.message.payload})
        now = datetime.now(UTC)
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        return client.build_request(
            "POST",
            parts._replace(netloc=f"{host}{port}", fragment="").geturl(),
            content=body,
            headers={
                "host": parts.netloc.rpartition("@")[2],
                "content-type": "application/json",
                "user-agent": "CareForAll-Webhooks/1",
                "webhook-id": str(letter.message.id),
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._signer.sign(str(letter.message.id), now, body.decode()),
            },
            extensions={"sni_hostname": parts.hostname},
        )


async def target(url: str, *, allow_private: bool) -> tuple[SplitResult, str]:
    """Return the parts of a URL with the address to call.

    Raises:
        ForbiddenTarget: If we must not call it.
        OSError: If the name cannot be resolved now.
    """
    parts = checked_url(url, allow_private=allow_private)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    addresses = [cast("str", entry[4][0]) for entry in found]
    if not allow_private and not all(is_public(address) for address in addresses):
        raise ForbiddenTarget("the URL leads into a private network")
    return parts, addresses[0]


def checked_url(url: str, *, allow_private: bool) -> SplitResult:
    """Return the parts of a URL that looks callable.

    Raises:
        ForbiddenTarget: For another scheme than HTTPS, credentials in the URL, or none of a host.
    """
    try:
        parts = urlsplit(url)
        usable = parts.hostname is not None and parts.port != 0
    except ValueError:
        raise ForbiddenTarget("the URL cannot be read") from None
    if not usable or parts.username is not None or parts.password is not None:
        raise ForbiddenTarget("the URL needs a host and no credentials")
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise ForbiddenTarget("only https is called")
    return parts


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet; one wrapped in IPv6 is unwrapped first."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None or found in _NAT64:
            return is_public(str(inner or ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast and not found.is_reserved


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def judged(status: int, retry_after: str | None) -> Outcome:
    """Translate an answer: 2xx is delivered, 410 and other 4xx are for ever, the rest may pass."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return SENT
    error = f"answered {status}"
    if (
        status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        wait = min(float(retry_after), _MAX_RETRY_AFTER) if retry_after and retry_after.isdigit() else None
        return Outcome(error=error, retry_after=wait)
    return Outcome(error=error, lasting=True)
