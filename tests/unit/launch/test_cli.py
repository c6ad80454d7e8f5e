"""The command line itself: quick help, exit statuses, commands that load only when asked for."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from careforall.cli import COMMANDS, Command, build, main
from careforall.cli.environment import launch_environment, service_variables
from careforall.cli.registry import BadSettings, with_files
from careforall.cli.test import pytest_command
from careforall.launch.doctor import examine
from careforall.launch.errors import MissingError
from careforall.launch.processes import started_at
from careforall.launch.state import InstanceFolder, State

_FIRST_OF = {"demo": ["load"], "admin": ["create"], "relay": ["replay"]}
"""One of the commands of each group."""


def test_help_names_the_first_steps_and_the_exit_statuses() -> None:
    answer = CliRunner().invoke(build(["--help"]), ["--help"])
    assert answer.exit_code == 0
    assert "./careforall up" in answer.output
    assert "3 something is" in answer.output


def test_help_loads_no_library_of_the_services() -> None:
    script = (
        "import sys\nfrom careforall.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    heavy = {'asyncpg', 'litestar', 'nats', 'redis', 'rich'}\n"
        "    print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "LOADED []" in answer.stdout


def test_only_commands_whose_module_exists_are_offered() -> None:
    commands = (*COMMANDS[:1], Command("dream", "careforall.cli.dream:dream", "Not there."))
    answer = CliRunner().invoke(build(["--help"], commands), ["--help"])
    assert "dream" not in answer.output
    assert CliRunner().invoke(build(["dream"], commands), ["dream"]).exit_code == 2


def test_every_command_has_a_help_of_its_own() -> None:
    for name in (command.name for command in COMMANDS):
        words = [name, *_FIRST_OF.get(name, [])]
        answer = CliRunner().invoke(build(words), [*words, "--help"])
        assert (answer.exit_code, "--instance" in answer.output) == (0, True), words


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--version"], 0), (["nonsense"], 2), (["up", "--port", "x"], 2), (["up", "--port", "70000"], 2)],
)
def test_exit_statuses(words: list[str], status: int) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == status


def test_a_bad_instance_name_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["status", "--instance", "../other"])
    assert caught.value.code == 2
    assert "'../other' is no instance name" in capsys.readouterr().err


def test_the_test_command_leaves_out_slow_tests_unless_asked() -> None:
    assert "-m" in pytest_command([], full=False)[3:]
    assert "-m" not in pytest_command([], full=True)[3:]
    assert pytest_command(["-k", "gift", "-n0"], full=True)[3:] == ["-k", "gift", "-n0"]


def test_a_process_that_was_given_its_secrets_keeps_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAREFORALL_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("CAREFORALL_NATS_URL", "nats://broker")
    assert service_variables("default")["CAREFORALL_NATS_URL"] == "nats://broker"


def test_its_secrets_may_lie_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n")
    monkeypatch.setenv("CAREFORALL_SECRET_KEY", "")
    monkeypatch.setenv("CAREFORALL_SECRET_KEY_FILE", str(tmp_path / "key"))
    assert service_variables("default")["CAREFORALL_SECRET_KEY"] == "k" * 40


def test_a_file_that_cannot_be_read_is_told_by_its_variable(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(BadSettings, match="CAREFORALL_NATS_URL_FILE names"):
            with_files({"CAREFORALL_NATS_URL_FILE": str(path)})


def test_a_command_for_an_instance_that_does_not_run_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CAREFORALL_SECRET_KEY", raising=False)
    monkeypatch.setenv("CAREFORALL_STATE_DIR", str(tmp_path))
    with pytest.raises(MissingError, match="does not run"):
        service_variables("default")


def test_logs_and_status_of_what_was_never_started_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAREFORALL_STATE_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        main(["logs", "--instance", "nobody"])
    assert caught.value.code == 2
    assert "There are no logs of instance nobody" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["status", "--instance", "nobody"])
    assert caught.value.code == 1
    assert "./careforall up --instance nobody;" in capsys.readouterr().out


def test_nobody_is_bidden_to_start_what_is_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAREFORALL_STATE_DIR", str(tmp_path))
    folder = InstanceFolder(launch_environment().places.instance("mine"))
    folder.make()
    folder.write_state(State(instance="mine", launcher_pid=os.getpid(), launcher_start=started_at(os.getpid()) or ""))
    with pytest.raises(SystemExit) as caught:
        main(["status", "--instance", "mine"])
    assert caught.value.code == 1
    assert "Its launcher runs, and starts again what dies; ./careforall logs --instance mine" in capsys.readouterr().out
    found = {finding.subject: finding.detail for finding in examine(launch_environment(), "mine")}
    assert found["instance"] == "mine starts"


@pytest.mark.parametrize("words", [["up"], ["up", "--detach"]])
def test_a_state_folder_that_cannot_be_written_is_said_plainly(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("not a folder")
    monkeypatch.setenv("CAREFORALL_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(SystemExit) as caught:
        main([*words, "--instance", "mine"])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert "cannot be written: [Errno" in said
    assert "./careforall doctor --instance mine tells" in said


def test_who_reads_only_the_first_lines_of_logs_has_seen_them(tmp_path: Path) -> None:
    environment = {**os.environ, "CAREFORALL_STATE_DIR": str(tmp_path)}
    logs = InstanceFolder(launch_environment(environment).places.instance("mine")).logs
    logs.mkdir(parents=True)
    (logs / "api.log").write_text("x" * 10_000 + "\n" + ("x" * 10_000 + "\n") * 100)  # more than a pipe holds
    command = [sys.executable, "-m", "careforall", "logs", "--instance", "mine"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        assert reading.stdout.readline().startswith("api ")
        reading.stdout.close()
        said = reading.stderr.read()
    assert (reading.returncode, said) == (0, "")


def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["verify"])
    assert caught.value.code == 130


@pytest.mark.parametrize("command", [["verify"], ["explain", "x"], ["drill", "kill-loop"]])
def test_a_result_that_could_not_be_written_is_refused_before_the_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "file" / "result.json"):
        with pytest.raises(SystemExit) as caught:
            main([*command, "--instance", "none", "--json", str(target)])
        assert (caught.value.code, "cannot be written" in capsys.readouterr().err) == (2, True)
