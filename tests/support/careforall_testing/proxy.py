"""A TCP proxy that misbehaves on demand: between services and PostgreSQL, NATS, Valkey or a gateway.

async with proxy_to(servers.postgres) as wire:
    database = Database(wire.url, ...)
    wire.cut_at(b"COMMIT;")      # the server gets it, its answer never arrives
    wire.mode = "blackhole"      # nothing passes in either direction, nothing is closed
    wire.reset()                 # every open connection ends with RST

It runs in the test's own event loop, so a test must not block that loop while a service talks through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from careforall.launch.ports import LOOPBACK

Mode = Literal["pass", "blackhole", "half_open", "refuse"]
"""`half_open`: requests arrive, answers do not; `refuse`: new connections end at once."""

_CHUNK = 64 * 1024


class _Cut(Struct, kw_only=True):
    """A cut that waits for its pattern."""

    pattern: bytes
    delivered: bool
    times: int


class _Wire:
    """One proxied connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.muted = asyncio.Event()
        """Set once a cut was triggered: the next answer is swallowed and ends the connection."""

    def reset(self) -> None:
        """End both sides at once, with RST."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Passes bytes to one server, with faults that tests switch on and off at any time."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._server: asyncio.Server | None = None
        self._wires: set[_Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts: list[_Cut] = []
        self.port = 0
        self.mode: Mode = "pass"
        self.latency_s = 0.0
        """Added to every chunk in both directions."""
        self.cuts = 0
        """How many connections `cut_at` has ended so far."""
        self.accepted = 0
        """How many connections were opened so far."""

    @property
    def url(self) -> str:
        """The upstream's URL, by way of this proxy."""
        return self.through(urlunsplit(self._upstream))

    def through(self, url: str) -> str:
        """Any URL of the same server (another database, say) by way of this proxy."""
        parts = urlsplit(url)
        account = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{account}{'@' if account else ''}{LOOPBACK}:{self.port}"))

    def lead_to(self, upstream: str) -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        self._upstream = urlsplit(upstream)

    def cut_at(self, pattern: bytes, *, delivered: bool = True, times: int = 1) -> None:
        """End the connection whose client next sends `pattern`.

        Args:
            pattern: Bytes to wait for, within one chunk of the client.
            delivered: Whether the server gets the request (and answers into the void) or never sees it.
            times: How many connections to end this way.
        """
        self._cuts.append(_Cut(pattern=pattern, delivered=delivered, times=times))

    def reset(self) -> None:
        """End every open connection with RST."""
        for wire in list(self._wires):
            wire.reset()

    def heal(self) -> None:
        """Switch every fault off; connections that hang in a black hole end, as nobody can tell what they lost."""
        damaged = self.mode in {"blackhole", "half_open"}
        self.mode, self.latency_s = "pass", 0.0
        self._cuts.clear()
        if damaged:
            self.reset()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.mode == "refuse":
            writer.transport.abort()
            return
        try:
            upstream = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        except OSError:
            writer.transport.abort()
            return
        await self._join(reader, writer, *upstream)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        wire = _Wire(writer, server_writer)
        self._wires.add(wire)
        try:
            await asyncio.gather(self._requests(reader, wire), self._answers(server_reader, wire))
        except OSError:
            wire.reset()
        finally:
            self._wires.discard(wire)
            wire.client.close()
            wire.server.close()

    async def _requests(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        while chunk := await reader.read(_CHUNK):
            await asyncio.sleep(self.latency_s)
            cut = self._triggered(chunk)
            if cut is not None:
                self.cuts += 1
                if not cut.delivered:
                    wire.reset()
                    return
                wire.muted.set()
            if self.mode != "blackhole":
                wire.server.write(chunk)
                await wire.server.drain()
        wire.server.close()

    async def _answers(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        while chunk := await reader.read(_CHUNK):
            await asyncio.sleep(self.latency_s)
            if wire.muted.is_set():
                wire.reset()
                return
            if self.mode == "pass":
                wire.client.write(chunk)
                await wire.client.drain()
        wire.client.close()

    def _triggered(self, chunk: bytes) -> _Cut | None:
        for cut in self._cuts:
            if cut.pattern in chunk:
                cut.times -= 1
                if cut.times <= 0:
                    self._cuts.remove(cut)
                return cut
        return None


@asynccontextmanager
async def proxy_to(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the server of this URL, closed in the end."""
    proxy = Proxy(upstream)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
