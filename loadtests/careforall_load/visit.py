"""One visit, independent of who sends the requests: fills templates, signs, and takes values out of answers.

`k6/visit.js` says the same in JavaScript; the same end-to-end test plays the table through both.
"""

import hashlib
import hmac
import json
import random
import re
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from careforall_load.table import Lookup, Step, Table

_SLOT = re.compile(r"{{(\w+)}}")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A step with everything filled in."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None


def begin(table: Table, *, run: str, visit: int, lists: Mapping[str, list[str]], chance: random.Random) -> dict[str, str]:
    """Return the values a visit begins with."""
    drawn = {name: chance.choice(choices) for name, choices in {**table.values, **lists}.items()}
    return {**drawn, "run": run, "visit": str(visit)}


def filled(step: Step, values: Mapping[str, str], secret: str) -> Request:
    """Fill a step's templates and sign its body.

    Raises:
        KeyError: A template names a value that nothing gave.
    """
    body = None if step.body is None else json.dumps(_fill(step.body, values), separators=(",", ":"))
    headers = {name: _text(value, values) for name, value in step.headers.items()}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if step.signed:
        digest = hmac.new(secret.encode(), (body or "").encode(), hashlib.sha256).hexdigest()
        headers["X-Signature"] = f"sha256={digest}"
    return Request(method=step.method, path=_text(step.path, values), headers=headers, body=body)


def promised(step: Step, values: Mapping[str, str]) -> dict[str, Any] | None:
    """Return where to find what an answer to this step promised."""
    if step.promises is None:
        return None
    headers = {name: _text(value, values) for name, value in step.promises.headers.items()}
    return {"path": _text(step.promises.path, values), "headers": headers}


def kept(step: Step, answer: Any) -> dict[str, str]:
    """Return what later steps need of an answer."""
    return {name: str(at(answer, pointer)) for name, pointer in step.keep.items()}


def listed(lookup: Lookup, answer: Any) -> list[str]:
    """Return the values that a lookup found.

    Raises:
        LookupError: There is none: the platform has nothing of the kind.
    """
    items = [item for item in at(answer, lookup.items) if lookup.where.items() <= item.items()]
    if not items:
        raise LookupError(f"{lookup.path} has nothing with {lookup.where}: start the platform with its demo data")
    return [str(at(item, lookup.pointer)) for item in items]


def at(value: Any, pointer: str) -> Any:
    """Return what a JSON pointer points at."""
    for word in pointer.split("/")[1:]:
        value = value[int(word)] if isinstance(value, list) else value[word]
    return value


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _text(value, values)
    if isinstance(value, dict):
        return {key: _fill(inner, values) for key, inner in value.items()}
    return [_fill(inner, values) for inner in value] if isinstance(value, list) else value


def _text(text: str, values: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda found: str(uuid.uuid4()) if found[1] == "uuid" else values[found[1]], text)
