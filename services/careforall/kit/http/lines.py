"""Plain HTTP/1.1 to one place over a few kept connections: a request goes out, status and body come back, within a deadline.

For calls that are made by the hundred a second, where the general client (`httpx2`) takes several times the processor time. No
redirects, cookies, compression or proxies of the environment.
"""

import math
from collections.abc import Mapping

import aiohttp
import httpx2
import msgspec
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from typing_extensions import override

_CONNECT_S = 1.0
_NEVER_ROUNDED = math.inf
"""Deadlines that are not shorter than this are rounded up to whole seconds of the loop's clock."""
_KEPT_S = 5.0
"""How long a line is kept unused: less than servers keep theirs, so that a request seldom meets one that is being closed."""
_MOST_BODY = 8 * 1024 * 1024
_UNASKED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would send of itself."""
_UNREACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


class LineError(Exception):
    """No answer that can be relied on."""


class ConnectError(LineError):
    """Nobody could be reached: nothing was sent."""


class Overdue(LineError):
    """The deadline passed; what was asked for may have been done."""


class HungUp(LineError):
    """The other side closed the line before its answer was whole; what was asked for may have been done."""


class Nonsense(LineError):
    """The answer is not plain HTTP, or too much of it."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    body: bytes


class Lines:
    """Asks one place over kept connections.

    Args:
        base: Its address, with the path that every target hangs on.
        most: Requests at the same time; further ones wait for a free line.
        seconds: Deadline of a request, the wait for a line included.
        headers: Sent with every request.
        kept: Seconds a line is kept unused.
    """

    def __init__(self, base: str, *, most: int, seconds: float, headers: Mapping[str, str] = {}, kept: float = _KEPT_S) -> None:
        self._base = base
        self._most = most
        connect = min(seconds, _CONNECT_S)
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect, ceil_threshold=_NEVER_ROUNDED)
        self._headers = headers
        self._kept = kept
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Reply:
        """Send a request and return what is answered, whatever its status.

        A server may close a kept line just when a request goes out on it. A GET is then sent once more; a POST is `HungUp`, as it
        may have been done: its caller repeats it under the same Idempotency-Key, or asks what became of it.

        Args:
            method: Such as POST.
            target: What comes behind the base.
            body: Sent as it is.
            headers: Sent besides.

        Raises:
            LineError: There is no answer that can be relied on.
            ValueError: A header would break out of its place.
        """
        session = self._session = self._session or self._opened()
        try:
            url = self._base + target
            async with session.request(method, url, data=body or None, headers=headers, allow_redirects=False) as answer:
                return Reply(status=answer.status, body=await _whole(answer.content))
        except _UNREACHED as error:
            raise ConnectError(str(error)) from error
        except TimeoutError:
            raise Overdue(f"no answer within {self._timeout.total} s") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise HungUp(str(error)) from error
        except aiohttp.ClientError as error:
            raise Nonsense(str(error)) from error

    async def close(self) -> None:
        """Close all lines, when nobody asks any more."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Return a session of the running loop."""
        secure = self._base.startswith("https:")
        connector = _Kept(
            limit=self._most,
            limit_per_host=self._most,
            keepalive_timeout=self._kept,
            ssl=httpx2.create_ssl_context(trust_env=False) if secure else True,  # the same authorities for all that we call
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers=self._headers,
            skip_auto_headers=_UNASKED,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )


class _Kept(aiohttp.TCPConnector):
    """Keeps lines, but none on which words arrived that nobody had asked for: the next caller would take them for an answer."""

    @override
    async def connect(self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        while True:
            line = await super().connect(req, traces, timeout)
            if line.protocol is None or not line.protocol.should_close:
                return line
            line.close()


async def _whole(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for part in content.iter_any():
        body += part
        if len(body) > _MOST_BODY:
            raise Nonsense(f"the answer is larger than {_MOST_BODY} bytes")
    return bytes(body)
