"""The words in which alerts are said, each with the series that must set it off and those that must not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

RUNBOOKS = "docs/runbooks"
Severity = Literal["critical", "warning"]
Series = Mapping[str, str]
"""Values by series, one a minute, in promtool's notation: `0+60x30` is 0, 60, 120 and so on, 30 times."""


class Alert(Struct, frozen=True, kw_only=True):
    """Something a person must know."""

    name: str
    expr: str
    lasting: str
    """How long it must be so."""
    severity: Severity
    """critical: somebody is hurt now, wake a person. warning: it will hurt; in working hours."""
    summary: str
    """The symptom, in one line."""
    description: str
    """What it means for people, with the figure."""
    runbook: str
    """A file of docs/runbooks."""
    fires: Series
    """Series under which it must fire within `after`."""
    calm: Series
    """Series close to those under which it must not."""
    after: str = "30m"

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": f"CareForAll{self.name}",
            "expr": self.expr,
            "for": self.lasting,
            "labels": {"severity": self.severity, "platform": "careforall"},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}/{self.runbook}",
            },
        }

    def cases(self) -> list[dict[str, Any]]:
        """Return promtool's tests: it fires, and close by it does not."""
        return [_case(self, self.fires, 1), _case(self, self.calm, 0)]


def _case(alert: Alert, series: Series, firing: int) -> dict[str, Any]:
    firing_alerts = f'count(ALERTS{{alertname="CareForAll{alert.name}", alertstate="firing"}} > 0) > bool 0 or vector(0)'
    return {
        "name": f"{alert.name} {'fires' if firing else 'is calm'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": firing_alerts, "eval_time": alert.after, "exp_samples": [{"labels": "{}", "value": firing}]},
        ],
    }
