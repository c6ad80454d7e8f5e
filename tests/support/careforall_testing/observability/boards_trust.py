"""The board about what must never go wrong: messages, payments, sagas, stock, the books."""

from __future__ import annotations

from careforall_testing.observability.panels import Board, Query, Row, graph, stat
from careforall_testing.observability.words import BROKEN_INVARIANTS, SHARED_CACHES, hit_share, rate

_NOT_COMPARED = "nothing was compared so far"
_CALM = "nothing went wrong so far"

RELIABILITY = Board(
    uid="careforall-reliability",
    title="Reliability",
    about="What must be zero, and what must come back to zero. Each panel has an alert and a runbook.",
    rows=(
        Row(
            "Must be zero",
            (
                stat("Broken invariants", BROKEN_INVARIANTS, bad_above=1),
                stat("Ledger imbalance", "max(ledger_imbalance)", bad_above=1),
                stat("Stock drift", "max(inventory_stock_drift)", bad_above=1),
                stat("Gateway divergence", "max(payment_gateway_divergence)", bad_above=1, quiet=_NOT_COMPARED),
                stat("Totals drift", "max(careforall_totals_drift)", bad_above=1, quiet=_NOT_COMPARED),
                stat("Parked sagas", "max(orders_parked_sagas)", bad_above=1),
            ),
        ),
        Row(
            "Messages",
            (
                graph(
                    "Outbox: oldest unpublished event",
                    Query("max by (service) (outbox_oldest_age_seconds)", "{{service}}"),
                    unit="s",
                    bad_above=30,
                ),
                graph(
                    "Outbox: lag of what is published",
                    Query("max by (service) (outbox_processing_lag_seconds)", "{{service}}"),
                    unit="s",
                    bad_above=5,
                ),
                graph("Outbox: events that wait", Query("max by (service) (outbox_pending_events)", "{{service}}")),
                graph(
                    "Published",
                    Query(rate("outbox_published_total", by="service"), "{{service}}"),
                    Query(rate("outbox_publish_failures_total", by="service"), "{{service}} failed"),
                    unit="cps",
                ),
                graph(
                    "Inbox: messages by what became of them",
                    Query(rate("messages_consumed_total", by="outcome"), "{{outcome}}"),
                    unit="cps",
                ),
                graph("Inbox: not delivered yet", Query("max by (consumer) (consumer_pending_messages)", "{{consumer}}")),
                graph("Dead letters", Query("max by (service) (dead_letters)", "{{service}}"), bad_above=1),
                graph(
                    "Relays at work",
                    Query("sum by (service) (outbox_relay_active)", "{{service}}"),
                    about="One for each service.",
                    bad_below=1,
                ),
                graph(
                    "Timed jobs that failed",
                    Query(rate("scheduled_job_runs_total", 'outcome="failed"', by="job"), "{{job}}", _CALM),
                    unit="cps",
                ),
            ),
        ),
        Row(
            "Payments",
            (
                graph(
                    "Webhooks by answer", Query(rate("payment_webhook_processed_total", by="status"), "{{status}}"), unit="cps"
                ),
                graph(
                    "Webhook retries",
                    Query(
                        rate("payment_webhook_processed_total", 'idempotency_hit="true"'), "answered from what was stored", _CALM
                    ),
                    unit="cps",
                    about="Gateways that tell again; each copy gets the first answer.",
                ),
                graph("Webhooks that wait", Query('sum(careforall_batch_waiting{batch="webhooks"})', "waiting"), bad_above=1000),
                graph(
                    "Differences with gateways",
                    Query("max by (gateway) (payment_gateway_divergence)", "{{gateway}}", _NOT_COMPARED),
                    bad_above=1,
                ),
                graph(
                    "Age of the last comparison",
                    Query("max by (gateway) (payment_reconciliation_age_seconds)", "{{gateway}}", _NOT_COMPARED),
                    unit="s",
                ),
                graph(
                    "For a person to look at",
                    Query("sum by (kind) (increase(payment_alarms_total[1h]))", "{{kind}}"),
                    Query("sum by (bucket) (increase(payments_reconciliation_findings_total[1h]))", "{{bucket}}", _CALM),
                    about="Raised in the hour before.",
                ),
                graph(
                    "Breakers that are open",
                    Query("max by (name) (circuit_breaker_open)", "{{name}}", "no gateway was asked so far"),
                    bad_above=1,
                ),
            ),
        ),
        Row(
            "Checkout and stock",
            (
                graph(
                    "Sagas by step",
                    Query("max by (step) (orders_open_sagas)", "{{step}}"),
                    about="ready and payer wait for people.",
                ),
                graph("Age of the oldest saga by step", Query("max by (step) (orders_saga_age_seconds)", "{{step}}"), unit="s"),
                graph(
                    "Steps by what came of them",
                    Query(rate("orders_saga_steps_total", by="step, outcome"), "{{step}} {{outcome}}"),
                    unit="cps",
                ),
                graph(
                    "What the hourly look found",
                    Query("max by (kind) (orders_reconciliation_findings)", "{{kind}}", "the first look comes after an hour"),
                    bad_above=1,
                ),
                graph("Reservations", Query(rate("inventory_reservations_total", by="outcome"), "{{outcome}}"), unit="cps"),
                graph("Holds", Query("max(inventory_pending_holds)", "held"), Query("max(inventory_overdue_holds)", "overdue")),
            ),
        ),
        Row(
            "Reads and other companies",
            (
                graph(
                    "Cache hits",
                    Query(hit_share(SHARED_CACHES, "service, cache_type"), "{{service}} {{cache_type}}"),
                    unit="percentunit",
                    bad_below=0.9,
                ),
                graph(
                    "Hits since the start",
                    Query("min by (service, cache_type) (cache_hit_ratio)", "{{service}} {{cache_type}}"),
                    unit="percentunit",
                ),
                graph(
                    "Time of a view's refresh",
                    Query(
                        "max by (view) (careforall_totals_view_refresh_seconds)",
                        "{{view}}",
                        "a view is refreshed after some minutes",
                    ),
                    unit="s",
                ),
                graph(
                    "Oldest change not carried",
                    Query("max by (target) (sync_oldest_delivery_seconds)", "{{target}}", "nothing is switched on"),
                    unit="s",
                ),
                graph(
                    "Changes given up on",
                    Query("max by (target) (sync_dead_deliveries)", "{{target}}", "nothing is switched on"),
                    bad_above=1,
                ),
                graph(
                    "Calls to other companies",
                    Query(rate("sync_calls_total", by="target, outcome"), "{{target}} {{outcome}}", "nothing is switched on"),
                    unit="cps",
                ),
            ),
        ),
        Row(
            "Webhooks of integrators",
            (
                graph(
                    "Posts by what came of them",
                    Query(rate("webhook_posts_total", by="outcome"), "{{outcome}}", "nobody listens so far"),
                    unit="cps",
                ),
                graph(
                    "Oldest delivery not taken",
                    Query("max(webhook_oldest_waiting_seconds)", "waits"),
                    unit="s",
                    bad_above=86400,
                ),
                graph("Most overdue delivery", Query("max(webhook_overdue_seconds)", "overdue"), unit="s", bad_above=600),
                graph(
                    "Given up on and disabled",
                    Query("max(webhook_dead_deliveries)", "given up on"),
                    Query("max by (reason) (webhook_disabled_endpoints)", "disabled: {{reason}}"),
                ),
            ),
        ),
    ),
)
