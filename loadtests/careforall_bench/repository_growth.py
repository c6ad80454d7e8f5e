"""Rows as years of use leave them, made by the server itself through the real tables; ids are UUIDv7 of the past, in order."""

from typing import Any
from uuid import UUID

import asyncpg

_LONG = 3600.0


async def fill(dsn: str, service: str, rows: int) -> None:
    """Fill a service's database, without its triggers, and have it vacuumed and analysed."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        await connection.execute(MADE_ID)
        for statement in _FILL[service]:
            await connection.execute(statement.replace(":rows", str(int(rows))), timeout=_LONG)
        await connection.execute("VACUUM ANALYZE", timeout=_LONG)
        await connection.execute("CHECKPOINT", timeout=_LONG)
    finally:
        await connection.close()


async def campaign(connection: Any) -> UUID:
    """The campaign that everything was given to."""
    found: UUID = await connection.fetchval(_CAMPAIGN)
    return found


async def counted_campaign(connection: Any) -> UUID:
    """The campaign whose gifts are counted."""
    found: UUID = await connection.fetchval(_COUNTED_CAMPAIGN)
    return found


MADE_ID = """
CREATE FUNCTION pg_temp.made_id(kind integer, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
SELECT (lpad(to_hex(1700000000000 + number), 12, '0') || '7' || lpad(to_hex(kind), 3, '0')
        || '8' || substr(md5(kind::text || ':' || number::text), 1, 15))::uuid
$$
"""
_CAMPAIGN = "SELECT id FROM campaigns ORDER BY id LIMIT 1"
_COUNTED_CAMPAIGN = "SELECT campaign_id FROM campaign_totals ORDER BY campaign_id LIMIT 1"
_FILL = {
    "totals": (
        """
INSERT INTO completed_donations (donation_id, campaign_id, donor_key, currency, amount, refunded_amount, anonymous, version,
                                 completed_at, updated_at)
SELECT pg_temp.made_id(2, number), pg_temp.made_id(1, 1 + number % 100), md5((number % 100000)::text), 'EUR', 25, 0, false, 2,
       clock_timestamp(), clock_timestamp()
FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO campaign_donors (campaign_id, donor_key, gifts, amount)
SELECT campaign_id, donor_key, count(*), sum(amount) FROM completed_donations GROUP BY campaign_id, donor_key
""",
        """
INSERT INTO campaign_totals (campaign_id, currency, total_amount, refunded_amount, total_donations, unique_donors, last_updated,
                             revision)
SELECT campaign_id, 'EUR', sum(amount), 0, sum(gifts), count(*), clock_timestamp(), 2 * sum(gifts)
FROM campaign_donors GROUP BY campaign_id
""",
    ),
    "donations": (
        """
INSERT INTO campaigns (id, title, goal, currency, status)
SELECT pg_temp.made_id(1, number), 'Wells ' || number, 1000000, 'EUR', 'LIVE'
FROM generate_series(1, 100) AS number
""",
        """
INSERT INTO donations (id, campaign_id, intent_id, donor_email, donor_key, amount, currency, gateway, status, version,
                       payment_version, created_at, settled_at)
SELECT pg_temp.made_id(2, number), pg_temp.made_id(1, 1 + number % 100), pg_temp.made_id(3, number),
       'donor' || number % 100000 || '@example.org', md5((number % 100000)::text), 25, 'EUR', 'simulator', 'COMPLETED', 2, 3,
       clock_timestamp(), clock_timestamp()
FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO donation_history (donation_id, version, from_status, to_status, cause)
SELECT pg_temp.made_id(2, number), step, CASE step WHEN 2 THEN 'PENDING' END,
       CASE step WHEN 1 THEN 'PENDING' ELSE 'COMPLETED' END, 'filled'
FROM generate_series(1, :rows) AS number, generate_series(1, 2) AS step
""",
        """
INSERT INTO idempotency_keys (scope, key, fingerprint, status, body)
SELECT 'growth', pg_temp.made_id(4, number)::text, sha256(number::text::bytea), 201, convert_to(repeat('x', 400), 'UTF8')
FROM generate_series(1, :rows) AS number
""",
    ),
    "payments": (
        """
INSERT INTO payment_intents (id, subject_type, subject_id, amount, currency, gateway, status, version, captured_amount,
                             captured_via, campaign_id, expires_at)
SELECT pg_temp.made_id(1, number), 'DONATION', pg_temp.made_id(2, number), 25, 'EUR', 'simulator', 'CAPTURED', 3, 25,
       'generic', pg_temp.made_id(3, number % 100), clock_timestamp()
FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO payment_attempts (intent_id, number, gateway, status)
SELECT pg_temp.made_id(1, number), 0, 'generic', 'SUCCEEDED' FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO payment_transitions (payment_id, from_status, to_status, version, cause)
SELECT pg_temp.made_id(1, number), CASE step WHEN 2 THEN 'INITIATED' ELSE 'AUTHORIZED' END,
       CASE step WHEN 2 THEN 'AUTHORIZED' ELSE 'CAPTURED' END, step, 'filled'
FROM generate_series(1, :rows) AS number, generate_series(2, 3) AS step
""",
        """
INSERT INTO webhook_events (gateway, dedupe_key, id, body_hash, event_type, payment_id, outcome, http_status, answer)
SELECT 'generic', 'e:evt_' || pg_temp.made_id(4, number), pg_temp.made_id(4, number), sha256(number::text::bytea), '',
       pg_temp.made_id(1, number), 'PROCESSED', 200, convert_to(repeat('x', 90), 'UTF8')
FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO webhook_bodies (id, gateway, body)
SELECT pg_temp.made_id(4, number), 'generic', convert_to(repeat('x', 150), 'UTF8') FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO ledger_entries (id, payment_id, kind, cause_key, campaign_id, livemode, occurred_at)
SELECT pg_temp.made_id(5, number), pg_temp.made_id(1, number), 'CAPTURE', 'captured', pg_temp.made_id(3, number % 100), false,
       clock_timestamp()
FROM generate_series(1, :rows) AS number
""",
        """
INSERT INTO ledger_lines (entry_id, account, amount, currency)
SELECT pg_temp.made_id(5, number),
       CASE side WHEN 1 THEN 'gateway:generic' ELSE 'campaign:' || pg_temp.made_id(3, number % 100) END,
       25 * side, 'EUR'
FROM generate_series(1, :rows) AS number, unnest(ARRAY[1, -1]) AS side
""",
    ),
}
