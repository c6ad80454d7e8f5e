"""The SQL of returns."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit import json
from careforall.kit.db import Connection
from careforall.orders.domain import Return, ReturnLine

_decode_lines = msgspec.json.Decoder(tuple[ReturnLine, ...]).decode


async def insert(connection: Connection, new: Return) -> Return:
    """Store a new return, and return it with its time."""
    lines = json.encode(new.lines).decode()
    made_at = await connection.fetchval(
        _INSERT, new.id, new.order_id, new.status, new.reason, new.note, new.condition_rule, new.label, lines, new.amount
    )
    return msgspec.structs.replace(new, created_at=made_at)


async def lock(connection: Connection, identifier: UUID) -> Return | None:
    """Lock one return."""
    row = await connection.fetchrow(_LOCK, identifier)
    return _return(row) if row else None


async def by_id(connection: Connection, identifier: UUID) -> Return | None:
    """Read one return."""
    row = await connection.fetchrow(_ONE, identifier)
    return _return(row) if row else None


async def of_order(connection: Connection, order_id: UUID) -> list[Return]:
    """Return what was asked to be sent back of an order."""
    return [_return(row) for row in await connection.fetch(_OF_ORDER, order_id)]


async def page(connection: Connection, status: str | None, before: UUID | None, limit: int) -> list[Return]:
    """Return returns, newest first."""
    return [_return(row) for row in await connection.fetch(_PAGE, status, before, limit)]


async def decide(connection: Connection, found: Return, status: str, by: UUID, note: str) -> None:
    """Approve or reject a locked return, with what goes back for it."""
    await connection.execute(_DECIDE, found.id, status, by, note, found.amount)


async def settle_refunded(connection: Connection, refunded: Mapping[UUID, Decimal | None]) -> None:
    """Note that the money of approved returns went back, with how much where that is not what was approved."""
    await connection.execute(_REFUNDED, list(refunded), list(refunded.values()))


def _return(row: asyncpg.Record) -> Return:
    found = dict(row)
    return Return(**{**found, "lines": _decode_lines(found["lines"])})


_COLUMNS = (
    "id, order_id, status, reason, note, condition_rule, label, lines, amount, decided_by, decision_note, version, created_at"
)
_INSERT = """
INSERT INTO order_returns (id, order_id, status, reason, note, condition_rule, label, lines, amount)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING created_at
"""
_ONE = "SELECT @columns@ FROM order_returns WHERE id = $1".replace("@columns@", _COLUMNS)
_LOCK = "SELECT @columns@ FROM order_returns WHERE id = $1 FOR UPDATE".replace("@columns@", _COLUMNS)
_OF_ORDER = "SELECT @columns@ FROM order_returns WHERE order_id = $1 ORDER BY id".replace("@columns@", _COLUMNS)
_PAGE = """
SELECT @columns@
FROM order_returns
WHERE ($1::text IS NULL OR status = $1) AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3
""".replace("@columns@", _COLUMNS)
_DECIDE = """
UPDATE order_returns
SET status = $2, decided_by = $3, decision_note = $4, amount = $5, version = version + 1, updated_at = clock_timestamp()
WHERE id = $1 AND status = 'PENDING'
"""
_REFUNDED = """
UPDATE order_returns AS r
SET status = 'REFUNDED', amount = coalesce(back.amount, r.amount), version = r.version + 1, updated_at = clock_timestamp()
FROM unnest($1::uuid[], $2::numeric[]) AS back (id, amount)
WHERE r.id = back.id AND r.status = 'APPROVED'
"""
