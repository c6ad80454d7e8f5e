"""The outermost ASGI layer: request ids, body caps, strict JSON, rate limits, metrics, traces and the request log.

It stands outside the framework, so it also sees what the framework refuses (401, 404, 429), and it answers hot routes itself.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
import uuid_utils
from opentelemetry import trace

from careforall.kit import context, json
from careforall.kit.context import Cause
from careforall.kit.degraded import DegradedFlag
from careforall.kit.errors import Forbidden, Problem, TooLarge, TooSlowBody, Unauthorized, UnsupportedMediaType
from careforall.kit.http import problem
from careforall.kit.http.cors import shared_with
from careforall.kit.http.hot import HotRequest, HotRoute, HotTable
from careforall.kit.http.identity import Verifier
from careforall.kit.http.limits import Limit, Limiter, network_of
from careforall.kit.http.uploads import Upload
from careforall.kit.logs import OUTPUT
from careforall.kit.metrics import REQUEST_SECONDS, REQUESTS
from careforall.kit.settings import RateLimits
from careforall.kit.tracing import Tracing, fail, span_id_of, trace_id_of, traceparent_of

log = structlog.get_logger(__name__)

API_BODY = 64 * 1024
WEBHOOK_BODY = 256 * 1024
_DRAIN = 1024 * 1024
_BODY_SECONDS = 30.0
_SLOWEST = 64 * 1024
"""Bytes a second that a larger body comes at, at least."""
_PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})
_WEBHOOKS = ("/api/v1/payments/webhook", "/api/v1/sync/webhook")
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_FORM = b"application/x-www-form-urlencoded"
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
"""How some proxies write an address; the port is another one for each connection of the same caller."""
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = _BODY_METHODS | {"GET", "HEAD", "OPTIONS"}
"""Counted by name; of what else callers make up there is no end."""
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


class Edge:
    """Wraps the application of one listener.

    Args:
        app: The framework's ASGI application.
        hot: Routes answered here.
        uploads: Routes that take a file of staff.
        origins: Other sites whose pages may read what is answered here.
        trusted_proxies: Hops of X-Forwarded-For to believe.
        flag: Says when requests that write are refused unread.
    """

    def __init__(
        self,
        app: Any,
        *,
        hot: list[HotRoute],
        limiter: Limiter,
        rates: RateLimits,
        verifier: Verifier,
        tracing: Tracing,
        trusted_proxies: int = 0,
        flag: DegradedFlag | None = None,
        uploads: Sequence[Upload] = (),
        origins: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._origins = tuple(origins)
        self._uploads = {(upload.method, upload.path): upload for upload in uploads}
        self._hot = HotTable(hot)
        self._limiter = limiter
        self._everyone = Limit("everyone", rates.everyone)
        self._address = Limit("address", rates.per_address)
        self._key = Limit("key", rates.per_key)
        self._verifier = verifier
        self._tracing = tracing
        self._hops = trusted_proxies
        self._flag = flag
        self._log = RequestLog()
        self._counters: dict[tuple[str, str, str, int], Any] = {}
        self._timers: dict[tuple[str, str], Any] = {}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._serve(_Exchange(scope, send, self._hops, self._origins), receive)

    async def _serve(self, exchange: "_Exchange", receive: Receive) -> None:
        started = time.perf_counter()
        route = self._hot.find(exchange.scope)
        span = self._trace(exchange, route)
        try:
            await self._answer(exchange, receive, route)
        except Exception as error:
            if exchange.status:
                raise
            await exchange.refuse(problem.as_problem(error))
        finally:
            self._note(exchange, route, started, span)

    async def _answer(self, exchange: "_Exchange", receive: Receive, route: HotRoute | None) -> None:
        if exchange.path not in _PROBES and not exchange.webhook:
            await self._limit(exchange)
        if self._flag is not None and exchange.method in _BODY_METHODS:
            self._flag.refuse_writes()
        body = await exchange.read(receive, await self._upload(exchange))
        if route is None:
            await self._app(exchange.scope, _replay(body, receive), exchange.send)
            return
        request = HotRequest(
            path=exchange.path,
            query=exchange.scope["query_string"],
            headers=exchange.headers,
            body=body,
            client=exchange.client,
            cause=exchange.cause,
            verifier=self._verifier,
            service=route.service,
            write=route.method != "GET",
        )
        answer = await route.handler(request)
        await exchange.reply(answer.status, answer.headers, answer.body)

    async def _upload(self, exchange: "_Exchange") -> Upload | None:
        """Return what may be sent here, once it is known that staff sends it."""
        upload = self._uploads.get((exchange.method, exchange.path))
        if upload is not None:
            caller = await self._verifier.principal(exchange.headers)
            if caller is None:
                raise Unauthorized
            if not caller.is_admin:
                raise Forbidden("This needs the role ADMIN.")
        return upload

    async def _limit(self, exchange: "_Exchange") -> None:
        """Count the caller, then everybody: what is refused one caller must not use up the limit of all others."""
        key = exchange.headers.get(b"x-api-key", b"").decode("latin-1")
        # A key that nobody has vouched for is made up at no cost, so it does not stand in for the address.
        own = (self._key, key) if key and self._verifier.knows(key) else (self._address, network_of(exchange.client))
        await self._limiter.hit_all(own)
        await self._limiter.hit_all((self._everyone, "all"))
        exchange.limited(own[0], self._limiter.field(*own))

    def _trace(self, exchange: "_Exchange", route: HotRoute | None) -> trace.Span | None:
        """Start the request's span where it is sampled, and set the cause that rows and messages carry on."""
        incoming = exchange.headers.get(b"traceparent", b"").decode("latin-1") or None
        span = None
        if exchange.path not in _PROBES:
            name = f"{exchange.method} {route.template if route else exchange.path}"
            span = self._tracing.root(name, incoming, {"http.request.method": exchange.method, "url.path": exchange.path})
        exchange.cause = Cause(correlation_id=exchange.request_id, traceparent=traceparent_of(span) if span else None)
        context.enter(exchange.cause)
        return span

    def _note(self, exchange: "_Exchange", route: HotRoute | None, started: float, span: trace.Span | None) -> None:
        ended = time.perf_counter()
        service, endpoint = _endpoint(exchange.scope, route)
        status = exchange.status or 500
        self._counter(service, endpoint, exchange.method if exchange.method in _METHODS else "other", status).inc()
        self._timer(service, endpoint).observe((exchange.streams_since or ended) - started)
        if exchange.path not in _PROBES:
            self._log.write(exchange, service, endpoint, status, ended - started)
        if span is not None:
            span.update_name(f"{exchange.method} {endpoint}")
            span.set_attributes({"http.route": endpoint, "http.response.status_code": status})
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                fail(span, str(status))
            span.end()

    def _counter(self, service: str, endpoint: str, method: str, status: int) -> Any:
        key = (service, endpoint, method, status)
        if key not in self._counters:
            self._counters[key] = REQUESTS.labels(service=service, endpoint=endpoint, method=method, status=str(status))
        return self._counters[key]

    def _timer(self, service: str, endpoint: str) -> Any:
        key = (service, endpoint)
        if key not in self._timers:
            self._timers[key] = REQUEST_SECONDS.labels(service=service, endpoint=endpoint)
        return self._timers[key]


class _Exchange:
    """One request with the answer being made for it."""

    def __init__(self, scope: Any, send: Send, hops: int, origins: Sequence[str] = ()) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.webhook = self.path.startswith(_WEBHOOKS)
        self.status = 0
        self.streams_since: float | None = None
        """When an answer began that goes on for as long as somebody reads it; how long that is says nothing of our speed."""
        self.cause = context.NOBODY
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _PLAIN_ID.fullmatch(given) else str(uuid_utils.uuid7())
        self.client = _client(scope, hops)
        state = scope.setdefault("state", {})
        state["request_id"] = self.request_id
        state["client_address"] = self.client
        self._send = send
        self._extra: list[tuple[bytes, bytes]] = [(b"x-request-id", self.request_id.encode()), *_SECURITY]
        self._extra += shared_with(self.headers.get(b"origin"), origins)

    def limited(self, limit: Limit, remaining: str) -> None:
        """Tell the caller what is left of a limit."""
        self._extra += [(b"ratelimit-policy", limit.policy.encode()), (b"ratelimit", remaining.encode())]

    async def send(self, message: Any) -> None:
        """Pass the framework's answer on with our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if _is_stream(message["headers"]):
                self.streams_since = time.perf_counter()
            said = {name for name, _ in message["headers"]}
            # Of two policies browsers take the last: what a page says of itself must stand alone.
            message = {**message, "headers": [*message["headers"], *(field for field in self._extra if field[0] not in said)]}
        await self._send(message)

    async def reply(self, status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        """Send a finished answer."""
        self.status = status
        fields = [(b"content-type", b"application/json"), *headers] if not _has_type(headers) else list(headers)
        fields += [(b"content-length", str(len(body)).encode()), *self._extra]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, refusal: Problem) -> None:
        """Send a problem document, or the page that says the same."""
        status, headers, body = problem.answer(refusal, self.scope)
        await self.reply(status, tuple(headers), body)

    async def read(self, receive: Receive, upload: Upload | None = None) -> bytes:
        """Read the body up to its cap and refuse what is not strict JSON, or not the file that may be sent here."""
        if self.method not in _BODY_METHODS:
            return b""
        if upload is not None:
            self._check_type(upload.types)
            return await self._read_in_time(receive, upload.max_bytes)
        cap = WEBHOOK_BODY if self.webhook else API_BODY
        body = await self._read_in_time(receive, cap)
        if body and not self.webhook and not self._is_form():
            self._check_type()
            json.check(body)
        return body

    async def _read_in_time(self, receive: Receive, cap: int) -> bytes:
        """Read a body; whoever sends theirs for ever would hold a connection for ever."""
        seconds = _BODY_SECONDS + cap / _SLOWEST
        try:
            async with asyncio.timeout(seconds):
                return await _read_capped(receive, cap)
        except TimeoutError as error:
            self._extra.append((b"connection", b"close"))
            raise TooSlowBody(f"Send it within {seconds:.0f} seconds.") from error

    def _is_form(self) -> bool:
        """Whether a page's own form is sent; the API takes JSON only."""
        return not self.path.startswith("/api/") and self.headers.get(b"content-type", b"").startswith(_FORM)

    def _check_type(self, types: Sequence[str] = ("application/json",)) -> None:
        kind = self.headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
        charset = kind[2].strip().replace('"', "")
        if kind[0].strip() not in types or charset not in {"", "charset=utf-8"}:
            raise UnsupportedMediaType(f"Send it as Content-Type: {types[0]}, in UTF-8.")
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Send the body without Content-Encoding.")


class RequestLog:
    """One JSON line a request, collected and written together."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def write(self, exchange: _Exchange, service: str, endpoint: str, status: int, seconds: float) -> None:
        """Queue a line."""
        if not self._lines:
            asyncio.get_running_loop().call_later(0.1, self.flush)
        self._lines.append(
            _line(
                {
                    "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
                    "level": "info",
                    "service": service,
                    "message": "request",
                    "method": exchange.method,
                    "path": endpoint,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 2),
                    "client": exchange.client,
                    "request_id": exchange.request_id,
                    "correlation_id": exchange.cause.correlation_id,
                    "trace_id": trace_id_of(exchange.cause.traceparent),
                    "span_id": span_id_of(exchange.cause.traceparent),
                    **_key_of(exchange),
                }
            )
        )

    def flush(self) -> None:
        """Write what is queued."""
        lines, self._lines = self._lines, []
        OUTPUT.write(b"\n".join(lines).decode() + "\n")
        OUTPUT.flush()


_line = msgspec.json.Encoder().encode


def _key_of(exchange: _Exchange) -> dict[str, str]:
    """Return a digest of the request's idempotency key: the key itself opens a guest's cart, and may name a person."""
    key = exchange.headers.get(b"idempotency-key")
    return {"idempotency_key": hashlib.sha256(key).hexdigest()[:16]} if key else {}


def _endpoint(scope: Any, route: HotRoute | None) -> tuple[str, str]:
    if route is not None:
        return route.service, route.template
    handler = scope.get("route_handler")
    service = handler.opt.get("service", "platform") if handler is not None else "platform"
    return service, scope.get("path_template") or "_unmatched"


def _client(scope: Any, hops: int) -> str:
    """Return the caller's address, believing only as many proxy hops as are configured; each may add a line of its own."""
    socket = scope["client"][0] if scope.get("client") else "unknown"
    lines = b",".join(value for name, value in scope["headers"] if hops and name == b"x-forwarded-for")
    forwarded = [part.strip() for part in lines.decode("latin-1").split(",") if part.strip()]
    if not forwarded:
        return str(socket)
    address = forwarded[-min(hops, len(forwarded))][:64]
    found = _WITH_PORT.fullmatch(address)
    return found[1] or found[2] if found else address


async def _read_capped(receive: Receive, cap: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= cap:
            parts.append(chunk)
        more = message.get("more_body", False) and size <= cap + _DRAIN
    if size > cap:
        raise TooLarge(f"At most {cap} bytes are accepted here.", limit=cap)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _is_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _has_type(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    return any(name == b"content-type" for name, _ in headers)
