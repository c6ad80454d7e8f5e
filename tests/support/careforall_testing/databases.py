"""A fresh database per test: prepare a template once per run, clone it in some 15 ms.

template = await databases.template("donations", prepare)     # prepare(url) migrates; once for all workers
async with databases.clone(template) as url: ...
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from msgspec import Struct

Prepare = Callable[[str], Awaitable[None]]


def database_url(server_url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection, closed in the end."""
    opened = await asyncpg.connect(url)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def clone_database(server_url: str, template: str) -> AsyncIterator[str]:
    """Clone a template database; yields the clone's URL and drops it in the end, whoever is still connected."""
    name = f"clone_{uuid.uuid4().hex}"
    async with connection(server_url) as admin:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    try:
        yield database_url(server_url, name)
    finally:
        async with connection(server_url) as admin:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class Databases(Struct, frozen=True, kw_only=True):
    """The databases of one server."""

    server_url: str

    async def template(self, name: str, prepare: Prepare) -> str:
        """Prepare a template once, whichever worker comes first, and return its name.

        The finished template refuses connections: cloning fails while anybody is connected to it.
        """
        template = f"template_{name}"
        async with connection(self.server_url) as admin:
            await admin.execute("SELECT pg_advisory_lock(hashtext($1))", template)
            if not await self._is_finished(admin, template):
                await self._make(admin, template, prepare)
        return template

    def clone(self, template: str) -> AbstractAsyncContextManager[str]:
        """An own copy of a template as an async context manager."""
        return clone_database(self.server_url, template)

    async def _is_finished(self, admin: asyncpg.Connection, template: str) -> bool:
        found = await admin.fetchval("SELECT datistemplate FROM pg_database WHERE datname = $1", template)
        return bool(found)

    async def _make(self, admin: asyncpg.Connection, template: str, prepare: Prepare) -> None:
        await admin.execute(f'DROP DATABASE IF EXISTS "{template}" WITH (FORCE)')
        await admin.execute(f'CREATE DATABASE "{template}"')
        await prepare(database_url(self.server_url, template))
        await admin.execute(f'ALTER DATABASE "{template}" WITH IS_TEMPLATE true ALLOW_CONNECTIONS false')
