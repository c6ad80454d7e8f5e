"""Live streams: the present totals, every change, heartbeats, and an end when the reader goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from careforall.kit.ids import new_id
from careforall.totals.domain import Gift
from careforall.totals.errors import TooManyStreams
from careforall.totals.metrics import STREAMS
from careforall_testing.servers import ServerUrls

SOON = 10.0


class Reader:
    """A browser that reads one stream of a listener."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.ended = asyncio.Event()
        self._asked = False
        self.headers: dict[bytes, bytes] = {}
        self._rest = b""

    async def receive(self) -> dict[str, object]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.headers = dict(message["headers"])
        else:
            self._chunks.put_nowait(message.get("body", b""))
            if not message.get("more_body", False):
                self.ended.set()

    def leave(self) -> None:
        self._gone.set()

    async def block(self) -> str:
        """The next event or comment."""
        async with asyncio.timeout(SOON):
            while b"\n\n" not in self._rest:
                self._rest += await self._chunks.get()
        block, _, self._rest = self._rest.partition(b"\n\n")
        return block.decode()

    async def totals(self) -> Any:
        """The data of the next event named totals."""
        block = await self.block()
        if block.startswith("retry: "):
            block = await self.block()
        lines = dict(line.partition(": ")[::2] for line in block.splitlines())
        assert lines["event"] == "totals"
        return msgspec.json.decode(lines["data"])


@asynccontextmanager
async def reading(running: Any, campaign: object) -> AsyncIterator[Reader]:
    path = f"/api/v1/totals/campaigns/{campaign}/stream"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    reader = Reader()
    serving = asyncio.ensure_future(running.edge(hot=True)(scope, reader.receive, reader.send))
    try:
        yield reader
    finally:
        reader.leave()
        async with asyncio.timeout(SOON):
            await serving


async def test_a_reader_gets_the_present_and_every_change(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with arena.open(servers, started=True, stream_poll=60.0) as running:
        campaign = new_id()
        await running.fold([gift(campaign)])
        async with reading(running, campaign) as reader:
            assert (await reader.totals())["total_amount"] == "10.00"
            assert reader.headers[b"cache-control"] == b"no-store"
            assert reader.headers[b"content-type"].startswith(b"text/event-stream")
            await running.fold([gift(campaign)])
            assert (await reader.totals())["total_amount"] == "20.00"
            await running.fold([gift(campaign, "donor-2")])
            assert (await reader.totals())["unique_donors"] == 2
            assert STREAMS._value.get() == 1  # noqa: SLF001 - the client offers no public reading
        assert STREAMS._value.get() == 0  # noqa: SLF001 - the client offers no public reading


async def test_a_lost_hint_is_made_up_for_by_the_poll(arena: Any, servers: ServerUrls, gift: Callable[..., Gift]) -> None:
    async with (
        arena.open(servers) as elsewhere,
        arena.open(servers, database=elsewhere.database.dsn, started=True, stream_poll=0.1) as running,
    ):
        campaign = new_id()
        async with reading(running, campaign) as reader:
            assert (await reader.totals())["total_amount"] == "0.00"
            await elsewhere.fold([gift(campaign)])
            assert (await reader.totals())["total_amount"] == "10.00"


async def test_a_quiet_stream_beats(arena: Any, servers: ServerUrls) -> None:
    async with arena.open(servers, started=True, stream_heartbeat=0.05) as running, reading(running, new_id()) as reader:
        await reader.totals()
        assert await reader.block() == ": heartbeat"
        assert await reader.block() == ": heartbeat"


async def test_a_slow_reader_skips_to_the_newest(running: Any, gift: Callable[..., Gift]) -> None:
    campaign = new_id()
    readings = await running.service.follow(campaign)
    await anext(readings)
    pending = asyncio.ensure_future(anext(readings))
    await asyncio.sleep(0)
    for count in range(1, 4):
        await running.fold([gift(campaign)])
        fresh = await running.counters(campaign)
        await running.hear([fresh])
        assert fresh.total_donations == count
    await pending
    assert (await anext(readings)).totals.total_donations == 3
    await readings.aclose()


async def test_one_stream_too_many_is_refused(arena: Any, servers: ServerUrls) -> None:
    async with arena.open(servers, started=True, max_streams=1) as running:
        campaign = new_id()
        async with reading(running, campaign) as reader:
            await reader.totals()
            with pytest.raises(TooManyStreams):
                await running.service.follow(campaign)


async def test_streams_end_with_the_process(arena: Any, servers: ServerUrls) -> None:
    async with arena.open(servers, started=True) as running, reading(running, new_id()) as reader:
        await reader.totals()
        for end in running.parts.closing:
            await end()
        async with asyncio.timeout(SOON):
            await reader.ended.wait()
