"""A database of the sync service per test, a company that answers, and webhooks with somebody who hears them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from careforall.kit import migrate
from careforall.kit.db import Database, PoolSettings
from careforall_testing.databases import Databases
from careforall_testing.hook_receiver import Receiver, receiving
from careforall_testing.hooks import Hooks, hooked
from careforall_testing.mirroring import Mirror
from careforall_testing.stripe_fake import StripeFake


async def _prepare(url: str) -> None:
    await migrate.migrate(url, migrate.load("careforall.sync"))


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    template = await databases.template("sync", _prepare)
    async with databases.clone(template) as url:
        opened = Database(url, name="sync", settings=PoolSettings(max_size=8, acquire_timeout=20, connect_timeout=10))
        await opened.open()
        yield opened
        await opened.close()


@pytest.fixture
async def fake() -> AsyncIterator[StripeFake]:
    async with StripeFake.running() as running:
        yield running


@pytest.fixture
def mirror(database: Database, fake: StripeFake) -> Mirror:
    return Mirror(database, fake)


@pytest.fixture
async def hooks(database: Database) -> AsyncIterator[Hooks]:
    async with hooked(database) as found:
        yield found


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found
