"""Every alert fires when it should, and is calm close by: judged by promtool, as Prometheus would."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from careforall_testing.observability.alert import Alert
from careforall_testing.observability.files import ALERTS, FOLDER
from careforall_testing.prometheus import promtool

RULES = FOLDER / "rules.yaml"


def test_the_rules_are_what_prometheus_reads() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_fires_and_is_calm(alert: Alert, tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": alert.cases()}))
    judged = promtool("test", "rules", str(cases))
    assert judged.returncode == 0, judged.stdout + judged.stderr
