"""The OpenAPI document as callers meet the API: the framework's, with our refusals in place of its own.

Used by the route `/openapi.json` and by `careforall openapi`. The framework documents a 400 of a shape nobody ever sends; every
refusal, whatever its status, is a problem document. What an operation, a shape or a field is comes from its docstring.
"""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
from litestar.openapi.spec import Example, Schema
from litestar.params import Body, BodyKwarg
from litestar.typing import FieldDefinition

from careforall.kit.http.problem import MEDIA_TYPE

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

_NAME = "Problem"
_VALIDATION = "400"
_TEXT = {"type": "string"}
_PROBLEM: dict[str, Any] = {
    "title": _NAME,
    "description": "Why a request was refused (RFC 9457); some codes bring further members.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "retryable"],
    "properties": {
        "type": {**_TEXT, "description": "Where the code is explained."},
        "title": _TEXT,
        "status": {"type": "integer"},
        "code": {**_TEXT, "description": "Stable; programs decide by it."},
        "detail": {**_TEXT, "description": "A sentence for people that says what to do next."},
        "request_id": _TEXT,
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later, after `Retry-After`."},
        "errors": {
            "type": "array",
            "description": "The fields at fault.",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "message"],
                "properties": {"pointer": {**_TEXT, "description": "JSON pointer."}, "code": _TEXT, "message": _TEXT},
            },
        },
    },
}
SOME_ID = "00000000-0000-7000-8000-000000000000"
"""Stands in examples for an id; the page of the documentation puts a campaign there that takes gifts."""
_OURS = "careforall"
_COMPONENTS = "#/components/schemas/"
_REFUSED = {"description": "Refused", "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_COMPONENTS}{_NAME}"}}}}


class DescribedStructs(StructSchemaPlugin):
    """Describes Structs of ours by their docstrings, and their fields by the docstrings that follow them."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """Return the schema of a Struct."""
        schema = super().to_openapi_schema(field_definition, schema_creator)
        kind = field_definition.origin or field_definition.annotation
        schema.description = schema.description or inspect.getdoc(kind)
        encoded = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
        for name, text in field_docstrings(kind).items():
            shape = (schema.properties or {}).get(encoded[name])
            if schema.properties is not None and isinstance(shape, Schema):
                schema.properties[encoded[name]] = replace(shape, description=text)
        return schema


def example(fields: dict[str, Any]) -> BodyKwarg:
    """Return what to annotate a body with, so that whoever tries a call out starts from these fields."""
    body: BodyKwarg = Body(examples=[Example(value=fields)])
    return body


def field_docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings that follow the fields of a Struct in its source, inherited ones included."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if parent.__module__.partition(".")[0] == _OURS:
            found |= _in_module(sys.modules[parent.__module__]).get(parent.__qualname__, {})
    return found


def document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    found: dict[str, Any] = _with_plain_names(app.openapi_schema.to_schema())
    found.setdefault("components", {}).setdefault("schemas", {})[_NAME] = _PROBLEM
    for operations in found.get("paths", {}).values():
        for operation in operations.values():
            _correct(operation["responses"])
    return found


def _with_plain_names(found: dict[str, Any]) -> dict[str, Any]:
    """Call a page of a shape `<Shape>Page`: the framework's name has the module in it, which callers do not care about."""
    schemas = found.get("components", {}).get("schemas", {})
    names = {name: f"{shape['title'][5:-1]}Page" for name, shape in schemas.items() if shape.get("title", "").startswith("Page[")}
    if len({*names.values(), *(schemas.keys() - names.keys())}) < len(schemas):
        raise ValueError("two shapes of the API have one name")
    renamed = {f"{_COMPONENTS}{old}": f"{_COMPONENTS}{new}" for old, new in names.items()}
    found = _replaced(found, renamed)
    if names:
        found["components"]["schemas"] = {names.get(name, name): shape for name, shape in found["components"]["schemas"].items()}
    return found


def _replaced(node: Any, renamed: dict[str, str]) -> Any:
    """Return a document with references replaced."""
    match node:
        case dict():
            return {key: _replaced(value, renamed) for key, value in node.items()}
        case list():
            return [_replaced(value, renamed) for value in node]
        case str():
            return renamed.get(node, node)
        case _:
            return node


def _correct(responses: dict[str, Any]) -> None:
    responses.pop(_VALIDATION, None)
    responses["default"] = _REFUSED


@cache
def _in_module(module: ModuleType) -> dict[str, dict[str, str]]:
    classes = [found for found in ast.parse(inspect.getsource(module)).body if isinstance(found, ast.ClassDef)]
    return {found.name: _of_fields(found) for found in classes}


def _of_fields(kind: ast.ClassDef) -> dict[str, str]:
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in zip(kind.body, kind.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
