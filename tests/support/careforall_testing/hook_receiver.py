"""An integrator's endpoint for tests of webhooks: remembers every post, and answers as it is told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from msgspec import Struct

_TOLERANCE_S = 300


class Posted(Struct, frozen=True, kw_only=True):
    """One post as it came."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        """The id that repeats share."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The event in it."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def signed_by(self, secret: str) -> bool:
        """Whether a receiver with this secret believes it: written out here, apart from the code under test."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        at = self.headers["webhook-timestamp"]
        content = f"{self.id}.{at}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(at)) < _TOLERANCE_S
        return fresh and any(hmac.compare_digest(expected, one) for one in self.headers["webhook-signature"].split(" "))


class Receiver:
    """Answers 204, or what `answer` says of a post: a status, a head of its own, or None for never."""

    def __init__(self) -> None:
        self.url = ""
        self.posts: list[Posted] = []
        self.answer: Callable[[Posted], int | str | None] = lambda _: 204
        self.open = 0
        self.most_open = 0
        self._closing = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        """The ids of all posts, in the order in which they came."""
        return [post.id for post in self.posts]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one post."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._answer(reader, writer)
        self.open -= 1
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        post = await _read(reader)
        self.posts.append(post)
        answer = self.answer(post)
        if answer is None:
            await self._closing.wait()
            return
        head = answer if isinstance(answer, str) else f"HTTP/1.1 {answer} X\r\ncontent-length: 0"
        writer.write(f"{head}\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()

    def close(self) -> None:
        """Let go of what was never to be answered."""
        self._closing.set()


async def _read(reader: asyncio.StreamReader) -> Posted:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Posted(headers=headers, body=await reader.readexactly(int(headers["content-length"])), path=first.split(" ")[1])


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Listen on a free port of this machine."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        receiver.close()
        server.close()
