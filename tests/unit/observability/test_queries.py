"""Queries ask only for what somebody exports, and the reader of queries sees what they ask for."""

from __future__ import annotations

import pytest

from careforall_testing.observability.foreign import FOREIGN
from careforall_testing.observability.known import asked, complaints, foreign, ours
from careforall_testing.observability.promql import legend_labels, read

ASKED = asked()


@pytest.mark.parametrize("where", ASKED)
def test_a_query_asks_for_metrics_and_labels_that_are_declared(where: str) -> None:
    assert complaints(*ASKED[where], ours() | foreign()) == []


def test_the_list_of_what_others_export_is_no_longer_than_needed() -> None:
    spoken = {name for expr, _ in ASKED.values() for name in read(expr).metrics}
    assert set(FOREIGN) - spoken == set()
    assert set(FOREIGN) & set(ours()) == set(), "ours needs no excuse"
    assert all(one.exporter for one in FOREIGN.values())


@pytest.mark.parametrize(
    ("expr", "metrics", "grouped"),
    [
        ("up", {"up": set()}, set()),
        (
            'sum by (a, b) (rate(x_total{c="d}[5m]", e!~"f"}[5m])) / on (g) y > 0',
            {"x_total": {"c", "e"}, "y": set()},
            {"a", "b", "g"},
        ),
        ("histogram_quantile(0.95, sum by (le) (rate(s_bucket[5m])))", {"s_bucket": set()}, {"le"}),
        ("time() - max(x) > bool 1e3 or vector(0)", {"x": set()}, set()),
        ('careforall:share:rate5m{objective="api"} > 0.1', {"careforall:share:rate5m": {"objective"}}, set()),
        ("increase(x[1h] offset 1d) unless y", {"x": set(), "y": set()}, set()),
    ],
)
def test_the_reader_finds_metrics_labels_and_groups(expr: str, metrics: dict[str, set[str]], grouped: set[str]) -> None:
    found = read(expr)
    assert (found.metrics, found.grouped) == (metrics, grouped)


def test_the_reader_finds_labels_in_texts() -> None:
    assert legend_labels("{{service}} of {{ $labels.gateway }} is {{ $value | humanize }}") == {"service", "gateway"}


@pytest.mark.parametrize(
    ("expr", "legend", "said"),
    [
        ("max(nothing_like_it)", "", "no metric nothing_like_it"),
        ('max(dead_letters{gateway="x"})', "", "dead_letters has no label gateway"),
        ("max by (gateway) (dead_letters)", "", "nothing has the label gateway"),
        ("max(dead_letters)", "{{gateway}}", "nothing has the label gateway"),
    ],
)
def test_a_query_for_what_is_not_there_is_found(expr: str, legend: str, said: str) -> None:
    assert said in complaints(expr, legend, ours())
