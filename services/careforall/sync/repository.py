"""All SQL of customers and of what targets told. Rows are locked customers first, then deliveries."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit.db import Connection
from careforall.sync.domain import Customer, Told

_METADATA = msgspec.json.Decoder(dict[str, str])


async def insert(connection: Connection, customer: Customer) -> None:
    """Store a new customer."""
    await connection.execute(_INSERT, customer.id, customer.email, customer.name, _text(customer), customer.created_at)


async def update(connection: Connection, customer: Customer) -> None:
    """Store a changed or deleted customer."""
    await connection.execute(
        _UPDATE,
        customer.id,
        customer.email,
        customer.name,
        _text(customer),
        customer.version,
        customer.updated_at,
        customer.deleted_at,
    )


async def forget_answers(connection: Connection, customer_id: UUID) -> None:
    """Delete the answers, kept under idempotency keys, that quote a customer."""
    await connection.execute(_FORGET_ANSWERS, str(customer_id).encode())


async def customer(connection: Connection, customer_id: UUID) -> Customer | None:
    """Return a customer, deleted or not."""
    row = await connection.fetchrow(f"{_CUSTOMERS} WHERE id = $1", customer_id)
    return _customer(row) if row else None


async def locked(connection: Connection, customer_id: UUID) -> Customer | None:
    """Lock and return a customer, deleted or not."""
    row = await connection.fetchrow(f"{_CUSTOMERS} WHERE id = $1 FOR UPDATE", customer_id)
    return _customer(row) if row else None


async def locked_by_email(connection: Connection, email: str) -> Customer | None:
    """Lock and return the customer of a mail."""
    row = await connection.fetchrow(f"{_CUSTOMERS} WHERE email = $1 AND deleted_at IS NULL FOR UPDATE", email)
    return _customer(row) if row else None


async def customers(connection: Connection, email: str | None, before: UUID | None, limit: int) -> list[Customer]:
    """Return customers, newest first."""
    return [_customer(row) for row in await connection.fetch(_LIST, email, before, limit)]


async def by_ids(connection: Connection, customer_ids: Sequence[UUID]) -> dict[UUID, Customer]:
    """Return customers by their ids."""
    rows = await connection.fetch(f"{_CUSTOMERS} WHERE id = ANY($1::uuid[])", list(customer_ids))
    return {row["id"]: _customer(row) for row in rows}


async def after(connection: Connection, customer_id: UUID | None, limit: int) -> list[Customer]:
    """Return customers in the order of their ids, deleted ones too."""
    rows = await connection.fetch(f"{_CUSTOMERS} WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2", customer_id, limit)
    return [_customer(row) for row in rows]


async def note_told(connection: Connection, target: str, told: Told) -> bool:
    """Claim an event; False where it was judged before."""
    found = await connection.fetchval(_TOLD, target, told.event_id, told.event_type, told.external_id)
    return bool(found)


async def judged_before(connection: Connection, target: str, event_id: str) -> asyncpg.Record:
    """Return what became of an event; the touch makes this transaction a writing one (rule 2)."""
    row = await connection.fetchrow(_JUDGED, target, event_id)
    assert row is not None
    return row


async def note_judged(
    connection: Connection, target: str, event_id: str, *, customer_id: UUID | None, status: str, reason: str | None
) -> None:
    """Note what became of an event."""
    await connection.execute(_NOTE_JUDGED, target, event_id, customer_id, status, reason)


def _text(customer: Customer) -> str:
    return msgspec.json.encode(customer.metadata).decode()


def _customer(row: Any) -> Customer:
    fields = dict(row)
    fields["metadata"] = _METADATA.decode(fields["metadata"])
    fields["external_ids"] = _METADATA.decode(fields["external_ids"])
    return Customer(**fields)


_CUSTOMERS = """
SELECT id, email, name, metadata, version, created_at, updated_at, deleted_at,
       (SELECT coalesce(jsonb_object_agg(target, external_id) FILTER (WHERE external_id IS NOT NULL), '{}')
        FROM deliveries
        WHERE aggregate_id = customers.id) AS external_ids
FROM customers
"""
_LIST = (
    _CUSTOMERS
    + """
WHERE deleted_at IS NULL AND ($1::text IS NULL OR email = $1) AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3
"""
)
_INSERT = "INSERT INTO customers (id, email, name, metadata, created_at, updated_at) VALUES ($1, $2, $3, $4::jsonb, $5, $5)"
_UPDATE = """
UPDATE customers SET email = $2, name = $3, metadata = $4::jsonb, version = $5, updated_at = $6, deleted_at = $7
WHERE id = $1
"""
# The index names the same bytes: an answer begins with the customer's id.
_FORGET_ANSWERS = """
DELETE FROM idempotency_keys WHERE scope LIKE 'POST /customers|%' AND substring(body FROM 8 FOR 36) = $1
"""
_TOLD = """
INSERT INTO inbound_events (target, event_id, event_type, external_id, status)
VALUES ($1, $2, $3, $4, 'ignored')
ON CONFLICT (target, event_id) DO NOTHING
RETURNING true
"""
_JUDGED = """
UPDATE inbound_events SET received_at = received_at WHERE target = $1 AND event_id = $2 RETURNING status, reason
"""
_NOTE_JUDGED = """
UPDATE inbound_events SET customer_id = $3, status = $4, reason = $5 WHERE target = $1 AND event_id = $2
"""
