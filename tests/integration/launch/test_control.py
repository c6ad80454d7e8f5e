"""up --detach, down, status, doctor: what happens from outside the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from careforall.cli.environment import launch_environment
from careforall.launch import control
from careforall.launch.doctor import examine
from careforall.launch.errors import LaunchError
from careforall.launch.plan import platform_plan
from careforall.launch.reporter import OutputClosedError
from careforall.launch.settings import LaunchEnvironment
from careforall.launch.state import STATE, State
from careforall_testing.launching import LaunchedPlatform, all_gone, launched, stand_in_environment

PLAN = platform_plan()


def environment(state_dir: Path, **more: str) -> LaunchEnvironment:
    return launch_environment({**stand_in_environment(), "CAREFORALL_STATE_DIR": str(state_dir), **more})


def test_detached_it_returns_ready_and_stays_until_down(state_dir: Path) -> None:
    platform = LaunchedPlatform(state_dir)
    told: list[str] = []
    control.start_detached(platform.folder, platform.command, env=stand_in_environment(), tell=told.append)
    try:
        assert any("CareForAll is ready at" in line for line in told)
        assert platform.state().ready
        started = platform.running()
    finally:
        assert control.stop(platform.folder)
    assert all_gone(started, timeout_s=0.1)
    assert not control.stop(platform.folder)


def test_detached_failure_has_a_reason_and_a_status(state_dir: Path) -> None:
    platform = LaunchedPlatform(state_dir, "--broken")
    told: list[str] = []
    with pytest.raises(LaunchError) as caught:
        control.start_detached(platform.folder, platform.command, env=stand_in_environment(), tell=told.append)
    assert caught.value.exit_status == 1
    assert any("this stand-in cannot start" in line for line in told)


def test_detached_a_second_time_it_says_so_and_leaves_the_log_of_the_first(state_dir: Path) -> None:
    platform = LaunchedPlatform(state_dir)
    control.start_detached(platform.folder, platform.command, env=stand_in_environment(), tell=lambda _: None)
    told: list[str] = []
    try:
        with pytest.raises(LaunchError):
            control.start_detached(platform.folder, platform.command, env=stand_in_environment(), tell=told.append)
    finally:
        control.stop(platform.folder)
    assert "runs already" in told[0]
    log = (platform.folder.logs / control.LAUNCHER_LOG).read_text()
    assert log.startswith("CareForAll starts")
    assert "\0" not in log
    assert "Stopping" in log.splitlines()[-1]


def test_detached_it_stays_when_nobody_reads_on(state_dir: Path) -> None:
    platform = LaunchedPlatform(state_dir)

    def tell(_: str) -> None:
        raise OutputClosedError

    control.start_detached(platform.folder, platform.command, env=stand_in_environment(), tell=tell)
    try:
        assert control.launcher_lives(platform.state())
        assert platform.state().ready
    finally:
        control.stop(platform.folder)


def test_down_ends_what_a_killed_launcher_could_not(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        started = platform.running()
        platform.signal(signal.SIGKILL)
        platform.wait()
        control.stop(platform.folder)
        assert all_gone(started, timeout_s=0.1)


def test_down_does_not_say_that_what_runs_is_stopped(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        assert platform.process is not None
        (platform.folder.path / STATE).write_text('{"instance": ')
        with pytest.raises(LaunchError, match=f"kill {platform.process.pid} ends it"):
            control.stop(platform.folder)
        assert platform.process.poll() is None


def test_purge_forgets_everything(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
    assert control.purge(platform.folder)
    assert not platform.folder.path.exists()
    assert not control.purge(platform.folder)


def test_a_stale_state_never_ends_a_stranger(state_dir: Path) -> None:
    platform = LaunchedPlatform(state_dir)
    platform.folder.make()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        platform.folder.write_state(State(instance="default", launcher_pid=stranger.pid, launcher_start="long ago"))
        assert not control.stop(platform.folder)
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_status_tells_the_state_of_each_service(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        state = platform.start_and_wait()
        found = control.look(platform.folder, instance="default", plan=PLAN).document
        secrets = platform.folder.read_secrets()
        assert found == {
            "instance": "default",
            "url": f"http://127.0.0.1:{state.port}",
            "ready": True,
            "data_dir": str(platform.folder.path),
            "services": {"donations": "ready", "payments": "degraded"},
            "urls": {name: f"http://127.0.0.1:{state.port}{path}" for name, path in PLAN.pages.items()},
            "logins": {
                "admin": {"email": "admin@example.org", "password": secrets["admin_password"]},
                "donor": {"email": "donor1@example.org", "password": secrets["donor_password"]},
            },
            "webhook_secrets": {"generic": secrets["webhook_secret"], "simulator": secrets["simulator_secret"]},
            "dsn": state.dsn,
        }
        assert set(state.dsn) == {"postgres", "nats", "redis"}
    after = control.look(platform.folder, instance="default", plan=PLAN).document
    assert not after["ready"]
    assert after["services"] == {"donations": "down", "payments": "down"}


def test_a_dead_worker_degrades_every_service(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        os.kill(platform.running()["worker"].pid, signal.SIGSTOP)
        found = control.look(platform.folder, instance="default", plan=PLAN)
        assert found.document["services"] == {"donations": "degraded", "payments": "degraded"}
        assert found.notes == dict.fromkeys(("donations", "payments"), ("not ready (worker)",))
        assert found.document["ready"]
        os.kill(platform.running()["worker"].pid, signal.SIGCONT)


def test_status_of_an_instance_that_never_was(state_dir: Path) -> None:
    found = control.look(LaunchedPlatform(state_dir).folder, instance="default", plan=PLAN).document
    assert (found["ready"], found["services"], found["url"]) == (False, {}, "")


def test_the_doctor_finds_this_machine_fit(state_dir: Path) -> None:
    findings = {finding.subject: finding for finding in examine(environment(state_dir), "default")}
    assert [finding for finding in findings.values() if finding.essential and not finding.good] == []
    assert {"python", "uv", "postgres", "nats", "valkey", "state", "disk", "port", "instance"} == findings.keys()


def test_the_doctor_names_what_is_missing_and_a_fix(state_dir: Path) -> None:
    sick = environment(state_dir, CAREFORALL_NATS_SERVER="/nowhere/nats-server")
    found = {finding.subject: finding for finding in examine(sick, "default")}["nats"]
    assert not found.good
    assert "/nowhere/nats-server" in found.fix
    assert "apt install nats-server" in found.fix


def test_the_doctor_command_ends_with_3_when_something_is_missing(state_dir: Path) -> None:
    variables = {
        **stand_in_environment(),
        "CAREFORALL_STATE_DIR": str(state_dir),
        "CAREFORALL_NATS_SERVER": "/nowhere/nats-server",
    }
    answer = subprocess.run(
        [sys.executable, "-m", "careforall", "doctor"], env=variables, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 3
    assert "missing on this machine: nats" in answer.stderr
    assert "missing nats" in " ".join(answer.stdout.split())


def test_named_servers_are_used_and_not_started(state_dir: Path) -> None:
    named = {"postgres": "postgresql://a@db/postgres", "nats": "nats://broker:4222", "redis": "redis://cache/0"}
    variables = {f"CAREFORALL_{role.upper()}_URL": url for role, url in named.items()}
    platform = LaunchedPlatform(state_dir)
    launcher = subprocess.Popen(
        platform.command,
        env={**stand_in_environment(), **variables},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert launcher.stdout is not None
        assert any("CareForAll is ready" in line for line in launcher.stdout)
        assert platform.state().dsn == named
        assert platform.running().keys() == {"api", "worker"}
    finally:
        launcher.terminate()
        launcher.communicate(timeout=20)
    assert launcher.returncode == 0
