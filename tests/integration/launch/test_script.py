"""The script in front of the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from careforall_testing.platform import ROOT


def test_processes_keep_their_bytecode_where_none_may_lie_beside_the_sources(tmp_path: Path) -> None:
    """Compiled anew at each start, the modules take longer than all else a process does until it answers."""
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    told = subprocess.run([ROOT / "careforall", "--version"], env=variables, capture_output=True, text=True, check=True)
    assert told.stdout
    assert any("careforall" in file.parts for file in tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_harmless(closed: str) -> None:
    """Files opened in their place would be taken for the terminal's by whatever is started."""
    command = ["/bin/sh", "-c", f'exec "$0" down --instance never-was {closed}', str(ROOT / "careforall")]
    assert subprocess.run(command, check=False).returncode == 0
