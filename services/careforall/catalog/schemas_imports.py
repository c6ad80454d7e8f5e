"""HTTP shapes of imports."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from careforall.catalog.repository_imports import Import, ImportState, KeptError


class ImportErrorOut(msgspec.Struct, frozen=True, kw_only=True):
    """Why a row is refused: the line of the file it begins on (from 1), and the column, empty where the whole row is meant."""

    line: int
    column: str
    code: str
    message: str


class ImportOut(msgspec.Struct, frozen=True, kw_only=True):
    """An import. Each row is created, updated, unchanged or failed; `processed` of `rows` are done."""

    id: UUID
    state: ImportState
    dry_run: bool
    ordered_by: str
    rows: int
    processed: int
    progress: Annotated[float, Meta(description="Per cent.")]
    created: int
    updated: int
    unchanged: int
    failed: int
    error_count: Annotated[int, Meta(description="All errors; as many as the setting `import_errors` says are kept.")]
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ImportReport(ImportOut, frozen=True, kw_only=True):
    """An import with a page of its errors, in the order in which they were found."""

    errors: list[ImportErrorOut]
    next_cursor: str | None


def import_out(one: Import) -> ImportOut:
    """Return an import as lists show it."""
    fields = {name: getattr(one, name) for name in ImportOut.__struct_fields__ if hasattr(one, name)}
    processed = one.created + one.updated + one.unchanged + one.failed
    return ImportOut(**fields, processed=processed, progress=round(100 * processed / one.rows, 1), error_count=one.errors)


def report_out(one: Import, errors: list[KeptError], next_cursor: str | None) -> ImportReport:
    """Return an import with a page of its errors."""
    shown = [ImportErrorOut(line=error.line, column=error.column, code=error.code, message=error.message) for error in errors]
    return ImportReport(**msgspec.structs.asdict(import_out(one)), errors=shown, next_cursor=next_cursor)
