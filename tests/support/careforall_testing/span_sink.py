"""A place where traces arrive by OTLP/HTTP, which can be away for a while and come back at the same address.

async with span_sink() as sink:
    ...
    await sink.has({"a span"})
"""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from careforall.kit.ids import new_id
from careforall_testing.loopback import Answered, Asked, listening
from careforall_testing.polling import eventually

PATH = "/v1/traces"


class Arrived(Struct, frozen=True, kw_only=True):
    """A span that arrived."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    """Spans it is linked to."""
    failed: bool
    """Whether its status is ERROR."""
    attributes: dict[str, str]


class SpanSink:
    """Keeps every span that arrives; what arrives twice is there twice."""

    def __init__(self) -> None:
        self.spans: list[Arrived] = []
        self.authorizations: set[str] = set()
        self.url = ""
        self._open = AsyncExitStack()

    async def come(self) -> None:
        """Listen: at a free port the first time, at the same one again after that."""
        self.url = await self._open.enter_async_context(listening(self._answer, port=urlsplit(self.url).port or 0))

    async def go(self) -> None:
        """Stop listening, so that whoever sends is refused a connection."""
        await self._open.aclose()

    def names(self) -> list[str]:
        """The names of all spans, sorted; a doubled span shows as a doubled name."""
        return sorted(span.name for span in self.spans)

    async def has(self, names: set[str], *, within_s: float = 20.0) -> None:
        """Wait until spans of these names have arrived."""

        async def look() -> bool:
            return names <= set(self.names())

        await eventually(look, within_s=within_s, what=f"spans {sorted(names)[:5]}")

    async def _answer(self, asked: Asked) -> Answered:
        if (asked.method, asked.path) != ("POST", PATH):
            return Answered(status=404)
        body = gzip.decompress(asked.body) if asked.headers.get("content-encoding") == "gzip" else asked.body
        self.authorizations.add(asked.headers.get("authorization", ""))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            self.spans += [_arrived(span, service) for scope in resource.scope_spans for span in scope.spans]
        return Answered(headers={"Content-Type": "application/x-protobuf"})


@asynccontextmanager
async def span_sink() -> AsyncIterator[SpanSink]:
    """A sink on a free loopback port."""
    sink = SpanSink()
    await sink.come()
    try:
        yield sink
    finally:
        await sink.go()


def traceparent() -> str:
    """A sampled `traceparent` of a new trace."""
    return f"00-{new_id().hex}-{new_id().hex[-16:]}-01"


def _arrived(span: Any, service: str) -> Arrived:
    return Arrived(
        name=span.name,
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
