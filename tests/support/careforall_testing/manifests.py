"""Makes `manifests/base` and its overlays out of the chart, for those who have kubectl only; `tests/charts` compares them.

An overlay is what the chart renders from the values file of its name; what is the same in all of them is the base.

Run this module to write them anew (Helm on PATH): see REGENERATE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from careforall_testing.charts import CHART, FRONT, ROOT, objects, render

REGENERATE = "PYTHONPATH=services:tests/support .venv/bin/python -m careforall_testing.manifests"
FOLDER = ROOT / "manifests"
OVERLAYS = ("dev", "prod")
SECRETS = {
    "global.secrets.existingSecret": "careforall-platform",
    "global.secrets.generate": "false",
    "global.nats.existingSecret": "careforall-nats",
    "global.databases.existingSecret": "careforall-databases",
    "postgres.auth.existingSecret": "careforall-postgres-auth",
}
"""Who applies manifests makes these Secrets first: docs/how-to/deploy-on-kubernetes.md."""
_MADE = "# Made from the chart: change it there, then write these files anew (see CONTRIBUTING.md).\n"


def documents(overlay: str) -> list[dict[str, Any]]:
    """Return the objects of an overlay; what Helm would run as a hook is left out."""
    front = FRONT if overlay == "prod" else ()
    sets = [word for one in (*(f"{key}={value}" for key, value in SECRETS.items()), *front) for word in ("--set", one)]
    found = objects(render("--values", str(CHART / f"values-{overlay}.yaml"), *sets, namespace="careforall"))
    return [one for one in found if "helm.sh/hook" not in (one["metadata"].get("annotations") or {})]


def files() -> dict[Path, str]:
    """Return what each generated file should hold."""
    rendered = {overlay: documents(overlay) for overlay in OVERLAYS}
    shared = [one for one in rendered["prod"] if all(one in rendered[overlay] for overlay in OVERLAYS)]
    found = _folder(FOLDER / "base", shared, ["../crds"])
    for overlay, all_of_it in rendered.items():
        own = [one for one in all_of_it if one not in shared]
        found |= _folder(FOLDER / "overlays" / overlay, own, ["../../base"])
    return found


def _folder(folder: Path, what: list[dict[str, Any]], bases: list[str]) -> dict[Path, str]:
    ordered = sorted(what, key=lambda one: (one["kind"], one["metadata"]["name"]))
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [*bases, "careforall.yaml"]}
    if folder.name != "base":
        head["namespace"] = "careforall"
    return {
        folder / "kustomization.yaml": _MADE + yaml.safe_dump(head, sort_keys=False),
        folder / "careforall.yaml": _MADE + "---\n".join(yaml.safe_dump(one, width=130) for one in ordered),
    }


def write() -> None:
    """Write every generated file."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write()
