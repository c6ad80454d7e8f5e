"""Every alert fires when it should, and is calm close by: judged by promtool, as Prometheus would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from careforall_testing.observability.alert import Alert
from careforall_testing.observability.files import ALERTS, FOLDER
from careforall_testing.prometheus import promtool

RULES = FOLDER / "rules.yaml"


def test_the_rules_are_what_prometheus_reads() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def needed_for(alert: Alert) -> dict[str, Any]:
    """Return the chart's rules without other alerts, and without what is recorded for them: a day of each minute is long."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    chosen = [rule for group in groups for rule in group["rules"] if rule.get("alert") == f"CareForAll{alert.name}"]
    recorded = [rule for group in groups for rule in group["rules"] if "record" in rule and rule["record"] in alert.expr]
    return {"groups": [{"name": "chosen", "rules": [*recorded, *chosen]}]}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_fires_and_is_calm(alert: Alert, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(needed_for(alert)))
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": alert.cases()}))
    judged = promtool("test", "rules", str(cases))
    assert judged.returncode == 0, judged.stdout + judged.stderr
