"""Copies into the chart `loadtests` what it carries of loadtests/: Helm reads no file outside a chart; a test compares them.

Run this module to write them anew: see REGENERATE.
"""

from __future__ import annotations

from pathlib import Path

from careforall_testing.charts import CHART, ROOT

REGENERATE = "PYTHONPATH=services:tests/support .venv/bin/python -m careforall_testing.load_chart"
FOLDER = CHART / "charts" / "loadtests" / "files"
_LOADTESTS = ROOT / "loadtests"
_JUDGING = ("__init__", "report", "table", "verdict", "workplace")
"""What of the package judges a run; the rest starts tools."""


def files() -> dict[Path, bytes]:
    """Return what each copy should hold."""
    wanted = [_LOADTESTS / "scenarios.yaml", *sorted((_LOADTESTS / "k6").glob("*.js"))]
    wanted += [_LOADTESTS / "careforall_load" / f"{name}.py" for name in _JUDGING]
    return {FOLDER / path.relative_to(_LOADTESTS): path.read_bytes() for path in wanted}


def write() -> None:
    """Write every copy."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    write()
