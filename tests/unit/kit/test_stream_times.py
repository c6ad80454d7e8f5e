"""What counts as the time to answer: all of an answer, but of a live stream only until it begins."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from careforall.kit.http import edge
from careforall.kit.http.identity import Verifier
from careforall.kit.settings import RateLimits
from careforall.kit.tracing import Tracing

HEAD, READ = 1.0, 60.0


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Unlimited:
    """Refuses nobody."""

    async def hit_all(self, *_: Any) -> None:
        return

    def field(self, *_: Any) -> str:
        return ""


async def nobody(*_: Any) -> Any:
    return None


def told() -> float:
    labels = {"service": "platform", "endpoint": "_unmatched"}
    return REGISTRY.get_sample_value("http_request_duration_seconds_sum", labels) or 0.0


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("application/json", HEAD + READ), ("text/event-stream; charset=utf-8", HEAD)],
    ids=["an answer", "a stream"],
)
async def test_what_counts_as_the_time_to_answer(monkeypatch: pytest.MonkeyPatch, kind: str, seconds: float) -> None:
    clock = Clock()
    monkeypatch.setattr(edge, "time", clock)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        clock.now += HEAD
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
        clock.now += READ
        await send({"type": "http.response.body", "body": b""})

    limiter: Any = Unlimited()
    tracing = Tracing("test", roots_per_second=0)
    wrapped = edge.Edge(app, hot=[], limiter=limiter, rates=RateLimits(), verifier=Verifier(nobody, nobody), tracing=tracing)
    before = told()
    await wrapped({"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": []}, nobody, nobody)
    assert told() - before == seconds
