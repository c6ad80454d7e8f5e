"""`careforall load --in-cluster`: a Job of the chart, waited for, its verdict told; kubectl is a script that writes down."""

from __future__ import annotations

from pathlib import Path

import pytest

from careforall.cli.load_cluster import Release
from careforall.launch.errors import MissingError

SCRIPT = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$*" in
  *"create job"*) [ -e {folder}/refuses ] && {{ echo 'cronjobs "x" not found' >&2; exit 1; }}; exit 0 ;;
  *"get job"*) echo '{{"status": {{"conditions": [{{"type": "{end}", "status": "True"}}]}}}}' ;;
  *logs*) echo 'promised 3, lost 0' ;;
esac
"""


def kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, *, end: str = "Complete") -> None:
    (folder / "kubectl").write_text(SCRIPT.format(folder=folder, end=end))
    (folder / "kubectl").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(("end", "status"), [("Complete", 0), ("Failed", 1)])
def test_the_verdict_is_told_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: str, status: int
) -> None:
    kubectl(tmp_path, monkeypatch, end=end)
    assert Release(name="care", namespace="giving").play("smoke") == status
    asked = (tmp_path / "asked").read_text().splitlines()
    job = asked[0].split()[3]
    assert job.startswith("care-load-smoke-")
    assert asked[0] == f"--namespace=giving create job {job} --from=cronjob/care-load-smoke"
    assert asked[-1] == f"--namespace=giving logs job/{job} --container verdict"
    said = capsys.readouterr().out
    assert "promised 3, lost 0" in said
    assert (f"kubectl logs job/{job} --container k6" in said) == bool(status)


def test_a_release_without_load_tests_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl(tmp_path, monkeypatch)
    (tmp_path / "refuses").touch()
    with pytest.raises(MissingError, match=r"not found\n.*loadtests\.enabled=true, with smoke among loadtests\.profiles"):
        Release(name="care").play("smoke")


def test_without_kubectl_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="kubectl, which is not on PATH"):
        Release(name="care").play("smoke")
