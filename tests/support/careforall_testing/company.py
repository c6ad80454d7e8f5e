"""A payment company shaped like the simulator whose every answer a test decides, over HTTP on loopback.

async with company(answer) as url:
    ...                                      # `answer(method, path)` returns a status and an object
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from careforall.kit import json


class Asked(Struct, frozen=True, kw_only=True):
    """One call to the company: `key` is its Idempotency-Key, `body` what was sent."""

    method: str
    path: str
    key: str = ""
    body: dict[str, Any] = {}


Answer = Callable[[str, str], Awaitable[tuple[int, dict[str, Any]]]]
Reply = Callable[[Asked], Awaitable[tuple[int, Any]]]


@asynccontextmanager
async def company(answer: Answer) -> AsyncIterator[str]:
    """The company's base URL while it answers to what is asked, whatever is sent along."""

    async def reply(asked: Asked) -> tuple[int, Any]:
        return await answer(asked.method, asked.path)

    async with listening_company(reply) as url:
        yield url


@asynccontextmanager
async def listening_company(reply: Reply) -> AsyncIterator[str]:
    """The company's base URL while it answers to whole calls."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(
            method=method,
            path=path.removeprefix("/simulator"),
            key=headers.get("idempotency-key", ""),
            body=msgspec.json.decode(body) if body else {},
        )
        status, answered = await reply(asked)
        sent = json.encode(answered)
        writer.write(b"HTTP/1.1 %d Ok\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(sent), sent))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/simulator"


def shown(intent: UUID, **changes: Any) -> dict[str, Any]:
    """A payment intent of the company, paid unless changed."""
    facts = {"id": f"pi_{intent}", "object": "payment_intent", "status": "succeeded", "amount": 2500, "amount_received": 2500}
    return {**facts, "currency": "eur", "created": 1, "metadata": {"intent_id": str(intent)}, **changes}


def nothing(path: str) -> dict[str, Any]:
    """An empty list."""
    return {"object": "list", "data": [], "has_more": False, "url": path}
