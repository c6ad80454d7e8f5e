"""The pages the platform explains itself with: the start page, the API documentation and the list of problems.

Everything they need lies beside this module and is served from here, so they work without internet access and under a policy
that lets nothing in from outside. `kit.http.app` adds the handlers to the public listener.
"""

import asyncio
import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response, get
from markupsafe import Markup, escape

from careforall.kit.errors import NotFound
from careforall.kit.http.problems import Entry, catalogue

_HERE = Path(__file__).parent
_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_LINKS = (
    ("/docs", "The HTTP API", "Every call, to read and to try."),
    ("/docs/problems", "Problems", "What each refusal means and what to do about it."),
    ("/admin", "Console", "For staff: what there is until the web console is built."),
    ("/mailbox", "Mailbox", "The mails this instance would have sent."),
    ("/simulator", "Gateway simulator", "Pay without money, and let the gateway misbehave."),
    ("/health", "Health", "How every service is, and what it needs."),
)


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it goes to browsers; `mark` changes with its content."""

    body: bytes
    packed: bytes
    media_type: str
    mark: str


@cache
def asset(name: str) -> Asset:
    """Read a file once; compressing takes a moment, so call it in a thread.

    Raises:
        NotFound: There is no such file for browsers.
    """
    path = _HERE / "assets" / name
    media_type = _MEDIA_TYPES.get(path.suffix)
    if media_type is None or path.parent != _HERE / "assets" or not path.is_file():
        raise NotFound
    body = path.read_bytes()
    mark = hashlib.sha256(body).hexdigest()[:16]
    return Asset(body=body, packed=gzip.compress(body, mtime=0), media_type=media_type, mark=mark)


@get("/docs/assets/{name:str}", include_in_schema=False)
async def serve_asset(request: Request[Any, Any, Any], name: str, v: str = "") -> Response[bytes]:
    """Serve a file; named with the mark of its content it may be kept for ever."""
    found = await asyncio.to_thread(asset, name)
    packed = "gzip" in request.headers.get("accept-encoding", "")
    headers = {
        "Cache-Control": _FOR_EVER if v == found.mark else _ASK_AGAIN,
        "Vary": "Accept-Encoding",
        **({"Content-Encoding": "gzip"} if packed else {}),
    }
    return Response(found.packed if packed else found.body, media_type=found.media_type, headers=headers)


@get("/favicon.ico", include_in_schema=False)
async def icon(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serve the icon that browsers ask for unasked."""
    return await serve_asset.fn(request, "icon.svg")  # type: ignore[no-any-return]  # the decorator hides the type


@get("/", include_in_schema=False)
async def start(request: Request[Any, Any, Any]) -> Response[str]:
    """Tell what runs here and where to go."""
    present = {route.path for route in request.app.routes}
    return await _page("start.html", links=[link for link in _LINKS if link[0] in present])


@get("/docs", include_in_schema=False)
async def api() -> Response[str]:
    """Show the API documentation, made by the browser from /openapi.json."""
    return await _page("docs.html")


@get("/docs/problems", include_in_schema=False)
async def problems() -> Response[str]:
    """List every refusal this process can answer with; problem documents link to its anchors."""
    return await _page("problems.html", entries=_entries())


@get("/admin", include_in_schema=False)
async def console() -> Response[str]:
    """Say where staff can do their work until the web console is built."""
    return await _page("console.html")


HANDLERS = (start, api, problems, console, serve_asset, icon)


async def _page(template: str, **values: object) -> Response[str]:
    text = await asyncio.to_thread(_render, template, values)
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": _ASK_AGAIN}
    return Response(text, media_type=MediaType.HTML, headers=headers)


def _render(template: str, values: dict[str, object]) -> str:
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> Environment:
    environment = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    environment.globals["asset"] = _address
    environment.filters["marked"] = _marked
    return environment


def _address(name: str) -> str:
    return f"/docs/assets/{name}?v={asset(name).mark}"


def _marked(text: str) -> Markup:
    """Show what stands between backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )


@cache
def _entries() -> list[Entry]:
    return catalogue()
