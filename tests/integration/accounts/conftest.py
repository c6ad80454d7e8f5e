"""The accounts service in this process, on a real database and a real Valkey, behind the real edge."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest

from careforall.accounts.app import SERVICE, build
from careforall.accounts.service import AccountsService
from careforall.accounts.settings import AccountsSettings
from careforall.kit import migrate
from careforall.kit.bus import BrokerUnavailable, Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database, PoolSettings
from careforall.kit.envelope import Envelope, decode_envelope
from careforall.kit.health import Health
from careforall.kit.http.app import Mounted, public_app
from careforall.kit.http.edge import Edge
from careforall.kit.http.identity import Principal, ServiceTokens, Verifier
from careforall.kit.http.limits import Limiter
from careforall.kit.operations import Operations
from careforall.kit.service import Parts, Resources
from careforall.kit.settings import RateLimits
from careforall.kit.traces import TraceStore
from careforall.kit.tracing import Tracing
from careforall_testing.databases import Databases
from careforall_testing.servers import ServerUrls

MAIL = "donor1@example.org"
PASSWORD = "quiet harbour lamp"
MANY = 1_000_000


EXPECTED_WARNINGS = (
    "ignore::litestar.exceptions.LitestarDeprecationWarning",  # said of the kit's handlers
    "ignore:EdDSA is deprecated",  # the name of the algorithm, not the algorithm
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let warnings pass that are about names in libraries; every other one is an error."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for expected in EXPECTED_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(expected))


class Accounts:
    """The running service with its client, and a look behind it."""

    def __init__(self, resources: Resources, parts: Parts, client: httpx2.AsyncClient) -> None:
        assert isinstance(parts.service, AccountsService)
        self.service = parts.service
        self.parts = parts
        self.settings = resources.settings
        self.database = resources.database
        self.verifier = resources.verifier
        self.client = client

    async def post(self, path: str, body: Any = None, *, token: str = "", **headers: str) -> httpx2.Response:
        return await self.call("POST", path, body, token=token, **headers)

    async def call(self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str) -> httpx2.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["authorization"] = f"Bearer {token}"
        return await self.client.request(method, f"/api/v1{path}", json=body, headers=sent)

    async def signup(self, mail: str = MAIL, password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.post("/auth/signup", {"email": mail, "password": password})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def login(self, mail: str = MAIL, password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.post("/auth/login", {"email": mail, "password": password})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def join(self, mail: str = MAIL) -> str:
        """Sign up, sign in and return the access token."""
        await self.signup(mail)
        return str((await self.login(mail))["access_token"])

    async def admin(self, mail: str = "admin1@example.org") -> str:
        """Make an administrator and return the access token."""
        await self.service.create_admin(mail, PASSWORD)
        return str((await self.login(mail))["access_token"])

    async def events(self, subject: str = "") -> list[tuple[Envelope, dict[str, Any]]]:
        """What the outbox holds, oldest first."""
        rows = await self.database.fetch("SELECT payload FROM outbox WHERE event_type LIKE $1 ORDER BY id", f"%{subject}")
        found = [decode_envelope(row["payload"]) for row in rows]
        return [(envelope, msgspec.json.decode(envelope.payload)) for envelope in found]

    async def link_token(self, subject: str, field: str) -> str:
        """The token of the newest link that was mailed."""
        [_, payload] = (await self.events(subject))[-1]
        [token] = parse_qs(urlsplit(payload[field]).query)["token"]
        return str(token)

    async def execute(self, sql: str, *values: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(sql, *values)


class InProcess:
    """Answers the verifier's questions the way the runtime does for services of its own process."""

    parts: Parts

    async def jwks(self) -> bytes:
        return await self.parts.queries["query.accounts.jwks"](b"")

    async def key_owner(self, key: str) -> Principal | None:
        answer = await self.parts.queries["query.accounts.api_key"](key.encode())
        return msgspec.json.decode(answer, type=Principal | None)


@pytest.fixture
def options() -> dict[str, Any]:
    """Settings a test wants otherwise; parametrize or override it."""
    return {}


@pytest.fixture
async def accounts(servers: ServerUrls, databases: Databases, options: dict[str, Any]) -> AsyncIterator[Accounts]:
    async def prepare(url: str) -> None:
        await migrate.migrate(url, migrate.load(SERVICE.package))

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(databases.clone(await databases.template("accounts_alone", prepare)))
        here = InProcess()
        resources = await _resources(stack, servers, url, here, options)
        parts = here.parts = build(resources)
        for start in parts.start:
            await start()
        for stop in parts.stop:
            stack.push_async_callback(stop)
        transport = httpx2.ASGITransport(app=_edge(resources, parts))
        client = httpx2.AsyncClient(transport=transport, base_url="http://accounts.example.org")
        yield Accounts(resources, parts, await stack.enter_async_context(client))


async def _resources(
    stack: AsyncExitStack, urls: ServerUrls, database_url: str, here: InProcess, options: dict[str, Any]
) -> Resources:
    instance = f"test-{secrets.token_hex(4)}"
    settings = AccountsSettings(
        **{
            "postgres_url": urls.postgres,
            "database_url": database_url,
            "redis_url": urls.redis,
            "secret_key": secrets.token_hex(32),
            "environment": "development",
            "instance": instance,
            "rate_login": MANY,
            **options,
        }
    )
    database = Database(database_url, name="accounts", settings=PoolSettings(max_size=4, acquire_timeout=5, connect_timeout=5))
    await database.open()
    stack.push_async_callback(database.close)
    cache = Cache(settings.redis_url, prefix=f"{instance}:")
    stack.push_async_callback(cache.close)
    limiter = Limiter(settings.redis_url, prefix=f"{instance}:limit", deadline=30.0)
    stack.push_async_callback(limiter.close)
    return Resources(
        settings=settings,
        database=database,
        bus=Bus(urls.nats, name="accounts-test"),
        cache=cache,
        limiter=limiter,
        tracing=Tracing("careforall-accounts", roots_per_second=0),
        verifier=Verifier(here.jwks, here.key_owner),
        tokens=ServiceTokens(secrets.token_bytes(32), "accounts"),
        ask=_away,
    )


def _edge(resources: Resources, parts: Parts) -> Edge:
    operations = Operations("accounts", resources.database)
    app = public_app(
        [Mounted(name="accounts", parts=parts, operations=operations, tokens=resources.tokens)],
        health=Health({"accounts": resources.database}, resources.bus, resources.cache),
        verifier=resources.verifier,
        limiter=resources.limiter,
        traces=TraceStore(),
        cors_origins="",
        development=True,
    )
    return Edge(
        app,
        hot=[],
        limiter=resources.limiter,
        rates=RateLimits(everyone=MANY, per_address=MANY, per_key=MANY),
        verifier=resources.verifier,
        tracing=resources.tracing,
    )


async def _away(_: str, __: bytes) -> bytes:
    raise BrokerUnavailable
