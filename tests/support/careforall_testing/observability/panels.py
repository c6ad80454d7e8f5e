"""The words in which dashboards are said: boards of rows of panels of queries."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["timeseries", "stat"]


class Query(Struct, frozen=True):
    """One PromQL expression and what its lines are called."""

    expr: str
    legend: str = ""
    quiet: str = ""
    """Why a platform that has just sold and been given to may answer nothing; empty: it must answer."""


class Panel(Struct, frozen=True, kw_only=True):
    """One picture."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    """Grafana's name of the unit, such as s, percentunit or bytes."""
    about: str = ""
    """What a good value is, shown at the panel."""
    kind: Kind = "timeseries"
    width: int = 8
    """Of the 24 columns."""
    bad_above: float | None = None
    """Where it turns red."""
    bad_below: float | None = None


class Row(Struct, frozen=True):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


class Board(Struct, frozen=True, kw_only=True):
    """One dashboard."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    by_service: bool = False
    """Whether `$service` chooses services."""

    def queries(self) -> list[Query]:
        """Return every query."""
        return [query for row in self.rows for panel in row.panels for query in panel.queries]


def stat(title: str, expr: str, **more: object) -> Panel:
    """Return one number."""
    quiet = str(more.pop("quiet", ""))
    return Panel(title=title, queries=(Query(expr, quiet=quiet),), kind="stat", width=int(str(more.pop("width", 4))), **more)  # type: ignore[arg-type]  # fields of Panel


def graph(title: str, *queries: Query, **more: object) -> Panel:
    """Return lines over time."""
    return Panel(title=title, queries=queries, **more)  # type: ignore[arg-type]  # fields of Panel
