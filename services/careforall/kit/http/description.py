"""The OpenAPI document as callers meet the API: the framework's, with our refusals in place of its own.

Used by the route `/openapi.json` and by `careforall openapi`. The framework documents a 400 of a shape nobody ever sends; every
refusal, whatever its status, is a problem document.
"""

from typing import Any

from litestar import Litestar

from careforall.kit.http.problem import MEDIA_TYPE

_NAME = "Problem"
_VALIDATION = "400"
_TEXT = {"type": "string"}
_PROBLEM: dict[str, Any] = {
    "title": _NAME,
    "description": "Why a request was refused (RFC 9457); some codes bring further members.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {**_TEXT, "description": "Where the code is explained."},
        "title": _TEXT,
        "status": {"type": "integer"},
        "code": {**_TEXT, "description": "Stable; programs decide by it."},
        "detail": {**_TEXT, "description": "A sentence for people that says what to do next."},
        "request_id": _TEXT,
        "retryable": {"type": "boolean"},
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
_REFUSED = {"description": "Refused", "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_NAME}"}}}}


def document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    found: dict[str, Any] = app.openapi_schema.to_schema()
    found.setdefault("components", {}).setdefault("schemas", {})[_NAME] = _PROBLEM
    for operations in found.get("paths", {}).values():
        for operation in operations.values():
            _correct(operation["responses"])
    return found


def _correct(responses: dict[str, Any]) -> None:
    responses.pop(_VALIDATION, None)
    responses["default"] = _REFUSED
