"""The chart's load tests are those of the clone: the same files, the same order, and they really run from what a pod is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from careforall_load.table import read
from careforall_load.workplace import Order
from careforall_testing import load_chart
from careforall_testing.charts import named, objects, rendered
from careforall_testing.cluster import skip_or_fail

TABLE = read()


def test_the_files_of_the_chart_are_those_of_the_clone() -> None:
    stale = [str(path) for path, content in load_chart.files().items() if not path.exists() or path.read_bytes() != content]
    strange = {path for path in load_chart.FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert (stale, strange - set(load_chart.files())) == ([], set()), f"write them anew: {load_chart.REGENERATE}"


def test_it_is_off_unless_somebody_asks() -> None:
    assert not [one for one in objects(rendered("prod")) if "-load" in one["metadata"]["name"]]


def test_every_profile_has_a_suspended_job_that_never_starts_by_itself() -> None:
    found = [one for one in objects(rendered("everything")) if one["kind"] == "CronJob" and "-load-" in one["metadata"]["name"]]
    assert {one["metadata"]["name"] for one in found} == {f"careforall-load-{name}" for name in TABLE.profiles}
    assert all(one["spec"]["suspend"] is True and one["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0 for one in found)


def data(*sets: str) -> dict[str, str]:
    found: dict[str, str] = named(objects(rendered("everything", *sets)), "ConfigMap", "careforall-load")["data"]
    return found


@pytest.mark.parametrize(("sets", "only"), [((), sorted(TABLE.scenarios)), (("loadtests.only[0]=give",), ["give"])])
def test_an_order_is_what_the_command_line_would_give(sets: tuple[str, ...], only: list[str]) -> None:
    told = data(*sets)
    for name, profile in TABLE.profiles.items():
        order = msgspec.json.decode(told[f"order-{name}.json"], type=Order)
        assert order == Order(
            table=TABLE.only(only),
            profile=profile,
            url="https://give.example.org",
            headers={"Host": "give.example.org"},
            secret="",
            run="",
            scenarios=only,
        )


def laid_out(pod: dict[str, Any], told: dict[str, str], folder: Path) -> None:
    """Lay the volume out as the kubelet would."""
    (volume,) = [one for one in pod["volumes"] if "configMap" in one]
    for item in volume["configMap"]["items"]:
        path = folder / volume["name"] / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told[item["key"]])
    (folder / "work").mkdir()


def ran(container: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a container's command on this machine, with its volumes in a folder."""
    program = {"k6": [shutil.which("k6") or ""], "python": [sys.executable]}[container["command"][0]]
    words = [*container["command"][1:], *container["args"]]
    given = {one["name"]: one.get("value", "a1b2") for one in container["env"]}

    def here(text: str) -> str:
        return text.replace("/load", f"{folder}/load").replace("/work", f"{folder}/work")

    environment = {"PATH": os.environ["PATH"], **{name: here(value) for name, value in given.items()}}
    command = [*program, *(here(word) for word in words)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_pod_plays_and_judges(forgetful: str, tmp_path: Path) -> None:
    """A stand-in that forgets every gift: k6 plays what the pod is given, and the verdict says that they are lost."""
    if shutil.which("k6") is None:
        skip_or_fail("k6 is not on this machine")
    sets = (f"loadtests.url={forgetful}", "loadtests.only[0]=give", "loadtests.patienceSeconds=1")
    found = objects(rendered("everything", *sets))
    pod = named(found, "CronJob", "careforall-load-smoke")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    laid_out(pod, data(*sets), tmp_path)
    (k6,), (verdict,) = pod["initContainers"], pod["containers"]
    played = ran(k6, tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
    judged = ran(verdict, tmp_path)
    assert judged.returncode == 1, judged.stdout + judged.stderr
    assert "lost: /api/v1/donations/" in judged.stdout, judged.stdout + judged.stderr
    assert "run a1b2" in judged.stdout
