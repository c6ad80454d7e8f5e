"""``careforall test``: linters, types, import rules and all tests, as one pytest run with one closing line."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from careforall.cli.options import Instance
from careforall.launch.errors import MissingError
from careforall.launch.places import clone_root

SLOW = "slow or cluster or browser"
_TWO_WORKERS = ["-n", "2", "--dist", "loadscope", "--no-loadscope-reorder"]


def run_tests(
    context: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="Run the slow tests too (drills, browser, cluster).")] = False,
    _instance: Instance = "default",
) -> None:
    r"""Run the checks and the tests, on servers of their own whichever instance is named; whatever follows goes to pytest.

    \b
    Examples:
      ./careforall test -k donations
      ./careforall test --full tests/faults
      ./careforall test -x -q
    """
    try:
        import pytest  # noqa: F401, PLC0415 - only asks whether it is there; users of the platform have no need of it
    except ImportError as error:
        raise MissingError("The test tools are not installed: run ./careforall test (not the module).") from error
    command = pytest_command(context.args, full=full)
    os.chdir(clone_root())
    environment = {**os.environ, "CAREFORALL_TEST_FULL": "1"} if full else dict(os.environ)  # the sizes of the fault tests
    os.execve(command[0], command, environment)  # noqa: S606 - pytest takes over this process, its signals and its exit status


def pytest_command(extra: list[str], *, full: bool) -> list[str]:
    """The command line of the test run: two workers, who take whole modules, so that none starts the platform of another's again.

    In the order of their names, because the long ones come first that way and the quick ones fill the gaps at the end.
    """
    workers = [] if any(word.startswith("-n") for word in extra) else _TWO_WORKERS
    selection = [] if full or "-m" in extra else ["-m", f"not ({SLOW})"]
    return [sys.executable, "-m", "pytest", *workers, *selection, *extra]
