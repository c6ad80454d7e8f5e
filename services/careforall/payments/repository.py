"""The SQL of intents, attempts and transitions; that of webhook events and of ordered refunds lies beside it.

Lock order everywhere: advisory locks of new ids, intents by id, events by key, then the rest.
"""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit import outbox
from careforall.kit.db import Connection
from careforall.kit.ids import by_id, new_id
from careforall.kit.outbox import Outgoing
from careforall.payments import repository_disputes, repository_ledger, repository_refunds
from careforall.payments.domain import OPEN_ATTEMPTS, REACHABLE, Intent
from careforall.payments.records import Alarm, Attempt, Changes, NewIntent, Step, Transition, columns_of

_LEGAL_FROM = [pair[0] for pair in REACHABLE]
_LEGAL_TO = [pair[1] for pair in REACHABLE]
_OPEN = sorted(OPEN_ATTEMPTS)


async def lock_intents(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Intent]:
    """Lock what nobody else has locked, in id order; what is missing in the answer is absent or held (rule 1 d)."""
    return {row["id"]: Intent(**row) for row in await connection.fetch(_LOCK_FREE, sorted(ids, key=by_id))}


async def lock_intent(connection: Connection, identifier: UUID) -> Intent | None:
    """Lock one intent, waiting for whoever holds it."""
    row = await connection.fetchrow(_LOCK_ONE, identifier)
    return Intent(**row) if row else None


async def intent(connection: Connection, identifier: UUID) -> Intent | None:
    """Read one intent."""
    row = await connection.fetchrow(_INTENT, identifier)
    return Intent(**row) if row else None


async def intents(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Intent]:
    """Read several intents."""
    return {row["id"]: Intent(**row) for row in await connection.fetch(_INTENTS, list(ids))}


async def intents_after(connection: Connection, after: UUID | None, limit: int) -> list[Intent]:
    """Return intents in id order, for sending their state again."""
    return [Intent(**row) for row in await connection.fetch(_INTENTS_AFTER, after, limit)]


async def existing_intents(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these ids are intents now."""
    return {row["id"] for row in await connection.fetch(_EXISTING, list(ids))}


async def hold_absent(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Keep absent intents from being created until this transaction ends; return the ids that could be held."""
    return {row["id"] for row in await connection.fetch(_HOLD_ABSENT, sorted(ids)) if row["held"]}


async def announce(connection: Connection, ids: Sequence[UUID]) -> None:
    """Wait for whoever keeps these new intents from being created (see `hold_absent`)."""
    await connection.execute(_ANNOUNCE, sorted(ids, key=by_id))


async def insert_intents(connection: Connection, intents: Sequence[NewIntent], seconds: float) -> list[Intent]:
    """Insert new intents that expire after `seconds`; return those that were new."""
    rows = sorted(intents, key=lambda one: one.id)
    found = await connection.fetch(_INSERT_INTENTS, *columns_of(rows, NewIntent.__struct_fields__), seconds)
    return [Intent(**row) for row in found]


async def open_intent_of(connection: Connection, subject_type: str, subject_id: UUID) -> Intent | None:
    """Return the intent of a subject that is open or paid."""
    row = await connection.fetchrow(_OF_SUBJECT, subject_type, subject_id)
    return Intent(**row) if row else None


async def intents_of_objects(connection: Connection, objects: Sequence[str]) -> dict[str, UUID]:
    """Return whose attempts the gateway's objects are."""
    return {row["gateway_object"]: row["intent_id"] for row in await connection.fetch(_OF_OBJECTS, list(objects))}


async def last_attempts(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Attempt]:
    """Return the newest attempt of each intent; what only the generic endpoint told is none."""
    return {row["intent_id"]: Attempt(**row) for row in await connection.fetch(_LAST_ATTEMPTS, list(ids))}


async def attempts(connection: Connection, identifier: UUID) -> list[Attempt]:
    """Return all attempts of an intent."""
    return [Attempt(**row) for row in await connection.fetch(_ATTEMPTS, identifier)]


async def due_attempts(connection: Connection, limit: int) -> list[Attempt]:
    """Take attempts whose time to ask has come; each is asked later and later."""
    return [Attempt(**row) for row in await connection.fetch(_DUE_ATTEMPTS, _OPEN, limit)]


async def expired_intents(connection: Connection, limit: int) -> list[Intent]:
    """Lock unpaid intents past their time that have no open attempt."""
    ids = [row["id"] for row in await connection.fetch(_EXPIRED, _OPEN, limit)]
    return [found for found in (await lock_intents(connection, ids)).values() if found.status == "INITIATED"]


async def transitions(connection: Connection, identifier: UUID) -> list[Transition]:
    """Return all steps of a payment."""
    return [Transition(**row) for row in await connection.fetch(_TRANSITIONS, identifier)]


async def insert_attempts(connection: Connection, attempts: Sequence[tuple[Attempt, float]]) -> None:
    """Record that we are about to call gateways, each with the seconds after which it is asked about."""
    if attempts:
        columns = columns_of([attempt for attempt, _ in attempts], _NEW_ATTEMPT_COLUMNS)
        await connection.execute(_INSERT_ATTEMPTS, *columns, [seconds for _, seconds in attempts])


async def record_attempts(connection: Connection, attempts: Sequence[Attempt], ask_seconds: Sequence[float]) -> None:
    """Record what calls to gateways brought; a state that a webhook told meanwhile stays."""
    await connection.execute(_RECORD_ATTEMPTS, *columns_of(attempts, _ATTEMPT_COLUMNS), list(ask_seconds))


async def ask_soon(connection: Connection, identifier: UUID, seconds: float) -> None:
    """Have an open attempt asked about soon: its payer came back."""
    await connection.execute(_ASK_SOON, identifier, seconds)


async def ask_now(connection: Connection, gateway_object: str) -> None:
    """Have the open attempt of a gateway's object asked about at once, however often it was before."""
    await connection.execute(_ASK_NOW, gateway_object, _OPEN)


async def expired(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Return the intents, of these, whose time is over by the database's clock (rule 4)."""
    return {row["id"] for row in await connection.fetch(_ARE_EXPIRED, list(ids))}


async def write(connection: Connection, changes: Changes) -> None:
    """Write everything a transaction collected, in as few round trips as there are reasons for an order.

    What refers to intents comes before their update: a locked row satisfies a foreign key for free, an updated one not.
    """
    if changes.transitions or changes.attempts or changes.entries:
        await _write_facts(connection, changes)
    moved = [step for step in changes.intents.values() if step.after.version != step.before.version]
    if moved:
        await _move_intents(connection, moved, changes.outbox)
    else:
        await outbox.insert(connection, changes.outbox)
    if changes.refunds:
        await repository_refunds.put_refunds(connection, list(changes.refunds.values()))
    if changes.disputes:
        await repository_disputes.put_disputes(connection, list(changes.disputes.values()))
    if changes.alarms:
        await insert_alarms(connection, changes.alarms)


async def _write_facts(connection: Connection, changes: Changes) -> None:
    """Store what happened to intents: steps, attempts, and what the ledger books of them."""
    await connection.execute(
        _INSERT_FACTS,
        *columns_of(changes.transitions, _TRANSITION_COLUMNS),
        *columns_of(list(changes.attempts.values()), _ATTEMPT_COLUMNS),
        *repository_ledger.columns(changes.entries),
    )


async def insert_alarms(connection: Connection, alarms: Sequence[Alarm]) -> None:
    """Store alarms; an equal one is there already."""
    columns = columns_of(alarms, ("kind", "gateway", "subject_key", "body_hash", "payment_id", "detail"))
    await connection.execute(_INSERT_ALARMS, [new_id() for _ in alarms], *columns)


async def _move_intents(connection: Connection, steps: Sequence[Step], told: Sequence[Outgoing]) -> None:
    """Move intents from the states they were judged in, and store the events that tell of it."""
    moved = sorted(steps, key=lambda step: step.after.id.int)
    befores = [step.before for step in moved]
    columns = columns_of([step.after for step in moved], _MOVED_COLUMNS)
    written = await connection.fetch(
        _MOVE_INTENTS,
        [one.status for one in befores],
        [one.version for one in befores],
        *columns,
        _LEGAL_FROM,
        _LEGAL_TO,
        *outbox.columns(told),
    )
    if len(written) != len(moved):
        raise LostStep(f"{len(moved) - len(written)} intents were not in the state they were read in")


class LostStep(Exception):
    """A guarded update found a row in another state than the locked one we judged."""


_INTENT_COLUMNS = """
id, subject_type, subject_id, campaign_id, amount, currency, gateway, status, status_at, version, captured_amount,
refunded_amount, disputed_amount, declines, captured_via, gateway_object, method, title, user_id, livemode, reason,
correlation_id, traceparent, expires_at, created_at, updated_at
"""
_SELECT_INTENT = "SELECT" + _INTENT_COLUMNS + "FROM payment_intents "

# One plan for all calls: see `kit/db.py`.
_LOCK_FREE = (
    """
SELECT p.*
FROM unnest((SELECT $1::uuid[])) AS wanted (id)
CROSS JOIN LATERAL ("""
    + _SELECT_INTENT
    + "AS i WHERE i.id = wanted.id FOR NO KEY UPDATE SKIP LOCKED) AS p"
)
_LOCK_ONE = _SELECT_INTENT + "WHERE id = $1 FOR NO KEY UPDATE"
_INTENT = _SELECT_INTENT + "WHERE id = $1"
_INTENTS = _SELECT_INTENT + "WHERE id = ANY($1::uuid[])"
_INTENTS_AFTER = _SELECT_INTENT + "WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2"
_EXISTING = "SELECT id FROM payment_intents WHERE id = ANY($1::uuid[])"
_HOLD_ABSENT = """
SELECT id, pg_try_advisory_xact_lock(hashtextextended(id::text, 0)) AS held
FROM unnest($1::uuid[]) AS id
"""
_ANNOUNCE = "SELECT count(pg_advisory_xact_lock(hashtextextended(id::text, 0))) FROM unnest($1::uuid[]) AS id"
_OF_SUBJECT = _SELECT_INTENT + "WHERE subject_type = $1 AND subject_id = $2 AND status NOT IN ('FAILED', 'REFUNDED')"

_INSERT_INTENTS = (
    """
INSERT INTO payment_intents (
    id, subject_type, subject_id, campaign_id, title, user_id, amount, currency, gateway, method, correlation_id, traceparent,
    livemode, expires_at
)
SELECT n.id, n.subject_type, n.subject_id, n.campaign_id, n.title, n.user_id, n.amount, n.currency, n.gateway, n.method,
       n.correlation_id, n.traceparent, n.livemode, coalesce(n.expires_at, clock_timestamp() + make_interval(secs => $15))
FROM unnest(
    $1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::numeric[], $8::text[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::boolean[], $14::timestamptz[]
) AS n (
    id, subject_type, subject_id, campaign_id, title, user_id, amount, currency, gateway, method, correlation_id, traceparent,
    livemode, expires_at
)
ON CONFLICT DO NOTHING
RETURNING"""
    + _INTENT_COLUMNS
)
_MOVED_COLUMNS = (
    "id",
    "status",
    "status_at",
    "version",
    "captured_amount",
    "refunded_amount",
    "disputed_amount",
    "declines",
    "captured_via",
    "gateway_object",
    "method",
    "reason",
)
# The guard: a row moves only from the state and version it was judged in, and only along the transition table.
# One plan for all calls: see `kit/db.py`.
_MOVE_INTENTS = """
WITH told AS (
    INSERT INTO outbox (id, event_type, aggregate_id, payload, traceparent)
    SELECT * FROM unnest($17::uuid[], $18::text[], $19::uuid[], $20::bytea[], $21::text[])
    ON CONFLICT (id) DO NOTHING
)
UPDATE payment_intents p
SET status = n.status, status_at = n.status_at, version = n.version, captured_amount = n.captured_amount,
    refunded_amount = n.refunded_amount, disputed_amount = n.disputed_amount, declines = n.declines,
    captured_via = n.captured_via, gateway_object = n.gateway_object, method = n.method, reason = n.reason,
    updated_at = clock_timestamp()
FROM unnest(
    (SELECT $1::text[]), $2::integer[], $3::uuid[], $4::text[], $5::timestamptz[], $6::integer[], $7::numeric[], $8::numeric[],
    $9::numeric[], $10::integer[], $11::text[], $12::text[], $13::text[], $14::text[]
) AS n (from_status, from_version, id, status, status_at, version, captured_amount, refunded_amount, disputed_amount, declines,
        captured_via, gateway_object, method, reason)
WHERE p.id = n.id
  AND p.status = n.from_status
  AND p.version = n.from_version
  AND (n.from_status = n.status OR (n.from_status, n.status) IN (SELECT * FROM unnest($15::text[], $16::text[])))
RETURNING p.id
"""
_TRANSITION_COLUMNS = ("payment_id", "from_status", "to_status", "version", "cause", "event_id", "event_time")
_TRANSITIONS = """
SELECT payment_id, from_status, to_status, version, cause, event_id, event_time, received_at
FROM payment_transitions
WHERE payment_id = $1
ORDER BY version
"""


_OF_OBJECTS = """
SELECT DISTINCT gateway_object, intent_id
FROM payment_attempts
WHERE gateway_object = ANY($1::text[]) AND gateway_object <> ''
"""
# One plan for all calls: see `kit/db.py`.
_LAST_ATTEMPTS = """
SELECT a.*
FROM unnest((SELECT $1::uuid[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT intent_id, number, gateway, status, gateway_object, redirect_url, reason, code, asked, ask_at, created_at,
           updated_at FROM payment_attempts t
    WHERE t.intent_id = wanted.id AND t.number > 0
    ORDER BY t.number DESC
    LIMIT 1
) AS a
"""
_ATTEMPTS = """
SELECT intent_id, number, gateway, status, gateway_object, redirect_url, reason, code, asked, ask_at, created_at, updated_at
FROM payment_attempts
WHERE intent_id = $1
ORDER BY number
"""
_NEW_ATTEMPT_COLUMNS = ("intent_id", "number", "gateway", "status", "gateway_object", "redirect_url")
_INSERT_ATTEMPTS = """
INSERT INTO payment_attempts (intent_id, number, gateway, status, gateway_object, redirect_url, ask_at)
SELECT n.intent_id, n.number, n.gateway, n.status, n.gateway_object, n.redirect_url,
       clock_timestamp() + make_interval(secs => n.seconds)
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[])
     AS n (intent_id, number, gateway, status, gateway_object, redirect_url, seconds)
"""
# One plan for all calls: see `kit/db.py`.
_RECORD_ATTEMPTS = """
UPDATE payment_attempts a
SET status = CASE WHEN a.status IN ('INITIATED', 'UNKNOWN') THEN n.status ELSE a.status END,
    gateway_object = CASE WHEN n.gateway_object <> '' THEN n.gateway_object ELSE a.gateway_object END,
    redirect_url = CASE WHEN n.redirect_url <> '' THEN n.redirect_url ELSE a.redirect_url END,
    reason = n.reason, code = n.code, ask_at = clock_timestamp() + make_interval(secs => n.seconds),
    updated_at = clock_timestamp()
FROM unnest(
    (SELECT $1::uuid[]), $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::float8[]
) AS n (intent_id, number, gateway, status, gateway_object, redirect_url, reason, code, seconds)
WHERE a.intent_id = n.intent_id AND a.number = n.number
"""
_ASK_SOON = """
UPDATE payment_attempts
SET ask_at = clock_timestamp() + make_interval(secs => $2)
WHERE intent_id = $1 AND status = 'OPEN' AND asked = 0 AND ask_at > clock_timestamp() + make_interval(secs => $2)
"""
_ASK_NOW = """
UPDATE payment_attempts
SET asked = 0, ask_at = clock_timestamp()
WHERE gateway_object = $1 AND status = ANY($2::text[])
"""
_ARE_EXPIRED = "SELECT id FROM payment_intents WHERE id = ANY($1::uuid[]) AND expires_at <= clock_timestamp()"
_ATTEMPT_COLUMNS = ("intent_id", "number", "gateway", "status", "gateway_object", "redirect_url", "reason", "code")
_INSERT_FACTS = """
WITH steps AS (
    INSERT INTO payment_transitions (payment_id, from_status, to_status, version, cause, event_id, event_time)
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::uuid[], $7::timestamptz[])
), tried AS (
    INSERT INTO payment_attempts (intent_id, number, gateway, status, gateway_object, redirect_url, reason, code)
    SELECT *
    FROM unnest($8::uuid[], $9::integer[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[])
    ON CONFLICT (intent_id, number) DO UPDATE
    SET status = excluded.status, gateway_object = excluded.gateway_object, redirect_url = excluded.redirect_url,
        reason = excluded.reason, code = excluded.code, updated_at = clock_timestamp()
), booked AS (
    INSERT INTO ledger_entries (id, payment_id, kind, cause_key, campaign_id, livemode, occurred_at)
    SELECT *
    FROM unnest($16::uuid[], $17::uuid[], $18::text[], $19::text[], $20::uuid[], $21::boolean[], $22::timestamptz[])
)
INSERT INTO ledger_lines (entry_id, account, amount, currency)
SELECT * FROM unnest($23::uuid[], $24::text[], $25::numeric[], $26::text[])
"""
_DUE_ATTEMPTS = """
UPDATE payment_attempts a
SET asked = a.asked + 1, ask_at = clock_timestamp() + make_interval(secs => least(600, 2 * power(2, least(a.asked, 9))))
FROM (
    SELECT intent_id, number FROM payment_attempts
    WHERE status = ANY($1::text[]) AND ask_at <= (SELECT clock_timestamp())
    ORDER BY ask_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due
WHERE a.intent_id = due.intent_id AND a.number = due.number
RETURNING a.intent_id, a.number, a.gateway, a.status, a.gateway_object, a.redirect_url, a.reason, a.code, a.asked, a.ask_at,
       a.created_at, a.updated_at
"""
_EXPIRED = """
SELECT i.id
FROM payment_intents i
WHERE i.status = 'INITIATED'
  AND i.expires_at <= (SELECT clock_timestamp())
  AND NOT EXISTS (SELECT FROM payment_attempts a WHERE a.intent_id = i.id AND a.status = ANY($1::text[]))
ORDER BY i.expires_at
LIMIT $2
"""

_INSERT_ALARMS = """
INSERT INTO payment_alarms (id, kind, gateway, subject_key, body_hash, payment_id, detail)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::uuid[], $7::text[])
ON CONFLICT (kind, gateway, subject_key, body_hash) DO NOTHING
"""
