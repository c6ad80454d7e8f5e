"""The SQL of sagas: who may drive which, and where each of them is."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit import json, outbox
from careforall.kit.db import Connection
from careforall.kit.ids import by_id
from careforall.orders.records import Run, Sale, Turn
from careforall.orders.saga_words import CODE_VERSION, Saga


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """By what a write knows whether a saga is still the one that was read."""

    epoch: int
    version: int
    turn: UUID


class _Payload(msgspec.Struct):
    saga: Saga
    sale: Sale
    logged: int


_decode = msgspec.json.Decoder(_Payload).decode


async def lock(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Mark]:
    """Lock what nobody else has locked, in id order; what is missing in the answer is held (rule 1 d)."""
    rows = await connection.fetch(_LOCK_FREE, sorted(set(ids), key=by_id))
    return {row["id"]: Mark(epoch=row["epoch"], version=row["version"], turn=row["turn"]) for row in rows}


async def begin(connection: Connection, turns: Sequence[Turn]) -> set[UUID]:
    """Insert new sagas with their logs and return those that were new, by one statement; at most one turn of a saga.

    Buyers who were erased buy nothing more, staff still gives them back.
    """
    rows = await connection.fetch(_BEGIN, *saga_columns(turns), *log_columns(turns))
    return {row["id"] for row in rows}


async def move(connection: Connection, turns: Sequence[Turn]) -> set[UUID]:
    """Write turns of sagas that are still the ones that were read, with logs and events, and return those sagas; one statement.

    At most one turn of a saga, and none that changes an order. What somebody holds, or has moved on, is missing in the answer.
    """
    told = [(turn.after.saga.id, event) for turn in turns for event in turn.events]
    rows = await connection.fetch(
        _MOVE,
        *saga_columns(turns),
        [turn.before.epoch for turn in turns],
        *log_columns(turns),
        [identifier for identifier, _ in told],
        *outbox.columns([event for _, event in told]),
    )
    return {row["id"] for row in rows}


async def begun(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Return the newest turns of sagas, touched so that our own COMMIT proves theirs (rule 2)."""
    return {row["id"]: row["turn"] for row in await connection.fetch(_TOUCH, list(ids))}


async def runs(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Run]:
    """Read sagas."""
    return {row["id"]: _run(row) for row in await connection.fetch(_SOME, ids)}


async def waiting(connection: Connection, user_ids: Sequence[UUID]) -> list[Run]:
    """Read the checkouts of people that wait for them, oldest first."""
    return [_run(row) for row in await connection.fetch(_WAITING, list(user_ids))]


async def runs_of_intents(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Run]:
    """Lock the sagas that sell what intents pay for, in id order."""
    rows = await connection.fetch(_OF_INTENTS, list(ids))
    return {row["intent_id"]: _run(row) for row in rows}


async def claim_due(connection: Connection, seconds: float, limit: int) -> list[Run]:
    """Take over sagas whose lease or time ran out: the epoch rises, so that whoever had them writes no more."""
    return [_run(row) for row in await connection.fetch(_CLAIM, seconds, limit)]


async def postpone(connection: Connection, held: Run, *, seconds: float, error: str, park: bool) -> bool:
    """Give a saga back to be tried again later; False where somebody else has it by now."""
    done = await connection.execute(_POSTPONE, held.saga.id, held.epoch, held.version, seconds, error[:500], park)
    return done.endswith("1")


_COLUMNS = "s.id, s.payload, s.error, s.request_hash, s.epoch, s.version, s.tries, s.created_at, s.intent_id"
# One plan for all calls: see `kit/db.py`.
_LOCK_FREE = """
SELECT id, epoch, version, turn
FROM saga_state
WHERE id = ANY((SELECT $1::uuid[])::uuid[])
ORDER BY id
FOR UPDATE SKIP LOCKED
"""
_SAGA = """
    id, type, status, current_step, payload, completed_steps, error, user_id, intent_id, request_hash, lease, epoch, version,
    turn, tries
"""
LEASE = "clock_timestamp() + make_interval(secs => n.lease)"
"""Until when a saga is left alone; null where it has ended."""
KEPT_LEASE = f"""
CASE
    WHEN s.lease_until > clock_timestamp() + make_interval(secs => n.lease * 0.75)
        AND s.lease_until <= clock_timestamp() + make_interval(secs => n.lease)
    THEN s.lease_until
    ELSE {LEASE}
END
"""
"""The same for a saga that goes on: a lease that is good for nearly as long stays, so that its index need not change."""


def saga_rows(first: int) -> str:
    """Return the `unnest` of the columns of sagas from parameter `first` on; one plan for all calls, see `kit/db.py`."""
    kinds = (
        *("uuid", "text", "text", "text", "jsonb", "text", "text", "uuid", "uuid", "bytea", "float8", "integer", "integer"),
        *("uuid", "integer"),
    )
    ids, *others = (f"${first + index}::{kind}[]" for index, kind in enumerate(kinds))
    return f"unnest((SELECT {ids}), {', '.join(others)}) AS n ({_SAGA})"


def saga_columns(turns: Sequence[Turn]) -> list[list[Any]]:
    """Return the values of `saga_rows`, in id order."""
    runs = [turn.after for turn in turns]
    return [
        [run.saga.id for run in runs],
        [run.saga.type for run in runs],
        [run.saga.status for run in runs],
        [run.saga.stage for run in runs],
        [json.encode({"saga": run.saga, "sale": run.sale, "logged": run.logged}).decode() for run in runs],
        [",".join(sorted(run.saga.done)) for run in runs],
        [run.error[:500] for run in runs],
        [run.sale.user_id for run in runs],
        [run.sale.intent_id for run in runs],
        [run.request_hash for run in runs],
        [turn.lease for turn in turns],
        [run.epoch for run in runs],
        [run.version for run in runs],
        [turn.id for turn in turns],
        [run.tries for run in runs],
    ]


MOVED = f"""
    status = n.status, current_step = n.current_step, payload = n.payload,
    completed_steps = string_to_array(n.completed_steps, ','), error = n.error, code_version = {CODE_VERSION},
    lease_until = {KEPT_LEASE.strip()}, epoch = n.epoch, version = n.version, turn = n.turn, tries = n.tries,
    parked_at = NULL, updated_at = clock_timestamp()
"""
"""What a turn makes of its saga, from `saga_rows`."""


def log_columns(turns: Sequence[Turn]) -> list[list[Any]]:
    """Return the values of `log_rows`."""
    logs = [(turn, number, entry) for turn in turns for number, entry in enumerate(turn.logs, turn.before.logged)]
    return [
        [turn.after.saga.id for turn, _, _ in logs],
        [number for _, number, _ in logs],
        [entry.step for _, _, entry in logs],
        [entry.attempt for _, _, entry in logs],
        [entry.status for _, _, entry in logs],
        [entry.data[:500] for _, _, entry in logs],
    ]


def log_rows(first: int) -> str:
    """Return the `unnest` of the columns of logs from parameter `first` on."""
    kinds = ("uuid", "integer", "text", "integer", "text", "text")
    columns = ", ".join(f"${first + index}::{kind}[]" for index, kind in enumerate(kinds))
    return f"unnest({columns}) AS l (saga_id, number, step, attempt, status, data)"


_BEGIN = (
    """
WITH begun AS (
    INSERT INTO saga_state (
        id, type, status, current_step, payload, completed_steps, error, code_version, user_id, intent_id, request_hash,
        lease_until, epoch, version, turn, tries
    )
    SELECT n.id, n.type, n.status, n.current_step, n.payload, string_to_array(n.completed_steps, ','), n.error, @code_version@,
           n.user_id, n.intent_id, n.request_hash, @lease@, n.epoch, n.version, n.turn, n.tries
    FROM @saga_rows_1@
    WHERE n.type IN ('CANCEL', 'RETURN') OR NOT EXISTS (SELECT FROM erased_buyers AS e WHERE e.user_id = n.user_id)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), logged AS (
    INSERT INTO saga_step_log (saga_id, number, step, attempt, status, data)
    SELECT l.* FROM @log_rows_16@ JOIN begun ON begun.id = l.saga_id
)
SELECT id FROM begun
""".replace("@code_version@", str(CODE_VERSION))
    .replace("@lease@", LEASE)
    .replace("@saga_rows_1@", saga_rows(1))
    .replace("@log_rows_16@", log_rows(16))
)
# The rows are locked first, in id order and past those that others hold: nobody here waits for a lock.
_MOVE = (
    """
WITH free AS (
    SELECT s.id
    FROM unnest((SELECT $1::uuid[]), $16::integer[], $13::integer[]) AS was (id, epoch, version)
    JOIN saga_state AS s ON s.id = was.id
    WHERE s.epoch = was.epoch AND s.version = was.version - 1
    ORDER BY s.id
    FOR UPDATE OF s SKIP LOCKED
), moved AS (
    UPDATE saga_state AS s
    SET @moved@
    FROM @saga_rows_1@, free
    WHERE s.id = n.id AND n.id = free.id
    RETURNING s.id
), logged AS (
    INSERT INTO saga_step_log (saga_id, number, step, attempt, status, data)
    SELECT l.* FROM @log_rows_17@ JOIN moved ON moved.id = l.saga_id
), told AS (
    INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
    SELECT e.id, e.event_type, e.aggregate_id, e.payload, e.traceparent
    FROM unnest($23::uuid[], $24::uuid[], $25::text[], $26::uuid[], $27::bytea[], $28::text[])
        AS e (saga_id, id, event_type, aggregate_id, payload, traceparent)
    JOIN moved ON moved.id = e.saga_id
)
SELECT id FROM moved
""".replace("@moved@", MOVED.strip())
    .replace("@saga_rows_1@", saga_rows(1))
    .replace("@log_rows_17@", log_rows(17))
)
_TOUCH = """
UPDATE saga_state SET updated_at = updated_at
WHERE id = ANY($1::uuid[])
RETURNING id, turn
"""
# One plan for all calls of each: see `kit/db.py`.
_WAITING = """
SELECT @columns@
FROM saga_state AS s
WHERE s.user_id = ANY((SELECT $1::uuid[])::uuid[])
  AND s.lease_until IS NOT NULL
  AND s.type = 'CHECKOUT'
  AND s.current_step IN ('ready', 'payer')
ORDER BY s.id
""".replace("@columns@", _COLUMNS)
_SOME = """
SELECT @columns@
FROM saga_state s
WHERE s.id = ANY((SELECT $1::uuid[])::uuid[])
""".replace("@columns@", _COLUMNS)
_OF_INTENTS = """
SELECT @columns@
FROM saga_state s
WHERE s.intent_id = ANY($1::uuid[]) AND s.type IN ('CHECKOUT', 'DIRECT')
ORDER BY s.id
FOR UPDATE
""".replace("@columns@", _COLUMNS)
# The clock is asked once: compared with it row by row, every saga that waits would be read and not only those that are due.
_CLAIM = """
UPDATE saga_state s
SET epoch = s.epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $1), updated_at = clock_timestamp()
FROM (
    SELECT id
    FROM saga_state
    WHERE lease_until <= (SELECT clock_timestamp())
    ORDER BY lease_until
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due
WHERE s.id = due.id
RETURNING @columns@
""".replace("@columns@", _COLUMNS)
_POSTPONE = """
UPDATE saga_state
SET lease_until = clock_timestamp() + make_interval(secs => $4), tries = tries + 1, error = $5,
    parked_at = CASE WHEN $6 THEN coalesce(parked_at, clock_timestamp()) ELSE parked_at END
WHERE id = $1 AND epoch = $2 AND version = $3 AND lease_until IS NOT NULL
"""


def _run(row: asyncpg.Record) -> Run:
    stored = _decode(row["payload"])
    return Run(
        saga=stored.saga,
        sale=stored.sale,
        epoch=row["epoch"],
        version=row["version"],
        logged=stored.logged,
        tries=row["tries"],
        error=row["error"],
        request_hash=row["request_hash"],
        created_at=row["created_at"],
    )
