"""The SQL of the ledger: balances are the rolled-up sums and what was booked since.

Entries are stored by `repository.write`, in one statement with the steps that caused them.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.kit.db import Connection
from careforall.kit.ids import NIL
from careforall.payments.ledger import Entry, Line
from careforall.payments.records import columns_of


class LedgerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the ledger; None is any. Days are those of booking (UTC), the first and the last one."""

    account: str | None = None
    payment_id: UUID | None = None
    campaign_id: UUID | None = None
    since: date | None = None
    until: date | None = None


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account received less what it gave."""

    account: str
    currency: str
    livemode: bool
    amount: Decimal


def columns(entries: Sequence[Entry]) -> list[list[Any]]:
    """Return entries and their lines as parallel lists; storing one that is booked already, or is out of balance, fails."""
    lines = [(entry.id, line) for entry in entries for line in entry.lines]
    return [
        *columns_of(entries, _ENTRY_COLUMNS),
        [entry_id for entry_id, _ in lines],
        *columns_of([line for _, line in lines], Line.__struct_fields__),
    ]


async def with_fees(connection: Connection, payment_ids: Sequence[UUID]) -> set[UUID]:
    """Return the payments, of these, whose fee is booked."""
    return {row["payment_id"] for row in await connection.fetch(_WITH_FEES, payment_ids)}


async def entries(connection: Connection, wanted: LedgerFilter, before: UUID | None, limit: int) -> list[Entry]:
    """Return entries, newest first."""
    rows = await connection.fetch(_ENTRIES, wanted.account, wanted.payment_id, wanted.since, wanted.until, before, limit)
    lines: dict[UUID, list[Line]] = {row["id"]: [] for row in rows}
    for line in await connection.fetch(_LINES, list(lines)):
        lines[line["entry_id"]].append(Line(account=line["account"], amount=line["amount"], currency=line["currency"]))
    return [Entry(**row, lines=tuple(lines[row["id"]])) for row in rows]


async def balances(connection: Connection, wanted: LedgerFilter) -> list[Balance]:
    """Return the balance of each account, of one moment."""
    rows = await connection.fetch(_BALANCES, wanted.account, wanted.campaign_id, wanted.since, wanted.until)
    return [Balance(**row) for row in rows]


async def all_booked_before(connection: Connection) -> datetime:
    """Wait until every transaction that is booking has ended; return a time before which nothing more will be booked."""
    await connection.execute(_WAIT_FOR_WRITERS)
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def roll_up(connection: Connection, until: datetime) -> None:
    """Add what was booked before a time to the sums; the caller knows that nothing more will be."""
    reached: datetime = await connection.fetchval("SELECT reached FROM ledger_rollup FOR UPDATE")
    if until > reached:
        await connection.execute(_ROLL_UP, reached, until, NIL)
        await connection.execute("UPDATE ledger_rollup SET reached = $1", until)


_ENTRY_COLUMNS = ("id", "payment_id", "kind", "cause_key", "campaign_id", "livemode", "occurred_at")
_ENTRIES = """
SELECT id, payment_id, kind, cause_key, campaign_id, livemode, occurred_at, booked_at
FROM ledger_entries AS entry
WHERE ($1::text IS NULL OR EXISTS (SELECT FROM ledger_lines WHERE entry_id = entry.id AND account = $1))
  AND ($2::uuid IS NULL OR payment_id = $2)
  AND ($3::date IS NULL OR booked_at >= $3::date::timestamp AT TIME ZONE 'UTC')
  AND ($4::date IS NULL OR booked_at < ($4::date + 1)::timestamp AT TIME ZONE 'UTC')
  AND ($5::uuid IS NULL OR id < $5)
ORDER BY id DESC
LIMIT $6
"""
_WITH_FEES = "SELECT payment_id FROM ledger_entries WHERE payment_id = ANY($1::uuid[]) AND kind = 'FEE'"
_LINES = """
SELECT entry_id, account, amount, currency FROM ledger_lines WHERE entry_id = ANY($1::uuid[]) ORDER BY entry_id, amount DESC
"""
_BALANCES = """
SELECT account, currency, livemode, sum(amount) AS amount
FROM (
    SELECT account, currency, livemode, campaign_id, day, amount FROM ledger_balances
    UNION ALL
    SELECT account, currency, livemode, campaign_id, (booked_at AT TIME ZONE 'UTC')::date, amount
    FROM ledger_entries
    JOIN ledger_lines ON entry_id = id
    WHERE booked_at >= (SELECT reached FROM ledger_rollup)
) AS summed (account, currency, livemode, campaign_id, day, amount)
WHERE ($1::text IS NULL OR account = $1)
  AND ($2::uuid IS NULL OR campaign_id = $2)
  AND ($3::date IS NULL OR day >= $3)
  AND ($4::date IS NULL OR day <= $4)
GROUP BY account, currency, livemode
ORDER BY account, currency, livemode
"""
# Whoever books holds ROW EXCLUSIVE from before it reads the clock until it ends. A short time-out: others queue behind us.
_WAIT_FOR_WRITERS = """
SET LOCAL lock_timeout = '200ms';
LOCK TABLE ledger_entries IN SHARE MODE
"""
_ROLL_UP = """
INSERT INTO ledger_balances AS kept (account, currency, campaign_id, livemode, day, amount)
SELECT account, currency, coalesce(campaign_id, $3), livemode, (booked_at AT TIME ZONE 'UTC')::date AS day, sum(amount)
FROM ledger_entries
JOIN ledger_lines ON entry_id = id
WHERE booked_at >= $1 AND booked_at < $2
GROUP BY account, currency, coalesce(campaign_id, $3), livemode, day
ORDER BY account, currency, coalesce(campaign_id, $3), livemode, day
ON CONFLICT (account, currency, campaign_id, livemode, day) DO UPDATE SET amount = kept.amount + excluded.amount
"""
