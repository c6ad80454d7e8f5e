"""Boards about how requests are answered: system health and performance."""

from __future__ import annotations

from careforall_testing.observability.panels import Board, Panel, Query, Row, graph, stat
from careforall_testing.observability.words import (
    ASKED,
    BROKEN_INVARIANTS,
    CHECKOUT,
    SHARED_CACHES,
    error_share,
    hit_share,
    mean,
    quantile,
    rate,
)

_CALM = "nothing went wrong"
_SECONDS = "http_request_duration_seconds"
_CHOSEN = f'{ASKED}, service=~"$service"'


def objective(title: str, selector: str, aim: float) -> Panel:
    """Return the share of good answers over a day beside what was promised."""
    return stat(
        title,
        f"1 - {error_share(selector, window='1d')}",
        unit="percentunit",
        bad_below=aim,
        about=f"Promised: {aim:.2%} of requests answered without an error of ours.",
    )


SYSTEM = Board(
    uid="careforall-system",
    title="System health",
    about="One look: does it answer, does anything wait, is anything broken. Start here, then follow the runbook of the alert.",
    rows=(
        Row(
            "Right now",
            (
                objective("Answered well, 24 h", ASKED, 0.999),
                objective("Checkout answered well, 24 h", CHECKOUT, 0.9999),
                stat("Requests", rate("http_requests_total", ASKED), unit="reqps"),
                stat("p95", quantile(0.95, _SECONDS, ASKED), unit="s", bad_above=0.5),
                stat(
                    "Degraded processes", "sum(careforall_degraded)", bad_above=1, about="Told that the database takes no writes."
                ),
                stat("Broken invariants", BROKEN_INVARIANTS, bad_above=1, about="Found by verify; 0 is right."),
            ),
        ),
        Row(
            "Requests",
            (
                graph(
                    "Requests by service", Query(rate("http_requests_total", ASKED, by="service"), "{{service}}"), unit="reqps"
                ),
                graph(
                    "Errors by service",
                    Query(error_share(ASKED, by="service"), "{{service}}"),
                    unit="percentunit",
                    bad_above=0.001,
                ),
                graph("Refused by a rate limit", Query(rate("rate_limited_total", by="limit"), "{{limit}}", _CALM), unit="reqps"),
            ),
        ),
        Row(
            "What waits",
            (
                graph(
                    "Oldest unpublished event",
                    Query("max by (service) (outbox_oldest_age_seconds)", "{{service}}"),
                    unit="s",
                    bad_above=30,
                ),
                graph("Messages not delivered yet", Query("max by (consumer) (consumer_pending_messages)", "{{consumer}}")),
                graph(
                    "Database pool in use",
                    Query("max by (service) (database_pool_in_use / database_pool_size)", "{{service}}"),
                    unit="percentunit",
                    bad_above=0.8,
                ),
            ),
        ),
        Row(
            "Processes",
            (
                graph("Targets that answer", Query("sum by (job) (up)", "{{job}}")),
                graph("Memory", Query("process_resident_memory_bytes", "{{instance}}"), unit="bytes"),
                graph("Processor", Query("rate(process_cpu_seconds_total[5m])", "{{instance}}"), about="Cores in use."),
            ),
        ),
    ),
)

PERFORMANCE = Board(
    uid="careforall-performance",
    title="Performance",
    about="How fast and how much: rates, errors, percentiles by service and route, and what the time goes into.",
    by_service=True,
    rows=(
        Row(
            "By service",
            (
                graph("Requests", Query(rate("http_requests_total", _CHOSEN, by="service"), "{{service}}"), unit="reqps"),
                graph("Answers by status", Query(rate("http_requests_total", _CHOSEN, by="status"), "{{status}}"), unit="reqps"),
                graph("Errors", Query(error_share(_CHOSEN, by="service"), "{{service}}"), unit="percentunit", bad_above=0.001),
                *(
                    graph(
                        f"p{round(at * 100)} by service",
                        Query(quantile(at, _SECONDS, _CHOSEN, by="service"), "{{service}}"),
                        unit="s",
                        bad_above=limit,
                    )
                    for at, limit in ((0.5, 0.1), (0.95, 0.5), (0.99, 2.0))
                ),
            ),
        ),
        Row(
            "By route",
            (
                graph(
                    "Busiest routes",
                    Query(f"topk(10, {rate('http_requests_total', _CHOSEN, by='endpoint')})", "{{endpoint}}"),
                    unit="reqps",
                    width=12,
                ),
                graph(
                    "Slowest routes, p95",
                    Query(f"topk(10, {quantile(0.95, _SECONDS, _CHOSEN, by='endpoint')})", "{{endpoint}}"),
                    unit="s",
                    width=12,
                ),
            ),
        ),
        Row(
            "Where the time goes",
            (
                graph(
                    "Pool in use",
                    Query('max by (service) (database_pool_in_use{service=~"$service"} / database_pool_size)', "{{service}}"),
                    unit="percentunit",
                    bad_above=0.8,
                ),
                graph(
                    "Callers that wait for a connection",
                    Query('sum by (service) (database_pool_waiting{service=~"$service"})', "{{service}}"),
                ),
                graph("Items that wait for a transaction", Query("sum by (batch) (careforall_batch_waiting)", "{{batch}}")),
                graph(
                    "Items per transaction, mean",
                    Query(
                        mean("careforall_batch_size", "batch"),
                        "{{batch}}",
                    ),
                    about="Grows with load: that is what keeps the price of one low.",
                ),
                graph(
                    "Messages per transaction, mean",
                    Query(
                        mean("consumer_batch_size", "consumer"),
                        "{{consumer}}",
                    ),
                ),
                graph(
                    "Cache hits",
                    Query(hit_share(SHARED_CACHES, "service, cache_type"), "{{service}} {{cache_type}}"),
                    unit="percentunit",
                    bad_below=0.9,
                ),
            ),
        ),
    ),
)
