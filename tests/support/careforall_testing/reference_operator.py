"""Makes docs/reference/custom-resources.md out of the operator's models, conditions, settings and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from prometheus_client.metrics import MetricWrapperBase

from careforall_operator import metrics, settings
from careforall_operator.conditions import REASONS
from careforall_operator.models import Model, PlatformSpec, SwitchoverSpec
from careforall_operator.schema import docstrings, schema_of
from careforall_operator.status import PlatformStatus, SwitchoverStatus

_INTRODUCTION = """
Two kinds of the group `careforall.dev/v1alpha1`, both namespaced. `Platform` (short `cfa`) says what a platform should look
like and tells how it is; the chart makes one, named like the release. `DatabaseSwitchover` (short `dbsw`) asks for one planned
change of the primary; its spec cannot be changed, its status is the report. The operator sets no finalizers: what it makes
belongs to these objects and goes with them. The annotation `careforall.dev/reconcile-at` with a new value makes it look at once.
"""
_SETTINGS = """
Settings of the operator's process, read from its environment. The chart sets them.
"""
_METRICS = """
`GET /metrics` on port 8081 of the operator's pod.
"""


def custom_resources() -> str:
    """Describe every field, condition, reason, setting and metric of the operator."""
    parts = [
        "<!-- Made from the code: change it there, then write this page anew (see CONTRIBUTING.md). -->",
        "# Custom resources",
        _INTRODUCTION,
    ]
    kinds: tuple[tuple[str, type[Model]], ...] = (
        ("Platform.spec", PlatformSpec),
        ("Platform.status", PlatformStatus),
        ("DatabaseSwitchover.spec", SwitchoverSpec),
        ("DatabaseSwitchover.status", SwitchoverStatus),
    )
    for title, kind in kinds:
        rows = [_field(path, schema) for path, schema in _fields(schema_of(kind))]
        parts += [f"## {title}", _table(("field", "type", "default", "meaning"), rows)]
    parts += ["## Conditions and their reasons", *_conditions()]
    parts += ["## Settings", _SETTINGS, _table(("variable", "default", "meaning"), list(_settings()))]
    parts += ["## Metrics", _METRICS, _table(("name", "labels", "meaning"), list(_metrics()))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, inner in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        yield here, inner
        if inner.get("type") == "object":
            yield from _fields(inner, here)
        elif inner.get("type") == "array" and inner["items"].get("type") == "object":
            yield from _fields(inner["items"], f"{here}[]")


def _field(path: str, schema: Mapping[str, Any]) -> tuple[str, str, str, str]:
    default = schema.get("default")
    shown = "" if default is None or isinstance(default, dict) else f"`{msgspec.json.encode(default).decode()}`"
    return f"`{path}`", _type(schema), shown, " ".join([schema.get("description", ""), *_limits(schema)]).strip()


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] == "array":
        return "list"
    return "moment" if schema.get("format") == "date-time" else str(schema["type"])


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    if "minimum" in schema and "maximum" in schema:
        yield f"From {schema['minimum']} to {schema['maximum']}."
    for rule in schema.get("x-kubernetes-validations", []):
        yield f"Rule: {rule['message']}."


def _conditions() -> Iterator[str]:
    for kind, (meaning, reasons) in REASONS.items():
        yield f"### {kind}"
        yield meaning
        yield _table(("reason", "meaning"), [(f"`{reason}`", told) for reason, told in reasons.items()])


def _settings() -> Iterator[tuple[str, str, str]]:
    meanings = docstrings(settings.Settings)
    for field in msgspec.structs.fields(settings.Settings):
        shown = f"`{field.default}`" if field.default != "" else ""
        yield f"`CAREFORALL_OPERATOR_{field.name.upper()}`", shown, meanings[field.name]


def _metrics() -> Iterator[tuple[str, str, str]]:
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            (family,) = value.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield f"`{name}`", ", ".join(f"`{label}`" for label in value._labelnames), family.documentation  # noqa: SLF001 - the library tells it nowhere else


def _table(heads: tuple[str, ...], rows: list[Any]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
