"""A database of the audit service per test, the service on it, and events to log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import pytest

from careforall.audit.service import AuditService
from careforall.kit import migrate
from careforall.kit.consumer import AnyEvent, Consumer, Decoder
from careforall.kit.db import Database, PoolSettings
from careforall.kit.envelope import Event, Message, seal
from careforall.kit.ids import new_id
from careforall_testing.databases import Databases


class Told(Event, frozen=True, kw_only=True):
    """An event as any service might tell it."""

    SUBJECT: ClassVar[str] = "donations.created"

    amount: str = "25.00"
    donor_email: str = ""


async def _prepare(url: str) -> None:
    await migrate.migrate(url, migrate.load("careforall.audit"))


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    template = await databases.template("audit", _prepare)
    async with databases.clone(template) as url:
        opened = Database(url, name="audit", settings=PoolSettings(max_size=6, acquire_timeout=5, connect_timeout=5))
        await opened.open()
        yield opened
        await opened.close()


class Log:
    """Logs events as the consumers would."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.service = AuditService(database, secret_key="s" * 32)
        consumer = Consumer(name="audit-donations", stream="DONATIONS", events=(AnyEvent,), handler=self.service.append)
        self._decoder = Decoder(consumer)

    def message(self, mail: str = "", *, subject: str = "donations.created", at: datetime | None = None) -> Message[Any]:
        identifier: UUID = new_id()
        data = seal(
            Told(donor_email=mail),
            subject=subject,
            event_id=identifier,
            aggregate_id=new_id(),
            aggregate_version=1,
            source="donations",
            correlation_id="request-1",
            occurred_at=at or datetime.now(UTC),
        )
        decoded = self._decoder.decode(data, deliveries=1)
        assert isinstance(decoded, Message)
        return decoded

    async def log(self, *messages: Message[Any]) -> None:
        await self.database.run(lambda connection: self.service.append(connection, messages))

    async def tamper(self, *statements: str) -> None:
        """Change rows as somebody with all rights on the server could."""
        async with self.database.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)
