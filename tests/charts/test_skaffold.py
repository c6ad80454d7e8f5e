"""Skaffold builds each image of ours that the chart runs, from a Dockerfile that is there, and hands every one to the chart."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import yaml

from careforall_testing.charts import CHART, OWN_SECRETS, ROOT, images, objects, render

TOP = {"apiVersion", "kind", "metadata", "build", "deploy", "portForward", "profiles"}
FOREIGN = {"nats", "valkey/valkey"}
"""Servers that the world publishes."""


def skaffold() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    return found


def artifacts() -> dict[str, dict[str, Any]]:
    return {one["image"]: one for one in skaffold()["build"]["artifacts"]}


def release() -> dict[str, Any]:
    found: dict[str, Any] = skaffold()["deploy"]["helm"]["releases"][0]
    return found


def repositories(*sets: str) -> set[str]:
    """Return the images that the release would run."""
    words = [word for one in (*OWN_SECRETS, *sets) for word in ("--set", one)]
    found = images(objects(render("--values", str(ROOT / release()["valuesFiles"][0]), *words)))
    return {one.partition("@")[0].rpartition(":")[0] or one for one in found}


def test_it_is_a_configuration_of_a_schema_that_skaffold_2_reads() -> None:
    assert skaffold()["apiVersion"] == "skaffold/v4beta13"
    assert set(skaffold()) <= TOP
    assert {one["name"] for one in skaffold()["profiles"]} == {"dev", "ci", "e2e"}


def test_every_image_is_built_from_a_dockerfile_that_is_there() -> None:
    for name, one in artifacts().items():
        assert one["context"] == ".", name
        assert (ROOT / one["docker"]["dockerfile"]).is_file(), name


def test_changed_python_goes_where_pods_may_write_and_python_looks_first() -> None:
    (dev,) = [one for one in skaffold()["profiles"] if one["name"] == "dev"]
    patches = {one["path"]: one["value"] for one in dev["patches"]}
    assert {path.rpartition("/")[2] for path in patches} == {"sync", "target"}
    values = ("--values", str(ROOT / release()["valuesFiles"][0]))
    pods = [pod for one in objects(render(*values)) if one["kind"] == "Deployment" for pod in [one["spec"]["template"]["spec"]]]
    synced = 0
    for number, (name, one) in enumerate(artifacts().items()):
        if (sync := patches.get(f"/build/artifacts/{number}/sync")) is None:
            continue
        (rule,) = sync["manual"]
        assert list(ROOT.glob(rule["src"])), name
        dockerfile = (ROOT / one["docker"]["dockerfile"]).read_text()
        stage = patches[f"/build/artifacts/{number}/docker/target"]
        found = re.search(rf"^FROM runtime AS {stage}\nENV PYTHONPATH=([^:\n]+)", dockerfile, re.MULTILINE)
        assert found is not None, name
        folder = found[1]
        assert rule["dest"] == folder
        for pod in pods:
            for container in pod["containers"]:
                if f"{name}:" in container["image"]:
                    assert any(PurePosixPath(folder).is_relative_to(one["mountPath"]) for one in container["volumeMounts"])
                    synced += 1
    assert synced > len(artifacts())


def test_each_image_built_is_handed_to_the_chart_under_a_value_it_reads() -> None:
    templates = release()["setValueTemplates"]
    for name in artifacts():
        mark = name.replace("/", "_").replace("-", "_")
        paths = [path for path, text in templates.items() if text == f"{{{{.IMAGE_REPO_{mark}}}}}"]
        assert len(paths) == 1, name
        assert templates[paths[0].replace("repository", "tag")] == f"{{{{.IMAGE_TAG_{mark}}}}}"
        assert "example/found" in repositories(f"{paths[0]}=example/found"), name


def test_what_the_chart_runs_is_built_here_or_published_by_others() -> None:
    handed = []
    for path, text in release()["setValueTemplates"].items():
        if "IMAGE_REPO" in text:
            mark = text.removeprefix("{{.IMAGE_REPO_").removesuffix("}}")
            handed.append(f"{path}={next(name for name in artifacts() if name.replace('/', '_') == mark)}")
    assert repositories(*handed) == set(artifacts()) | FOREIGN


def test_the_profiles_name_values_that_are_there() -> None:
    for profile in skaffold()["profiles"]:
        for patch in profile.get("patches", []):
            if patch["path"].endswith("valuesFiles/0"):
                assert (ROOT / patch["value"]).is_file()
    assert ROOT / release()["chartPath"] == CHART
