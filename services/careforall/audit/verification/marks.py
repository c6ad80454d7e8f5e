"""The watermark as the command line keeps it: in the database of audit, the only row a verification ever writes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from careforall.audit import repository
from careforall.audit.verification.run import START, Mark
from careforall.kit.db import Database, PoolSettings

_NAME = "command"


async def read(dsn: str) -> Mark:
    """Return how far the last good run came."""
    async with _opened(dsn) as database:
        found = await repository.mark(database, _NAME)
    return msgspec.json.decode(found, type=Mark) if found else START


async def write(dsn: str, mark: Mark) -> None:
    """Remember how far this run came."""
    reached = msgspec.json.encode(mark).decode()
    async with _opened(dsn) as database:
        await database.run(lambda connection: repository.set_mark(connection, _NAME, reached))


@asynccontextmanager
async def _opened(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn, name="audit", settings=PoolSettings(max_size=1, acquire_timeout=10, connect_timeout=10))
    await database.open()
    try:
        yield database
    finally:
        await database.close()
