"""What the store of traces makes of bodies that are none: a refusal, and no more memory than a batch may take."""

import gzip

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from careforall.kit.errors import InvalidInput, TooLarge
from careforall.kit.traces import LARGEST, TraceStore

TRACE = bytes(range(16))
NONE = b"\xff no spans"
EXPORT = ExportTraceServiceRequest(
    resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(trace_id=TRACE, span_id=b"12345678", name="a step")])])]
).SerializeToString()


@pytest.mark.parametrize("gzipped", [False, True])
def test_an_export_is_kept_packed_or_not(*, gzipped: bool) -> None:
    traces = TraceStore()
    traces.receive(gzip.compress(EXPORT) if gzipped else EXPORT, gzipped=gzipped)
    assert [(trace.trace_id, trace.spans[0].name) for trace in traces.newest(5)] == [(TRACE.hex(), "a step")]


def test_what_is_no_export_is_refused() -> None:
    for body, gzipped in [(NONE, False), (NONE, True), (gzip.compress(NONE), True)]:
        with pytest.raises(InvalidInput):
            TraceStore().receive(body, gzipped=gzipped)


def test_little_that_unpacks_to_much_is_refused() -> None:
    with pytest.raises(TooLarge):
        TraceStore().receive(gzip.compress(bytes(LARGEST + 1)), gzipped=True)
