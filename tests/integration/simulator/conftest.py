"""The simulator as a real process, and a shop that stands in for payments: it takes webhooks and opens pay pages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from careforall.kit import migrate, secrets
from careforall.kit.db import Database, PoolSettings
from careforall.kit.ids import new_id
from careforall.launch.ports import LOOPBACK, free_port
from careforall.launch.servers import Nats
from careforall_testing.databases import Databases
from careforall_testing.platform import Platform, platform
from careforall_testing.servers import ServerUrls

WAIT_S = 15.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


class Shop:
    """Whoever the simulated gateway works for.

    `answers` are given to webhooks one after another, 200 once they are used up. Everything under /simulator goes on to the
    gateway, so that one address serves both, as on a real instance.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: deque[int] = deque()
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        self.secret = ""
        self.gateway: Gateway | None = None
        self._server = Server(self._app, address=LOOPBACK, port=self.port, interface=Interfaces.ASGINL, log_enabled=False)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        self._serving = asyncio.ensure_future(self._server.serve())
        async with httpx2.AsyncClient(trust_env=False) as client:
            deadline = time.monotonic() + WAIT_S
            while True:
                try:
                    await client.get(f"{self.url}/alive")
                except httpx2.TransportError:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                else:
                    return

    async def stop(self) -> None:
        self._server.stop()  # type: ignore[no-untyped-call]  # the library has no hints there
        assert self._serving is not None
        await asyncio.wait_for(self._serving, 10)

    def of(self, payment_intent: str) -> list[str]:
        """The types of the webhooks taken about an intent, in order."""
        return [event["type"] for event in self.taken if self._about(event) == payment_intent]

    def ids(self, payment_intent: str) -> Counter[str]:
        """How often each webhook about an intent was taken."""
        return Counter(event["id"] for event in self.taken if self._about(event) == payment_intent)

    @staticmethod
    def _about(event: dict[str, Any]) -> str:
        subject = event["data"]["object"]
        return str(subject.get("payment_intent") or subject["id"])

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, headers, content = await self._respond(scope, dict(scope["headers"]), body)
        fields = [(b"content-length", str(len(content)).encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    async def _respond(
        self, scope: Any, headers: dict[bytes, bytes], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        path: str = scope["path"]
        if path == "/webhook":
            return self._webhook(headers, body), [], b"{}"
        assert self.gateway is not None or path == "/alive"
        if path.startswith("/pay/") and self.gateway is not None:
            intent = await self.gateway.create(metadata={"intent_id": path.removeprefix("/pay/")})
            return 303, [(b"location", intent["hosted_url"].encode())], b""
        if path.startswith("/simulator") and self.gateway is not None:
            kind = headers.get(b"content-type", b"").decode()
            passed_on = {"content-type": kind} if kind else {}
            answer = await self.gateway.client.request(scope["method"], path, content=body, headers=passed_on)
            passed = [
                (name.encode(), answer.headers[name].encode()) for name in ("content-type", "location") if name in answer.headers
            ]
            return answer.status_code, passed, answer.content
        return 200, [], b""

    def _webhook(self, headers: dict[bytes, bytes], body: bytes) -> int:
        parts = dict(part.split("=") for part in headers[b"simulator-signature"].decode().split(","))
        signed = hmac.new(self.secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
        if abs(time.time() - int(parts["t"])) > 60 or not hmac.compare_digest(signed, parts["v1"]):
            self.refused += 1
            return 401
        status = self.answers.popleft() if self.answers else 200
        if status == 200:
            self.taken.append(json.loads(body))
        return status


class Gateway:
    """The simulated gateway as its customers see it."""

    def __init__(self, running: Platform) -> None:
        self.running = running
        self.client = running.client
        key = secrets.derive(running.environment["CAREFORALL_SECRET_KEY"], "simulator api key").hex()
        self.authorization = {"Authorization": f"Bearer {key}"}

    async def post(self, path: str, body: object, *, key: str = "") -> httpx2.Response:
        headers = {**self.authorization, "Idempotency-Key": key or str(new_id())}
        return await self.client.post(f"/simulator/v1{path}", json=body, headers=headers)

    async def get(self, path: str, **query: Any) -> httpx2.Response:
        return await self.client.get(f"/simulator/v1{path}", params=query, headers=self.authorization)

    async def create(self, **changes: Any) -> dict[str, Any]:
        """Make an intent of 25.00 EUR."""
        body = {
            "amount": 2500,
            "currency": "eur",
            "metadata": {"intent_id": str(new_id())},
            "return_url": "http://127.0.0.1/back",
        }
        answer = await self.post("/payment_intents", {**body, **changes})
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def control(self, reference: str, verb: str, **body: Any) -> dict[str, Any]:
        answer = await self.client.post(f"/simulator/control/{reference}/{verb}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def turn(self, **switches: Any) -> None:
        answer = await self.client.post("/simulator/control/switches", json=switches)
        assert answer.status_code == 200, answer.text

    async def paid(self, **changes: Any) -> dict[str, Any]:
        """Make an intent that is paid."""
        made = await self.create(**changes)
        return dict((await self.control(made["id"], "success"))["payment_intent"])


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture(scope="module", name="company")
async def fx_company(servers: ServerUrls, own_nats: Nats, shop: Shop) -> AsyncIterator[Gateway]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, ["simulator"], CAREFORALL_SIMULATOR_WEBHOOK_URL=f"{shop.url}/webhook") as running:
        shop.secret = running.environment["CAREFORALL_SIMULATOR_SECRETS"]
        shop.gateway = Gateway(running)
        yield shop.gateway


@pytest.fixture
async def gateway(company: Gateway) -> AsyncIterator[Gateway]:
    """The gateway, honest at the start of each test and after it."""
    await company.turn()
    yield company
    await company.turn()


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """The company's books without a process around them."""

    async def prepare(url: str) -> None:
        await migrate.migrate(url, migrate.load("careforall.simulator"))

    async with databases.clone(await databases.template("service_simulator", prepare)) as url:
        opened = Database(url, name="simulator", settings=PoolSettings(max_size=4, acquire_timeout=5, connect_timeout=5))
        await opened.open()
        yield opened
        await opened.close()
