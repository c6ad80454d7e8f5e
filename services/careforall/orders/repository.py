"""The SQL of orders with their lines and history, and the one statement by which sagas and orders are written together.

Lock order everywhere: sagas by id, orders by id, then the rest.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from careforall.contracts.addresses import Address
from careforall.contracts.orders import OrderStatus
from careforall.kit import json, outbox
from careforall.kit.db import Connection
from careforall.kit.ids import by_id
from careforall.orders.domain import Line, Order, Step
from careforall.orders.records import Changes, columns_of
from careforall.orders.repository_sagas import MOVED, log_columns, log_rows, saga_columns, saga_rows

_decode_lines = msgspec.json.Decoder(tuple[Line, ...]).decode
_encode = json.encode


async def lock_orders(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Order]:
    """Lock orders in id order and return them with their lines."""
    wanted = sorted(set(ids), key=by_id)
    await connection.execute(_LOCK_ROWS, wanted)
    rows = await connection.fetch(_LOCKED, wanted)
    return {row["id"]: _order(row) for row in rows}


async def order(connection: Connection, identifier: UUID) -> Order | None:
    """Read one order."""
    row = await connection.fetchrow(_ONE, identifier)
    return _order(row) if row else None


async def orders_of_intents(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Return the orders that intents are for."""
    return {row["intent_id"]: row["id"] for row in await connection.fetch(_OF_INTENTS, list(ids))}


async def currencies(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return in which currency orders were paid."""
    return {row["id"]: row["currency"] for row in await connection.fetch(_CURRENCIES, list(ids))}


async def bought_of_carts(connection: Connection, cart_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """Return the units by SKU that confirmed orders took out of carts; a cart that became none is left out."""
    found: dict[UUID, dict[str, int]] = {}
    for row in await connection.fetch(_BOUGHT, cart_ids):
        found.setdefault(row["cart_id"], {})[row["sku"]] = row["units"]
    return found


async def versions(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return in which versions orders are."""
    return {row["id"]: row["version"] for row in await connection.fetch(_VERSIONS, list(ids))}


async def states_of_intents(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, OrderStatus]:
    """Return in which state the orders of intents are."""
    return {row["intent_id"]: row["status"] for row in await connection.fetch(_STATES, list(ids))}


async def page(
    connection: Connection,
    *,
    user_id: UUID | None,
    status: str | None,
    search: str,
    before: UUID | None,
    offset: int,
    limit: int,
) -> tuple[list[Order], int]:
    """Return one page of orders, newest first, and how many there are in all."""
    found = await connection.fetch(_PAGE, user_id, status, search, before, offset, limit)
    total = await connection.fetchval(_COUNT, user_id, status, search)
    return [_order(row) for row in found], int(total)


async def orders_after(connection: Connection, after: UUID | None, limit: int) -> list[Order]:
    """Return orders in id order, for sending their state again."""
    return [_order(row) for row in await connection.fetch(_AFTER, after, limit)]


async def history(connection: Connection, identifier: UUID) -> list[asyncpg.Record]:
    """Return every transition of an order."""
    return list(await connection.fetch(_HISTORY, identifier))


async def write(connection: Connection, changes: Changes) -> None:
    """Write turns of sagas that are locked, new orders, their steps and events in one round trip."""
    placed = [turn.order for turn in changes.turns if turn.order is not None]
    await connection.execute(
        _WRITE,
        *saga_columns(changes.turns),
        *log_columns(changes.turns),
        *_new_orders(placed),
        *_lines_of(placed),
        *_moved_orders(changes.steps),
        *_lines_of(list(_last_of(changes.steps).values())),
        *_history_of(placed, changes.steps),
        *outbox.columns(changes.outbox),
        *_times_of(changes),
    )


_ORDER_COLUMNS = (
    *("id", "order_number", "saga_id", "intent_id", "user_id", "email", "cart_id", "currency", "subtotal", "discount"),
    *("shipping", "tax", "total", "gateway", "correlation_id", "traceparent", "expires_at", "created_at"),
)
_MOVED_COLUMNS = ("id", "status", "refunded_amount", "paid_by", "carrier", "tracking", "reason", "version", "expires_at")


def _new_orders(orders: Sequence[Order]) -> list[list[Any]]:
    addresses = [[_json(one.shipping_address) for one in orders], [_json(one.billing_address) for one in orders]]
    return [*columns_of(orders, _ORDER_COLUMNS), *addresses]


def _json(value: object) -> str | None:
    return None if value is None else _encode(value).decode()


def _lines_of(orders: Sequence[Order]) -> list[list[Any]]:
    rows = [(one.id, line) for one in orders for line in one.lines]
    names = ("number", "sku", "product_id", "seller_id", "name", "quantity", "returned", "unit_price", "total", "status")
    return [[identifier for identifier, _ in rows], *columns_of([line for _, line in rows], names)]


def _last_of(steps: Sequence[Step]) -> dict[UUID, Order]:
    return {step.order.id: step.order for step in steps}


def _moved_orders(steps: Sequence[Step]) -> list[list[Any]]:
    return columns_of(list(_last_of(steps).values()), _MOVED_COLUMNS)


def _history_of(placed: Sequence[Order], steps: Sequence[Step]) -> list[list[Any]]:
    rows: list[tuple[Any, ...]] = [(one.id, one.version, None, one.status, "placed", one.refunded_amount) for one in placed]
    rows += [
        (
            step.order.id,
            step.order.version,
            step.from_status,
            step.order.status,
            step.fact.cause[:200],
            step.order.refunded_amount,
        )
        for step in steps
    ]
    return [[row[index] for row in rows] for index in range(6)]


def _times_of(changes: Changes) -> list[list[Any]]:
    """Return when each row of the history, and each order's last step, happened; None where that is now."""
    placed = [turn.told_at for turn in changes.turns if turn.order is not None]
    last = {step.order.id: step.fact.at for step in changes.steps}
    return [[*placed, *(step.fact.at for step in changes.steps)], list(last.values())]


def _order(row: asyncpg.Record) -> Order:
    found = dict(row)
    lines = _decode_lines(found.pop("lines") or "[]")
    shipping, billing = (found.pop(name) for name in ("shipping_address", "billing_address"))
    return Order(**found, shipping_address=_address(shipping), billing_address=_address(billing), lines=lines)


def _address(text: str | None) -> Address | None:
    return msgspec.json.decode(text, type=Address) if text else None


_COLUMNS = """
    o.id, o.order_number, o.saga_id, o.intent_id, o.user_id, o.email, o.cart_id, o.status, o.currency, o.subtotal, o.discount,
    o.shipping, o.tax, o.total, o.refunded_amount, o.gateway, o.paid_by, o.shipping_address, o.billing_address, o.carrier,
    o.tracking, o.reason, o.version, o.correlation_id, o.traceparent, o.expires_at, o.created_at, o.updated_at, o.confirmed_at,
    o.delivered_at, o.erased_at,
    (
        SELECT json_agg(json_build_object(
            'number', l.number, 'sku', l.sku, 'product_id', l.product_id, 'seller_id', l.seller_id, 'name', l.name,
            'quantity', l.quantity, 'returned', l.returned, 'unit_price', l.unit_price, 'total', l.total, 'status', l.status
        ) ORDER BY l.number)::text
        FROM order_lines l WHERE l.order_id = o.id
    ) AS lines
"""
# The rows are locked first and read by a second look, so that lines written meanwhile are seen.
_LOCK_ROWS = "SELECT id FROM orders WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
_LOCKED = "SELECT" + _COLUMNS + "FROM orders o WHERE o.id = ANY($1::uuid[]) ORDER BY o.id"
_ONE = "SELECT" + _COLUMNS + "FROM orders o WHERE o.id = $1"
_OF_INTENTS = "SELECT id, intent_id FROM orders WHERE intent_id = ANY($1::uuid[])"
_CURRENCIES = "SELECT id, currency FROM orders WHERE id = ANY($1::uuid[])"
# One plan for all calls: see `kit/db.py`.
_BOUGHT = """
SELECT o.cart_id, l.sku, sum(l.quantity)::integer AS units
FROM orders AS o
JOIN order_lines AS l ON l.order_id = o.id
WHERE o.cart_id = ANY((SELECT $1::uuid[])::uuid[]) AND o.confirmed_at IS NOT NULL
GROUP BY o.cart_id, l.sku
"""
# One plan for all calls: see `kit/db.py`.
_VERSIONS = "SELECT id, version FROM orders WHERE id = ANY((SELECT $1::uuid[])::uuid[])"
_STATES = "SELECT intent_id, status FROM orders WHERE intent_id = ANY($1::uuid[])"
_MATCH = """
WHERE ($1::uuid IS NULL OR o.user_id = $1)
  AND ($2::text IS NULL OR o.status = $2)
  AND (
      $3 = '' OR o.order_number = upper($3) OR o.email = lower($3)
      OR EXISTS (SELECT 1 FROM order_lines l WHERE l.order_id = o.id AND l.sku = $3)
  )
"""
_PAGE = (
    "SELECT" + _COLUMNS + "FROM orders o" + _MATCH + "AND ($4::uuid IS NULL OR o.id < $4) ORDER BY o.id DESC OFFSET $5 LIMIT $6"
)
_COUNT = "SELECT count(*)" + "FROM orders o" + _MATCH
_AFTER = "SELECT" + _COLUMNS + "FROM orders o WHERE $1::uuid IS NULL OR o.id > $1 ORDER BY o.id LIMIT $2"
_HISTORY = """
SELECT version, from_status, to_status, cause, refunded_amount, at
FROM order_status_history
WHERE order_id = $1
ORDER BY version
"""


_LINE = "order_id, number, sku, product_id, seller_id, name, quantity, returned, unit_price, total, status"


def _lines(first: int) -> str:
    """Return the `unnest` of the eleven columns of lines from parameter `first` on; one plan for all calls, see `kit/db.py`."""
    kinds = ("uuid", "smallint", "text", "uuid", "uuid", "text", "integer", "integer", "numeric", "numeric", "text")
    ids, *others = (f"${first + index}::{kind}[]" for index, kind in enumerate(kinds))
    return f"unnest((SELECT {ids}), {', '.join(others)}) AS n ({_LINE})"


_WRITE = (
    """
WITH moved AS (
    UPDATE saga_state s
    SET @moved@
    FROM @saga_rows_1@
    WHERE s.id = n.id
), logged AS (
    INSERT INTO saga_step_log (saga_id, number, step, attempt, status, data)
    SELECT l.* FROM @log_rows_16@
), placed AS (
    INSERT INTO orders (
        id, order_number, saga_id, intent_id, user_id, email, cart_id, currency, subtotal, discount, shipping, tax, total,
        gateway, correlation_id, traceparent, expires_at, created_at, shipping_address, billing_address
    )
    SELECT * FROM unnest(
        $22::uuid[], $23::text[], $24::uuid[], $25::uuid[], $26::uuid[], $27::text[], $28::uuid[], $29::text[], $30::numeric[],
        $31::numeric[], $32::numeric[], $33::numeric[], $34::numeric[], $35::text[], $36::text[], $37::text[], $38::timestamptz[],
        $39::timestamptz[], $40::jsonb[], $41::jsonb[]
    )
), lines AS (
    INSERT INTO order_lines (order_id, number, sku, product_id, seller_id, name, quantity, returned, unit_price, total, status)
    SELECT n.* FROM @lines_42@
), stepped AS (
    UPDATE orders o
    SET status = n.status, refunded_amount = n.refunded_amount, paid_by = n.paid_by, carrier = n.carrier, tracking = n.tracking,
        reason = n.reason, version = n.version, expires_at = n.expires_at, updated_at = clock_timestamp(),
        confirmed_at = CASE
            WHEN n.status = 'CONFIRMED' THEN coalesce(o.confirmed_at, n.at, clock_timestamp()) ELSE o.confirmed_at
        END,
        delivered_at = CASE
            WHEN n.status = 'DELIVERED' THEN coalesce(o.delivered_at, n.at, clock_timestamp()) ELSE o.delivered_at
        END
    FROM unnest(
        (SELECT $53::uuid[]), $54::text[], $55::numeric[], $56::text[], $57::text[], $58::text[], $59::text[], $60::integer[],
        $61::timestamptz[], $85::timestamptz[]
    ) AS n (id, status, refunded_amount, paid_by, carrier, tracking, reason, version, expires_at, at)
    WHERE o.id = n.id
), lined AS (
    UPDATE order_lines l
    SET status = n.status, returned = n.returned
    FROM @lines_62@
    WHERE l.order_id = n.order_id AND l.number = n.number AND (l.status, l.returned) IS DISTINCT FROM (n.status, n.returned)
), told AS (
    INSERT INTO order_status_history (order_id, version, from_status, to_status, cause, refunded_amount, at)
    SELECT n.order_id, n.version, n.from_status, n.to_status, n.cause, n.refunded_amount, coalesce(n.at, clock_timestamp())
    FROM unnest(
        $73::uuid[], $74::integer[], $75::text[], $76::text[], $77::text[], $78::numeric[], $84::timestamptz[]
    ) AS n (order_id, version, from_status, to_status, cause, refunded_amount, at)
)
INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
SELECT * FROM unnest($79::uuid[], $80::text[], $81::uuid[], $82::bytea[], $83::text[])
ON CONFLICT (id) DO NOTHING
""".replace("@moved@", MOVED.strip())
    .replace("@saga_rows_1@", saga_rows(1))
    .replace("@log_rows_16@", log_rows(16))
    .replace("@lines_42@", _lines(42))
    .replace("@lines_62@", _lines(62))
)
