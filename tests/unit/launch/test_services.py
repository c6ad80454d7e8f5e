"""What dies is started again, each time later; the clock is the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from careforall.launch.plan import Process
from careforall.launch.processes import poll
from careforall.launch.services import CALM_S, LONGEST_PAUSE_S, ServiceProcess


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[ServiceProcess]:
    process = Process(name="api", command=("/bin/sh", "-c", "exit 3"))
    made = ServiceProcess(process, env=dict(os.environ), log=tmp_path / "api.log", cwd=tmp_path, clock=clock)
    made.start()
    yield made
    made.wait_stopped()


def wait_dead(service: ServiceProcess) -> None:
    assert poll(lambda: not service.running, timeout_s=10)


def pause_after_death(service: ServiceProcess, clock: Clock) -> float:
    wait_dead(service)
    news = service.revive()
    assert news is not None
    assert "ended with status 3" in news
    began = clock.now
    while service.revive() is None:
        clock.now += 0.25
    return clock.now - began


def test_pauses_grow_to_a_limit(service: ServiceProcess, clock: Clock) -> None:
    pauses = [pause_after_death(service, clock) for _ in range(8)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_long_life_is_forgiven(service: ServiceProcess, clock: Clock) -> None:
    for _ in range(4):
        pause_after_death(service, clock)
    clock.now += CALM_S + 1
    assert pause_after_death(service, clock) == 0.5


def test_it_is_tried_again_where_it_cannot_be_started(tmp_path: Path, clock: Clock) -> None:
    """Its program is replaced, or the machine has no process to give."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    service = ServiceProcess(
        Process(name="api", command=(str(program),)), env=dict(os.environ), log=tmp_path / "api.log", cwd=tmp_path, clock=clock
    )
    service.start()
    assert service.popen is not None
    service.popen.kill()
    wait_dead(service)
    away = program.rename(tmp_path / "away")
    service.revive()
    for pause in (1, 2):
        clock.now += 30
        news = service.revive()
        assert news is not None
        assert "could not be started" in news
        assert f"next start in {pause} s" in news
    away.rename(program)
    clock.now += 30
    try:
        assert service.revive() == "api was started again"
        assert service.running
    finally:
        service.wait_stopped()


def test_a_living_process_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    process = Process(name="api", command=("/bin/sh", "-c", "exec sleep 60"))
    service = ServiceProcess(process, env=dict(os.environ), log=tmp_path / "api.log", cwd=tmp_path, clock=clock)
    service.start()
    try:
        assert service.revive() is None
        assert service.running
    finally:
        service.wait_stopped()
    assert not service.running


def test_a_process_of_the_background_stands_back_once_it_has_started(tmp_path: Path, clock: Clock) -> None:
    plan = Process(name="worker", command=("/bin/sh", "-c", "exec sleep 60"), niceness=7)
    service = ServiceProcess(plan, env=dict(os.environ), log=tmp_path / "worker.log", cwd=tmp_path, clock=clock)
    service.start()
    try:
        assert service.popen is not None
        assert os.getpriority(os.PRIO_PROCESS, service.popen.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        assert service.in_front
        service.stand_back()
        service.stand_back()
        assert not service.in_front
        assert os.getpriority(os.PRIO_PROCESS, service.popen.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
    finally:
        service.wait_stopped()
