"""Plain HTTP/1.1 to one place over a few kept connections: a request goes out, status and body come back, within a deadline.

For calls that are made by the hundred a second, where a full client costs several times what is said. A line carries one request
at a time. Redirects, proxies and cookies are not followed; what is not plain HTTP is an error that closes its line.
"""

import asyncio
import re
import ssl
import time
from collections import deque
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
from typing_extensions import override

from careforall.kit.http.replies import NotHttp, Reading, Reply

_CONNECT_S = 1.0
_KEPT_S = 5.0
"""How long a line is kept unused: less than servers keep theirs, so that a request seldom meets one that is being closed."""
_PORTS = {"http": 80, "https": 443}
_PLAIN = "/%:@!$&'()*+,;=~?"
"""What may stand in a path beside letters and digits."""
_TARGET = re.compile(r"/[!-~]*")


class LineError(Exception):
    """No answer that can be relied on."""


class ConnectError(LineError):
    """Nobody could be reached: nothing was sent."""


class Overdue(LineError):
    """The deadline passed; what was asked for may have been done."""


class HungUp(LineError):
    """The other side closed the line before its answer was whole."""


class Nonsense(LineError):
    """The answer is not plain HTTP."""


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where lines lead: `root` is the path that every target hangs on."""

    secure: bool
    host: str
    port: int
    name: str
    root: str


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
        self._seconds = seconds
        self._keep = kept
        self._places = asyncio.Semaphore(most)
        self._idle: deque[_Line] = deque()
        self._always = _fields(headers)
        self._place: _Place | None = None
        self._closed = False
        self._security: ssl.SSLContext | None = None

    async def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Reply:
        """Send a request and return what is answered, whatever its status.

        Args:
            method: Such as POST.
            target: What comes behind the base, ready to be sent.
            body: Sent as it is.
            headers: Sent besides.

        Raises:
            LineError: There is no answer that can be relied on.
            ValueError: A target or a header would break out of its place.
        """
        place = self._place = self._place or _place_of(self._base)
        request = self._request(place, method, target, body, headers)
        try:
            async with asyncio.timeout(self._seconds), self._places:
                return await self._asked(self._kept() or await self._opened(place), request)
        except TimeoutError:
            raise Overdue(f"no answer within {self._seconds} s") from None

    async def close(self) -> None:
        """Close all lines, those in use as soon as they are free."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _asked(self, line: "_Line", request: bytes) -> Reply:
        try:
            reply = await line.ask(request)
        except BaseException:
            line.close()
            raise
        if line.usable and not self._closed:
            self._idle.append(line)
        else:
            line.close()
        return reply

    def _kept(self) -> "_Line | None":
        """Return the line that was used last, so that those too many grow old, and close the old ones."""
        old = time.monotonic() - self._keep
        while self._idle and self._idle[0].used < old:
            self._idle.popleft().close()
        while self._idle:
            line = self._idle.pop()
            if line.usable:
                return line
        return None

    async def _opened(self, place: _Place) -> "_Line":
        if place.secure and self._security is None:
            self._security = httpx2.create_ssl_context(trust_env=False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(self._seconds, _CONNECT_S)):
                return (await loop.create_connection(_Line, place.host, place.port, ssl=self._security))[1]
        except (OSError, UnicodeError) as error:
            raise ConnectError(f"{place.name}: {error}") from error

    def _request(self, place: _Place, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        whole = place.root + target or "/"
        if not _TARGET.fullmatch(whole):
            raise ValueError("a target is a path of printable ASCII")
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        head = f"{method} {whole} HTTP/1.1\r\nHost: {place.name}\r\n{self._always}{_fields(headers)}{length}\r\n"
        return head.encode("ascii") + body


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.used = time.monotonic()
        self._transport: asyncio.Transport | None = None
        self._reading: Reading | None = None
        self._answer: asyncio.Future[Reply] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Reply:
        """Send a request and wait for its answer."""
        assert self._transport is not None
        self._reading = Reading()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None
            self.used = time.monotonic()

    def close(self) -> None:
        """Close the connection, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class derives from neither

    @override
    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody asked: whose answer would the next one be?
            self.close()
            return
        assert self._reading is not None
        try:
            reply = self._reading.feed(data)
        except NotHttp as error:
            self._fail(Nonsense(str(error)))
            return
        if reply is not None:
            self._finish(reply)

    @override
    def eof_received(self) -> None:
        if self._answer is None or self._answer.done():
            return
        assert self._reading is not None
        reply = self._reading.end()
        if reply is not None:
            self._finish(reply)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self._fail(HungUp(str(error or "closed before the answer was whole")))

    def _finish(self, reply: Reply) -> None:
        assert self._answer is not None
        if not reply.keeps:
            self.close()
        self._answer.set_result(reply)

    def _fail(self, error: LineError) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _place_of(base: str) -> _Place:
    try:
        parts = urlsplit(base)
        port = parts.port or _PORTS[parts.scheme]
        name = parts.netloc.rpartition("@")[2].encode("idna").decode()
    except (KeyError, ValueError) as error:
        raise ConnectError(f"{base} is no http or https address") from error
    if not parts.hostname:
        raise ConnectError(f"{base} names no host")
    root = quote(f"{parts.path}?{parts.query}" if parts.query else parts.path, safe=_PLAIN)
    return _Place(secure=parts.scheme == "https", host=parts.hostname, port=port, name=name, root=root)


def _fields(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not (name.isascii() and value.isascii() and name.isprintable() and value.isprintable()):
            raise ValueError(f"the header {name!r} is not printable ASCII")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
