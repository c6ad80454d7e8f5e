"""SQL of imports: what was ordered, who works on it, how far it came and what was wrong."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from careforall.catalog.sheet import RowError
from careforall.kit.db import Connection
from careforall.kit.ids import new_id

ImportState = Literal["QUEUED", "RUNNING", "COMPLETED", "CANCELLED", "FAILED"]


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """An import with its counts; `epoch` goes up with everybody who takes it on, so that a late word of another is refused."""

    id: UUID
    state: ImportState
    dry_run: bool
    ordered_by: str
    rows: int
    products: int
    reached: int
    created: int
    updated: int
    unchanged: int
    failed: int
    errors: int
    reason: str
    epoch: int
    tries: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the products up to `reached`."""

    reached: int
    created: int
    updated: int
    unchanged: int
    failed: int
    errors: Sequence[RowError]


class KeptError(msgspec.Struct, frozen=True, kw_only=True):
    """An error that was kept, with its own id."""

    id: UUID
    line: int
    column: str
    code: str
    message: str


async def insert(connection: Connection, import_id: UUID, *, dry_run: bool, by: str, rows: int, products: int) -> Import:
    """Store an import that somebody ordered."""
    row = await connection.fetchrow(_INSERT, import_id, dry_run, by, rows, products)
    assert row is not None, "an insert without conflict returns its row"
    return _import(row)


async def keep_file(connection: Connection, import_id: UUID, content: bytes) -> None:
    """Store the file of an import."""
    await connection.execute("INSERT INTO product_import_files (import_id, content) VALUES ($1, $2)", import_id, content)


async def file_of(connection: Connection, import_id: UUID) -> bytes | None:
    """Return the file of an import, None once it has ended."""
    found: bytes | None = await connection.fetchval("SELECT content FROM product_import_files WHERE import_id = $1", import_id)
    return found


async def claim(connection: Connection, seconds: float) -> Import | None:
    """Take on the oldest import that nobody works on, or whose worker was not heard of for longer than its lease."""
    row = await connection.fetchrow(_CLAIM, seconds)
    return _import(row) if row else None


async def hold(connection: Connection, taken: Import, reached: int, seconds: float) -> bool:
    """Lock an import before a step and renew its lease; False where it is another's by now, cancelled or further."""
    return bool(await connection.fetchval(_HOLD, taken.id, taken.epoch, reached, seconds))


async def advance(connection: Connection, import_id: UUID, step: Step, most_errors: int) -> None:
    """Note a step, and of its errors as many as there is room for."""
    found: int = await connection.fetchval(
        _ADVANCE, import_id, step.reached, step.created, step.updated, step.unchanged, step.failed, len(step.errors)
    )
    kept = list(step.errors)[: max(0, most_errors - found)]
    columns = ([getattr(one, name) for one in kept] for name in ("line", "column", "code", "message"))
    await connection.execute(_KEEP_ERRORS, import_id, [new_id() for _ in kept], *columns)


async def end(connection: Connection, import_id: UUID, state: ImportState, reason: str = "") -> bool:
    """End an import that has not ended and forget its file; False where there is none."""
    ended = await connection.fetchval(_END, import_id, state, reason)
    await connection.execute("DELETE FROM product_import_files WHERE import_id = $1", import_id)
    return bool(ended)


async def let_go(connection: Connection, taken: Import) -> None:
    """End a lease early, so that whoever comes next goes on at once."""
    await connection.execute(_LET_GO, taken.id, taken.epoch)


async def by_id(connection: Connection, import_id: UUID) -> Import | None:
    """Return an import."""
    row = await connection.fetchrow(_BY_ID, import_id)
    return _import(row) if row else None


async def newest(connection: Connection, before: UUID | None, limit: int) -> list[Import]:
    """Return imports, newest first."""
    rows = await connection.fetch(_NEWEST, before, limit)
    return [_import(row) for row in rows]


async def errors(connection: Connection, import_id: UUID, after: UUID | None, limit: int) -> list[KeptError]:
    """Return what was wrong, in the order in which it was found."""
    return [KeptError(**row) for row in await connection.fetch(_ERRORS, import_id, after, limit)]


def _import(row: asyncpg.Record) -> Import:
    return Import(**{name: row[name] for name in Import.__struct_fields__})


_BY_ID = "SELECT * FROM product_imports WHERE id = $1"
_NEWEST = "SELECT * FROM product_imports WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"
_INSERT = "INSERT INTO product_imports (id, dry_run, ordered_by, rows, products) VALUES ($1, $2, $3, $4, $5) RETURNING *"
_CLAIM = """
UPDATE product_imports
SET state = 'RUNNING', epoch = epoch + 1, tries = tries + 1, leased_until = clock_timestamp() + make_interval(secs => $1),
    started_at = coalesce(started_at, clock_timestamp())
WHERE id = (
    SELECT id FROM product_imports
    WHERE state IN ('QUEUED', 'RUNNING') AND leased_until <= (SELECT clock_timestamp())
    ORDER BY id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *
"""
_HOLD = """
UPDATE product_imports SET leased_until = clock_timestamp() + make_interval(secs => $4)
WHERE id = $1 AND epoch = $2 AND reached = $3 AND state = 'RUNNING'
RETURNING true
"""
_ADVANCE = """
UPDATE product_imports
SET reached = $2, created = created + $3, updated = updated + $4, unchanged = unchanged + $5, failed = failed + $6,
    errors = errors + $7, tries = 0
WHERE id = $1
RETURNING errors - $7
"""
_KEEP_ERRORS = """
INSERT INTO product_import_errors (import_id, id, line, column_name, code, message)
SELECT $1, * FROM unnest($2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[])
"""
_END = """
UPDATE product_imports SET state = $2, reason = $3, finished_at = clock_timestamp()
WHERE id = $1 AND state IN ('QUEUED', 'RUNNING')
RETURNING true
"""
_LET_GO = "UPDATE product_imports SET leased_until = '-infinity' WHERE id = $1 AND epoch = $2 AND state = 'RUNNING'"
_ERRORS = """
SELECT id, line, column_name AS column, code, message
FROM product_import_errors
WHERE import_id = $1 AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3
"""
