"""What was promised, and alerts on how fast the allowance of errors is used up, over several windows at once.

A short window beside a long one: the long one keeps a blip from waking anybody, the short one ends the alert soon after the end.
A share says little where few ask, so that a handful of bad answers is needed besides.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from careforall_testing.observability.alert import Alert, Severity
from careforall_testing.observability.words import ASKED, BROKEN, CHECKOUT, error_share

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
_FAST = ((14.4, "1h", "5m"), (6.0, "6h", "30m"))
_SLOW = ((3.0, "1d", "2h"), (1.0, "3d", "6h"))
_A_HANDFUL = 10


class Objective(Struct, frozen=True, kw_only=True):
    """A share of requests that is promised to be answered without an error of ours."""

    name: str
    title: str
    selector: str
    aim: float
    endpoint: str
    """A route of it, for tests."""


API = Objective(name="api", title="Requests", selector=ASKED, aim=0.999, endpoint="/api/v1/donations")
BUYING = Objective(name="checkout", title="Checkouts", selector=CHECKOUT, aim=0.9999, endpoint="/api/v1/checkout/initiate")


def recorded(objective: Objective) -> list[dict[str, Any]]:
    """Return the recording rules of an objective: its share of errors over each window."""
    return [
        {
            "record": f"careforall:error_share:rate{window}",
            "expr": error_share(objective.selector, window=window),
            "labels": {"objective": objective.name},
        }
        for window in WINDOWS
    ]


def alerts(objective: Objective) -> list[Alert]:
    """Return the two alerts of an objective."""
    return [
        _burning(objective, "Fast", _FAST, "critical", "2m", "1h"),
        _burning(objective, "Slow", _SLOW, "warning", "15m", "1d"),
    ]


def _burning(
    objective: Objective, speed: str, pairs: tuple[tuple[float, str, str], ...], severity: Severity, lasting: str, window: str
) -> Alert:
    allowed = 1 - objective.aim
    burning = " or ".join(
        f"({_above(objective, at * allowed, long)} and {_above(objective, at * allowed, short)})" for at, long, short in pairs
    )
    bad = f"sum(increase(http_requests_total{{{objective.selector}, {BROKEN}}}[{window}])) > {_A_HANDFUL}"
    worst = pairs[0][0] * allowed
    return Alert(
        name=f"{objective.title}FailingSoon" if speed == "Fast" else f"{objective.title}FailingSlowly",
        expr=f"({burning}) and on () ({bad})",
        lasting=lasting,
        severity=severity,
        summary=f"{objective.title} are answered by errors, at a pace that breaks the promise of {objective.aim:.2%}",
        description=f"{{{{ $value | humanizePercentage }}}} failed in the longer window; {allowed:.2%} are allowed over a month.",
        runbook="requests-fail.md",
        fires=_requests(objective, worst * 1.5),
        calm=_requests(objective, allowed * 0.5),
        after="90m",
    )


def _above(objective: Objective, limit: float, window: str) -> str:
    return f'careforall:error_share:rate{window}{{objective="{objective.name}"}} > {limit:.6g}'


def _requests(objective: Objective, share: float) -> dict[str, str]:
    """Return requests of which a share fails; of longer windows too, whose rates see what there is."""
    minutes, each_minute = 100, 60_000
    labels = f'service="s", endpoint="{objective.endpoint}", method="POST"'
    return {
        f'http_requests_total{{{labels}, status="201"}}': f"0+{each_minute}x{minutes}",
        f'http_requests_total{{{labels}, status="503"}}': f"0+{each_minute * share:.3f}x{minutes}",
    }
