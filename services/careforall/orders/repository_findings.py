"""The SQL of the hourly reconciliation."""

from careforall.kit.db import Connection


async def count(connection: Connection) -> dict[str, int]:
    """Count what should not be, by kind."""
    row = await connection.fetchrow(_COUNT)
    assert row is not None
    return {name: int(number) for name, number in row.items()}


async def wake_stale(connection: Connection) -> int:
    """Have sagas that hold stock without an order looked at now: their time is over."""
    return int((await connection.execute(_WAKE)).split()[-1])


_STALE = """
    s.type IN ('CHECKOUT', 'DIRECT') AND s.lease_until IS NOT NULL AND s.created_at < clock_timestamp() - interval '30 minutes'
    AND 'reserve' = ANY(s.completed_steps)
    AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.saga_id = s.id)
"""
_COUNT = """
SELECT
    (SELECT count(*) FROM saga_state s WHERE @stale@) AS stale_holds,
    (
        SELECT count(*)
        FROM orders o JOIN saga_state s ON s.id = o.saga_id
        WHERE o.status IN ('CONFIRMED', 'PROCESSING', 'SHIPPED') AND NOT 'confirm' = ANY(s.completed_steps)
    ) AS without_stock,
    (
        SELECT count(*)
        FROM orders o JOIN saga_state s ON s.id = o.saga_id
        WHERE o.status IN ('CONFIRMED', 'PROCESSING', 'SHIPPED') AND NOT 'capture' = ANY(s.completed_steps)
    ) AS without_payment,
    (SELECT count(*) FROM saga_state WHERE parked_at IS NOT NULL AND lease_until IS NOT NULL) AS parked
""".replace("@stale@", _STALE)
_WAKE = """
UPDATE saga_state s SET lease_until = clock_timestamp()
WHERE @stale@ AND s.current_step = 'ready'
""".replace("@stale@", _STALE)
