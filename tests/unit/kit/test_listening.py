"""The listener serves far more connections than the embedded server allows by default: streams stay open for hours."""

import asyncio
from typing import Any

from careforall.kit.listening import Listener
from careforall.launch.ports import free_port

OPEN_STREAMS = 300


async def test_a_request_is_answered_beside_hundreds_of_open_streams() -> None:
    port = free_port()
    server = Listener(host="127.0.0.1", port=port, internal_port=0).public(_endless)
    serving = asyncio.ensure_future(server.serve())
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(OPEN_STREAMS)]
    try:
        for _, writer in streams:
            writer.write(b"GET /events HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(20):
            for reader, _ in streams:
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    finally:
        for _, writer in streams:
            writer.close()
        server.stop()  # type: ignore[no-untyped-call]  # granian's embedded server is untyped here
        await serving


async def _endless(scope: Any, receive: Any, send: Any) -> None:
    """Begin an answer that ends only when its reader goes."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
