"""Pieces that dashboards and alerts share, so that both mean the same by a request, an error, a checkout or a hit."""

from __future__ import annotations

ASKED = 'endpoint!~"/(livez|readyz|health|metrics)"'
"""Requests that somebody made: probes and scrapes would water down every share."""
BROKEN = 'status=~"5.."'
"""Answers that are our fault; a 503 of a database that is away is one, a 409 is not."""
CHECKOUT = 'endpoint=~"/api/v1/(checkout|orders|payments/initiate).*"'
"""What a buyer asks for on the way from the cart to an order."""
SHARED_CACHES = 'cache_type!~"process|base_table"'
"""Caches that should answer: the memory of one process is small on purpose, and the base table is what they save us from."""
BROKEN_INVARIANTS = "sum(max by (name) (careforall_invariant_violations))"
"""How many there are; each process that verifies says it of all."""


def rate(metric: str, selector: str = "", *, by: str = "", window: str = "5m") -> str:
    """Return the rate of a counter, summed."""
    return f"sum{_by(by)}(rate({metric}{_braces(selector)}[{window}]))"


def quantile(share: float, metric: str, selector: str = "", *, by: str = "", window: str = "5m") -> str:
    """Return a percentile of a histogram."""
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({groups}) (rate({metric}_bucket{_braces(selector)}[{window}])))"


def share(part: str, whole: str) -> str:
    """Return a share that is nothing, not zero, where there is no whole."""
    return f"{part} / ({whole} > 0)"


def error_share(selector: str, *, by: str = "", window: str = "5m") -> str:
    """Return the share of requests that were answered by an error of ours; 0 where there was none."""
    whole = rate("http_requests_total", selector, by=by, window=window)
    part = rate("http_requests_total", f"{selector}, {BROKEN}", by=by, window=window)
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def mean(histogram: str, by: str) -> str:
    """Return what a histogram saw on average."""
    return f"{rate(f'{histogram}_sum', by=by)} / ({rate(f'{histogram}_count', by=by)} > 0)"


def hit_share(selector: str, by: str) -> str:
    """Return the share of reads that a cache answered."""
    hits, misses = (rate(f"cache_{word}_total", selector, by=by) for word in ("hits", "misses"))
    return f"{hits} / ({hits} + {misses} > 0)"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def _braces(selector: str) -> str:
    return f"{{{selector}}}" if selector else ""
