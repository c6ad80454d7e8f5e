"""What the process prints is read by programs: one JSON object a line, whoever speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEAKERS = """
import logging, structlog
from careforall_operator.process import set_up_logs
set_up_logs("info")
structlog.get_logger().info("done", platform="main")
logging.getLogger("asyncio").error('a "future"\\nwas lost')
try:
    raise OSError("away")
except OSError:
    logging.getLogger("asyncio").exception("asked %s", "twice")
"""


def test_each_line_is_one_object_whatever_libraries_say() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    done = subprocess.run(
        [sys.executable, "-c", SPEAKERS], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    ours, theirs, failed = map(json.loads, done.stdout.splitlines())
    assert (ours["level"], ours["message"], ours["platform"]) == ("info", "done", "main")
    assert (theirs["level"], theirs["logger"], theirs["message"]) == ("error", "asyncio", 'a "future"\nwas lost')
    assert failed["message"] == "asked twice"
    assert "OSError: away" in failed["exception"]
