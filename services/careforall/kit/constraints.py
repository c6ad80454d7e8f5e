"""Constraint violations become problems that name the field, so that no driver error reaches a caller."""

import re

import asyncpg

from careforall.kit.errors import Conflict, DuplicateEntry, FieldError, InvalidInput, Problem

_KEY = re.compile(r"Key \((?P<columns>[^)]+)\)=")
_DATA_ERRORS = ("21", "22", "23")


def is_refusal(error: asyncpg.PostgresError) -> bool:
    """Whether what was sent is at fault (SQLSTATE class 21, 22, 23), not the server or the moment."""
    return (error.sqlstate or "").startswith(_DATA_ERRORS)


def as_problem(error: asyncpg.PostgresError) -> Problem:
    """Translate an integrity or data error (SQLSTATE class 21, 22, 23)."""
    field = _field(error)
    if isinstance(error, asyncpg.UniqueViolationError):
        return DuplicateEntry(errors=[FieldError(pointer=f"/{field}", code="duplicate_entry", message="already taken")])
    if isinstance(error, asyncpg.NotNullViolationError):
        return InvalidInput.field(f"/{field}", "required_field", "this field is required")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return Conflict("Something this refers to does not exist or is still in use.", field=field)
    return InvalidInput.field(f"/{field}", "invalid_value", "the value cannot be stored")


def _field(error: asyncpg.PostgresError) -> str:
    if column := getattr(error, "column_name", None):
        return str(column)
    found = _KEY.search(getattr(error, "detail", None) or "")
    return found["columns"].split(",")[0].strip() if found else str(getattr(error, "constraint_name", None) or "")
