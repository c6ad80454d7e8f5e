"""Where state lives: clones, users and instances never share a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from careforall.cli.environment import launch_environment
from careforall.launch.errors import UsageError
from careforall.launch.places import ROOT_HOME, Places, find_places

CLONE = Path("/home/someone/careforall")


def test_a_plain_user_keeps_everything_in_the_clone() -> None:
    places = find_places(root=CLONE, state_dir=None, uid=1000)
    assert places.home == CLONE / ".care"
    assert places.instance("default") == CLONE / ".care" / "state" / "default"


def test_root_keeps_it_where_others_may_enter_one_folder_per_clone() -> None:
    here = find_places(root=CLONE, state_dir=None, uid=0)
    other = find_places(root=Path("/srv/careforall"), state_dir=None, uid=0)
    assert here.home == other.home == ROOT_HOME
    assert here.instance("default") != other.instance("default")


def test_a_named_state_folder_wins() -> None:
    assert find_places(root=CLONE, state_dir="/data", uid=0).instance("a").is_relative_to("/data")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "A", "a" * 32])
def test_a_name_that_could_leave_the_folder_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_places(root=CLONE, state_dir=None, uid=1000).instance(name)
    assert caught.value.exit_status == 2


def test_another_pin_is_another_folder(tmp_path: Path) -> None:
    pins = tmp_path / "deploy" / "servers.txt"
    pins.parent.mkdir()
    pins.write_text("one==1")
    places = Places(root=tmp_path, home=tmp_path)
    before = places.servers
    pins.write_text("one==2")
    assert places.servers != before


def test_the_environment_is_read_in_one_place() -> None:
    found = launch_environment(
        {
            "CAREFORALL_NATS_URL": "nats://broker",
            "CAREFORALL_POSTGRES_SERVER": "/opt/postgres",
            "CI": "true",
            "PATH": "/bin",
        }
    )
    assert found.server_urls == {"nats": "nats://broker"}
    assert found.explicit_binaries == {"CAREFORALL_POSTGRES_SERVER": "/opt/postgres"}
    assert found.plain
    assert found.path == "/bin"
