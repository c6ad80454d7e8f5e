"""The webhooks of the sync service put together on a database of one's own, as its process does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Event
from careforall.kit.ids import new_id
from careforall.kit.outbound import Outbound
from careforall.kit.tracing import Tracing
from careforall.sync.delivering import Delivering
from careforall.sync.domain_webhooks import Delivery, Endpoint
from careforall.sync.endpoints import Endpoints
from careforall.sync.publishing import Publishing
from careforall.sync.schemas_webhooks import EndpointPatch, NewEndpoint, NewSecret
from careforall.sync.sending import Manner, Sending
from careforall_testing.public_events import message

STAFF = new_id()


class Hooks:
    """What the service does with webhooks, by short words."""

    def __init__(self, database: Database, outbound: Outbound) -> None:
        self.database = database
        self.outbound = outbound
        self.publishing = Publishing(database)
        self.endpoints = Endpoints(database, outbound, secret_key="a root secret for tests alone " * 2)
        self.delivering = Delivering(database, self.endpoints)
        self.tracing = Tracing("sync")

    def sending(self, *, at_once: int = 4, pauses: Sequence[float] = (0.01, 0.01, 0.01)) -> Sending:
        """A worker."""
        manner = Manner(at_once=at_once, pauses=tuple(pauses))
        return Sending(self.database, self.endpoints, self.outbound, self.tracing, manner)

    async def endpoint(self, url: str, *types: str, **fields: Any) -> Endpoint:
        """Make an endpoint that hears of everything, or of the given types."""
        new = NewEndpoint(url=url, event_types=list(types) or ["*"], **fields)
        return await self.database.run(lambda connection: self.endpoints.create(connection, new, STAFF))

    async def change(self, endpoint: Endpoint, **fields: Any) -> Endpoint:
        return await self.endpoints.change(endpoint.id, EndpointPatch(**fields), None, STAFF)

    async def secret(self, endpoint: Endpoint, number: int = 1) -> str:
        found = await self.endpoints.secret(endpoint.id, number)
        assert found is not None
        return found

    async def rotate(self, endpoint: Endpoint, **wanted: int) -> str:
        async def work(connection: Connection) -> int:
            return await self.endpoints.rotate(connection, endpoint.id, NewSecret(**wanted), STAFF)

        return await self.secret(endpoint, await self.database.run(work))

    async def tell(self, *events: Event) -> list[str]:
        """Store events and return their ids."""
        messages = [message(event) for event in events]
        await self.database.run(lambda connection: self.publishing.store(connection, messages))
        return [str(one.event_id) for one in messages]

    async def deliveries(self, endpoint: Endpoint) -> list[Delivery]:
        """The deliveries to an endpoint, oldest first."""
        return (await self.delivering.deliveries(endpoint.id, None, None, 1000))[::-1]

    async def states(self, endpoint: Endpoint) -> list[str]:
        return [one.status for one in await self.deliveries(endpoint)]

    async def settled(self, **manner: Any) -> int:
        """Send, with all pauses cut short, until nothing waits; return how many posts were made."""
        sending = self.sending(**manner)
        posts = 0
        while True:
            posts += await sending.run()
            row = await self.database.fetchrow("SELECT FROM webhook_deliveries WHERE status IN ('PENDING', 'FAILED') LIMIT 1")
            if row is None:
                return posts
            await self.due_now()

    async def execute(self, statement: str, *args: object) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(statement, *args)

        await self.database.run(work)

    async def due_now(self) -> None:
        """Let all pauses and leases be over."""
        await self.execute("UPDATE webhook_deliveries SET next_retry_at = clock_timestamp()")

    async def told(self, action: str) -> list[UUID]:
        """Who did something, as the audit log hears."""
        rows = await self.database.fetch(
            "SELECT aggregate_id FROM outbox WHERE event_type = 'sync.admin_action' AND convert_from(payload, 'UTF8') LIKE $1",
            f"%webhook_endpoint.{action}%",
        )
        return [row["aggregate_id"] for row in rows]


@asynccontextmanager
async def hooked(database: Database, **rules: Any) -> AsyncIterator[Hooks]:
    """The webhooks, allowed to reach this machine unless told otherwise."""
    async with Outbound(**{"seconds": 2.0, "allow_private": True, **rules}) as outbound:
        yield Hooks(database, outbound)
