"""A proxy before a Kubernetes API server: it records what is asked, and answers wrongly when a test says so.

It runs in a thread of its own, so that tests may wait in plain code while the operator talks through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from aiohttp import web

from careforall.launch.ports import LOOPBACK

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/[^/]+)?/(?P<kind>[^/?]+)(?:/(?P<name>[^/?]+))?(?:/(?P<sub>[^/?]+))?$"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


class Call(NamedTuple):
    """A request as a Role names it."""

    group: str
    resource: str
    verb: str


Fault = Callable[[Call], "web.Response | float | None"]
"""Returns a wrong answer, seconds of silence before a watch ends, or None to let it pass."""


class ApiProxy:
    """Forwards to the API server of a kubeconfig; `fault` decides about each request."""

    def __init__(self, kubeconfig: str, *, token: str = "") -> None:
        self._config = yaml.safe_load(Path(kubeconfig).read_text())
        self._token = token
        self._lock = threading.Lock()
        self.calls: set[Call] = set()
        self.count = 0
        self.fault: Fault = lambda _: None
        self.url = ""

    @property
    def _server(self) -> str:
        return str(self._config["clusters"][0]["cluster"]["server"])

    def _ssl(self) -> ssl.SSLContext | bool:
        cluster = self._config["clusters"][0]["cluster"]
        if cluster.get("insecure-skip-tls-verify"):
            return False
        context = ssl.create_default_context()
        if "certificate-authority" in cluster:
            context.load_verify_locations(cluster["certificate-authority"])
        elif "certificate-authority-data" in cluster:
            context.load_verify_locations(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        user = self._config["users"][0]["user"]
        if not self._token and "client-certificate" in user:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        return context

    def _authorization(self) -> str:
        token = self._token or self._config["users"][0]["user"].get("token", "")
        return f"Bearer {token}"

    def kubeconfig(self, path: Path) -> str:
        """Write a kubeconfig that leads through the proxy, and return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {"token": "the proxy puts in the real one"}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(config))
        return str(path)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = _call(request)
        wrong = None
        if call is not None:
            with self._lock:
                self.calls.add(call)
                self.count += 1
            wrong = self.fault(call)
        if isinstance(wrong, web.Response):
            return wrong
        if isinstance(wrong, float):
            return await _silence(request, wrong)
        try:
            return await self._forwarded(request)
        except aiohttp.ClientConnectionError:  # whoever asked has gone
            return web.Response(status=502)

    async def _forwarded(self, request: web.Request) -> web.StreamResponse:
        session: aiohttp.ClientSession = request.app[_SESSION]
        headers = {
            name: value for name, value in request.headers.items() if name not in {"Host", "Authorization", "Content-Length"}
        }
        headers |= {"Authorization": self._authorization(), "Accept-Encoding": "identity"}
        url = self._server + request.raw_path
        async with session.request(
            request.method, url, headers=headers, data=await request.read() or None, ssl=self._ssl()
        ) as answer:
            if request.method == "PATCH" and answer.status == HTTPStatus.CREATED:
                self._made(request)
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
            return response

    def _made(self, request: web.Request) -> None:
        """An apply of what was not there needs the right to create as well."""
        call = _call(request)
        if call is not None:
            with self._lock:
                self.calls.add(call._replace(verb="create"))

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            app[_SESSION] = session
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            site = web.TCPSite(runner, LOOPBACK, 0)
            await site.start()
            self.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()


_SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)


def _call(request: web.Request) -> Call | None:
    found = _PATH.match(request.path)
    if found is None:
        return None
    verb = _VERBS.get(request.method) or _reading(request, found["name"])
    resource = f"{found['kind']}/{found['sub']}" if found["sub"] else found["kind"]
    return Call(found["group"] or "", resource, verb)


def _reading(request: web.Request, name: str | None) -> str:
    if request.query.get("watch") in {"true", "1"}:
        return "watch"
    return "get" if name else "list"


async def _silence(request: web.Request, seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await asyncio.sleep(seconds)
    return response


def refusal(status: int, reason: str, **headers: str) -> web.Response:
    """Return an error as the API server words it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": status}
    return web.json_response(body, status=status, headers=headers)


@contextlib.contextmanager
def running(kubeconfig: str, *, token: str = "") -> Iterator[ApiProxy]:
    """Run a proxy in a thread of its own."""
    proxy = ApiProxy(kubeconfig, token=token)
    ready = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await proxy.serve(ready, stop)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


__all__: list[Any] = ["ApiProxy", "Call", "refusal", "running"]
