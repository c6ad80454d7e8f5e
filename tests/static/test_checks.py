"""Linters, formatter, types and import rules as tests, so that one run and one closing line tell everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
FOLDERS = [name for name in ("services", "operator", "tests", "loadtests") if (ROOT / name).is_dir()]
CHECKS = {
    "ruff check": ["ruff", "check", "--output-format", "concise", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy", *FOLDERS],
    "lint-imports": ["lint-imports"],
    "shell syntax": ["/bin/sh", "-n", "careforall"],
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_the_code_base_passes(name: str) -> None:
    tool, *arguments = CHECKS[name]
    answer = subprocess.run([TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"\n{answer.stdout}{answer.stderr}"
