"""Events are rows first: written in the transaction that changes state, published later by the relay, unchanged."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from careforall.kit.context import Cause
from careforall.kit.db import Connection
from careforall.kit.envelope import Event, seal
from careforall.kit.ids import new_id


class Outgoing(msgspec.Struct, frozen=True):
    """One outbox row; `id` is also the broker's message id."""

    id: UUID
    event_type: str
    aggregate_id: UUID
    payload: bytes
    traceparent: str | None


def outgoing(
    event: Event,
    *,
    aggregate_id: UUID,
    aggregate_version: int,
    source: str,
    cause: Cause,
    event_id: UUID | None = None,
    subject: str = "",
) -> Outgoing:
    """Seal an event for the outbox.

    `event_id` may be given where a repeat must produce the same id; `subject` where one Struct serves several subjects.
    """
    identifier = event_id or new_id()
    payload = seal(
        event,
        subject=subject or event.SUBJECT,
        event_id=identifier,
        aggregate_id=aggregate_id,
        aggregate_version=aggregate_version,
        source=source,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
    )
    return Outgoing(identifier, subject or event.SUBJECT, aggregate_id, payload, cause.traceparent)


async def insert(connection: Connection, rows: Sequence[Outgoing]) -> None:
    """Store rows in the caller's transaction; a row that is already there stays as it is."""
    if rows:
        await connection.execute(_INSERT, *columns(rows))


def columns(rows: Sequence[Outgoing]) -> tuple[list[Any], list[Any], list[Any], list[Any], list[Any]]:
    """Return the rows as parallel lists for `unnest`, for statements that write the outbox along with their own rows."""
    return (
        [row.id for row in rows],
        [row.event_type for row in rows],
        [row.aggregate_id for row in rows],
        [row.payload for row in rows],
        [row.traceparent for row in rows],
    )


_INSERT = """
INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[], $5::text[])
ON CONFLICT (id) DO NOTHING
"""
