"""The script that PostgreSQL trusts with its WAL: what it says is stored is stored, and never becomes something else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from careforall_testing.cluster import CHART

STORE = CHART / "charts" / "postgres" / "files" / "store.sh"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["volume", "commands"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """The script on a folder, by itself or through commands as for a bucket."""
    folder = tmp_path / "store"
    folder.mkdir()
    commands = {
        "STORE_PUT": f'cd "{folder}" && mkdir -p "$(dirname "$NAME")" && cp -n "$FILE" "$NAME" && cmp -s "$FILE" "$NAME"',
        "STORE_GET": f'cp "{folder}/$NAME" "$FILE"',
        "STORE_LIST": f'cd "{folder}" && find "$NAME" -type f 2>/dev/null || true',
        "STORE_DELETE": f'rm -f "{folder}/$NAME"',
    }
    environment = commands if request.param == "commands" else {"STORE_VOLUME": str(folder)}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(STORE), *map(str, words)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    return run


def test_what_was_put_is_got_listed_and_deleted(store: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"wal")
    assert store("put", tmp_path / "a", "wal/0001").returncode == 0
    assert store("list", "wal").stdout.split() == ["wal/0001"]
    assert store("get", "wal/0001", tmp_path / "b").returncode == 0
    assert (tmp_path / "b").read_bytes() == b"wal"
    assert store("delete", "wal/0001").returncode == 0
    assert store("list", "wal").stdout == ""


def test_what_is_stored_may_be_stored_again_and_is_not_written_over_by_something_else(store: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"wal")
    (tmp_path / "other").write_bytes(b"WAL")
    assert store("put", tmp_path / "a", "wal/0001").returncode == 0
    assert store("put", tmp_path / "a", "wal/0001").returncode == 0
    assert store("put", tmp_path / "other", "wal/0001").returncode != 0
    assert store("get", "wal/0001", tmp_path / "b").returncode == 0
    assert (tmp_path / "b").read_bytes() == b"wal"


def test_what_is_missing_is_a_failure_and_not_an_empty_file(store: Run, tmp_path: Path) -> None:
    assert store("get", "wal/0001", tmp_path / "b").returncode != 0
    assert not (tmp_path / "b").exists()
    assert store("put", tmp_path / "nothing", "wal/0001").returncode != 0
    assert store("list", "wal").stdout == ""


def test_another_verb_is_refused(store: Run) -> None:
    refused = store("mend", "wal/0001")
    assert (refused.returncode, refused.stderr[:6]) == (2, "usage:")
