"""A strict fake of Stripe's API over real HTTP on loopback, for tests of whoever calls Stripe or takes its webhooks.

async with StripeFake.running() as fake:
    fake.books.pay(session); await fake.deliver(url)

Keys behave as documented: the first answer is kept, failures of Stripe's own included; other parameters are a 400, two at once a
409; what fails validation is not kept.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from granian.constants import Interfaces
from granian.server.embed import Server
from msgspec import Struct

from careforall.launch.ports import LOOPBACK, free_port
from careforall_testing.polling import eventually
from careforall_testing.signing import sign_stripe
from careforall_testing.stripe_books import API_VERSION, Books, shown
from careforall_testing.stripe_forms import Json, Refusal, nested, only
from careforall_testing.weather import Mishap, Weather

_OBJECTS = {"checkout/sessions": "sessions", "payment_intents": "intents", "refunds": "refunds", "disputes": "disputes"}


class Switches(Struct, kw_only=True):
    """What goes wrong until it is turned off."""

    error_after_success: bool = False
    """Calls do their work and are answered 500."""
    error_before: bool = False
    """Calls do nothing and are answered 500."""
    late_s: float = 0.0
    """Calls do their work and are answered late."""
    throttle: bool = False
    """Calls are answered 429."""


class Kept(Struct, frozen=True, kw_only=True):
    """The first answer to a key."""

    mark: tuple[str, str]
    status: int
    body: Json


class StripeFake:
    """One company with its books, its switches and its webhooks."""

    def __init__(self) -> None:
        self.key = f"sk_test_{secrets.token_hex(12)}"
        self.secret = f"whsec_{secrets.token_hex(16)}"
        self.books = Books()
        self.switches = Switches()
        self.weather: Weather | None = None
        """What goes wrong by chance, beside the switches."""
        self.late_s = 1.0
        """How late a call is answered that the weather delays."""
        self.calls: list[tuple[str, str]] = []
        self._kept: dict[str, Kept] = {}
        self._running: set[str] = set()
        self._sent = 0
        self._port = free_port()
        self._server = Server(self._app, address=LOOPBACK, port=self._port, interface=Interfaces.ASGINL, log_enabled=False)

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://{LOOPBACK}:{self._port}"

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[StripeFake]:
        """A company that answers."""
        fake = cls()
        serving = asyncio.ensure_future(fake._server.serve())
        async with httpx2.AsyncClient(trust_env=False) as client:
            await eventually(lambda: _answers(client, fake.url), what="the fake answers")
        try:
            yield fake
        finally:
            fake._server.stop()  # type: ignore[no-untyped-call]  # the library has no hints there
            await asyncio.wait_for(serving, 10)

    async def deliver(self, url: str) -> list[httpx2.Response]:
        """Send the webhooks that have not been sent yet, in order."""
        waiting, self._sent = self.books.events[self._sent :], len(self.books.events)
        async with httpx2.AsyncClient(trust_env=False) as client:
            return [await client.post(url, content=body, headers=sign_stripe(self.secret, body)) for body in map(sent, waiting)]

    def lose_webhooks(self) -> None:
        """Forget those that have not been sent yet."""
        self._sent = len(self.books.events)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        mishap: Mishap = self.weather.next() if self.weather else "fine"
        try:
            status, answer, extra = await self._respond(scope, headers, body.decode(), mishap)
        except Refusal as refusal:
            status, answer, extra = refusal.status, refusal.body, {}
        content = json.dumps(answer, indent=2).encode()
        fields = {"content-type": "application/json", "request-id": f"req_{secrets.token_hex(7)}", **extra}
        fields["content-length"] = str(len(content))
        pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        if mishap == "cut":
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
            return  # the server closes a connection whose answer is not complete
        await send({"type": "http.response.body", "body": content})

    async def _respond(self, scope: Any, headers: dict[str, str], body: str, mishap: Mishap) -> tuple[int, Json, dict[str, str]]:
        path = scope["path"].removeprefix("/v1/")
        if headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal(401, "Invalid API Key provided: sk_test_****")
        if headers.get("stripe-version") != API_VERSION:
            raise Refusal(400, f"Invalid Stripe API version: {headers.get('stripe-version')}")
        self.calls.append((scope["method"], path))
        if self.switches.throttle or mishap == "throttle":
            wait = {"retry-after": "1", "stripe-rate-limited-reason": "global-rate"}
            return 429, Refusal(429, "Too many requests hit the API too quickly.", code="rate_limit").body, wait
        if scope["method"] == "GET":
            if mishap in ("error_before", "error_after_success"):
                return 500, _failed(), {}
            return 200, self._shown(path, nested(scope["query_string"].decode())), {}
        if scope["method"] == "DELETE":
            return await self._deleted(path, body, mishap)
        if headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
            raise Refusal(400, "Send the parameters as a form.")
        return await self._once(headers.get("idempotency-key", ""), path, body, mishap)

    async def _deleted(self, path: str, body: str, mishap: Mishap) -> tuple[int, Json, dict[str, str]]:
        """Delete; such calls have no keys: whoever repeats one is told that nothing is there."""
        named = re.fullmatch(r"customers/(\w+)", path)
        if named is None or body:
            raise Refusal(404, f"Unrecognized request URL (DELETE: /v1/{path}).")
        if mishap == "error_before" or self.switches.error_before:
            return 500, _failed(), {}
        answer = self.books.customers.delete(named[1])
        if mishap == "late":
            await asyncio.sleep(self.late_s)
        return (500, _failed(), {}) if mishap == "error_after_success" else (200, answer, {})

    async def _once(self, key: str, path: str, body: str, mishap: Mishap) -> tuple[int, Json, dict[str, str]]:
        """Carry out a call, or answer its key as the first time."""
        if not key or len(key) > 255:
            raise Refusal(400, "The fake wants an Idempotency-Key of at most 255 characters with every POST.")
        if key in self._running:
            raise Refusal(409, "Another request with this key is in progress.", code="idempotency_key_in_use")
        kept = self._kept.get(key)
        if kept is not None:
            if kept.mark != (path, body):
                words = "Keys for idempotent requests can only be used with the same parameters they were first used with."
                raise Refusal(400, words, kind="idempotency_error")
            return kept.status, kept.body, {"idempotent-replayed": "true", "original-request": "req_first"}
        self._running.add(key)
        try:
            status, answer = self._carried_out(path, nested(body), mishap)
            self._kept[key] = Kept(mark=(path, body), status=status, body=answer)
            await asyncio.sleep(self.late_s if mishap == "late" else self.switches.late_s)
        finally:
            self._running.discard(key)
        return status, answer, {}

    def _carried_out(self, path: str, wanted: Json, mishap: Mishap) -> tuple[int, Json]:
        if self.switches.error_before or mishap == "error_before":
            return 500, _failed()
        try:
            answer = shown(self._done(path, wanted))
        except Refusal as refusal:
            if not refusal.kept:
                raise
            return refusal.status, refusal.body
        failed = self.switches.error_after_success or mishap == "error_after_success"
        return (500, _failed()) if failed else (200, answer)

    def _done(self, path: str, wanted: Json) -> Json:
        if path == "checkout/sessions":
            return self.books.make_session(wanted, self.url)
        if path == "refunds":
            return self.books.make_refund(wanted)
        if path == "customers":
            return self.books.customers.make(wanted)
        if named := re.fullmatch(r"customers/(\w+)", path):
            return self.books.customers.change(named[1], wanted)
        steps: dict[str, Callable[[str], Json]] = {
            r"checkout/sessions/(\w+)/expire": self.books.expire,
            r"payment_intents/(\w+)/capture": self.books.capture,
            r"payment_intents/(\w+)/cancel": self.books.cancel,
        }
        for pattern, step in steps.items():
            if named := re.fullmatch(pattern, path):
                only(wanted, allowed=set())
                return step(named[1])
        raise Refusal(404, f"Unrecognized request URL (POST: /v1/{path}).")

    def _shown(self, path: str, asked: Json) -> Json:
        if path == "customers":
            return self.books.customers.listed(asked)
        if path in _OBJECTS:
            return self._listed(path, asked)
        folder, _, name = path.rpartition("/")
        if folder == "customers":
            return self.books.customers.shown(name)
        if folder not in _OBJECTS:
            raise Refusal(404, f"Unrecognized request URL (GET: /v1/{path}).")
        only(asked, allowed={"expand"})
        found = shown(self.books.found(getattr(self.books, _OBJECTS[folder]), name, folder))
        for wanted in asked.get("expand", []):
            self.books.expand(found, wanted)
        return found

    def _listed(self, path: str, asked: Json) -> Json:
        """List objects, newest first."""
        only(asked, allowed={"created", "limit", "starting_after", "payment_intent", "expand"})
        found = [shown(one) for one in reversed(getattr(self.books, _OBJECTS[path]).values())]
        if "payment_intent" in asked:
            found = [one for one in found if one["payment_intent"] == asked["payment_intent"]]
        created = {name: int(value) for name, value in asked.get("created", {}).items()}
        found = [one for one in found if created.get("gte", 0) <= one["created"] < created.get("lt", 2**63)]
        if "starting_after" in asked:
            names = [one["id"] for one in found]
            if asked["starting_after"] not in names:
                raise Refusal(400, "No such object to start after.", code="resource_missing", param="starting_after")
            found = found[names.index(asked["starting_after"]) + 1 :]
        limit = int(asked.get("limit", 10))
        if not 1 <= limit <= 100:
            raise Refusal(400, "This limit is not between 1 and 100.", param="limit")
        for one in found[:limit]:
            for wanted in asked.get("expand", []):
                self.books.expand(one, wanted.removeprefix("data."))
        return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": f"/v1/{path}"}


def _failed() -> Json:
    return Refusal(500, "An unknown error occurred.", kind="api_error").body


def sent(event: Json) -> bytes:
    """Return an event as Stripe writes it: indented, which nobody may lose on the way to the signature."""
    return json.dumps(event, indent=2).encode()


async def _answers(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return bool((await client.get(url)).status_code)
    except httpx2.TransportError:
        return False
