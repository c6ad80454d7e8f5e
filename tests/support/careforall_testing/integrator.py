"""An integrator's endpoint: takes every webhook that the platform sends and remembers what it was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

HEAD_END = b"\r\n\r\n"
ANSWER = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"


class Integrator:
    """What was told, by the id of the message; a message may come more than once, always under its id."""

    def __init__(self) -> None:
        self.url = ""
        self.told: dict[str, list[dict[str, Any]]] = {}

    def of(self, template: str) -> set[str]:
        """The donations that messages of a kind were about."""
        heard = [copies[0] for copies in self.told.values()]
        return {message["data"]["donation_id"] for message in heard if message["template"] == template}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(HEAD_END):
                fields = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n")[1:])
                headers = {name.lower(): value for name, value in fields.items()}
                body = await reader.readexactly(int(headers["content-length"]))
                self.told.setdefault(headers["webhook-id"], []).append(json.loads(body))
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def integrator() -> AsyncIterator[Integrator]:
    """Listen on a free port of this machine."""
    listening = Integrator()
    server = await asyncio.start_server(listening.serve, "127.0.0.1", 0)
    listening.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield listening
    finally:
        server.close()
