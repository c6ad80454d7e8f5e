"""A payments service in this process, on real servers: a database of its own, the shared Valkey under an own name."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
from litestar.exceptions import LitestarDeprecationWarning
from msgspec import Struct

from careforall.contracts.donations import DonationCreated
from careforall.kit import json, migrate
from careforall.kit.bus import BrokerUnavailable, Bus
from careforall.kit.cache import Cache
from careforall.kit.db import Database, PoolSettings
from careforall.kit.envelope import Message
from careforall.kit.health import Health
from careforall.kit.http.app import Mounted, public_app
from careforall.kit.http.edge import Edge
from careforall.kit.http.identity import Principal, ServiceTokens, Verifier
from careforall.kit.http.limits import Limiter
from careforall.kit.ids import new_id
from careforall.kit.operations import Operations
from careforall.kit.service import Parts, Resources
from careforall.kit.settings import RateLimits
from careforall.kit.traces import TraceStore
from careforall.kit.tracing import Tracing
from careforall.payments.app import SERVICE, build
from careforall.payments.service import PaymentsService
from careforall.payments.settings import PaymentsSettings
from careforall_testing.databases import Databases
from careforall_testing.servers import ServerUrls

GENERIC, SIMULATOR = "/api/v1/payments/webhook", "/api/v1/payments/webhook/simulator"
SECRETS = ("generic-secret-one", "generic-secret-two")
SIMULATOR_SECRETS = ("whsec_c2ltdWxhdG9yLXNlY3JldA==", "simulator-secret-two")
AMOUNT = Decimal("25.00")


class Till:
    """The service with the means to feed it and to look behind it."""

    def __init__(self, resources: Resources, parts: Parts) -> None:
        self.resources = resources
        self.database = resources.database
        self.cache = resources.cache
        self.parts = parts
        assert isinstance(parts.service, PaymentsService)
        self.service = parts.service
        self.clients = {hot: self._client(hot=hot) for hot in (True, False)}

    async def pledge(self, *, identifier: UUID | None = None, amount: Decimal = AMOUNT, currency: str = "EUR") -> UUID:
        """Have an intent made, as the consumer of accepted gifts does."""
        [intent] = await self.pledges([identifier or new_id()], amount=amount, currency=currency)
        return intent

    async def pledges(self, identifiers: list[UUID], *, amount: Decimal = AMOUNT, currency: str = "EUR") -> list[UUID]:
        """Have several made at once."""
        messages = [_accepted(one, amount, currency) for one in identifiers]
        await self.database.run(lambda connection: self.service.create_from_donations(connection, messages))
        return identifiers

    async def tell(
        self,
        event: dict[str, Any] | bytes,
        *,
        key: str = "",
        secret: str = SECRETS[0],
        hot: bool = True,
        query: str = "",
        **headers: str,
    ) -> httpx2.Response:
        """Send a signed event to the generic endpoint."""
        body = event if isinstance(event, bytes) else json.encode(event)
        signed = {"X-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
        named = {"X-Idempotency-Key": key} if key else {}
        return await self.clients[hot].post(GENERIC + query, content=body, headers={**signed, **named, **headers})

    async def tell_simulator(self, event: dict[str, Any], *, secret: str = SIMULATOR_SECRETS[0], at: int = 0) -> httpx2.Response:
        """Send a signed event of the simulator."""
        return await self.tell_simulator_bytes(json.encode(event), secret=secret, at=at)

    async def tell_simulator_bytes(self, body: bytes, *, secret: str = SIMULATOR_SECRETS[0], at: int = 0) -> httpx2.Response:
        """Send an event of the simulator as its sender wrote it."""
        now = at or int(time.time())
        mark = hmac.new(secret.encode(), b"%d.%s" % (now, body), hashlib.sha256).hexdigest()
        return await self.clients[True].post(SIMULATOR, content=body, headers={"Simulator-Signature": f"t={now},v1={mark}"})

    async def row(self, identifier: UUID) -> asyncpg.Record:
        """The intent's row."""
        found = await self.database.fetchrow("SELECT * FROM payment_intents WHERE id = $1", identifier)
        assert found is not None
        return found

    async def steps(self, identifier: UUID) -> list[tuple[str, str]]:
        """The recorded transitions."""
        rows = await self.database.fetch(
            "SELECT from_status, to_status FROM payment_transitions WHERE payment_id = $1 ORDER BY version", identifier
        )
        return [(row["from_status"], row["to_status"]) for row in rows]

    async def told(self, identifier: UUID) -> list[str]:
        """The events in the outbox, in order."""
        rows = await self.database.fetch("SELECT event_type FROM outbox WHERE aggregate_id = $1 ORDER BY id", identifier)
        return [row["event_type"] for row in rows]

    async def count(self, table: str, where: str = "true", *values: object) -> int:
        """How many rows a table has."""
        row = await self.database.fetchrow(f"SELECT count(*) AS n FROM {table} WHERE {where}", *values)
        assert row is not None
        return int(row["n"])

    @staticmethod
    def success(intent: UUID, **changes: Any) -> dict[str, Any]:
        """An event of the generic endpoint that says the money arrived; None leaves a field out."""
        event = {"event_id": f"evt_{new_id()}", "payment_intent_id": str(intent), "status": "SUCCESS", "amount": "25.00"}
        return {key: value for key, value in {**event, "currency": "EUR", **changes}.items() if value is not None}

    @staticmethod
    def simulated(event_type: str, intent: UUID | None, **subject: Any) -> dict[str, Any]:
        """An event of the simulator about a payment intent, or whatever `subject` makes of it."""
        found = {
            "id": f"pi_{intent}",
            "object": "payment_intent",
            "status": "succeeded",
            "amount": 2500,
            "amount_received": 2500,
            "currency": "eur",
            "metadata": {"intent_id": str(intent)} if intent else {},
        } | subject
        return {
            "id": f"evt_{new_id()}",
            "object": "event",
            "type": event_type,
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": found},
        }

    @classmethod
    def refunded(cls, intent: UUID, amount: int, *, status: str = "succeeded", **subject: Any) -> dict[str, Any]:
        """An event of the simulator about a refund."""
        facts = {"id": f"re_{new_id()}", "object": "refund", "amount": amount, "status": status, "payment_intent": f"pi_{intent}"}
        return cls.simulated("refund.created", intent, **{**facts, **subject})

    @classmethod
    def disputed(cls, intent: UUID, amount: int, status: str = "needs_response", **subject: Any) -> dict[str, Any]:
        """An event of the simulator about a dispute."""
        kind = "charge.dispute.created" if status == "needs_response" else "charge.dispute.closed"
        facts = {"id": f"dp_{intent}", "object": "dispute", "amount": amount, "status": status, "payment_intent": f"pi_{intent}"}
        return cls.simulated(kind, intent, **{**facts, **subject})

    def _client(self, *, hot: bool) -> httpx2.AsyncClient:
        app = _edge(self.resources, self.parts, hot=hot)
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://payments.example.org")


class Arena(Struct, frozen=True, kw_only=True):
    """Opens services."""

    databases: Databases

    @asynccontextmanager
    async def open(self, urls: ServerUrls, *, database: str = "", instance: str = "", **options: object) -> AsyncIterator[Till]:
        """A service on a database of its own, or on the given one."""
        async with AsyncExitStack() as stack:
            url = database or await stack.enter_async_context(self.databases.clone(await self._template()))
            resources = await _resources(stack, urls, url, instance or f"test-{secrets.token_hex(4)}", options)
            till = Till(resources, build(resources))
            for stop in till.parts.stop:
                stack.push_async_callback(stop)
            for client in till.clients.values():
                stack.push_async_callback(client.aclose)
            yield till

    async def _template(self) -> str:
        async def prepare(url: str) -> None:
            await migrate.migrate(url, migrate.load(SERVICE.package))

        return await self.databases.template("payments", prepare)


def _edge(resources: Resources, parts: Parts, *, hot: bool) -> Edge:
    mounted = Mounted(
        name="payments", parts=parts, operations=Operations("payments", resources.database), tokens=resources.tokens
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)  # said of the kit's handlers
        app = public_app(
            [mounted],
            health=Health({"payments": resources.database}, resources.bus, resources.cache),
            verifier=resources.verifier,
            limiter=resources.limiter,
            traces=TraceStore(),
            cors_origins="",
            development=True,
        )
    return Edge(
        app,
        hot=list(parts.hot) if hot else [],
        limiter=resources.limiter,
        rates=RateLimits(everyone=10**6, per_address=10**6, per_key=10**6),
        verifier=resources.verifier,
        tracing=resources.tracing,
    )


async def _resources(
    stack: AsyncExitStack, urls: ServerUrls, database_url: str, instance: str, options: dict[str, object]
) -> Resources:
    given: dict[str, object] = {
        "webhook_secrets": ",".join(SECRETS),
        "simulator_secrets": ", ".join(SIMULATOR_SECRETS),
        "simulator_url": "http://127.0.0.1:9/simulator",
        "gateway_seconds": 0.3,
        "gateway_tries": 1,
        "reconcile_calls_per_second": 1000.0,
        "environment": "development",
        **options,
    }
    settings = PaymentsSettings(
        postgres_url=urls.postgres,
        database_url=database_url,
        nats_url=urls.nats,
        redis_url=urls.redis,
        secret_key=secrets.token_hex(32),
        instance=instance,
        **given,  # type: ignore[arg-type]  # a test names only fields that exist
    )
    database = Database(database_url, name="payments", settings=PoolSettings(max_size=4))
    await database.open()
    stack.push_async_callback(database.close)
    cache = Cache(urls.redis, prefix=f"{instance}:", pause=0.2)
    stack.push_async_callback(cache.close)
    limiter = Limiter(urls.redis, prefix=f"{instance}:limit", deadline=30.0)
    stack.push_async_callback(limiter.close)
    return Resources(
        settings=settings,
        database=database,
        bus=Bus(urls.nats, name="payments-test"),
        cache=cache,
        limiter=limiter,
        tracing=Tracing("careforall-payments", otlp_url=settings.otlp_url, roots_per_second=0),
        verifier=Verifier(_nothing, _nobody),
        tokens=ServiceTokens(secrets.token_bytes(32), "payments"),
        ask=_away,
    )


def _accepted(identifier: UUID, amount: Decimal, currency: str) -> Message[DonationCreated]:
    event = DonationCreated(
        donation_id=new_id(),
        campaign_id=new_id(),
        intent_id=identifier,
        amount=amount,
        currency=currency,
        status="PENDING",
        donor_key="donor-1",
        donor_email="donor1@example.org",
        campaign_title="A well for the village",
        created_at=datetime.now(UTC),
    )
    return Message(
        event_id=new_id(),
        event_type=DonationCreated.SUBJECT,
        version=1,
        aggregate_id=event.donation_id,
        aggregate_version=1,
        occurred_at=event.created_at,
        correlation_id="request-1",
        source="donations",
        traceparent=None,
        event=event,
        data=b"",
    )


async def _nothing() -> bytes:
    return b'{"keys": []}'


async def _nobody(_: str) -> Principal | None:
    return None


async def _away(_: str, __: bytes) -> bytes:
    raise BrokerUnavailable


@pytest.fixture(scope="session")
def arena(databases: Databases) -> Arena:
    """Opens services with options of one's own."""
    return Arena(databases=databases)


@pytest.fixture(scope="module")
async def till(arena: Arena, servers: ServerUrls) -> AsyncIterator[Till]:
    """One service for a module; tests keep apart by their own intents."""
    async with arena.open(servers) as opened:
        yield opened
