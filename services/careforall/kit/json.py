"""Strict JSON at the edges: what msgspec would quietly accept (a key given twice) or the standard library (NaN) is refused."""

import json
from typing import NoReturn

import msgspec

from careforall.kit.errors import Malformed

encode = msgspec.json.Encoder(decimal_format="string").encode
"""Encode a Struct or plain value as JSON bytes; decimals become strings."""

MAX_DEPTH = 32


def check(body: bytes) -> None:
    """Refuse bodies that are not strict JSON.

    Raises:
        Malformed: With code `malformed_json`, and a detail that names the flaw.
    """
    try:
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            _check_depth(body)
        _DECODER.decode(body.decode())
    except UnicodeDecodeError:
        raise Malformed("The body is not valid UTF-8.") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"{error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.") from None


def _check_depth(body: bytes) -> None:
    depth = 0
    inside = escaped = False
    for byte in body:
        if inside:
            inside, escaped = (byte != _QUOTE or escaped), (byte == _BACKSLASH and not escaped)
        elif byte == _QUOTE:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise RecursionError
        elif byte in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len(pairs) != len({key for key, _ in pairs}):
        raise Malformed("A key is given twice in one object.")


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON.")


_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=str, parse_int=str)
