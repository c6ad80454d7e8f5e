"""The manifests are what the chart renders, and Kustomize can build them."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from careforall_testing import manifests
from careforall_testing.charts import objects
from careforall_testing.cluster import skip_or_fail


def test_the_files_are_those_the_chart_makes() -> None:
    stale = [str(path) for path, text in manifests.files().items() if not path.exists() or path.read_text() != text]
    assert not stale, f"write them anew: {manifests.REGENERATE}"


@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
def test_an_overlay_builds_what_the_chart_renders(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        skip_or_fail("no kubectl on PATH: it builds the overlays")
    folder = manifests.FOLDER / "overlays" / overlay
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=True)
    built = {key(one): bare(one) for one in objects(done.stdout) if one["kind"] != "CustomResourceDefinition"}
    assert built == {key(one): bare(one) for one in manifests.documents(overlay)}


def test_the_definitions_come_with_the_base() -> None:
    named = yaml.safe_load((manifests.FOLDER / "crds" / "kustomization.yaml").read_text())["resources"]
    there = {path.name for path in (manifests.FOLDER / "crds").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(named) == there


def key(one: dict[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def bare(one: Any) -> Any:
    """Leave out the namespace, which Kustomize writes and Helm does not."""
    if isinstance(one, dict):
        return {name: bare(value) for name, value in one.items() if name != "namespace"}
    return [bare(value) for value in one] if isinstance(one, list) else one
