"""All SQL of the measurements: databases of the baselines, and what the platform's databases say about what is settled."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg

NAME = re.compile(r"[a-z_]{1,63}")
Result = TypeVar("Result")


def on_database(dsn: str, database: str) -> str:
    """The same server, another database."""
    parts = urlsplit(dsn)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


def _server(dsn: str) -> str:
    return on_database(dsn, "postgres")


def server_version(dsn: str) -> str:
    """The server's own name and version."""
    return str(_ask(_server(dsn), lambda connection: connection.fetchval(_VERSION)))


def recreate_database(dsn: str, database: str) -> str:
    """Make an empty database on the server and return its address."""
    drop_database(dsn, database)
    _ask(_server(dsn), lambda connection: connection.execute(f'{_CREATE} "{_checked(database)}"'))
    return on_database(dsn, database)


def drop_database(dsn: str, database: str) -> None:
    """Forget a database of the baselines."""
    _ask(_server(dsn), lambda connection: connection.execute(f'{_DROP} "{_checked(database)}" WITH (FORCE)'))


def make_one_each_tables(dsn: str) -> None:
    """Tables of the database benchmark client."""
    _ask(dsn, lambda connection: connection.execute(ONE_EACH_TABLES))


def outboxes(dsn: str) -> list[str]:
    """Addresses of the platform's databases on this server that have an outbox."""
    names = [row["datname"] for row in _ask(_server(dsn), lambda connection: connection.fetch(_DATABASES))]
    found = [on_database(dsn, name) for name in names]
    return [one for one in found if _ask(one, lambda connection: connection.fetchval(_HAS_OUTBOX))]


@contextmanager
def unpublished(dsns: Sequence[str]) -> Iterator[Callable[[], int]]:
    """A way to count the outbox rows that still wait, again and again on the same connections."""
    with asyncio.Runner() as runner:
        connections = [runner.run(_connected(dsn)) for dsn in dsns]

        async def waiting() -> int:
            return sum([int(await connection.fetchval(_UNPUBLISHED)) for connection in connections])

        try:
            yield lambda: runner.run(waiting())
        finally:
            for connection in connections:
                runner.run(connection.close())


def count(dsn: str, query: str) -> int:
    """The one number a query of this module answers with."""
    return int(_ask(dsn, lambda connection: connection.fetchval(query)))


def confirmed_orders(dsn: str) -> int:
    """Orders that were ever confirmed."""
    return count(dsn, _CONFIRMED_ORDERS)


def step_milliseconds(dsn: str, checkouts: int) -> dict[str, float]:
    """What each step of the newest confirmed checkouts took from its beginning to its record, in the middle."""
    rows = _ask(dsn, lambda connection: connection.fetch(_STEPS, checkouts))
    return {row["step"]: float(row["milliseconds"]) for row in rows}


def add_backlog(dsn: str, event_type: str, ids: Sequence[UUID]) -> int:
    """Give the relay one message per id, copies of the newest event of a type under new ids; return how many."""
    return int(_ask(dsn, lambda connection: connection.execute(_BACKLOG, event_type, ids)).split()[-1])


def _ask(dsn: str, question: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[Result]]") -> Result:
    async def answer() -> Result:
        connection = await _connected(dsn)
        try:
            return await question(connection)
        finally:
            await connection.close()

    return asyncio.run(answer())


async def _connected(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(dsn)


def _checked(database: str) -> str:
    if not NAME.fullmatch(database) or not database.startswith("bench_"):
        raise ValueError(f"{database!r} is not a database of the baselines")
    return database


_VERSION = "SELECT 'PostgreSQL ' || current_setting('server_version')"
_CREATE = "CREATE DATABASE"
_DROP = "DROP DATABASE IF EXISTS"
_DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'careforall\\_%' ORDER BY datname"
_HAS_OUTBOX = "SELECT to_regclass('outbox') IS NOT NULL"
_UNPUBLISHED = "SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'FAILED')"
_CONFIRMED_ORDERS = "SELECT count(*) FROM orders WHERE confirmed_at IS NOT NULL"
_STEPS = """
SELECT ended.step,
       1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended.at - begun.at)) AS milliseconds
FROM saga_step_log AS begun
JOIN saga_step_log AS ended USING (saga_id, step, attempt)
WHERE begun.status = 'STARTED' AND ended.status = 'COMPLETED'
  AND saga_id IN (SELECT saga_id FROM orders WHERE confirmed_at IS NOT NULL ORDER BY confirmed_at DESC LIMIT $1)
GROUP BY ended.step
ORDER BY min(begun.number)
"""
_BACKLOG = """
WITH pattern AS (
    SELECT id, event_type, aggregate_id, payload, traceparent
    FROM outbox
    WHERE event_type = $1
    ORDER BY id DESC
    LIMIT 1
)
INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
SELECT
    fresh.id,
    pattern.event_type,
    pattern.aggregate_id,
    convert_to(replace(convert_from(pattern.payload, 'UTF8'), pattern.id::text, fresh.id::text), 'UTF8'),
    pattern.traceparent
FROM pattern CROSS JOIN unnest($2::uuid[]) AS fresh (id)
"""
ONE_EACH_TABLES = """
CREATE TABLE donations (
    id uuid PRIMARY KEY,
    campaign_id uuid NOT NULL,
    donor_email text NOT NULL,
    amount numeric(14, 2) NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    payment_intent_id uuid NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE donation_history (
    donation_id uuid NOT NULL,
    version integer NOT NULL,
    status text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (donation_id, version)
);
CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    event_type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (created_at) WHERE published_at IS NULL;
CREATE TABLE stock (
    sku text PRIMARY KEY,
    on_hand integer NOT NULL,
    reserved integer NOT NULL DEFAULT 0,
    CHECK (reserved BETWEEN 0 AND on_hand)
);
INSERT INTO stock (sku, on_hand) VALUES ('HOT', 100000000);
CREATE TABLE reservations (
    id uuid PRIMARY KEY,
    sku text NOT NULL REFERENCES stock,
    quantity integer NOT NULL,
    status text NOT NULL DEFAULT 'PENDING',
    expires_at timestamptz NOT NULL
);
CREATE TABLE orders (
    id uuid PRIMARY KEY,
    reservation_id uuid NOT NULL REFERENCES reservations,
    user_id uuid NOT NULL,
    total numeric(14, 2) NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE order_lines (
    order_id uuid NOT NULL REFERENCES orders,
    sku text NOT NULL REFERENCES stock,
    quantity integer NOT NULL,
    price numeric(14, 2) NOT NULL,
    PRIMARY KEY (order_id, sku)
);
CREATE TABLE payments (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL UNIQUE REFERENCES orders,
    amount numeric(14, 2) NOT NULL,
    status text NOT NULL
);
INSERT INTO stock (sku, on_hand) SELECT 'GOODS-' || number, 100000000 FROM generate_series(1, 20) AS number;
"""
ONE_EACH_TRANSACTION = """\
\\set donor random(1, 1000000000)
\\set cents random(100, 99999)
BEGIN;
INSERT INTO donations SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', \
'donor' || :donor || '@example.org', :cents / 100.0, 'USD', 'PENDING', gen_random_uuid() RETURNING id \\gset
INSERT INTO donation_history (donation_id, version, status) VALUES (:id, 1, 'PENDING');
INSERT INTO outbox (id, event_type, payload) VALUES \
(gen_random_uuid(), 'donations.created', jsonb_build_object('id', :id::uuid, 'cents', :cents::integer));
COMMIT;
"""
ONE_EACH_RESERVATION = """\
BEGIN;
UPDATE stock SET reserved = reserved + 1 WHERE sku = 'HOT' AND on_hand - reserved >= 1;
INSERT INTO reservations (id, sku, quantity, expires_at) \
VALUES (gen_random_uuid(), 'HOT', 1, clock_timestamp() + interval '15 minutes') RETURNING id \\gset
INSERT INTO outbox (id, event_type, payload) \
VALUES (gen_random_uuid(), 'inventory.reserved', jsonb_build_object('id', :id::uuid));
COMMIT;
"""
ONE_EACH_CHECKOUT = """\
\\set goods random(1, 20)
BEGIN;
UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'GOODS-' || :goods AND on_hand - reserved >= 1;
INSERT INTO reservations (id, sku, quantity, status, expires_at) \
VALUES (gen_random_uuid(), 'GOODS-' || :goods, 1, 'CONFIRMED', clock_timestamp()) RETURNING id AS reservation \\gset
INSERT INTO orders (id, reservation_id, user_id, total, status) \
VALUES (gen_random_uuid(), :reservation, gen_random_uuid(), 20, 'CONFIRMED') RETURNING id AS placed \\gset
INSERT INTO order_lines (order_id, sku, quantity, price) VALUES (:placed, 'GOODS-' || :goods, 1, 20);
INSERT INTO payments (id, order_id, amount, status) VALUES (gen_random_uuid(), :placed, 20, 'CAPTURED');
INSERT INTO outbox (id, event_type, payload) \
VALUES (gen_random_uuid(), 'orders.confirmed', jsonb_build_object('id', :placed::uuid)), \
(gen_random_uuid(), 'inventory.confirmed', jsonb_build_object('id', :reservation::uuid)), \
(gen_random_uuid(), 'payments.captured', jsonb_build_object('id', :placed::uuid));
COMMIT;
"""
ONE_EACH_STATEMENT = """\
\\set donor random(1, 1000000000)
\\set cents random(100, 99999)
WITH gift AS (INSERT INTO donations SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', \
'donor' || :donor || '@example.org', :cents / 100.0, 'USD', 'PENDING', gen_random_uuid() RETURNING id, amount), \
step AS (INSERT INTO donation_history (donation_id, version, status) SELECT id, 1, 'PENDING' FROM gift) \
INSERT INTO outbox (id, event_type, payload) \
SELECT gen_random_uuid(), 'donations.created', jsonb_build_object('id', id, 'amount', amount) FROM gift;
"""
SETTLED_DONATIONS = "SELECT count(*) FROM donations WHERE status = 'COMPLETED'"
RECEIPTS = "SELECT count(*) FROM notifications WHERE template = 'donation_completed' AND channel = 'EMAIL' AND status = 'SENT'"
AUDIT_ROWS = "SELECT count(*) FROM audit_events WHERE event_type = 'donations.completed'"
