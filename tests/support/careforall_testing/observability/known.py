"""What there is to ask for: metrics by name with their labels, of the platform, the operator and others."""

from __future__ import annotations

from functools import cache

from prometheus_client.metrics import MetricWrapperBase

from careforall_operator import metrics as operator_metrics
from careforall_testing import reading
from careforall_testing.observability.files import ALERTS, BOARDS, OBJECTIVES
from careforall_testing.observability.foreign import FOREIGN
from careforall_testing.observability.objectives import recorded
from careforall_testing.observability.promql import legend_labels, read

PROCESS = frozenset({"process_resident_memory_bytes", "process_cpu_seconds_total"})
"""What the Prometheus client tells of any process by itself."""
_PARTS = {"histogram": ("_bucket", "_sum", "_count")}


@cache
def ours() -> dict[str, frozenset[str]]:
    """Return the metrics that services and the operator declare, under the names people query, with their labels."""
    found: dict[str, frozenset[str]] = dict.fromkeys(PROCESS, frozenset())
    for one in (*reading.metrics(), *(_operators())):
        for part in _PARTS.get(one.kind, ("",)):
            extra = {"le"} if part == "_bucket" else set()
            found[f"{one.name}{part}"] = frozenset(one.labels) | extra
    return found


def asked() -> dict[str, tuple[str, str]]:
    """Return every query of boards and rules with its legend, by where it stands."""
    found = {}
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                for number, query in enumerate(panel.queries):
                    found[f"{board.uid}: {row.title}: {panel.title}: {number}"] = (query.expr, query.legend)
    for objective in OBJECTIVES:
        for rule in recorded(objective):
            found[f"{rule['record']} {objective.name}"] = (rule["expr"], "")
    return found | {alert.name: (alert.expr, alert.summary + alert.description) for alert in ALERTS}


def complaints(expr: str, legend: str, labels_of: dict[str, frozenset[str]]) -> list[str]:
    """Return what a query asks for that is not there.

    Args:
        expr: PromQL.
        legend: What names its lines, or the texts of an alert.
        labels_of: Labels of each metric there is.
    """
    spoken = read(expr)
    found = [f"no metric {name}" for name in spoken.metrics if name not in labels_of]
    for name, labels in spoken.metrics.items():
        found += [f"{name} has no label {label}" for label in labels - labels_of.get(name, labels)]
    everywhere = frozenset().union(*(labels_of.get(name, frozenset()) for name in spoken.metrics))
    named = (spoken.grouped | legend_labels(legend)) - {"instance", "job", "value"}
    return found + [f"nothing has the label {label}" for label in named - everywhere]


def foreign() -> dict[str, frozenset[str]]:
    """Return what others export, and what the rules themselves record."""
    recorded_names = {rule["record"]: frozenset({"objective"}) for objective in OBJECTIVES for rule in recorded(objective)}
    return {name: one.labels for name, one in FOREIGN.items()} | recorded_names


def _operators() -> list[reading.Metric]:
    return [reading.metric(one) for one in vars(operator_metrics).values() if isinstance(one, MetricWrapperBase)]
