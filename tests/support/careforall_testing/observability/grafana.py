"""Writes a board as the JSON that Grafana imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from careforall_testing.observability.panels import Board, Panel, Row

_COLUMNS = 24
_HEIGHTS = {"stat": 4, "timeseries": 8}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(board: Board) -> dict[str, Any]:
    """Return a board as Grafana's model."""
    return {
        "uid": board.uid,
        "title": f"CareForAll / {board.title}",
        "description": board.about,
        "tags": ["careforall"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables(board))},
        "links": [{"type": "dashboards", "title": "CareForAll", "tags": ["careforall"], "asDropdown": True, "keepTime": True}],
        "panels": list(_panels(board)),
    }


def _variables(board: Board) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    if board.by_service:
        yield {
            "name": "service",
            "label": "Service",
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": "label_values(http_requests_total, service)", "refId": "service"},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def _panels(board: Board) -> Iterator[dict[str, Any]]:
    number = top = 0
    for row in board.rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
        }
        top += 1
        for panel, x, y in _placed(row):
            number += 1
            grid = {"x": x, "y": top + y, "w": panel.width, "h": _HEIGHTS[panel.kind]}
            yield {"id": number, "gridPos": grid, **_panel(panel)}
        top += max(y + _HEIGHTS[panel.kind] for panel, _, y in _placed(row))


def _placed(row: Row) -> Iterator[tuple[Panel, int, int]]:
    """Yield panels from left to right, a new line where one does not fit any more."""
    x = y = tallest = 0
    for panel in row.panels:
        if x + panel.width > _COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield panel, x, y
        x += panel.width
        tallest = max(tallest, _HEIGHTS[panel.kind])


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": _steps(panel)}}
    if panel.kind == "timeseries":
        defaults |= {"min": 0, "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": True}}
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend or "__auto"}
            for index, query in enumerate(panel.queries)
        ],
    }


def _steps(panel: Panel) -> list[dict[str, Any]]:
    if panel.bad_below is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    return steps if panel.bad_above is None else [*steps, {"color": "red", "value": panel.bad_above}]
