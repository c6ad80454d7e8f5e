"""A full disk ends nobody's work: lines are lost, notes wait, and NATS is started anew once there is room."""

from __future__ import annotations

import errno
import io
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from careforall.kit.logs import Output
from careforall.launch import servers
from careforall.launch.binaries import Binary
from careforall.launch.reporter import Reporter
from careforall.launch.servers import Nats

GAVE_UP = {"status": "unavailable", "error": "JetStream stream '$G > GIFTS' write error: no space left on device"}


class Usage(NamedTuple):
    """What `shutil.disk_usage` says."""

    total: int
    used: int
    free: int


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_of_the_log_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    Output().write("a line\n")
    Output().flush()


def test_a_line_about_progress_is_lost() -> None:
    Reporter(plain=True, stream=Full()).line("it goes on")


@pytest.mark.parametrize(
    ("health", "free", "stuck"),
    [({"status": "ok"}, 10**10, False), (GAVE_UP, 10**10, True), (GAVE_UP, 1000, False), (None, 10**10, False)],
    ids=["well", "gave up and has room", "gave up and has none", "does not answer"],
)
def test_nats_is_stuck_when_it_gave_up_a_stream_and_has_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, health: dict[str, str] | None, free: int, stuck: bool
) -> None:
    def answer(*_: Any, **__: Any) -> dict[str, str] | None:
        return health

    monkeypatch.setattr(servers, "_get_json", answer)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))
    binary = Binary(name="nats", path=Path("/nowhere"), version="0", provenance="none")
    assert Nats(binary=binary, data=tmp_path, log=tmp_path / "nats.log").stuck is stuck
