"""The platform's Prometheus metrics, one place and one name each; docs/reference/metrics.md is made from here."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# When a counter began: nobody asks, and it would be a series beside each.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the client says no types there

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

REQUESTS = Counter("http_requests_total", "Answered requests", ["service", "endpoint", "method", "status"])
REQUEST_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time to answer; of a live stream, until it begins",
    ["service", "endpoint"],
    buckets=_SECONDS,
)
BATCH_SIZE = Histogram("careforall_batch_size", "Items per shared transaction", ["batch"], buckets=_COUNTS)
BATCH_WAITING = Gauge("careforall_batch_waiting", "Items waiting for a shared transaction", ["batch"])

OUTBOX_LAG = Gauge("outbox_processing_lag_seconds", "Age of the last event when it was published", ["service"])
OUTBOX_OLDEST = Gauge("outbox_oldest_age_seconds", "Age of the oldest unpublished event", ["service"])
OUTBOX_PENDING = Gauge("outbox_pending_events", "Events waiting to be published", ["service"])
OUTBOX_PUBLISHED = Counter("outbox_published_total", "Events the broker acknowledged", ["service"])
EVENTS_PUBLISHED = Counter("events_published_total", "Events the broker acknowledged, by subject", ["subject"])
OUTBOX_FAILURES = Counter("outbox_publish_failures_total", "Publishes that were not acknowledged", ["service"])
RELAY_ACTIVE = Gauge("outbox_relay_active", "1 where this process holds the relay lock", ["service"])

CONSUMED = Counter("messages_consumed_total", "Messages by what became of them", ["consumer", "outcome"])
CONSUMER_BATCH = Histogram("consumer_batch_size", "Messages per transaction", ["consumer"], buckets=_COUNTS)
CONSUMER_LAG = Gauge("consumer_pending_messages", "Messages not yet delivered", ["consumer"])
DEAD_LETTERS = Gauge("dead_letters", "Messages given up on and not settled", ["service"])

CACHE_HITS = Counter("cache_hits_total", "Reads answered by a cache", ["service", "cache_type"])
CACHE_MISSES = Counter("cache_misses_total", "Reads a cache could not answer", ["service", "cache_type"])
CACHE_RATIO = Gauge("cache_hit_ratio", "Hits of all reads since the start", ["service", "cache_type"])

POOL_IN_USE = Gauge("database_pool_in_use", "Connections in use", ["service"])
POOL_SIZE = Gauge("database_pool_size", "Connections the pool may open", ["service"])
DATABASE_TIMELINE = Gauge(
    "database_timeline",
    "Oldest timeline that connections are open to, by the database cluster's identifier",
    ["service", "cluster"],
)
POOL_WAITING = Gauge("database_pool_waiting", "Callers waiting for a connection", ["service"])

RATE_LIMITED = Counter("rate_limited_total", "Requests refused by a rate limit", ["limit"])
DEGRADED = Gauge("careforall_degraded", "1 while this process was told that the database takes no writes")
BREAKER_OPEN = Gauge("circuit_breaker_open", "1 while a breaker is open", ["name"])
INVARIANT_VIOLATIONS = Gauge("careforall_invariant_violations", "Broken invariants found by verify", ["name"])
LEDGER_IMBALANCE = Gauge("ledger_imbalance", "Entries, payments and gifts of which the ledger says something else")
RESERVATIONS = Counter("inventory_reservations_total", "Holds by what became of them; refused: not enough in stock", ["outcome"])
RESERVED_UNITS = Gauge("inventory_reserved_units", "Units held and not settled, over all SKUs")
PENDING_HOLDS = Gauge("inventory_pending_holds", "Reservations that are held and not settled")
OVERDUE_HOLDS = Gauge("inventory_overdue_holds", "Unpinned holds that ran out and are not expired yet")
STOCK_DRIFT = Gauge("inventory_stock_drift", "Stock rows whose reserved is not the sum of their holds")
LOW_STOCK_ROWS = Gauge("inventory_low_stock_rows", "Stock rows at or below their threshold")
JOB_RUNS = Counter("scheduled_job_runs_total", "Runs of timed jobs", ["job", "outcome"])
