"""The SQL of the reconciler: runs with what they found, and payments that are to be looked at."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts.payments import SubjectType
from careforall.kit.db import Connection
from careforall.kit.ids import NIL
from careforall.payments.comparing import Finding, Run
from careforall.payments.domain import Intent
from careforall.payments.records import columns_of

_RUNNER = 0x52454343


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A payment to be asked about, because an event did not fit it or its payer came back after a decline."""

    event_id: UUID
    gateway: str
    gateway_object: str
    payment_id: UUID | None
    reason: str
    asked: int = 0


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """An intent we hold to be paid at a gateway, and the attempt that says so."""

    created_at: datetime
    intent: Intent


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How we stand with a gateway: what waits for a person, and how old the last complete run is."""

    gateway: str
    left: int
    age_seconds: float


async def becomes_runner(session: Connection) -> bool:
    """Take the lock of whoever works on runs, until the session ends: one at a time over all processes of a database."""
    return bool(await session.fetchval("SELECT pg_try_advisory_lock($1)", _RUNNER))


async def now(connection: Connection) -> datetime:
    """Return the database's time in whole seconds, as gateways count."""
    found: datetime = await connection.fetchval("SELECT date_trunc('second', clock_timestamp())")
    return found


async def insert_runs(connection: Connection, runs: Sequence[Run]) -> list[Run]:
    """Store runs somebody ordered."""
    names = ("id", "gateway", "kind", "since", "until", "dry_run", "requested_by")
    return [Run(**row) for row in await connection.fetch(_INSERT_RUNS, *columns_of(runs, names))]


async def schedule(connection: Connection, ids: Sequence[UUID], gateways: Sequence[str], plan: Mapping[str, Any]) -> int:
    """Store the run of each gateway whose time has come; return how many."""
    found = await connection.fetch(
        _SCHEDULE, list(ids), list(gateways), plan["kind"], plan["every"], plan["back"], plan["overlap"], plan["longest"]
    )
    return len(found)


async def open_run(connection: Connection) -> Run | None:
    """Begin the oldest run that is not finished, or go on with it: whoever had begun it is gone."""
    row = await connection.fetchrow(_OPEN_RUN)
    return Run(**row) if row else None


async def run_by_id(connection: Connection, identifier: UUID) -> Run | None:
    """Return a run."""
    row = await connection.fetchrow(_RUN, identifier)
    return Run(**row) if row else None


async def reach(connection: Connection, run_id: UUID, reached: datetime, calls: int, matched: Mapping[str, Any]) -> None:
    """Note how far a run came, with what agreed on the way."""
    await connection.execute(_REACH, run_id, reached, calls)
    if matched:
        currencies = sorted(matched)
        counts, amounts = [matched[one][0] for one in currencies], [matched[one][1] for one in currencies]
        await connection.execute(_ADD_MATCHES, run_id, currencies, counts, amounts)


async def end_run(connection: Connection, run_id: UUID, status: str, reason: str) -> None:
    """Finish or stop a run."""
    await connection.execute(_END_RUN, run_id, status, reason[:300])


async def runs_before(connection: Connection, gateway: str | None, before: UUID | None, limit: int) -> list[Run]:
    """Return runs, newest first."""
    return [Run(**row) for row in await connection.fetch(_RUNS, gateway, before, limit)]


async def counts_of(connection: Connection, ids: Sequence[UUID]) -> list[Any]:
    """Return rows (run_id, bucket, action, currency, objects, amount) of runs."""
    return await connection.fetch(_COUNTS, list(ids))


async def findings_after(connection: Connection, run_id: UUID, after: UUID | None, limit: int) -> list[Finding]:
    """Return what a run found, in the order it was found."""
    return [Finding(**row) for row in await connection.fetch(_FINDINGS, run_id, after, limit)]


async def insert_finding(connection: Connection, finding: Finding) -> None:
    """Store a finding; one of a slice that is done again is there already."""
    names = [name for name in Finding.__struct_fields__ if name != "created_at"]
    await connection.execute(_INSERT_FINDING, *(getattr(finding, name) for name in names))


async def intents_by_id(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Intent]:
    """Return intents."""
    return {row["id"]: _intent(row) for row in await connection.fetch(_INTENTS, list(ids))}


async def returned(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Decimal]:
    """Return what goes back or went back of each intent's money."""
    return {row["intent_id"]: row["amount"] for row in await connection.fetch(_RETURNED, list(ids))}


async def refund_states(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the states of refunds by the gateway's ids."""
    return {row["gateway_refund_id"]: row["status"] for row in await connection.fetch(_REFUND_STATES, list(ids))}


async def dispute_states(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the states of disputes by the gateway's ids."""
    return {row["gateway_dispute_id"]: row["status"] for row in await connection.fetch(_DISPUTE_STATES, list(ids))}


async def disputed(connection: Connection, gateway: str, after: UUID | None, limit: int) -> list[Intent]:
    """Return intents with an undecided dispute, in id order."""
    return [_intent(row) for row in await connection.fetch(_DISPUTED, gateway, after, limit)]


async def completion_mark(connection: Connection, look: str) -> UUID:
    """Return up to which intent gifts or orders were looked at, by the name of the look; the nil id before its first time."""
    found: UUID | None = await connection.fetchval(_COMPLETION_MARK, look)
    return found or NIL


async def note_completion(connection: Connection, look: str, reached: UUID) -> None:
    """Note up to which intent gifts were looked at."""
    await connection.execute(_NOTE_COMPLETION, look, reached)


async def captured_payments(connection: Connection, subject: SubjectType, after: UUID, until: UUID, limit: int) -> list[Intent]:
    """Return captured payments whose ids lie between, in id order, which is that of their making."""
    return [_intent(row) for row in await connection.fetch(_CAPTURED, after, until, subject, limit)]


async def paid_between(
    connection: Connection, gateway: str, since: datetime, until: datetime, after: tuple[datetime, UUID] | None, limit: int
) -> list[Paid]:
    """Return what we hold to be paid by attempts of a time, page by page."""
    at, last = after or (None, None)
    rows = await connection.fetch(_PAID, gateway, since, until, at, last, limit)
    return [Paid(created_at=row["attempted_at"], intent=_intent(row)) for row in rows]


async def last_event(connection: Connection) -> UUID | None:
    """Return up to which event misfits were read."""
    found: UUID | None = await connection.fetchval("SELECT last_event FROM reconciliation_state")
    return found


async def note_last_event(connection: Connection, identifier: UUID) -> None:
    """Note up to which event misfits were read."""
    await connection.execute(_NOTE_LAST_EVENT, identifier)


async def misfits(connection: Connection, after: UUID | None, reasons: Sequence[str], limit: int) -> list[Any]:
    """Return events that did not fit, oldest first, with their bodies."""
    return await connection.fetch(_MISFITS, after, list(reasons), limit)


async def insert_looks(connection: Connection, looks: Sequence[Look]) -> int:
    """Have payments looked at; an event that is known has had its look."""
    names = ("event_id", "gateway", "gateway_object", "payment_id", "reason")
    return len(await connection.fetch(_INSERT_LOOKS, *columns_of(looks, names)))


async def is_to_be_looked_at(connection: Connection, event_id: UUID) -> bool:
    """Whether a look is still to be done."""
    return bool(await connection.fetchval(_IS_TO_BE_LOOKED_AT, event_id))


async def due_looks(connection: Connection, limit: int) -> list[Look]:
    """Take looks whose time has come; each is taken later and later."""
    return [Look(**row) for row in await connection.fetch(_DUE_LOOKS, limit)]


async def end_look(connection: Connection, event_id: UUID, outcome: str) -> None:
    """Note what came of a look."""
    await connection.execute(_END_LOOK, event_id, outcome[:200])


async def objects_of(connection: Connection, intent_id: UUID, gateway: str) -> list[str]:
    """Return the objects we made at a gateway for an intent."""
    return [row["gateway_object"] for row in await connection.fetch(_OBJECTS, intent_id, gateway)]


async def is_stopped(connection: Connection) -> bool:
    """Whether an operator stopped the reconciler."""
    return bool(await connection.fetchval("SELECT stopped FROM reconciliation_state"))


async def set_stopped(connection: Connection, *, stopped: bool, by: str) -> None:
    """Stop the reconciler, or let it go on."""
    await connection.execute(_SET_STOPPED, stopped, by)


async def standings(connection: Connection) -> list[Standing]:
    """Return how we stand with each gateway."""
    return [Standing(**row) for row in await connection.fetch(_STANDINGS)]


def _intent(row: Any) -> Intent:
    return Intent(**{name: row[name] for name in Intent.__struct_fields__})


_INSERT_RUNS = """
INSERT INTO reconciliation_runs (id, gateway, kind, since, until, reached, dry_run, requested_by)
SELECT n.id, n.gateway, n.kind, n.since, n.until, n.since, n.dry_run, n.requested_by
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::boolean[], $7::text[])
    AS n (id, gateway, kind, since, until, dry_run, requested_by)
RETURNING id, gateway, kind, since, until, reached, dry_run, requested_by, status, calls, reason, created_at, started_at,
          finished_at
"""
# An hourly run goes on where the last one came to, however long ago that was within bounds; a daily one looks back once more.
_SCHEDULE = """
INSERT INTO reconciliation_runs (id, gateway, kind, since, until, reached)
SELECT w.id, w.gateway, $3::text, s.since, t.now, s.since
FROM unnest($1::uuid[], $2::text[]) AS w (id, gateway)
CROSS JOIN (SELECT date_trunc('second', clock_timestamp()) AS now) AS t
LEFT JOIN LATERAL (
    SELECT reached, created_at
    FROM reconciliation_runs r
    WHERE r.gateway = w.gateway AND r.kind = $3::text
    ORDER BY r.id DESC
    LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT greatest(
        CASE WHEN $3::text = 'HOURLY' THEN coalesce(last.reached - make_interval(secs => $6), t.now - make_interval(secs => $5))
             ELSE t.now - make_interval(secs => $5) END,
        t.now - make_interval(secs => $7)
    ) AS since
) AS s
WHERE (last.created_at IS NULL OR last.created_at <= t.now - make_interval(secs => $4))
  AND NOT EXISTS (
      SELECT FROM reconciliation_runs r
      WHERE r.gateway = w.gateway AND r.kind = $3::text AND r.status IN ('REQUESTED', 'RUNNING')
  )
RETURNING id
"""
_OPEN_RUN = """
UPDATE reconciliation_runs
SET status = 'RUNNING', started_at = coalesce(started_at, clock_timestamp())
WHERE id = (SELECT id FROM reconciliation_runs WHERE status IN ('REQUESTED', 'RUNNING') ORDER BY id LIMIT 1)
RETURNING id, gateway, kind, since, until, reached, dry_run, requested_by, status, calls, reason, created_at, started_at,
          finished_at
"""
_RUN = """
SELECT id, gateway, kind, since, until, reached, dry_run, requested_by, status, calls, reason, created_at, started_at,
       finished_at
FROM reconciliation_runs
WHERE id = $1
"""
_REACH = "UPDATE reconciliation_runs SET reached = $2, calls = $3 WHERE id = $1"
_ADD_MATCHES = """
INSERT INTO reconciliation_matches AS m (run_id, currency, objects, amount)
SELECT $1, n.* FROM unnest($2::text[], $3::bigint[], $4::numeric[]) AS n (currency, objects, amount)
ON CONFLICT (run_id, currency) DO UPDATE SET objects = m.objects + excluded.objects, amount = m.amount + excluded.amount
"""
_END_RUN = """
UPDATE reconciliation_runs SET status = $2, reason = $3, finished_at = clock_timestamp() WHERE id = $1
"""
_RUNS = """
SELECT id, gateway, kind, since, until, reached, dry_run, requested_by, status, calls, reason, created_at, started_at,
       finished_at
FROM reconciliation_runs
WHERE ($1::text IS NULL OR gateway = $1) AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3
"""
_COUNTS = """
SELECT run_id, 'matched' AS bucket, 'none' AS action, currency, objects, amount
FROM reconciliation_matches
WHERE run_id = ANY($1::uuid[])
UNION ALL
SELECT run_id, bucket, action, currency, count(*), NULL
FROM reconciliation_findings
WHERE run_id = ANY($1::uuid[])
GROUP BY run_id, bucket, action, currency
ORDER BY run_id, bucket, action, currency
"""
_FINDINGS = """
SELECT id, run_id, gateway, bucket, gateway_object, payment_id, currency, ours, theirs, action, detail, created_at
FROM reconciliation_findings
WHERE run_id = $1 AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3
"""
_INSERT_FINDING = """
INSERT INTO reconciliation_findings (
    id, run_id, gateway, bucket, gateway_object, payment_id, currency, ours, theirs, action, detail
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT ON CONSTRAINT one_finding_each DO NOTHING
"""
_INTENTS = """
SELECT i.*
FROM payment_intents i
WHERE i.id = ANY($1::uuid[])
"""
_RETURNED = """
SELECT intent_id, sum(amount) AS amount
FROM refunds
WHERE intent_id = ANY($1::uuid[]) AND status <> 'FAILED'
GROUP BY intent_id
"""
_REFUND_STATES = "SELECT gateway_refund_id, status FROM refunds WHERE gateway_refund_id = ANY($1::text[])"
_DISPUTE_STATES = "SELECT gateway_dispute_id, status FROM disputes WHERE gateway_dispute_id = ANY($1::text[])"
_DISPUTED = """
SELECT i.*
FROM payment_intents i
WHERE i.id IN (
    SELECT d.intent_id FROM disputes d
    WHERE d.status = 'OPEN' AND d.gateway = $1 AND ($2::uuid IS NULL OR d.intent_id > $2)
    ORDER BY d.intent_id
    LIMIT $3
)
ORDER BY i.id
"""
_COMPLETION_MARK = "SELECT reached FROM completion_marks WHERE look = $1"
_NOTE_COMPLETION = """
INSERT INTO completion_marks AS m (look, reached) VALUES ($1, $2)
ON CONFLICT (look) DO UPDATE SET reached = greatest(m.reached, excluded.reached)
"""
_CAPTURED = """
SELECT i.*
FROM payment_intents i
WHERE i.id > $1 AND i.id <= $2 AND i.subject_type = $3 AND i.status = 'CAPTURED'
ORDER BY i.id
LIMIT $4
"""
_PAID = """
SELECT a.created_at AS attempted_at, i.*
FROM payment_attempts a
JOIN payment_intents i ON i.id = a.intent_id
WHERE a.gateway = $1 AND a.status = 'SUCCEEDED' AND a.gateway <> 'generic' AND a.created_at >= $2 AND a.created_at < $3
  AND ($4::timestamptz IS NULL OR (a.created_at, a.intent_id) > ($4, $5::uuid))
  AND i.captured_via = $1 AND i.captured_amount > 0 AND i.gateway_object <> ''
ORDER BY a.created_at, a.intent_id
LIMIT $6
"""
_NOTE_LAST_EVENT = "UPDATE reconciliation_state SET last_event = $1, changed_at = clock_timestamp()"
_MISFITS = """
SELECT DISTINCT ON (e.id) e.id, e.gateway, e.payment_id, e.reason, b.body
FROM webhook_events e
LEFT JOIN webhook_bodies b ON b.id = e.id
WHERE ($1::uuid IS NULL OR e.id > $1)
  AND e.gateway <> 'generic' AND e.outcome IN ('IGNORED', 'REJECTED', 'EARLY')
  AND (e.outcome <> 'IGNORED' OR e.reason = ANY($2::text[]))
ORDER BY e.id
LIMIT $3
"""
_INSERT_LOOKS = """
INSERT INTO reconciliation_looks (event_id, gateway, gateway_object, payment_id, reason)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[])
ON CONFLICT (event_id) DO NOTHING
RETURNING true
"""
_DUE_LOOKS = """
UPDATE reconciliation_looks l
SET asked = l.asked + 1, ask_at = clock_timestamp() + make_interval(secs => least(3600, 2 * power(2, least(l.asked, 11))))
FROM (
    SELECT event_id FROM reconciliation_looks
    WHERE done_at IS NULL AND ask_at <= (SELECT clock_timestamp())
    ORDER BY ask_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE l.event_id = due.event_id
RETURNING l.event_id, l.gateway, l.gateway_object, l.payment_id, l.reason, l.asked
"""
_IS_TO_BE_LOOKED_AT = "SELECT done_at IS NULL FROM reconciliation_looks WHERE event_id = $1"
_END_LOOK = "UPDATE reconciliation_looks SET done_at = clock_timestamp(), outcome = $2 WHERE event_id = $1"
_OBJECTS = """
SELECT DISTINCT gateway_object FROM payment_attempts WHERE intent_id = $1 AND gateway = $2 AND gateway_object <> ''
"""
_SET_STOPPED = "UPDATE reconciliation_state SET stopped = $1, stopped_by = $2, changed_at = clock_timestamp()"
_STANDINGS = """
SELECT r.gateway, (
    SELECT count(*)
    FROM payment_alarms a
    WHERE a.gateway = r.gateway AND a.kind LIKE 'reconcile\\_%' AND a.settled_at IS NULL
) AS left, extract(epoch FROM clock_timestamp() - r.finished_at)::float8 AS age_seconds
FROM (SELECT DISTINCT gateway FROM reconciliation_runs) AS g
CROSS JOIN LATERAL (
    SELECT id, gateway, finished_at
    FROM reconciliation_runs
    WHERE gateway = g.gateway AND status = 'FINISHED' AND NOT dry_run AND kind <> 'ORDERED'
    ORDER BY id DESC
    LIMIT 1
) AS r
"""
