"""The two custom resource definitions, made from the models; `python -m careforall_operator crds FOLDER...` writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from careforall_operator import GROUP
from careforall_operator.models import Model, PlatformSpec, SwitchoverSpec
from careforall_operator.schema import schema_of
from careforall_operator.status import PlatformStatus, SwitchoverStatus

_HEAD = (
    "# Made from operator/careforall_operator/models.py and status.py: change it there (docs/how-to/operate-the-operator.md).\n"
)


def _column(name: str, path: str, kind: str = "string", *, priority: int = 0) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return {**shown, "priority": priority} if priority else shown


def _status_of(condition: str, field: str = "status") -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


_PLATFORM_COLUMNS = [
    _column("Phase", ".status.phase"),
    _column("Ready", _status_of("Ready")),
    _column("Services", ".status.readyServices"),
    _column("Primary", ".status.database.currentPrimary"),
    _column("Writes", _status_of("WritesEnabled")),
    _column("Views", _status_of("ViewsFresh")),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Timeline", ".status.database.timeline", "integer", priority=1),
    _column("LastRTO", ".status.database.lastFailover.rtoSeconds", "number", priority=1),
    _column("Message", _status_of("Ready", "message"), priority=1),
]
_SWITCHOVER_COLUMNS = [
    _column("Phase", ".status.phase"),
    _column("From", ".status.report.oldPrimary"),
    _column("To", ".status.report.newPrimary"),
    _column("RTO", ".status.report.rtoSeconds", "number"),
    _column("Age", ".metadata.creationTimestamp", "date"),
]


def definitions() -> dict[str, dict[str, Any]]:
    """Return both definitions by their file's name."""
    made = [
        _definition("Platform", "platforms", "cfa", (PlatformSpec, PlatformStatus), _PLATFORM_COLUMNS),
        _definition("DatabaseSwitchover", "databaseswitchovers", "dbsw", (SwitchoverSpec, SwitchoverStatus), _SWITCHOVER_COLUMNS),
    ]
    return {f"{one['metadata']['name']}.yaml": one for one in made}


def _definition(
    kind: str, plural: str, short: str, parts: tuple[type[Model], type[Model]], columns: list[dict[str, Any]]
) -> dict[str, Any]:
    spec, status = (schema_of(part) for part in parts)
    root = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "careforall"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), "shortNames": [short]},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": root},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def text_of(definition: Mapping[str, Any]) -> str:
    """Return a definition as its file has it, the same bytes each time."""
    return _HEAD + yaml.dump(dict(definition), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=130)


class _Plain(yaml.SafeDumper):
    """Writes equal parts twice instead of by reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name is the library's
        return True


def write(folders: list[Path]) -> list[Path]:
    """Write both files into each folder and return their paths."""
    written = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name, definition in definitions().items():
            (folder / name).write_text(text_of(definition))
            written.append(folder / name)
    return written
