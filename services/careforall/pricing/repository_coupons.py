"""SQL about coupons and what checkouts hold: steps by id, locked prices by holder, coupons by id, holds under their coupon."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from careforall.kit import json
from careforall.kit.db import Connection
from careforall.kit.ids import by_id
from careforall.pricing.domain import Coupon, Hold


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was answered before."""

    fingerprint: bytes
    answer: bytes


async def claim_steps(connection: Connection, steps: Sequence[tuple[UUID, bytes]]) -> set[UUID]:
    """Claim steps by id; return those that are new."""
    ordered = sorted(steps, key=lambda step: step[0].int)
    rows = await connection.fetch(_CLAIM_STEPS, [step for step, _ in ordered], [mark for _, mark in ordered])
    return {row["step_id"] for row in rows}


async def touch_steps(connection: Connection, step_ids: Sequence[UUID]) -> dict[UUID, Step]:
    """Return steps answered before, touched so that our own COMMIT proves theirs durable (rule 2)."""
    rows = await connection.fetch(_TOUCH_STEPS, list(step_ids))
    return {row["step_id"]: Step(fingerprint=row["fingerprint"], answer=row["answer"]) for row in rows}


async def answer_steps(connection: Connection, answers: Sequence[tuple[UUID, bytes]]) -> None:
    """Store what was answered."""
    await connection.execute(_ANSWER_STEPS, [step for step, _ in answers], [answer for _, answer in answers])


async def forget_steps(connection: Connection, days: int) -> None:
    """Forget the oldest steps, and locked prices that ended as long ago."""
    await connection.execute(_FORGET_STEPS, days)
    await connection.execute(_FORGET_LOCKS, days)


async def lock_holders(connection: Connection, holders: Sequence[UUID]) -> None:
    """Lock the price rows of holders, making those that are missing."""
    await connection.execute(_LOCK_HOLDERS, sorted(set(holders), key=by_id))


async def promised_holders(connection: Connection, holders: Sequence[UUID]) -> set[UUID]:
    """Lock and return the holders to whom a price is promised and not given up."""
    rows = await connection.fetch(_PROMISED_HOLDERS, sorted(set(holders), key=by_id))
    return {row["holder_id"] for row in rows}


async def keep_prices(connection: Connection, prices: Sequence[tuple[UUID, UUID, bytes, datetime]]) -> None:
    """Store (holder, quote id, quote, locked until)."""
    await connection.execute(
        _KEEP_PRICES,
        [holder for holder, _, _, _ in prices],
        [quote for _, quote, _, _ in prices],
        [body.decode() for _, _, body, _ in prices],
        [until for _, _, _, until in prices],
    )


async def extend_prices(connection: Connection, holders: Sequence[tuple[UUID, datetime]]) -> None:
    """Keep the prices of holders for longer; never shorter."""
    await connection.execute(_EXTEND_PRICES, [holder for holder, _ in holders], [until for _, until in holders])


async def end_prices(connection: Connection, holders: Sequence[UUID]) -> None:
    """Promise these holders no price any more."""
    await connection.execute(_END_PRICES, list(holders))


async def coupons_held_by(connection: Connection, holders: Sequence[UUID]) -> list[UUID]:
    """Return the ids of coupons that holders hold or ever held."""
    return [row["coupon_id"] for row in await connection.fetch(_COUPONS_HELD_BY, list(holders))]


async def lock_coupons(connection: Connection, codes: Sequence[str], ids: Sequence[UUID]) -> dict[UUID, Coupon]:
    """Lock and return coupons in the order of their ids."""
    return _coupons(await connection.fetch(_LOCK_COUPONS, list(set(codes)), list(set(ids))))


async def lock_overdue(connection: Connection, limit: int) -> dict[UUID, Coupon]:
    """Lock and return coupons with holds that ran out, leaving out those that somebody else has locked."""
    return _coupons(await connection.fetch(_LOCK_OVERDUE, limit))


async def coupons_of(connection: Connection, codes: Sequence[str]) -> dict[UUID, Coupon]:
    """Return coupons by code without locking them."""
    return _coupons(await connection.fetch(_COUPONS_OF, list(set(codes))))


async def coupon(connection: Connection, coupon_id: UUID, *, lock: bool = False) -> Coupon | None:
    """Return a coupon."""
    row = await connection.fetchrow(_COUPON_LOCKED if lock else _COUPON, coupon_id)
    return _coupon(row["body"]) if row else None


async def coupons(connection: Connection, code: str, before: UUID | None, limit: int, *, active: bool | None) -> list[Coupon]:
    """Return coupons, newest first."""
    return [_coupon(row["body"]) for row in await connection.fetch(_LIST, code, active, before, limit)]


async def insert_coupon(connection: Connection, new: Coupon) -> bool:
    """Store a new coupon; False where its code is taken."""
    return bool(await connection.fetchval(_INSERT, json.encode(new).decode()))


async def update_coupon(connection: Connection, changed: Coupon) -> None:
    """Store what staff changed of a locked coupon; the counters stay."""
    await connection.execute(_UPDATE, json.encode(changed).decode())


async def all_coupons(connection: Connection, after: UUID | None, limit: int) -> list[Coupon]:
    """Return coupons in id order, for sending their state again."""
    return [_coupon(row["body"]) for row in await connection.fetch(_SNAPSHOT, after, limit)]


async def count_coupons(connection: Connection, changed: Sequence[Coupon]) -> None:
    """Store the counters of locked coupons."""
    await connection.execute(_COUNT, [one.id for one in changed], [one.used for one in changed], [one.held for one in changed])


async def expire(connection: Connection, coupon_ids: Sequence[UUID], *, besides: Sequence[UUID] = ()) -> dict[UUID, int]:
    """Expire the overdue holds of locked coupons that are not pinned; return how many of each.

    Args:
        connection: Holds the locks.
        coupon_ids: The coupons.
        besides: Holders who are here themselves, and whose holds stay whatever the clock says (rule 16).
    """
    rows = await connection.fetch(_EXPIRE, list(coupon_ids), list(besides))
    return {row["coupon_id"]: row["expired"] for row in rows}


async def holds_of(connection: Connection, holders: Sequence[UUID]) -> list[Hold]:
    """Return all holds of holders."""
    return [Hold(**row) for row in await connection.fetch(_HOLDS_OF, list(holders))]


async def uses_by(connection: Connection, pairs: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], int]:
    """Return how often users use or hold coupons, by (coupon, user)."""
    rows = await connection.fetch(_USES_BY, [coupon_id for coupon_id, _ in pairs], [user for _, user in pairs])
    return {(row["coupon_id"], row["user_id"]): row["uses"] for row in rows}


async def keep_holds(connection: Connection, holds: Sequence[Hold]) -> None:
    """Store holds whose coupons are locked."""
    await connection.execute(
        _KEEP_HOLDS,
        [one.holder_id for one in holds],
        [one.coupon_id for one in holds],
        [one.user_id for one in holds],
        [one.state for one in holds],
        [one.expires_at for one in holds],
        [one.pinned for one in holds],
    )


def _coupon(body: str) -> Coupon:
    return msgspec.json.decode(body, type=Coupon)


def _coupons(rows: Sequence[asyncpg.Record]) -> dict[UUID, Coupon]:
    found = (_coupon(row["body"]) for row in rows)
    return {one.id: one for one in found}


_CLAIM_STEPS = """
INSERT INTO steps (step_id, fingerprint)
SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS asked (step_id, fingerprint)
ORDER BY step_id
ON CONFLICT (step_id) DO NOTHING
RETURNING step_id
"""
_TOUCH_STEPS = """
UPDATE steps SET seen_at = clock_timestamp() WHERE step_id = ANY($1::uuid[]) RETURNING step_id, fingerprint, answer
"""
_ANSWER_STEPS = """
UPDATE steps SET answer = said.answer
FROM unnest($1::uuid[], $2::bytea[]) AS said (step_id, answer)
WHERE steps.step_id = said.step_id
"""
_FORGET_STEPS = "DELETE FROM steps WHERE created_at < clock_timestamp() - make_interval(days => $1)"
# Whoever has used a coupon may give it back with the order, however late.
_FORGET_LOCKS = """
DELETE FROM locked_prices AS l
WHERE l.updated_at < clock_timestamp() - make_interval(days => $1)
  AND NOT EXISTS (SELECT FROM coupon_holds AS h WHERE h.holder_id = l.holder_id AND h.state IN ('HELD', 'USED'))
"""
_LOCK_HOLDERS = """
INSERT INTO locked_prices (holder_id)
SELECT holder_id FROM unnest($1::uuid[]) AS holder_id ORDER BY holder_id
ON CONFLICT (holder_id) DO UPDATE SET updated_at = clock_timestamp()
"""
_PROMISED_HOLDERS = """
SELECT holder_id FROM locked_prices
WHERE holder_id = ANY($1::uuid[]) AND locked_until IS NOT NULL
ORDER BY holder_id
FOR UPDATE
"""
_KEEP_PRICES = """
UPDATE locked_prices AS l
SET quote_id = kept.quote_id, quote = kept.quote, locked_until = kept.locked_until, updated_at = clock_timestamp()
FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[], $4::timestamptz[]) AS kept (holder_id, quote_id, quote, locked_until)
WHERE l.holder_id = kept.holder_id
"""
_EXTEND_PRICES = """
UPDATE locked_prices AS l
SET locked_until = greatest(l.locked_until, kept.locked_until), updated_at = clock_timestamp()
FROM unnest($1::uuid[], $2::timestamptz[]) AS kept (holder_id, locked_until)
WHERE l.holder_id = kept.holder_id AND l.locked_until IS NOT NULL
"""
_END_PRICES = """
UPDATE locked_prices SET locked_until = NULL, updated_at = clock_timestamp() WHERE holder_id = ANY($1::uuid[])
"""
_COUPONS_HELD_BY = "SELECT DISTINCT coupon_id FROM coupon_holds WHERE holder_id = ANY($1::uuid[])"
_LOCK_COUPONS = """
SELECT to_jsonb(c)::text AS body FROM coupons AS c
WHERE id IN (
    SELECT id FROM coupons WHERE code = ANY($1::text[])
    UNION
    SELECT id FROM unnest($2::uuid[]) AS id
)
ORDER BY id
FOR UPDATE OF c
"""
_LOCK_OVERDUE = """
SELECT to_jsonb(c)::text AS body FROM coupons AS c
WHERE id IN (
    SELECT coupon_id FROM coupon_holds
    WHERE state = 'HELD' AND NOT pinned AND expires_at < (SELECT clock_timestamp())
    ORDER BY expires_at
    LIMIT $1
)
ORDER BY id
FOR UPDATE OF c SKIP LOCKED
"""
_COUPONS_OF = "SELECT to_jsonb(c)::text AS body FROM coupons AS c WHERE code = ANY($1::text[])"
_COUPON = "SELECT to_jsonb(c)::text AS body FROM coupons AS c WHERE id = $1"
_COUPON_LOCKED = "SELECT to_jsonb(c)::text AS body FROM coupons AS c WHERE id = $1 FOR UPDATE OF c"
_LIST = """
SELECT to_jsonb(c)::text AS body FROM coupons AS c
WHERE ($1 = '' OR code = $1) AND ($2::boolean IS NULL OR active = $2) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4
"""
_SNAPSHOT = """
SELECT to_jsonb(c)::text AS body FROM coupons AS c WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2
"""
_INSERT = """
INSERT INTO coupons SELECT * FROM jsonb_populate_record(NULL::coupons, $1::jsonb)
ON CONFLICT (code) DO NOTHING
RETURNING true
"""
_UPDATE = """
UPDATE coupons AS c
SET percent = n.percent, amount = n.amount, currency = n.currency, minimum = n.minimum, total_limit = n.total_limit,
    per_user_limit = n.per_user_limit, starts_at = n.starts_at, ends_at = n.ends_at, active = n.active,
    combinable = n.combinable, skus = n.skus, categories = n.categories, version = n.version, updated_at = n.updated_at
FROM jsonb_populate_record(NULL::coupons, $1::jsonb) AS n
WHERE c.id = n.id
"""
_COUNT = """
UPDATE coupons AS c SET used = counted.used, held = counted.held
FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS counted (id, used, held)
WHERE c.id = counted.id
"""
_EXPIRE = """
WITH ended AS (
    UPDATE coupon_holds SET state = 'EXPIRED', updated_at = clock_timestamp()
    WHERE coupon_id = ANY($1::uuid[]) AND holder_id <> ALL($2::uuid[])
      AND state = 'HELD' AND NOT pinned AND expires_at < (SELECT clock_timestamp())
    RETURNING coupon_id
)
SELECT coupon_id, count(*)::integer AS expired FROM ended GROUP BY coupon_id
"""
_HOLDS_OF = """
SELECT holder_id, coupon_id, user_id, state, expires_at, pinned
FROM coupon_holds
WHERE holder_id = ANY($1::uuid[])
ORDER BY holder_id, coupon_id
"""
_USES_BY = """
SELECT h.coupon_id, h.user_id, count(*)::integer AS uses
FROM unnest($1::uuid[], $2::uuid[]) AS pair (coupon_id, user_id)
JOIN coupon_holds AS h ON h.coupon_id = pair.coupon_id AND h.user_id = pair.user_id AND h.state IN ('HELD', 'USED')
GROUP BY h.coupon_id, h.user_id
"""
_KEEP_HOLDS = """
INSERT INTO coupon_holds (holder_id, coupon_id, user_id, state, expires_at, pinned)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::boolean[])
ON CONFLICT (holder_id, coupon_id) DO UPDATE
SET user_id = excluded.user_id, state = excluded.state, expires_at = excluded.expires_at, pinned = excluded.pinned,
    updated_at = clock_timestamp()
"""
