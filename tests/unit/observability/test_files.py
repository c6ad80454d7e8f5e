"""The chart's dashboards and rules are what the code says, and well formed."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import yaml

from careforall_testing.charts import ROOT
from careforall_testing.observability.alert import RUNBOOKS
from careforall_testing.observability.files import BOARDS, FOLDER, REGENERATE, files, rules

_COLUMNS = 24


def test_the_files_are_those_the_code_makes() -> None:
    wanted = files()
    stale = [str(path) for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    strange = sorted(set(FOLDER.rglob("*.json")) - set(wanted))
    assert (stale, strange) == ([], []), f"write them anew: {REGENERATE}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_two_panels_of_a_board_lie_on_each_other(board: Any) -> None:
    model = json.loads(files()[FOLDER / "dashboards" / f"{board.uid}.json"])
    cells: Counter[tuple[int, int]] = Counter()
    for panel in model["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= _COLUMNS, panel["title"]
        cells.update((x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"]))
    assert [cell for cell, count in cells.items() if count > 1] == []
    assert len({panel["id"] for panel in model["panels"]}) == len(model["panels"])


def test_boards_are_told_apart() -> None:
    assert len({board.uid for board in BOARDS}) == len(BOARDS)
    assert {board.title for board in BOARDS} == {
        "System health",
        "Business",
        "Performance",
        "Reliability",
        "Kubernetes and failover",
    }


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_hurts_how_much_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    path = ROOT / rule["annotations"]["runbook_url"]
    assert rule["annotations"]["runbook_url"].startswith(RUNBOOKS)
    assert path.is_file(), f"{path} is missing"
    assert rule["alert"] in path.read_text(), f"{path.name} does not name its alert"


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_the_list_of_runbooks_leads_to_each_page(rule: dict[str, Any]) -> None:
    page = rule["annotations"]["runbook_url"].removeprefix(f"{RUNBOOKS}/")
    assert f"]({page})" in (ROOT / RUNBOOKS / "README.md").read_text()


def test_the_rules_file_can_be_read_by_itself() -> None:
    assert yaml.safe_load((FOLDER / "rules.yaml").read_text()) == rules()
