"""Which files the generator writes, and what goes into each; a test compares them with what lies in the chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from careforall_testing.charts import CHART
from careforall_testing.observability import alerts_cluster, alerts_promises, alerts_requests
from careforall_testing.observability.alert import Alert
from careforall_testing.observability.boards_cluster import KUBERNETES
from careforall_testing.observability.boards_money import BUSINESS
from careforall_testing.observability.boards_service import PERFORMANCE, SYSTEM
from careforall_testing.observability.boards_trust import RELIABILITY
from careforall_testing.observability.grafana import dashboard
from careforall_testing.observability.objectives import API, BUYING, alerts, recorded

REGENERATE = "PYTHONPATH=services:operator:tests/support .venv/bin/python -m careforall_testing.observability"
FOLDER = CHART / "charts" / "observability" / "files"
BOARDS = (SYSTEM, BUSINESS, PERFORMANCE, RELIABILITY, KUBERNETES)
OBJECTIVES = (API, BUYING)
GROUPS: dict[str, tuple[Alert, ...]] = {
    "careforall-objectives": tuple(alert for objective in OBJECTIVES for alert in alerts(objective)),
    "careforall-requests": alerts_requests.ALERTS,
    "careforall-promises": alerts_promises.ALERTS,
    "careforall-cluster": alerts_cluster.ALERTS,
}
ALERTS = tuple(alert for group in GROUPS.values() for alert in group)
_MADE = "# Made by careforall_testing.observability: change it there, then write this file anew (see CONTRIBUTING.md).\n"


def rules() -> dict[str, Any]:
    """Return the rules file: what is recorded, then who is woken."""
    recording = {
        "name": "careforall-recorded",
        "interval": "1m",
        "rules": [rule for objective in OBJECTIVES for rule in recorded(objective)],
    }
    return {"groups": [recording, *({"name": name, "rules": [one.rule() for one in found]} for name, found in GROUPS.items())]}


def files() -> dict[Path, str]:
    """Return what each generated file should hold."""
    boards = {FOLDER / "dashboards" / f"{one.uid}.json": json.dumps(dashboard(one), indent=1) + "\n" for one in BOARDS}
    return {**boards, FOLDER / "rules.yaml": _MADE + yaml.safe_dump(rules(), sort_keys=False, width=130)}


def write() -> None:
    """Write every generated file, and take away boards that are no more."""
    wanted = files()
    for old in set((FOLDER / "dashboards").glob("*.json")) - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
