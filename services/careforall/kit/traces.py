"""The last traces of an instance, kept in memory so that one gift can be followed without any other server."""

import zlib
from collections import OrderedDict
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from careforall.kit.errors import InvalidInput, TooLarge

KEPT = 2000
LARGEST = 16 * 2**20
"""Bytes of one request, unpacked; a full batch of the exporter has less than one."""
_SPANS_PER_TRACE = 500


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One step; times in nanoseconds since the epoch."""

    name: str
    service: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: dict[str, str]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace with its steps in order of their start."""

    trace_id: str
    spans: list[Span]


class TraceStore:
    """Receives OTLP and keeps the newest traces."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, dict[str, Span]] = OrderedDict()

    def receive(self, body: bytes, *, gzipped: bool) -> None:
        """Store the spans of one OTLP/HTTP request.

        Raises:
            InvalidInput: It is none.
            TooLarge: It has more than `LARGEST` bytes.
        """
        try:
            request = ExportTraceServiceRequest.FromString(_unpacked(body) if gzipped else body)
        except (DecodeError, zlib.error) as error:
            raise InvalidInput("The body is no OTLP export of traces.") from error
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._keep(span.trace_id.hex(), _span(span, service))

    def get(self, trace_id: str) -> Trace | None:
        """Return one trace, or None when it is not kept (any more)."""
        spans = self._traces.get(trace_id)
        return None if spans is None else Trace(trace_id=trace_id, spans=sorted(spans.values(), key=lambda span: span.start))

    def newest(self, limit: int) -> list[Trace]:
        """Return the newest traces first."""
        found = [self.get(trace_id) for trace_id in list(self._traces)[-limit:][::-1]]
        return [trace for trace in found if trace is not None]

    def _keep(self, trace_id: str, span: Span) -> None:
        spans = self._traces.setdefault(trace_id, {})
        if len(spans) < _SPANS_PER_TRACE:
            spans[span.span_id] = span
        while len(self._traces) > KEPT:
            self._traces.popitem(last=False)


def _unpacked(body: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # as gzip packs
    found = unpacking.decompress(body, LARGEST)
    if unpacking.unconsumed_tail:
        raise TooLarge
    return found


def _span(span: Any, service: str) -> Span:
    return Span(
        name=span.name,
        service=service,
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
