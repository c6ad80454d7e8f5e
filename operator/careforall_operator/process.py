"""The process: settings, logs, metrics, and kopf until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import kopf
import structlog
from prometheus_client import start_http_server

from careforall_operator.settings import Settings, SettingsError, load

QUIET = ("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp.access", "kopf")


def run() -> int:
    """Run the operator; return 0 after it was told to stop, 1 when it gave up, 3 when its settings cannot be read."""
    try:
        settings = load(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"careforall-operator: {error}\n")
        return 3
    set_up_logs(settings.log_level)
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    from careforall_operator import handlers  # noqa: F401, PLC0415 - importing registers them

    stop = asyncio.Event()
    gave_up: list[bool] = []

    def give_up() -> None:
        gave_up.append(True)
        stop.set()

    # kopf hands each object a copy of the memo; what is linked from it is shared.
    link = SimpleNamespace(office=None, kube=None, looking=None)
    memo: Any = kopf.Memo(settings=settings, give_up=give_up, link=link)
    await _until_stopped(settings, memo, stop)
    return 1 if gave_up else 0


async def _until_stopped(settings: Settings, memo: Any, stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await kopf.operator(
        namespaces=[settings.namespace],
        standalone=True,
        memo=memo,
        stop_flag=stop,
        liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",  # the pod's address, nothing else's
    )


def set_up_logs(level: str) -> None:
    """Make every line a JSON object, those of libraries too."""
    number = logging.getLevelNamesMapping()[level.upper()]
    facts: list[Any] = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    written: list[Any] = [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*facts, *written],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *facts, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written],
        )
    )
    logging.basicConfig(level=number, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
