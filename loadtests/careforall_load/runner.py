"""Plays the table with a tool, looks up what was promised, and judges."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from careforall_load.report import Report
from careforall_load.verdict import verdict
from careforall_load.workplace import Order, Workplace

HERE = Path(__file__).parent
TOOLS = ("k6", "locust")
_GRACE = 90.0
"""Seconds beyond a profile's length after which a tool is stopped: visits that had begun may end."""


class ToolMissing(RuntimeError):
    """The tool is not on this machine."""


class ToolFailed(RuntimeError):
    """The tool ended without a result."""


def play(order: Order, *, profile: str, tool: str, patience: float, k6: str | None = None) -> Report:
    """Play and judge.

    Args:
        order: What to play, against what.
        profile: Its name, for the report.
        tool: Who sends the requests.
        patience: Seconds that what was promised may take to be found; after a failover the platform may still be coming back.
        k6: Path of the program; otherwise it is looked for.

    Raises:
        ToolMissing: The tool is not on this machine.
        ToolFailed: It ended without a result.
    """
    with tempfile.TemporaryDirectory(prefix="careforall-load-") as folder:
        place = Workplace(Path(folder))
        place.give(order)
        _run(_command(tool, place, k6), order, Path(folder))
        if not place.played.exists():
            raise ToolFailed(f"{tool} ended without a result; what it said stands above")
        return verdict(order, place, profile=profile, patience=patience)


def _command(tool: str, place: Workplace, k6: str | None) -> list[str]:
    if tool == "locust":
        return [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(HERE / "locustfile.py"),
            "--headless",
            "--only-summary",
            "--loglevel=ERROR",
        ]
    program = k6 or shutil.which("k6")
    if program is None:
        raise ToolMissing("k6 is not on this machine: install it, name it by --k6, or use --tool locust")
    script = str(HERE.parent / "k6" / "main.js")
    return [program, "run", "--quiet", "--no-usage-report", "--log-format=raw", f"--console-output={place.promises}", script]


def _run(command: list[str], order: Order, folder: Path) -> None:
    environment = {**os.environ, "FOLDER": str(folder), "CAREFORALL_LOAD_FOLDER": str(folder), "PYTHONPATH": str(HERE.parent)}
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr)  # noqa: S603 - the tool that was asked for
    try:
        process.wait(order.profile.seconds + _GRACE)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(_GRACE)
