"""Imports of products from CSV files: ordered as rows, worked off product by product by whoever is free.

A step applies some products and moves the mark of how far the import came, in one transaction; so each row is applied once,
however often a worker is killed, and whoever comes next goes on where the last one stopped. A worker holds a lease and an epoch:
the late word of one that was given up counts for nothing. A dry run does the same work and undoes it before it notes the outcome.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import msgspec
import structlog

from careforall.catalog import applying, columns, repository, sheet
from careforall.catalog import repository_imports as imports
from careforall.catalog.applying import Applied
from careforall.catalog.errors import ImportEnded, ImportNotFound
from careforall.catalog.repository_imports import Import, KeptError, Step
from careforall.catalog.settings import CatalogSettings
from careforall.catalog.sheet import Sheet
from careforall.kit import constraints, context, crash, sheets
from careforall.kit.context import Cause
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Locked, Problem, TooSlow, Unavailable
from careforall.kit.ids import new_id

log = structlog.get_logger(__name__)

_LEASE_SECONDS = 15.0
_ROWS_OF_A_STEP = 200
_MOST_TRIES = 20
"""Workers in a row that may be lost over an import before it is given up."""
_PATIENCE = (0.2, 0.5, 1.0)
"""Seconds between tries of a step whose products are held by somebody else."""
_PAGE = 200


class _Lost(Exception):
    """The import is another worker's by now, or was cancelled."""


class Importing:
    """Takes files, works them off and tells of them."""

    def __init__(self, database: Database, settings: CatalogSettings) -> None:
        self._database = database
        self._settings = settings

    async def order(self, connection: Connection, content: bytes, *, dry_run: bool, by: str) -> Import:
        """Take a file in the caller's transaction; workers begin with it within seconds.

        Raises:
            InvalidInput: The file as a whole cannot be read.
        """
        read = await _read(content, self._settings.import_rows)
        made = await imports.insert(connection, new_id(), dry_run=dry_run, by=by, rows=read.rows, products=len(read.products))
        await imports.keep_file(connection, made.id, content)
        return made

    async def newest(self, before: UUID | None, limit: int) -> list[Import]:
        """Return imports, newest first."""
        async with self._database.connection() as connection:
            return await imports.newest(connection, before, limit)

    async def report(self, import_id: UUID, after: UUID | None, limit: int) -> tuple[Import, list[KeptError]]:
        """Return an import with a page of what was wrong.

        Raises:
            ImportNotFound: There is none.
        """
        async with self._database.snapshot() as connection:
            found = await imports.by_id(connection, import_id)
            if found is None:
                raise ImportNotFound
            return found, await imports.errors(connection, import_id, after, limit)

    async def cancel(self, import_id: UUID) -> Import:
        """Stop an import; what it did stays.

        Raises:
            ImportNotFound: There is none.
            ImportEnded: It is over.
        """

        async def work(connection: Connection) -> Import:
            ended = await imports.end(connection, import_id, "CANCELLED", "cancelled by staff")
            found = await imports.by_id(connection, import_id)
            if found is None:
                raise ImportNotFound
            if not ended:
                raise ImportEnded
            return found

        return await self._database.run(work)

    async def export(self) -> AsyncIterator[str]:
        """Yield all products that are not removed as a file that can be imported."""
        async with self._database.connection() as connection:
            names = columns.columns_for(*await repository.attribute_names(connection))
        yield sheets.line(names)
        last: UUID | None = None
        while True:
            async with self._database.connection() as connection:
                page = await repository.listed(connection, last, _PAGE)
            if not page:
                return
            last = page[-1].id
            rows = (cells for one in page if not one.removed for cells in columns.cells_of(one, names))
            yield "".join(map(sheets.line, rows))

    async def work(self) -> int:
        """Work on imports until none is left; return how many were ended. Several processes may."""
        ended = 0
        while (taken := await self._database.run(lambda connection: imports.claim(connection, _LEASE_SECONDS))) is not None:
            try:
                await self._work_off(taken)
            except _Lost:
                continue
            except (Locked, TooSlow, Unavailable) as problem:
                log.warning("import interrupted", import_id=str(taken.id), reason=problem.detail)
                await self._let_go(taken)
                return ended
            ended += 1
        return ended

    async def _work_off(self, taken: Import) -> None:
        context.enter(Cause(correlation_id=f"import {taken.id}"))
        if taken.tries > _MOST_TRIES:
            await self._end(taken, "FAILED", "given up: the workers on it were lost again and again")
            return
        async with self._database.connection() as connection:
            content = await imports.file_of(connection, taken.id)
        if content is None:
            raise _Lost
        await self._steps(taken, await _read(content, taken.rows))
        await self._end(taken, "COMPLETED", "")

    async def _steps(self, taken: Import, read: Sheet) -> None:
        start = taken.reached
        while start < len(read.products):
            end = _step_end(read, start)
            await self._span(taken, read, start, end)
            start = end

    async def _span(self, taken: Import, read: Sheet, start: int, end: int) -> None:
        """Apply products together; where one of them is refused, find it by halves."""
        try:
            await self._patiently(taken, read, start, end)
        except (Problem, asyncpg.PostgresError) as error:
            problem = _refusal(error)
            if end - start == 1:
                await self._step(taken, read, start, end, problem)
                return
            middle = (start + end) // 2
            await self._span(taken, read, start, middle)
            await self._span(taken, read, middle, end)

    async def _patiently(self, taken: Import, read: Sheet, start: int, end: int) -> None:
        """Apply products; while others hold them, try again for a moment."""
        for pause in _PATIENCE:
            try:
                return await self._step(taken, read, start, end)
            except (Locked, TooSlow):
                await asyncio.sleep(pause)
        return await self._step(taken, read, start, end)

    async def _step(self, taken: Import, read: Sheet, start: int, end: int, problem: Problem | None = None) -> None:
        async def work(connection: Connection) -> None:
            if not await imports.hold(connection, taken, start, _LEASE_SECONDS):
                raise _Lost
            if problem is not None:
                applied = applying.refused(read, read.products[start], problem)
            else:
                applied = await self._applied(connection, taken, read, start, end)
            await imports.advance(connection, taken.id, _as_step(applied, end), self._settings.import_errors)
            crash.point("import.before_commit")

        await self._database.run(work)
        crash.point("import.after_commit")

    async def _applied(self, connection: Connection, taken: Import, read: Sheet, start: int, end: int) -> Applied:
        if not taken.dry_run:
            return await applying.apply(connection, read, read.products[start:end])
        attempt = connection.transaction()
        await attempt.start()
        try:
            return await applying.apply(connection, read, read.products[start:end])
        finally:
            await attempt.rollback()

    async def _let_go(self, taken: Import) -> None:
        with contextlib.suppress(Problem):  # else the lease ends by itself
            await self._database.run(lambda connection: imports.let_go(connection, taken))

    async def _end(self, taken: Import, state: imports.ImportState, reason: str) -> None:
        await self._database.run(lambda connection: imports.end(connection, taken.id, state, reason))


async def _read(content: bytes, most_rows: int) -> Sheet:
    """Read a file on another thread: a large one takes a while."""
    return await asyncio.to_thread(sheet.read, content, most_rows=most_rows)


def _step_end(read: Sheet, start: int) -> int:
    """Return up to which product a step goes: some rows, and at least one product."""
    end, rows = start, 0
    while end < len(read.products) and (end == start or rows + len(read.products[end]) <= _ROWS_OF_A_STEP):
        rows += len(read.products[end])
        end += 1
    return end


def _refusal(error: Exception) -> Problem:
    """Return the refusal of what cannot be stored; whatever else went wrong goes on."""
    if isinstance(error, Problem) and not isinstance(error, (Locked, TooSlow, Unavailable)):
        return error
    if isinstance(error, asyncpg.PostgresError) and constraints.is_refusal(error):
        return constraints.as_problem(error)
    raise error


def _as_step(applied: Applied, reached: int) -> Step:
    return Step(reached=reached, **msgspec.structs.asdict(applied))
