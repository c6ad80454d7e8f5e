"""The plain page that says to people what a problem document says to programs."""

import re
from typing import Any

import jinja2

from careforall.kit.errors import Problem

_FOR_PROGRAMS = ("/api/", "/v1/", "/livez", "/readyz", "/health", "/metrics", "/openapi.json")
"""Paths at which nobody reads with their own eyes, whatever their client says that it would like."""
_HTML = "text/html"
_JSON = ("application/problem+json", "application/json")
_QUALITY = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")
HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("careforall.kit.http"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_refused = _templates.get_template("refused.html")


def wanted(scope: Any) -> bool:
    """Whether who asks is a browser that shows what it gets: it names HTML, and likes nothing of ours as much.

    Programs that name no type, or take any, are not meant.
    """
    if scope["path"].startswith(_FOR_PROGRAMS):
        return False
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1").lower()
    liked = dict(_liked(part) for part in accept.split(","))
    return liked.get(_HTML, 0.0) > max(liked.get(kind, 0.0) for kind in _JSON)


def refusal(problem: Problem, identifier: str) -> bytes:
    """Return the page."""
    return _refused.render(problem=problem, request_id=identifier).encode()


def _liked(part: str) -> tuple[str, float]:
    """Return one type of an Accept header and how much it is liked."""
    kind, *parameters = (piece.strip() for piece in part.split(";"))
    said = next((parameter for parameter in parameters if parameter.startswith("q=")), "q=1")
    found = _QUALITY.fullmatch(said)
    return kind, float(found[1]) if found else 0.0
