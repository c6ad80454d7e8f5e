"""A database of the notifications service per test, the service on it, and events to tell it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.contracts.donations import DonationCompleted, DonationCreated, DonationFailed, DonationRefunded
from careforall.kit import migrate
from careforall.kit.db import Database, PoolSettings
from careforall.kit.envelope import Event, Message
from careforall.kit.ids import new_id
from careforall.notifications.channels.base import DirectCarrier
from careforall.notifications.channels.mailbox import Mailbox
from careforall.notifications.drafting import Setting
from careforall.notifications.rendering import Renderer
from careforall.notifications.service import NotificationsService
from careforall_testing.databases import Databases

SETTING = Setting(public_url="http://127.0.0.1:8000", webhook_url="", default_language="en")


async def _prepare(url: str) -> None:
    await migrate.migrate(url, migrate.load("careforall.notifications"))


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    template = await databases.template("notifications", _prepare)
    async with databases.clone(template) as url:
        opened = Database(url, name="notifications", settings=PoolSettings(max_size=4, acquire_timeout=5, connect_timeout=5))
        await opened.open()
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(public_url=SETTING.public_url)


class Story:
    """Tells the service events as its consumers would."""

    def __init__(
        self, database: Database, renderer: Renderer, *, direct: DirectCarrier | None = None, setting: Setting = SETTING
    ) -> None:
        self.database = database
        self.service = NotificationsService(database, renderer, setting, allow_private=True, direct=direct)

    async def tell(self, *events: Event, version: int = 1, at: datetime | None = None) -> None:
        """Fold events under fresh ids, as different messages."""
        messages = [_message(event, version, at) for event in events]
        donations = [message for message in messages if message.event_type.startswith("donations.")]
        accounts = [message for message in messages if message.event_type.startswith("accounts.")]
        if donations:
            await self.database.run(lambda connection: self.service.fold_donations(connection, donations))
        if accounts:
            await self.database.run(lambda connection: self.service.fold_accounts(connection, accounts))

    async def rows(self) -> list[Any]:
        return await self.database.fetch("SELECT * FROM notifications ORDER BY id")

    async def statuses(self) -> dict[str, int]:
        rows = await self.database.fetch("SELECT status, count(*) FROM notifications GROUP BY status")
        return {row["status"]: row["count"] for row in rows}

    async def due_now(self) -> None:
        async def work(connection: Any) -> None:
            await connection.execute("UPDATE notifications SET next_retry_at = NULL")

        await self.database.run(work)

    @staticmethod
    def created(**changes: Any) -> DonationCreated:
        return DonationCreated(**{**_facts(), "status": "PENDING", "created_at": datetime.now(UTC), **changes})

    @staticmethod
    def completed(**changes: Any) -> DonationCompleted:
        return DonationCompleted(**{**_facts(), "status": "COMPLETED", "completed_at": datetime.now(UTC), **changes})

    @staticmethod
    def failed(**changes: Any) -> DonationFailed:
        return DonationFailed(**{**_facts(), "status": "FAILED", **changes})

    @staticmethod
    def refunded(**changes: Any) -> DonationRefunded:
        return DonationRefunded(**{**_facts(), "status": "COMPLETED", "refunded_at": datetime.now(UTC), **changes})


@pytest.fixture
def story(database: Database, renderer: Renderer) -> Story:
    return Story(database, renderer)


@pytest.fixture
def told_story(database: Database, renderer: Renderer) -> Story:
    """One whose events go to an integrator too."""
    return Story(database, renderer, setting=msgspec.structs.replace(SETTING, webhook_url="https://hooks.example.org/x"))


@pytest.fixture
def direct_story(database: Database, renderer: Renderer) -> Story:
    """One whose mails are in the local mailbox at once."""
    return Story(database, renderer, direct=Mailbox(database, sender="no-reply@example.org", batch=100))


def _message(event: Event, version: int, at: datetime | None) -> Message[Any]:
    identifier: UUID = new_id()
    return Message(
        event_id=identifier,
        event_type=event.SUBJECT,
        version=1,
        aggregate_id=getattr(event, "donation_id", getattr(event, "user_id", identifier)),
        aggregate_version=version,
        occurred_at=at or datetime.now(UTC),
        correlation_id="test",
        source="donations",
        traceparent=None,
        event=event,
        data=b"",
    )


def _facts() -> dict[str, Any]:
    return {
        "donation_id": new_id(),
        "campaign_id": new_id(),
        "intent_id": new_id(),
        "amount": Decimal("25.00"),
        "currency": "EUR",
        "donor_key": "key-of-donor1",
        "donor_email": "donor1@example.org",
        "donor_name": "Donor One",
        "campaign_title": "Clean water",
    }
