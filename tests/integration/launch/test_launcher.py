"""The launcher's own promises, kept by real processes and servers; only the services are stand-ins."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from careforall.launch.processes import children_of, is_running, poll, started_at
from careforall.launch.state import PIDS, Running
from careforall_testing.launching import LaunchedPlatform, all_gone, ask, launched, stand_in_environment

PROCESSES = {"postgres", "nats", "valkey", "api", "worker"}


def store_and_count(url: str) -> int:
    async def run() -> int:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("CREATE TABLE IF NOT EXISTS gift (id INT GENERATED ALWAYS AS IDENTITY)")
            await connection.execute("INSERT INTO gift DEFAULT VALUES")
            return int(await connection.fetchval("SELECT count(*) FROM gift"))
        finally:
            await connection.close()

    return asyncio.run(run())


def children(parent: Running) -> dict[str, Running]:
    pids = children_of(parent.pid)
    return {f"{parent.name}/{pid}": replace(parent, pid=pid, start=started_at(pid) or "gone") for pid in pids}


def with_children(platform: LaunchedPlatform) -> dict[str, Running]:
    parents = platform.running()
    found = {name: entry for parent in parents.values() for name, entry in children(parent).items()}
    assert any(name.startswith("api/") for name in found)
    return {**parents, **found}


def log(platform: LaunchedPlatform, name: str) -> str:
    return (platform.folder.logs / f"{name}.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(state_dir: Path, how: signal.Signals) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        assert platform.running().keys() == PROCESSES
        started = with_children(platform)
        platform.signal(how)
        assert platform.wait() == 0
        assert all_gone(started, timeout_s=0.1)
        assert platform.running() == {}
        assert not platform.state().ready
        assert "database system is shut down" in log(platform, "postgres")


def test_kill_9_of_the_launcher_leaves_nothing_and_postgres_shuts_down_cleanly(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        started = with_children(platform)
        platform.signal(signal.SIGKILL)
        platform.wait()
        assert all_gone(started, timeout_s=5)
        assert poll(lambda: "database system is shut down" in log(platform, "postgres"), timeout_s=2)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_ends_the_launcher_while_the_database_is_made_ends_that_in_order(state_dir: Path, how: signal.Signals) -> None:
    with launched(state_dir) as platform:
        platform.start()
        assert platform.process is not None
        assert poll((platform.folder.path / "postgres" / "base").exists, timeout_s=30)
        making = platform.process.pid
        started = children(Running(name="launcher", pid=making, start="", stop_signal=0, group=""))
        (os.kill if how is signal.SIGKILL else os.killpg)(making, how)  # Ctrl-C goes to the whole group
        assert platform.wait() in {1, -how}
        assert all_gone(started, timeout_s=5)
        assert "initdb could not make" not in platform.output()


def test_the_next_start_keeps_data_secrets_and_ports(state_dir: Path) -> None:
    with launched(state_dir) as first:
        before = first.start_and_wait()
        secrets = first.folder.read_secrets()
        assert store_and_count(before.dsn["postgres"]) == 1
        first.signal(signal.SIGKILL)
        first.wait()
    with launched(state_dir) as second:
        after = second.start_and_wait()
        assert store_and_count(after.dsn["postgres"]) == 2
        assert after.dsn == before.dsn
        assert second.folder.read_secrets() == secrets


def test_steps_run_as_often_as_the_plan_says(state_dir: Path) -> None:
    for _ in range(2):
        with launched(state_dir) as platform:
            platform.start_and_wait()
            password = platform.folder.read_secrets()["admin_password"]
    steps = (state_dir / "steps.txt").read_text().split()
    assert steps == ["always:", f"admin:{password}", "demo:", "always:"]


def test_without_demo_no_demo_step_runs(state_dir: Path) -> None:
    with launched(state_dir, "--no-demo") as platform:
        platform.start_and_wait()
        assert not platform.state().demo_loaded
    assert "demo:" not in (state_dir / "steps.txt").read_text()


def test_a_second_launcher_of_the_same_instance_is_refused(state_dir: Path) -> None:
    with launched(state_dir) as first, launched(state_dir) as second:
        state = first.start_and_wait()
        second.start()
        assert second.wait() == 1
        said = second.output()
        assert f"runs already at http://127.0.0.1:{state.port}" in said
        assert ask(state.port, "/pid")


def test_two_instances_never_meet(state_dir: Path) -> None:
    with launched(state_dir, instance="one") as one, launched(state_dir, instance="two") as two:
        first, second = one.start_and_wait(), two.start_and_wait()
        ports = [[state.port, *state.server_ports.values(), *state.internal_ports.values()] for state in (first, second)]
        assert not set(ports[0]) & set(ports[1])
        assert one.folder.path != two.folder.path
        assert one.folder.read_secrets()["secret_key"] != two.folder.read_secrets()["secret_key"]
        assert store_and_count(first.dsn["postgres"]) == 1
        assert store_and_count(second.dsn["postgres"]) == 1
        one.signal(signal.SIGTERM)
        assert one.wait() == 0
        assert ask(second.port, "/environment")["CAREFORALL_INSTANCE"] == "two"


def test_what_dies_is_started_again(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        state = platform.start_and_wait()
        before = platform.running()
        workers = children(before["api"])
        os.kill(before["api"].pid, signal.SIGKILL)
        os.kill(before["nats"].pid, signal.SIGKILL)

        def both_are_back() -> bool:
            now = platform.running()
            return all(
                name in now and now[name].pid != before[name].pid and is_running(now[name].pid, now[name].start)
                for name in ("api", "nats")
            )

        assert poll(both_are_back, timeout_s=10)
        assert poll(lambda: can_connect(state.port), timeout_s=10)
        assert urlsplit(platform.state().dsn["nats"]).port == state.server_ports["nats"]
        assert platform.running()["postgres"] == before["postgres"]
        assert all_gone(workers, timeout_s=0.1)


def test_it_lives_on_and_starts_again_what_dies_while_it_can_write_nothing(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        before = platform.running()
        notes = platform.folder.path / PIDS
        notes.unlink()
        notes.mkdir()
        os.kill(before["worker"].pid, signal.SIGKILL)
        assert poll(lambda: not is_running(before["worker"].pid, before["worker"].start), timeout_s=5)
        time.sleep(1)
        notes.rmdir()
        assert poll(lambda: "worker" in platform.running(), timeout_s=10)
        assert platform.running()["worker"].pid != before["worker"].pid
        assert platform.running()["api"] == before["api"]


def test_who_asks_while_the_api_is_started_again_waits_for_it(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        state = platform.start_and_wait()
        killed = platform.running()["api"].pid
        os.kill(killed, signal.SIGKILL)
        assert poll(lambda: not is_running(killed, platform.running()["api"].start), timeout_s=5)
        assert int(ask(state.port, "/pid")["pid"]) != killed


def test_services_get_the_addresses_and_secrets_of_their_instance(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        state = platform.start_and_wait()
        given = ask(state.port, "/environment")
        secrets = platform.folder.read_secrets()
        assert given["CAREFORALL_POSTGRES_URL"] == state.dsn["postgres"]
        assert given["CAREFORALL_SECRET_KEY"] == secrets["secret_key"]
        assert given["CAREFORALL_WEBHOOK_SECRETS"] == secrets["webhook_secret"]
        assert given["CAREFORALL_PUBLIC_URL"] == f"http://127.0.0.1:{state.port}"
        worker = ask(state.internal_ports["worker"], "/environment")
        assert worker["CAREFORALL_PORT"] != given["CAREFORALL_PORT"]
        assert worker["CAREFORALL_INTERNAL_PORT"] == "0"
        assert given["CAREFORALL_INTERNAL_URL"] == f"http://127.0.0.1:{given['CAREFORALL_INTERNAL_PORT']}"
        assert worker["CAREFORALL_INTERNAL_URL"] == given["CAREFORALL_INTERNAL_URL"]


def test_private_files_are_private(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        modes = {name: (platform.folder.path / name).stat().st_mode & 0o777 for name in ("state.json", "secrets.json")}
        assert modes == {"state.json": 0o600, "secrets.json": 0o600}
        assert (platform.folder.path / "postgres").stat().st_mode & 0o777 == 0o700


def test_a_reader_that_goes_away_ends_it_in_order(state_dir: Path) -> None:
    with launched(state_dir) as platform:
        platform.start_and_wait()
        started = platform.running()
        assert platform.process is not None
        assert platform.process.stdout is not None
        platform.process.stdout.close()
        assert platform.process.wait(timeout=20) == 0
        assert all_gone(started, timeout_s=0.1)
        platform.process = None


def test_head_ends_it_in_order_while_it_starts(state_dir: Path) -> None:
    platform = LaunchedPlatform(state_dir)
    launcher = subprocess.Popen(platform.command, stdout=subprocess.PIPE, env=stand_in_environment())
    head = subprocess.run(["head", "-1"], stdin=launcher.stdout, capture_output=True, text=True, check=True)
    assert launcher.stdout is not None
    launcher.stdout.close()
    assert head.stdout.startswith("CareForAll starts")
    assert launcher.wait(timeout=20) == 0
    assert platform.running() == {}


def test_a_service_that_cannot_start_ends_the_launch_with_its_words(state_dir: Path) -> None:
    with launched(state_dir, "--broken") as platform:
        platform.start()
        assert platform.wait() == 1
        assert "this stand-in cannot start" in platform.output()
        assert platform.running() == {}


def test_a_step_that_fails_ends_the_launch_with_its_words(state_dir: Path) -> None:
    with launched(state_dir, "--broken-step") as platform:
        platform.start()
        assert platform.wait() == 1
        assert "this step cannot work" in platform.output()
        assert platform.running() == {}


def test_a_taken_port_is_said_and_nothing_stays(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, launched(state_dir) as platform:
        platform.command += ["--port", str(taken.getsockname()[1])]
        platform.start()
        assert platform.wait() == 1
        assert "is taken by another program" in platform.output()
        assert platform.running() == {}


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
