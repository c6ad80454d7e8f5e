"""JSON logs on standard output: one line an event, with the ids that join it to traces; never bodies, tokens or people."""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import Processor

from careforall.kit import context
from careforall.kit.tracing import span_id_of, trace_id_of

_encode = msgspec.json.Encoder(enc_hook=repr).encode


class Output:
    """Standard output, which loses lines that cannot be written (a full disk) rather than the work of whoever writes them."""

    def write(self, text: str) -> None:
        """Write a text, or lose it."""
        with contextlib.suppress(OSError):
            sys.stdout.write(text)

    def flush(self) -> None:
        """Write what is kept back, or keep it."""
        with contextlib.suppress(OSError):
            sys.stdout.flush()


OUTPUT = Output()


def configure(service: str, level: str = "info") -> None:
    """Set up structlog and the standard library's loggers; called once by the command line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    described: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Identify(service),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
    ]
    rendered = structlog.processors.JSONRenderer(serializer=_dumps)
    structlog.configure(
        processors=[*described, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", OUTPUT)),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(OUTPUT)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *described],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendered],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[libraries])


class _Identify:
    """Adds the service and the ids of the running task."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        cause = context.current()
        event.setdefault("service", self._service)
        if cause.correlation_id:
            event.setdefault("correlation_id", cause.correlation_id)
        if cause.traceparent:
            event.setdefault("trace_id", trace_id_of(cause.traceparent))
            event.setdefault("span_id", span_id_of(cause.traceparent))
        return event


def _dumps(event: Any, **_: Any) -> str:
    return _encode(event).decode()
