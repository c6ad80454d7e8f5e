"""The SQL of alarms after they were raised, which is where facts are written: staff settle them, or they come to agree."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.payments.domain import ANOTHER_AMOUNT, GENERIC


class RaisedAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as stored."""

    id: UUID
    kind: str
    gateway: str
    subject_key: str
    payment_id: UUID | None
    detail: str
    created_at: datetime
    settled_at: datetime | None
    settled_by: str
    note: str


async def alarms(connection: Connection, before: UUID | None, limit: int, *, settled: bool | None) -> list[RaisedAlarm]:
    """Return alarms, newest first; open or settled ones only, if asked for."""
    return [RaisedAlarm(**row) for row in await connection.fetch(_ALARMS, before, settled, limit)]


async def alarm(connection: Connection, identifier: UUID) -> RaisedAlarm | None:
    """Return an alarm."""
    row = await connection.fetchrow(_ALARM, identifier)
    return RaisedAlarm(**row) if row else None


async def settle(connection: Connection, identifier: UUID, *, by: str, note: str) -> None:
    """Settle an alarm; one that is settled stays as it is."""
    await connection.execute(_SETTLE, identifier, by, note)


async def is_settled(connection: Connection, kind: str, gateway: str, subject_key: str) -> bool:
    """Whether a person has looked at an alarm already."""
    return bool(await connection.fetchval(_IS_SETTLED, kind, gateway, subject_key))


async def settle_agreed(connection: Connection, kinds: Sequence[str], gateway: str, subject_key: str) -> None:
    """Settle what does not need a person any more."""
    await connection.execute(_SETTLE_AGREED, list(kinds), gateway, subject_key)


async def told_otherwise(connection: Connection, payments: Sequence[UUID]) -> list[UUID]:
    """Return the payments, of these, of which a gateway that can be asked ever told another amount, settled or not."""
    rows = await connection.fetch(_TOLD_OTHERWISE, ANOTHER_AMOUNT, GENERIC, list(payments))
    return [row["payment_id"] for row in rows]


_TOLD_OTHERWISE = """
SELECT DISTINCT payment_id
FROM payment_alarms
WHERE kind = $1 AND gateway <> $2 AND payment_id = ANY($3::uuid[])
"""
_ALARMS = """
SELECT id, kind, gateway, subject_key, payment_id, detail, created_at, settled_at, settled_by, note
FROM payment_alarms
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::boolean IS NULL OR (settled_at IS NOT NULL) = $2)
ORDER BY id DESC
LIMIT $3
"""
_ALARM = """
SELECT id, kind, gateway, subject_key, payment_id, detail, created_at, settled_at, settled_by, note
FROM payment_alarms
WHERE id = $1
"""
_SETTLE = """
UPDATE payment_alarms SET settled_at = clock_timestamp(), settled_by = $2, note = $3
WHERE id = $1 AND settled_at IS NULL
"""
_IS_SETTLED = """
SELECT settled_at IS NOT NULL FROM payment_alarms WHERE kind = $1 AND gateway = $2 AND subject_key = $3 AND body_hash = ''
"""
_SETTLE_AGREED = """
UPDATE payment_alarms SET settled_at = clock_timestamp()
WHERE kind = ANY($1::text[]) AND gateway = $2 AND subject_key = $3 AND settled_at IS NULL
"""
