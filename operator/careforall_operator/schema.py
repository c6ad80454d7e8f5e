"""Structural OpenAPI schemas out of the models, with the docstrings under their fields as descriptions."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
import msgspec.inspect as types

from careforall_operator.models import Model


def schema_of(kind: type[Model]) -> dict[str, Any]:
    """Return the schema of a Struct: objects all the way down, without references, as the API server wants it."""
    info = types.type_info(kind)
    if not isinstance(info, types.StructType):
        raise TypeError(f"{kind.__name__} is no Struct")
    return _object(info)


def _object(info: types.StructType) -> dict[str, Any]:
    meanings = docstrings(info.cls)
    properties = {field.encode_name: _property(field, meanings.get(field.name, "")) for field in info.fields}
    shown: dict[str, Any] = {"type": "object", "properties": properties}
    required = [field.encode_name for field in info.fields if field.required]
    if required:
        shown["required"] = required
    if rules := getattr(info.cls, "RULES", ()):
        shown["x-kubernetes-validations"] = [rule.schema() for rule in rules]
    return shown


def _property(field: types.Field, meaning: str) -> dict[str, Any]:
    shown = _schema(field.type)
    if meaning:
        shown["description"] = meaning
    default = default_of(field)
    if default is not None:
        shown["default"] = default
    return shown


def default_of(field: types.Field) -> Any:
    """Return the default as the schema has it; None where there is none. Empty lists need none."""
    if field.default is msgspec.NODEFAULT or field.default is None:
        return None
    return _said(msgspec.to_builtins(field.default))


def _said(value: Any) -> Any:
    """Leave out what is not given: the API server checks rules of a default before it fills in deeper defaults."""
    if not isinstance(value, dict):
        return value
    return {key: _said(inner) for key, inner in value.items() if inner is not None and inner != []}


def _schema(kind: types.Type) -> dict[str, Any]:
    for handled, make in _MAKERS.items():
        if isinstance(kind, handled):
            return make(kind)
    raise TypeError(f"no schema for {kind}")


def _metadata(kind: types.Metadata) -> dict[str, Any]:
    return {**_schema(kind.type), **(kind.extra_json_schema or {})}


def _union(kind: types.UnionType) -> dict[str, Any]:
    (only,) = [one for one in kind.types if not isinstance(one, types.NoneType)]
    return _schema(only)


def _string(kind: types.StrType) -> dict[str, Any]:
    return _given("string", minLength=kind.min_length, maxLength=kind.max_length, pattern=kind.pattern)


def _integer(kind: types.IntType) -> dict[str, Any]:
    return _given("integer", format="int64", minimum=kind.ge, maximum=kind.le)


def _list(kind: types.ListType) -> dict[str, Any]:
    return {**_given("array", maxItems=kind.max_length), "items": _schema(kind.item_type)}


def _literal(kind: types.LiteralType) -> dict[str, Any]:
    return {"type": "string", "enum": list(kind.values)}


def _given(name: str, **more: Any) -> dict[str, Any]:
    return {"type": name, **{key: value for key, value in more.items() if value is not None}}


_MAKERS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    types.Metadata: _metadata,
    types.StructType: _object,
    types.UnionType: _union,
    types.StrType: _string,
    types.IntType: _integer,
    types.FloatType: lambda _: {"type": "number"},
    types.BoolType: lambda _: {"type": "boolean"},
    types.DateTimeType: lambda _: {"type": "string", "format": "date-time"},
    types.ListType: _list,
    types.LiteralType: _literal,
}


@cache
def docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings that follow the fields of a class in its source."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value) if isinstance(after.value, ast.Constant) else ""
            found[statement.target.id] = " ".join(str(text).split())
    return found
