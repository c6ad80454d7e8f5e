"""The SQL of a batch: locks and reads its page of the stock book, and writes back what changed.

Every transaction that changes stock takes its rows in one order: SKUs, holders, and then, under these locks, stock, reservations,
movements, steps and outbox.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.contracts.inventory import sku_id
from careforall.inventory.book import Book, Page
from careforall.inventory.domain import Hold, Holder, Shelf
from careforall.kit import outbox
from careforall.kit.db import Connection
from careforall.kit.ids import by_id
from careforall.kit.outbox import Outgoing


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a step was answered, and to what."""

    step_id: UUID
    fingerprint: bytes
    status: int
    answer: bytes


async def survey(connection: Connection, skus: Iterable[str], holders: Iterable[UUID]) -> list[tuple[str, UUID]]:
    """Return (SKU, holder) of what the holders have, and of what they have who have an overdue hold of these SKUs.

    Read before anything is locked, to know what to lock; what it says is read again afterwards.
    """
    rows = await connection.fetch(_SURVEY, sorted(skus), sorted(holders, key=by_id))
    return [(row["sku"], row["holder_id"]) for row in rows]


async def lock_skus(connection: Connection, skus: Iterable[str]) -> dict[str, int]:
    """Lock SKUs in key order, waiting for each; return the versions of those that are known."""
    rows = await connection.fetch(_LOCK_SKUS, sorted(skus))
    return {row["sku"]: row["version"] for row in rows}


async def make_skus(connection: Connection, skus: Iterable[str]) -> set[str]:
    """Make SKUs known, and return those that were not; what is known stays as it is."""
    names = sorted(set(skus))
    rows = await connection.fetch(_MAKE_SKUS, names, [sku_id(name) for name in names]) if names else []
    return {row["sku"] for row in rows}


async def forget_skus(connection: Connection, skus: Iterable[str]) -> None:
    """Forget SKUs that were made in this transaction and came to nothing."""
    if names := sorted(skus):
        await connection.execute(_FORGET_SKUS, names)


async def read_page(connection: Connection, skus: Mapping[str, int], holders: Iterable[UUID], now: datetime) -> Page:
    """Lock holders and read all that lies on the locked SKUs' shelves and all that the holders have."""
    wanted = sorted(holders, key=by_id)
    locked = await connection.fetch(_LOCK_HOLDERS, wanted) if wanted else []
    holds = await connection.fetch(_HOLDS, wanted) if locked else []
    shelves = await connection.fetch(_SHELVES, sorted(skus))
    return Page(
        now=now,
        skus=skus,
        shelves=[_shelf(row) for row in shelves],
        holders=[Holder(**row) for row in locked],
        holds=[Hold(**row) for row in holds],
    )


async def glance(
    connection: Connection, skus: Mapping[str, int], holders: Iterable[UUID], step_ids: Sequence[UUID]
) -> Page | None:
    """Return the page of locked SKUs where all holders are new, no step was answered and nothing is overdue; else None."""
    rows = await connection.fetch(_GLANCE, sorted(skus), sorted(holders, key=by_id), sorted(step_ids, key=by_id))
    if rows[0]["unusual"]:
        return None
    shelves = [_shelf(row) for row in rows if row["sku"] is not None]
    return Page(now=rows[0]["now"], skus=skus, shelves=shelves, holders=(), holds=())


async def steps(connection: Connection, step_ids: Sequence[UUID]) -> tuple[datetime, dict[UUID, Step]]:
    """Return the database's clock, and what steps were answered before."""
    rows = await connection.fetch(_STEPS, step_ids)
    found = [row for row in rows if row["step_id"] is not None]
    return rows[0]["now"], {
        row["step_id"]: Step(step_id=row["step_id"], fingerprint=row["fingerprint"], status=row["status"], answer=row["answer"])
        for row in found
    }


async def store_steps(connection: Connection, answered: Sequence[Step]) -> set[UUID]:
    """Store the answers of steps that have none, and return which those were."""
    rows = await connection.fetch(_STORE_STEPS, *_step_columns(answered))
    return {row["step_id"] for row in rows}


async def touch_steps(connection: Connection, step_ids: Sequence[UUID]) -> None:
    """Write to answered steps, so that the COMMIT of the repeat proves the first one durable (rule 2)."""
    await connection.execute(_TOUCH_STEPS, sorted(step_ids, key=by_id))


async def write(connection: Connection, book: Book, answered: Sequence[Step], told: Sequence[Outgoing]) -> None:
    """Write what changed, with steps and events, in one statement.

    Raises:
        UniqueViolationError: Another process has answered one of the steps, or made one of the holders, in between.
    """
    await connection.execute(
        _WRITE,
        *_shelf_columns(book.changed_shelves),
        *_sku_columns(book),
        *_holder_columns(book),
        *_hold_columns(book.changed_holds),
        *_columns([msgspec.structs.astuple(movement) for movement in book.movements], 8),
        *_step_columns(answered),
        *outbox.columns(told),
    )


def _shelf(row: asyncpg.Record) -> Shelf:
    return Shelf(**{name: row[name] for name in Shelf.__struct_fields__})


def _shelf_columns(shelves: Sequence[Shelf]) -> list[list[Any]]:
    return _columns(
        [(one.sku, one.warehouse, one.on_hand, one.reserved, one.low_stock_threshold, one.version) for one in shelves],
        6,
    )


def _sku_columns(book: Book) -> list[list[Any]]:
    return _columns([(sku, book.versions[sku]) for sku in sorted(book.changed_skus)], 2)


def _holder_columns(book: Book) -> list[list[Any]]:
    """Return new holders and known ones with their newest version; each told of raised it by one."""
    newest = {told.holder.id: told.holder for told in book.told}
    first = {told.holder.id for told in book.told if told.holder.version == 1}
    new = [(one.id, one.saga_id, one.version) for one in newest.values() if one.id in first]
    known = [(one.id, one.version) for one in newest.values() if one.id not in first]
    return [*_columns(sorted(new, key=_first), 3), *_columns(sorted(known, key=_first), 2)]


def _hold_columns(holds: Sequence[Hold]) -> list[list[Any]]:
    return _columns(
        [
            (
                one.id,
                one.holder_id,
                one.sku,
                one.warehouse,
                one.quantity,
                one.returned,
                one.status,
                one.expires_at,
                one.pinned,
            )
            for one in holds
        ],
        9,
    )


def _step_columns(steps: Sequence[Step]) -> list[list[Any]]:
    ordered = sorted(steps, key=_step_number)
    return _columns([(step.step_id, step.fingerprint, step.status, step.answer) for step in ordered], 4)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _first(row: tuple[Any, ...]) -> int:
    number: int = row[0].int
    return number


def _step_number(step: Step) -> int:
    return step.step_id.int


# The clock is asked once: compared with it row by row, every hold there is would be read and not only what ran out.
_SURVEY = """
SELECT sku, holder_id
FROM reservations
WHERE holder_id = ANY($2::uuid[] || ARRAY(
    SELECT due.holder_id
    FROM reservations AS due
    WHERE due.status = 'PENDING' AND NOT due.pinned AND due.expires_at <= (SELECT clock_timestamp()) AND due.sku = ANY($1::text[])
))
"""
_LOCK_SKUS = "SELECT sku, version FROM skus WHERE sku = ANY($1::text[]) ORDER BY sku FOR UPDATE"
_MAKE_SKUS = """
INSERT INTO skus (sku, id)
SELECT sku, id FROM unnest($1::text[], $2::uuid[]) AS new (sku, id) ORDER BY sku
ON CONFLICT (sku) DO NOTHING
RETURNING sku
"""
_FORGET_SKUS = "DELETE FROM skus WHERE sku = ANY($1::text[])"
_LOCK_HOLDERS = "SELECT id, saga_id, version FROM holders WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
_HOLDS = """
SELECT id, holder_id, sku, warehouse, quantity, returned, status, expires_at, pinned
FROM reservations
WHERE holder_id = ANY($1::uuid[])
"""
_SHELVES = """
SELECT s.sku, s.warehouse, w.region, w.country, w.delivery_days, s.on_hand, s.reserved, s.low_stock_threshold, s.version
FROM stock AS s
JOIN warehouses AS w ON w.code = s.warehouse
WHERE s.sku = ANY($1::text[])
"""
_GLANCE = """
SELECT clock_timestamp() AS now,
       EXISTS (SELECT FROM holders WHERE id = ANY($2::uuid[]))
       OR EXISTS (SELECT FROM steps WHERE step_id = ANY($3::uuid[]))
       OR EXISTS (
           SELECT FROM reservations
           WHERE status = 'PENDING' AND NOT pinned AND expires_at <= (SELECT clock_timestamp()) AND sku = ANY($1::text[])
       ) AS unusual,
       s.sku, s.warehouse, s.region, s.country, s.delivery_days, s.on_hand, s.reserved, s.low_stock_threshold, s.version
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT s.sku, s.warehouse, w.region, w.country, w.delivery_days, s.on_hand, s.reserved, s.low_stock_threshold, s.version
    FROM stock AS s
    JOIN warehouses AS w ON w.code = s.warehouse
) AS s ON s.sku = ANY($1::text[])
"""
_STEPS = """
SELECT clock_timestamp() AS now, s.step_id, s.fingerprint, s.status, s.answer
FROM (SELECT 1) AS always
LEFT JOIN steps AS s ON s.step_id = ANY($1::uuid[])
"""
_STORE_STEPS = """
INSERT INTO steps (step_id, fingerprint, status, answer)
SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::smallint[], $4::bytea[])
ON CONFLICT (step_id) DO NOTHING
RETURNING step_id
"""
_TOUCH_STEPS = """
UPDATE steps AS s SET seen_at = clock_timestamp()
FROM (SELECT step_id FROM steps WHERE step_id = ANY($1::uuid[]) ORDER BY step_id FOR UPDATE) AS asked
WHERE s.step_id = asked.step_id
"""
# Everything a batch changes in one round trip. Only new rows may collide: a step or a holder that another process has made in
# between, in which case the whole transaction is done again.
_WRITE = """
WITH shelves AS (
    INSERT INTO stock (sku, warehouse, on_hand, reserved, low_stock_threshold, version)
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])
    ON CONFLICT (sku, warehouse) DO UPDATE
    SET on_hand = excluded.on_hand, reserved = excluded.reserved, low_stock_threshold = excluded.low_stock_threshold,
        version = excluded.version, updated_at = clock_timestamp()
), versions AS (
    UPDATE skus AS s SET version = changed.version
    FROM unnest($7::text[], $8::integer[]) AS changed (sku, version)
    WHERE s.sku = changed.sku
), new_holders AS (
    INSERT INTO holders (id, saga_id, version)
    SELECT * FROM unnest($9::uuid[], $10::uuid[], $11::integer[])
), known_holders AS (
    UPDATE holders AS h SET version = changed.version
    FROM unnest($12::uuid[], $13::integer[]) AS changed (id, version)
    WHERE h.id = changed.id
), holds AS (
    INSERT INTO reservations (id, holder_id, sku, warehouse, quantity, returned, status, expires_at, pinned)
    SELECT *
    FROM unnest(
        $14::uuid[], $15::uuid[], $16::text[], $17::text[], $18::integer[], $19::integer[], $20::text[], $21::timestamptz[],
        $22::boolean[]
    )
    ON CONFLICT (holder_id, sku, warehouse) DO UPDATE
    SET quantity = excluded.quantity, returned = excluded.returned, status = excluded.status, expires_at = excluded.expires_at,
        pinned = excluded.pinned, updated_at = clock_timestamp()
), movements AS (
    INSERT INTO stock_movements (id, sku, warehouse, kind, on_hand, reserved, holder_id, cause)
    SELECT *
    FROM unnest(
        $23::uuid[], $24::text[], $25::text[], $26::text[], $27::integer[], $28::integer[], $29::uuid[], $30::text[]
    )
), answered AS (
    INSERT INTO steps (step_id, fingerprint, status, answer)
    SELECT * FROM unnest($31::uuid[], $32::bytea[], $33::smallint[], $34::bytea[])
)
INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
SELECT * FROM unnest($35::uuid[], $36::text[], $37::uuid[], $38::bytea[], $39::text[])
"""
