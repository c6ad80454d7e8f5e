"""One trace from a click to the receipt: spans for requests, transactions, messages sent and processed, and gateway calls.

Roots are sampled by rate, so that a laptop sees every gift and a rush costs nothing. `traceparent` travels in outbox rows,
envelopes and, as that of the span of sending, in the headers of messages. A transaction or batch that several share gives each
sampled member a span of its own, linked to the first. What went wrong has the status ERROR, by which a collector keeps the whole
trace.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import msgspec
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from careforall.kit.envelope import Message, Posted
from careforall.kit.errors import Problem

Attributes = Mapping[str, str | int]

_ODD = frozenset("13579bdf")
_FAILURE = 500
_propagator = TraceContextTextMapPropagator()


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose `traceparent` is that of its span, where it has one."""

    message: Message[Any]
    span: trace.Span | None = None


class Tracing:
    """The tracer of one process.

    Args:
        service: `service.name` of the spans.
        otlp_url: Where spans go (OTLP/HTTP); empty sends none.
        roots_per_second: New traces started per second; requests that bring a sampled `traceparent` are always traced.
    """

    def __init__(self, service: str, *, otlp_url: str = "", roots_per_second: float = 10.0) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("careforall")
        self._exporting = bool(otlp_url)
        self._budget = _Budget(roots_per_second)
        if otlp_url:
            exporter = OTLPSpanExporter(endpoint=otlp_url, timeout=2)
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def root(self, name: str, incoming: str | None, attributes: dict[str, Any]) -> trace.Span | None:
        """Start the span of a request, or return None where it is not sampled."""
        if not self._exporting:
            return None
        parent = _context(incoming) if incoming else None
        sampled_by_caller = parent is not None and _is_sampled(parent)
        if not sampled_by_caller and not self._budget.take():
            return None
        return self._tracer.start_span(
            name, context=parent if sampled_by_caller else None, kind=SpanKind.SERVER, attributes=attributes
        )

    @contextmanager
    def span(
        self, name: str, traceparent: str | None, *, answers: tuple[type[Exception], ...] = (), **attributes: str | int
    ) -> Iterator[str | None]:
        """Trace a piece of work under `traceparent`; yields the new parent for what it causes.

        What is raised in it makes it an error, except for `answers`: what was asked for was done, and this is what came back.
        """
        parent = self._parent(traceparent)
        if parent is None:
            yield traceparent
            return
        span = self._tracer.start_span(name, context=parent, kind=SpanKind.CLIENT, attributes=attributes)
        try:
            yield traceparent_of(span)
        except answers:
            raise
        except Exception as error:
            fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    @contextmanager
    def transaction(self, database: str, operation: str, traceparents: Sequence[str]) -> Iterator[None]:
        """Trace what a database does for all who share it; what is refused to a caller is no error of the database."""
        attributes: dict[str, str | int] = {
            "db.system.name": "postgresql",
            "db.namespace": database,
            "db.operation.name": operation,
        }
        if len(traceparents) > 1:
            attributes["db.operation.batch.size"] = len(traceparents)
        with self._together(SpanKind.CLIENT, traceparents, lambda _: (f"{operation} {database}", attributes)) as spans:
            try:
                yield
            except Exception as error:
                if not isinstance(error, Problem) or error.status >= _FAILURE:
                    for span in spans:
                        fail(span, type(error).__name__)
                raise

    @contextmanager
    def sending(self, messages: Sequence[Posted]) -> Iterator[list[Posted]]:
        """Give each sampled message a `send` span; yields the messages with their new parents, the others without any."""

        def describe(index: int) -> tuple[str, Attributes]:
            message = messages[index]
            return f"send {message.subject}", _messaging("send", message.subject, message.message_id, len(messages))

        with self._together(SpanKind.PRODUCER, [message.traceparent for message in messages], describe) as spans:
            yield [
                message._replace(traceparent=None if span is None else traceparent_of(span))
                for message, span in zip(messages, spans, strict=True)
            ]

    @contextmanager
    def processing(self, consumer: str, messages: Sequence[Message[Any]]) -> Iterator[list[Traced]]:
        """Give each sampled message a `process` span; yields the messages with their new parents."""

        def describe(index: int) -> tuple[str, Attributes]:
            message = messages[index]
            attributes = _messaging("process", message.event_type, str(message.event_id), len(messages))
            return f"process {message.event_type}", {**attributes, "messaging.consumer.group.name": consumer}

        with self._together(SpanKind.CONSUMER, [message.traceparent for message in messages], describe) as spans:
            yield [_traced(message, span) for message, span in zip(messages, spans, strict=True)]

    @contextmanager
    def _together(
        self, kind: SpanKind, traceparents: Sequence[str | None], describe: Callable[[int], tuple[str, Attributes]]
    ) -> Iterator[list[trace.Span | None]]:
        """Start a span, named and described by its index, for each that is sampled, linked to the first; end all together."""
        spans: list[trace.Span | None] = [None] * len(traceparents)
        links: list[Link] = []
        for index, traceparent in enumerate(traceparents):
            parent = self._parent(traceparent)
            if parent is None:
                continue
            name, attributes = describe(index)
            span = self._tracer.start_span(name, context=parent, kind=kind, attributes=attributes, links=links)
            links = links or [Link(span.get_span_context())]
            spans[index] = span
        try:
            yield spans
        finally:
            for started in filter(None, spans):
                started.end()

    def _parent(self, traceparent: str | None) -> Any | None:
        """Return the context of a sampled `traceparent`; None where there is nothing to trace."""
        if not self._exporting or not is_sampled(traceparent):
            return None
        parent = _context(traceparent)
        return parent if _is_sampled(parent) else None


class _Budget:
    """A token bucket of root spans."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._tokens = per_second
        self._at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def fail(span: trace.Span | None, reason: str) -> None:
    """Make a span an error.

    Args:
        span: None where nothing is traced.
        reason: The name of an error or a status code, never a text, which might tell who gave.
    """
    if span is not None:
        span.set_attribute("error.type", reason)
        span.set_status(StatusCode.ERROR)


def traceparent_of(span: trace.Span) -> str:
    """Return the W3C header value that makes children of `span`."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span))
    return carrier["traceparent"]


def trace_id_of(traceparent: str | None) -> str:
    """Return the 32 hexadecimal digits of the trace, or an empty string."""
    return _part(traceparent, 1)


def span_id_of(traceparent: str | None) -> str:
    """Return the 16 hexadecimal digits of the span, or an empty string."""
    return _part(traceparent, 2)


def is_sampled(traceparent: str | None) -> TypeGuard[str]:
    """Whether a trace is kept, as far as its flags say; cheap enough to be asked of everything."""
    return traceparent is not None and traceparent[-1:] in _ODD


def _part(traceparent: str | None, index: int) -> str:
    return traceparent.split("-")[index] if traceparent and traceparent.count("-") == 3 else ""  # noqa: PLR2004 - W3C: four parts


def _messaging(operation: str, subject: str, message_id: str, size: int) -> dict[str, str | int]:
    return {
        "messaging.system": "nats",
        "messaging.destination.name": subject,
        "messaging.operation.type": operation,
        "messaging.message.id": message_id,
        "messaging.batch.message_count": size,
    }


def _traced(message: Message[Any], span: trace.Span | None) -> Traced:
    if span is None:
        return Traced(message=message)
    return Traced(message=msgspec.structs.replace(message, traceparent=traceparent_of(span)), span=span)


def _context(traceparent: str) -> Any:
    return _propagator.extract({"traceparent": traceparent})


def _is_sampled(context: Any) -> bool:
    found: SpanContext = trace.get_current_span(context).get_span_context()
    return found.is_valid and bool(found.trace_flags & TraceFlags.SAMPLED)
