"""The sync service with the fake of Stripe as its target, and what both sides know of a customer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from careforall.audit.verification.repository import INVARIANTS
from careforall.kit.db import Database
from careforall.kit.ids import new_id
from careforall.kit.operations import Operations
from careforall.kit.tracing import Tracing
from careforall.sync.carrying import Carrying, Pacing
from careforall.sync.domain import Customer
from careforall.sync.gateways.stripe import NOTE_ID, NOTE_VERSION, StripeTarget
from careforall.sync.schemas import CustomerPatch, NewCustomer
from careforall.sync.service import SyncService
from careforall_testing.stripe_fake import StripeFake


class Mirror:
    """The service with Stripe as its target, and what both sides know."""

    def __init__(self, database: Database, fake: StripeFake) -> None:
        self.database = database
        self.fake = fake
        self.service = SyncService(database, targets=["stripe"], tries=5)
        self.tracing = Tracing("sync")

    async def create(self, email: str = "one@example.org", **fields: Any) -> Customer:
        return await self.database.run(lambda connection: self.service.create(connection, NewCustomer(email=email, **fields)))

    async def change(self, customer: Customer, **fields: Any) -> Customer:
        return await self.service.change(customer.id, CustomerPatch(**fields), None)

    @asynccontextmanager
    async def worker(self, **pacing: Any) -> AsyncIterator[Carrying]:
        """A worker with a client of its own."""
        quick = Pacing(**{"at_once": 8, "seconds": 0.6, "first_pause": 0.02, "breaker_pause": 0.05, **pacing})
        target = StripeTarget(self.fake.key, base=self.fake.url, seconds=quick.seconds)
        try:
            yield Carrying(self.database, target, self.tracing, quick)
        finally:
            await target.close()

    async def carry(self, **pacing: Any) -> int:
        async with self.worker(**pacing) as worker:
            return await worker.run()

    async def carried(self) -> None:
        """Carry until nothing waits any more, giving dead letters another life as staff would."""
        operations = Operations("sync", self.database, queues=["deliveries"])
        async with self.worker() as one, self.worker() as other:
            async with asyncio.timeout(300):
                while await self.unfinished():
                    await asyncio.gather(one.run(), other.run())
                    for letter in (await operations.dead_letters(1000)).events:
                        await operations.retry(letter.id, new_id())
                    await asyncio.sleep(0.02)

    async def unfinished(self) -> int:
        """How many deliveries are not settled."""
        row = await self.database.fetchrow("SELECT count(*) AS n FROM deliveries WHERE status <> 'PROCESSED'")
        return int(row["n"]) if row else 0

    async def row(self, customer: Customer) -> Any:
        found = await self.database.fetchrow("SELECT * FROM deliveries WHERE aggregate_id = $1", customer.id)
        assert found is not None
        return found

    async def due_now(self) -> None:
        async def work(connection: Any) -> None:
            await connection.execute("UPDATE deliveries SET next_retry_at = NULL, leased_until = NULL")

        await self.database.run(work)

    def images(self, customer: Customer | UUID) -> list[dict[str, Any]]:
        """What the company has of a customer."""
        wanted = str(customer if isinstance(customer, UUID) else customer.id)
        return [one for one in self.fake.books.customers.present if one["metadata"].get(NOTE_ID) == wanted]

    def image(self, customer: Customer) -> tuple[str | None, str | None, dict[str, str], int]:
        """The one image: mail, name, metadata without our notes, version."""
        (found,) = self.images(customer)
        own = {name: value for name, value in found["metadata"].items() if not name.startswith("careforall_")}
        return found["email"], found["name"], own, int(found["metadata"][NOTE_VERSION])


async def broken(mirror: Mirror) -> dict[str, list[str]]:
    """What `verify` finds wrong with the books of the service: keys by invariant."""
    return await broken_in(mirror.database)


async def broken_in(database: Database) -> dict[str, list[str]]:
    """The same of its database alone."""
    beginning = datetime(1970, 1, 1, tzinfo=UTC)
    found = {one.name: await database.fetch(one.sql, beginning) for one in INVARIANTS if one.service == "sync"}
    assert found, "there are no invariants"
    return {name: [row["key"] for row in rows] for name, rows in found.items() if rows}
