"""A small HTTP server on a free loopback port, for fakes of other companies: one request a connection, no surprises.

async with listening(answer) as url: ...
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from careforall.kit import tasks
from careforall.launch.ports import LOOPBACK


class Asked(Struct, frozen=True, kw_only=True):
    """A request; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Answered(Struct, frozen=True, kw_only=True):
    """An answer, sent after `delay` seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    delay: float = 0.0


_TICKS = 3
"""Turns of the loop after which a connection that was accepted last has its task, which can then be ended."""
Answering = Callable[[Asked], Awaitable[Answered]]


@asynccontextmanager
async def listening(answering: Answering, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[str]:
    """Serve on a free port, or on `port`, and yield the base URL; what is still waiting for an answer in the end is cut off."""
    open_ones: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_conversation(answering, reader, writer))
        open_ones.add(task)
        task.add_done_callback(open_ones.discard)

    server = await asyncio.start_server(serve, LOOPBACK, port, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for _ in range(_TICKS):
            await asyncio.sleep(0)
        await tasks.end(open_ones)
        await server.wait_closed()


async def _conversation(answering: Answering, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            answer = await answering(await _read(reader))
            await asyncio.sleep(answer.delay)
            writer.write(_written(answer))
            await writer.drain()
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    parts = urlsplit(target)
    return Asked(
        method=method,
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query)),
        headers=headers,
        body=await reader.readexactly(int(headers.get("content-length", "0"))),
    )


def _written(answer: Answered) -> bytes:
    headers = {"content-length": str(len(answer.body)), "connection": "close", **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
