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

from careforall.kit import json

Answer = Callable[[str, str], Awaitable[tuple[int, dict[str, Any]]]]


@asynccontextmanager
async def company(answer: Answer) -> AsyncIterator[str]:
    """The company's base URL while it answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        for line in head.lower().splitlines():
            if line.startswith("content-length:"):
                await reader.readexactly(int(line.partition(":")[2]))
        status, body = await answer(method, path.removeprefix("/simulator"))
        sent = json.encode(body)
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
