"""What an instance remembers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from careforall.launch.credentials import load_or_create
from careforall.launch.errors import LaunchError
from careforall.launch.processes import is_running, started_at
from careforall.launch.state import PIDS, SECRETS, STATE, InstanceFolder, Running, State
from careforall.launch.watcher import stop_left_overs


@pytest.fixture
def folder(tmp_path: Path) -> InstanceFolder:
    made = InstanceFolder(tmp_path / "instance")
    made.make()
    return made


def test_state_comes_back_and_is_private(folder: InstanceFolder) -> None:
    assert folder.read_state() is None
    state = State(instance="a", port=8000, dsn={"nats": "nats://x"}, demo_loaded=True)
    folder.write_state(state)
    assert folder.read_state() == state
    assert (folder.path / STATE).stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o711


def test_a_state_of_another_version_is_read_as_far_as_it_is_known(folder: InstanceFolder) -> None:
    (folder.path / STATE).write_text('{"instance": "a", "port": 1, "from_the_future": true}')
    assert folder.read_state() == State(instance="a", port=1)


@pytest.mark.parametrize("torn", ["", '{"instance": "a", ', "[]", "null", '"text"'])
def test_a_torn_state_counts_as_none(folder: InstanceFolder, torn: str) -> None:
    (folder.path / STATE).write_text(torn)
    assert folder.read_state() is None


def test_what_is_no_state_is_left_out(folder: InstanceFolder) -> None:
    (folder.path / STATE).write_text('{"port": "none", "launcher_pid": [], "ready": true}')
    assert folder.read_state() == State(instance="instance", ready=True)


@pytest.mark.parametrize("torn", ["", '[{"name": "api", ', '"text"', '{"name": "api"}', '[{"pid": 1}, 3]'])
def test_torn_notes_about_processes_name_nobody(folder: InstanceFolder, torn: str) -> None:
    (folder.path / PIDS).write_text(torn)
    assert folder.read_running() == []


@pytest.mark.parametrize("torn", ["", '{"secret_key": "a', '{"port": 1}', "{}", "null", "[]"])
def test_damaged_secrets_are_never_made_anew(folder: InstanceFolder, torn: str) -> None:
    load_or_create(folder)
    (folder.path / SECRETS).write_text(torn)
    with pytest.raises(LaunchError, match=r"backup(.|\n)*--purge --instance instance"):
        load_or_create(folder)
    assert (folder.path / SECRETS).read_text() == torn


def test_lost_secrets_are_not_made_anew_over_data(folder: InstanceFolder) -> None:
    folder.write_state(State(instance="instance", admin_created=True))
    with pytest.raises(LaunchError, match="damaged or gone"):
        load_or_create(folder)


def test_who_holds_an_instance_is_known(folder: InstanceFolder) -> None:
    assert folder.holder() is None
    with folder.locked() as mine:
        assert mine
        assert folder.holder() == str(os.getpid())
    assert folder.holder() is None


def test_secrets_are_made_once_and_differ(folder: InstanceFolder) -> None:
    first = load_or_create(folder)
    assert load_or_create(folder) == first
    assert len(set(folder.read_secrets().values())) == len(folder.read_secrets())
    assert len(first.secret_key) >= 32
    assert first.webhook_secret.startswith("whsec_")


def test_a_secret_that_came_later_is_added_and_the_others_stay(folder: InstanceFolder) -> None:
    first = load_or_create(folder)
    kept = folder.read_secrets()
    del kept["simulator_secret"]
    folder.write_secrets(kept)
    second = load_or_create(folder)
    assert second.secret_key == first.secret_key
    assert second.simulator_secret not in {"", first.simulator_secret}


def test_only_one_launcher_holds_an_instance(folder: InstanceFolder) -> None:
    with folder.locked() as first, InstanceFolder(folder.path).locked() as second:
        assert (first, second) == (True, False)
    with folder.locked() as again:
        assert again


def test_a_process_is_known_by_id_and_start_time() -> None:
    start = started_at(os.getpid())
    assert start is not None
    assert is_running(os.getpid(), start)
    assert not is_running(os.getpid(), "another time")


def test_left_overs_are_ended_and_strangers_with_the_same_id_are_not(folder: InstanceFolder) -> None:
    command = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as ours,
        subprocess.Popen(command, stdin=subprocess.PIPE) as stranger,
    ):
        left = Running(name="api", pid=ours.pid, start=started_at(ours.pid) or "", stop_signal=15, group="service")
        folder.write_running([left, replace(left, name="old", pid=stranger.pid, start="long ago")])
        assert [entry.name for entry in stop_left_overs(folder)] == ["api", "old"]
        assert ours.wait(timeout=10) == -signal.SIGTERM
        assert stranger.poll() is None
        assert folder.read_running() == []
        stranger.communicate(b"\n")
