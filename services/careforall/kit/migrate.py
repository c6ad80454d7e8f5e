"""Forward-only migrations: numbered plain SQL files, one transaction each, under an advisory lock, in a step of their own.

The kit's own tables (outbox, inbox, idempotency keys, ...) live in every service's database and come first.
"""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

_LOCK = 0x43464131
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_APPLIED = "SELECT name, checksum FROM schema_migrations"
_RECORD = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"
_NO_TRANSACTION = "-- careforall: no transaction"


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One SQL file; its name sorts it and names it for ever."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, to refuse edited files."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a database stands to some code."""

    pending: list[str]
    """What it still lacks; a service does not start then."""
    unknown: list[str]
    """What it has and the code does not: a newer release was here, on whose schema older code still runs."""


class MigrationError(Exception):
    """The schema and the code do not fit together; the message says what to do."""


def load(package: str) -> list[Migration]:
    """Return the kit's migrations and those of `package`, in order."""
    return [*_read("careforall.kit", "kit"), *_read(package, package.rpartition(".")[2])]


async def migrate(dsn: str, migrations: Sequence[Migration]) -> list[str]:
    """Create the database if it is missing, apply what is pending and return the names applied.

    Raises:
        MigrationError: If an applied file was edited since.
    """
    await _create_database(dsn)
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        done = []
        for migration in _pending(await _applied(connection), migrations):
            await _apply(connection, migration)
            done.append(migration.name)
        return done
    finally:
        await connection.close()


async def standing(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> Standing:
    """Return how a database stands to this code.

    Raises:
        MigrationError: If an applied file was edited since.
    """
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return Standing(pending=[migration.name for migration in migrations], unknown=[])
    applied = await _applied(connection)
    unknown = applied.keys() - {migration.name for migration in migrations}
    return Standing(pending=[migration.name for migration in _pending(applied, migrations)], unknown=sorted(unknown))


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in await connection.fetch(_APPLIED)}


def _pending(applied: Mapping[str, str], migrations: Sequence[Migration]) -> list[Migration]:
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(f"{migration.name} was edited after it had been applied: write a new migration instead")
    return [migration for migration in migrations if migration.name not in applied]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    if migration.sql.startswith(_NO_TRANSACTION):
        await connection.execute(migration.sql)
        await connection.execute(_RECORD, migration.name, migration.checksum)
        return
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(_RECORD, migration.name, migration.checksum)


async def _create_database(dsn: str) -> None:
    parts = urlsplit(dsn)
    name = parts.path.lstrip("/")
    try:
        await (await asyncpg.connect(dsn, timeout=10)).close()
    except asyncpg.InvalidCatalogNameError:
        server = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")), timeout=10)
        try:
            await server.execute(f'CREATE DATABASE "{name}"')
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            return  # a second migrator created it first and now waits at the advisory lock
        finally:
            await server.close()


def _read(package: str, prefix: str) -> list[Migration]:
    folder = files(package) / "migrations"
    if not folder.is_dir():
        return []
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(name=f"{prefix}/{name}", sql=(folder / name).read_text()) for name in names]
