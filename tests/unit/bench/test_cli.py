"""`careforall bench` outside a clone, and without what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from careforall.cli.bench import bench, find_loadtests
from careforall.cli.environment import launch_environment
from careforall.launch.errors import MissingError
from careforall.launch.places import clone_root
from careforall_bench.__main__ import main

TOLD_TWICE = """
import os, signal
from careforall_bench.__main__ import end_in_order
end_in_order()
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    print("forgotten")
"""


def test_outside_a_clone_it_says_so_and_exits_with_3(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="part of a clone") as caught:
        find_loadtests(launch_environment({}, root=tmp_path))
    assert caught.value.exit_status == 3


def test_in_a_clone_it_finds_the_load_tests() -> None:
    assert find_loadtests(launch_environment({}, root=clone_root())) == clone_root() / "loadtests"


def test_without_the_benchmark_client_it_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"--{name}={tmp_path}" for name in ("root", "instances", "store")]
    assert main([*places, f"--pgbench={tmp_path / 'pgbench'}"]) == 3
    assert "missing" in capsys.readouterr().err


def test_an_instance_that_does_not_run_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAREFORALL_STATE_DIR", str(tmp_path))
    with pytest.raises(MissingError, match="up --instance nobody, or name another"):
        bench(instance="nobody")


def test_unknown_measurements_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"--{name}={tmp_path}" for name in ("root", "instances", "store", "pgbench")]
    with pytest.raises(SystemExit) as caught:
        main([*places, "--only=everything"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("careforall bench: error: argument --only: invalid choice: 'everything'")
    assert "--pgbench" not in said, "options that nobody may give"


def test_told_twice_to_end_it_still_forgets_its_platform() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD_TWICE], capture_output=True, text=True, check=False, cwd=clone_root() / "loadtests"
    )
    assert (done.returncode, done.stdout) == (143, "forgotten\n")
