"""The SQL of what the metrics of orders tell; both statements read the small end of an index."""

from uuid import UUID

import msgspec

from careforall.kit.db import Connection


class OpenSagas(msgspec.Struct, frozen=True, kw_only=True):
    """Sagas that have not ended, at one stage; the age of the oldest in seconds."""

    stage: str
    open: int
    parked: int
    oldest: float


async def open_sagas(connection: Connection) -> list[OpenSagas]:
    """Count the sagas that have not ended, by stage."""
    return [OpenSagas(**row) for row in await connection.fetch(_OPEN)]


async def sales(connection: Connection, since: UUID) -> dict[str, float]:
    """Sum what orders with younger ids than the given one were paid, by currency."""
    return {row["currency"]: row["total"] for row in await connection.fetch(_SALES, since)}


_OPEN = """
SELECT current_step AS stage, count(*) AS open, count(parked_at) AS parked,
       extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest
FROM saga_state
WHERE lease_until IS NOT NULL
GROUP BY current_step
"""
_SALES = """
SELECT currency, sum(total - refunded_amount)::float8 AS total
FROM orders
WHERE status IN ('CONFIRMED', 'PROCESSING', 'SHIPPED', 'DELIVERED') AND id > $1
GROUP BY currency
"""
