"""The SQL of steps that the checkout asks for."""

from datetime import timedelta
from uuid import UUID

from careforall.kit.db import Connection


async def claim(connection: Connection, step_id: UUID, intent_id: UUID, what: str) -> bytes | None:
    """Note that a step is asked for and return the answer it got before, if there is one."""
    answer: bytes | None = await connection.fetchval(_CLAIM, step_id, intent_id, what)
    return answer


async def answer(connection: Connection, step_id: UUID, body: bytes) -> bytes:
    """Keep the answer of a step and return the one that is kept: the first."""
    kept: bytes = await connection.fetchval(_ANSWER, step_id, body)
    return kept


async def forget(connection: Connection, age: timedelta, limit: int) -> int:
    """Forget answers older than that of payments that have come to their end; return how many."""
    return int((await connection.execute(_FORGET, age, limit)).split()[-1])


# The touch makes this transaction a writing one, so that its COMMIT proves the answer durable (rule 2).
_CLAIM = """
INSERT INTO payment_steps AS s (step_id, intent_id, what)
VALUES ($1, $2, $3)
ON CONFLICT (step_id) DO UPDATE SET created_at = s.created_at
RETURNING answer
"""
_ANSWER = """
UPDATE payment_steps
SET answer = coalesce(answer, $2), answered_at = coalesce(answered_at, clock_timestamp())
WHERE step_id = $1
RETURNING answer
"""
# A payment that still moves may be asked for the same step again, whose answer counts; one that has ended answers by its state.
_FORGET = """
DELETE FROM payment_steps
WHERE step_id IN (
    SELECT s.step_id
    FROM payment_steps s
    JOIN payment_intents i ON i.id = s.intent_id
    WHERE s.answered_at < clock_timestamp() - $1::interval AND i.status NOT IN ('INITIATED', 'AUTHORIZED')
    LIMIT $2
)
"""
