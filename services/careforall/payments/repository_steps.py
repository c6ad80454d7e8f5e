"""The SQL of steps that the checkout asks for."""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection
from careforall.payments.records import Answered, Begun, columns_of


async def claim(connection: Connection, steps: Sequence[Begun]) -> dict[UUID, bytes]:
    """Note that steps are asked for and return the answers of those that got one before."""
    rows = await connection.fetch(_CLAIM, *columns_of(sorted(steps, key=_by_step), ("step_id", "intent_id", "what")))
    return {row["step_id"]: row["answer"] for row in rows if row["answer"] is not None}


async def answer(connection: Connection, answers: Sequence[Answered]) -> dict[UUID, bytes]:
    """Keep the answers of steps and return those that are kept: the first of each."""
    rows = await connection.fetch(_ANSWER, *columns_of(sorted(answers, key=_by_step), ("step_id", "body")))
    return {row["step_id"]: row["answer"] for row in rows}


# The touch makes this transaction a writing one, so that its COMMIT proves the answer durable (rule 2).
_CLAIM = """
INSERT INTO payment_steps AS s (step_id, intent_id, what)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])
ON CONFLICT (step_id) DO UPDATE SET created_at = s.created_at
RETURNING step_id, answer
"""
# One plan for all calls: see `kit/db.py`.
_ANSWER = """
UPDATE payment_steps AS s
SET answer = coalesce(s.answer, n.answer), answered_at = coalesce(s.answered_at, clock_timestamp())
FROM unnest((SELECT $1::uuid[]), $2::bytea[]) AS n (step_id, answer)
WHERE s.step_id = n.step_id
RETURNING s.step_id, s.answer
"""
# A payment that still moves may be asked for the same step again, whose answer counts; one that has ended answers by its state.
OLD_ANSWERS = """
DELETE FROM payment_steps
WHERE step_id IN (
    SELECT s.step_id
    FROM payment_steps s
    JOIN payment_intents i ON i.id = s.intent_id
    WHERE s.answered_at < clock_timestamp() - $1::interval AND i.status NOT IN ('INITIATED', 'AUTHORIZED')
    LIMIT $2
)
"""
"""Forgets answers older than an age, of payments that have come to their end; for `until_empty`."""


def _by_step(one: Begun | Answered) -> UUID:
    return one.step_id
