"""A caller who sends nothing, or a body that never ends, does not keep a connection for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from granian.http import HTTP1Settings

from careforall.kit import listening
from careforall.kit.errors import Unavailable
from careforall.kit.http import edge
from careforall.kit.http.identity import Principal, Verifier
from careforall.kit.http.limits import Limit
from careforall.kit.listening import Listener
from careforall.kit.settings import RateLimits
from careforall.kit.tracing import Tracing
from careforall.launch.ports import free_port

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoLimits:
    """Lets everybody through."""

    async def hit_all(self, *counters: tuple[Limit, str]) -> None:
        del counters

    def field(self, limit: Limit, _: str) -> str:
        return limit.name


async def _keys() -> bytes:
    raise Unavailable


async def _owner(key: str) -> Principal | None:
    del key
    return None


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/events":
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        await asyncio.sleep(2.5)
    await send({"type": "http.response.body", "body": b"bye"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(edge, "_BODY_SECONDS", 0.5)
    monkeypatch.setattr(edge, "_SLOWEST", 2**30)
    monkeypatch.setattr(listening, "_HTTP", HTTP1Settings(header_read_timeout=500))
    limiter: Any = NoLimits()
    verifier, tracing = Verifier(_keys, _owner), Tracing("test", roots_per_second=0)
    app = edge.Edge(_app, hot=[], limiter=limiter, rates=RateLimits(), verifier=verifier, tracing=tracing)
    found = free_port()
    server = Listener(host="127.0.0.1", port=found, internal_port=0).public(app)
    serving = asyncio.ensure_future(server.serve())
    await asyncio.sleep(0.2)
    yield found
    server.stop()  # type: ignore[no-untyped-call]  # granian's embedded server is untyped here
    await serving


async def test_a_body_that_never_ends_is_answered_408_and_the_connection_closed(port: int) -> None:
    head = b"POST /gifts HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    async with _opened(port, head) as (reader, writer):
        dripping = asyncio.ensure_future(_drip(writer, b" "))
        async with asyncio.timeout(10):
            said = await reader.read()
        dripping.cancel()
    assert said.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_too_slow"' in said


@pytest.mark.parametrize("head", [b"", b"G", b"GET / HTTP/1.1\r\nHost: here\r\n"], ids=["nothing", "a letter", "headers"])
async def test_a_caller_who_does_not_end_the_headers_is_let_go(port: int, head: bytes) -> None:
    async with _opened(port, head) as (reader, writer):
        dripping = asyncio.ensure_future(_drip(writer, b"a: b\r\n" if b"\n" in head else b""))
        async with asyncio.timeout(10):
            assert b" 200 " not in await reader.read()
        dripping.cancel()


async def test_a_stream_lives_on(port: int) -> None:
    async with _opened(port, b"GET /events HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n") as (reader, _):
        async with asyncio.timeout(10):
            said = await reader.read()
    assert b"hello" in said
    assert b"bye" in said


@contextlib.asynccontextmanager
async def _opened(port: int, first: bytes) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _drip(writer: asyncio.StreamWriter, more: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(0.1)
            writer.write(more)
