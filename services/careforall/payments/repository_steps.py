"""The SQL of steps that the checkout asks for."""

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
