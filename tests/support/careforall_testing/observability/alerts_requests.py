"""Alerts on what people feel at once: errors, slowness, and what is about to cause them."""

from __future__ import annotations

from careforall_testing.observability.alert import Alert
from careforall_testing.observability.words import ASKED, CHECKOUT, SHARED_CACHES, error_share, hit_share, quantile, rate

_SECONDS = "http_request_duration_seconds"
_BUCKET = 'http_request_duration_seconds_bucket{service="s", endpoint="/api/v1/donations"'


def _asked(*, slow: str) -> dict[str, str]:
    """Return 6,000 requests a minute of which a share (of 6,000) takes longer than two seconds and a half."""
    quick = 6000 - int(slow)
    return {
        f'{_BUCKET}, le="0.1"}}': f"0+{quick}x60",
        f'{_BUCKET}, le="2.5"}}': f"0+{quick}x60",
        f'{_BUCKET}, le="5"}}': "0+6000x60",
        f'{_BUCKET}, le="+Inf"}}': "0+6000x60",
    }


def _orders(bad: int) -> dict[str, str]:
    labels = 'service="orders", endpoint="/api/v1/orders", method="POST"'
    return {
        f'http_requests_total{{{labels}, status="201"}}': "0+1000x60",
        f'http_requests_total{{{labels}, status="503"}}': f"0+{bad}x60",
    }


ALERTS = (
    Alert(
        name="OrdersFail",
        expr=f"{error_share(CHECKOUT)} > 0.005",
        lasting="5m",
        severity="critical",
        summary="Buyers cannot order: more than 0.5 % of orders and checkouts are answered by errors",
        description="{{ $value | humanizePercentage }} of orders and checkouts failed in the last five minutes.",
        runbook="requests-fail.md",
        fires=_orders(10),
        calm=_orders(3),
    ),
    Alert(
        name="AnswersSlow",
        expr=f"{quantile(0.95, _SECONDS, ASKED, by='service')} > 0.5",
        lasting="10m",
        severity="warning",
        summary="{{ $labels.service }} answers slowly: p95 is above 500 ms",
        description="One request in twenty takes longer than {{ $value | humanizeDuration }}.",
        runbook="slow-answers.md",
        fires=_asked(slow="600"),
        calm=_asked(slow="120"),
    ),
    Alert(
        name="AnswersVerySlow",
        expr=f"{quantile(0.99, _SECONDS, ASKED, by='service')} > 2",
        lasting="5m",
        severity="critical",
        summary="{{ $labels.service }} hardly answers: p99 is above 2 s",
        description="One request in a hundred takes longer than {{ $value | humanizeDuration }}; callers give up.",
        runbook="slow-answers.md",
        fires=_asked(slow="120"),
        calm=_asked(slow="30"),
    ),
    Alert(
        name="PoolNearlyFull",
        expr="max by (service) (database_pool_in_use / database_pool_size) > 0.8",
        lasting="5m",
        severity="warning",
        summary="{{ $labels.service }} has hardly a database connection left",
        description="{{ $value | humanizePercentage }} of a pool is in use; at 100 % requests wait, then get 503.",
        runbook="pool-full.md",
        fires={'database_pool_in_use{service="s"}': "9x60", 'database_pool_size{service="s"}': "10x60"},
        calm={'database_pool_in_use{service="s"}': "8x60", 'database_pool_size{service="s"}': "10x60"},
    ),
    Alert(
        name="CacheMisses",
        expr=f"{hit_share(SHARED_CACHES, 'service, cache_type')} < 0.9 and "
        f"{rate('cache_hits_total', SHARED_CACHES, by='service, cache_type')} + "
        f"{rate('cache_misses_total', SHARED_CACHES, by='service, cache_type')} > 5",
        lasting="15m",
        severity="warning",
        summary="Reads of {{ $labels.service }} go past the cache {{ $labels.cache_type }}",
        description="Only {{ $value | humanizePercentage }} of reads are hits; the database answers the rest.",
        runbook="cache-misses.md",
        fires={
            'cache_hits_total{service="totals", cache_type="redis"}': "0+800x60",
            'cache_misses_total{service="totals", cache_type="redis"}': "0+200x60",
        },
        calm={
            'cache_hits_total{service="totals", cache_type="redis"}': "0+950x60",
            'cache_misses_total{service="totals", cache_type="redis"}': "0+50x60",
            'cache_hits_total{service="carts", cache_type="redis"}': "0+1x60",
            'cache_misses_total{service="carts", cache_type="redis"}': "0+9x60",
        },
    ),
    Alert(
        name="RateLimited",
        expr=f"{rate('rate_limited_total', by='limit')} > 5",
        lasting="10m",
        severity="warning",
        summary="Callers are refused by the rate limit {{ $labels.limit }}",
        description="{{ $value | humanize }} requests a second get 429: an attack, or a limit that is too low.",
        runbook="rate-limited.md",
        fires={'rate_limited_total{limit="address"}': "0+600x60"},
        calm={'rate_limited_total{limit="address"}': "0+60x60"},
    ),
    Alert(
        name="NothingIsMeasured",
        expr="absent(careforall_degraded)",
        lasting="5m",
        severity="critical",
        summary="No service tells its metrics: nobody would be woken by anything else",
        description="Either no service runs, or Prometheus cannot reach them.",
        runbook="not-measured.md",
        fires={"other": "1x60"},
        calm={"careforall_degraded": "0x60"},
    ),
)
