"""The stock's invariants: within bounds, held by somebody, explained by its movements, and given back in time."""

from careforall.audit.verification.report import Invariant

STOCK = (
    Invariant(
        name="stock.within_bounds",
        service="inventory",
        whole=True,
        sql="""
SELECT concat_ws(' in ', sku, warehouse) AS key, format('%s reserved of %s on hand', reserved, on_hand) AS detail
FROM stock
WHERE $1::timestamptz IS NOT NULL AND NOT (reserved BETWEEN 0 AND on_hand)
LIMIT 1000
""",
    ),
    Invariant(
        name="stock.reserved_is_held",
        service="inventory",
        sql="""
SELECT concat_ws(' in ', sku, warehouse) AS key, format('%s reserved, %s held', reserved, coalesce(held, 0)) AS detail
FROM stock
LEFT JOIN (
    SELECT sku, warehouse, sum(quantity) AS held FROM reservations WHERE status = 'PENDING' GROUP BY sku, warehouse
) AS holds USING (sku, warehouse)
WHERE stock.updated_at >= $1 AND reserved <> coalesce(held, 0)
LIMIT 1000
""",
    ),
    Invariant(
        name="stock.movements_add_up",
        service="inventory",
        sql="""
SELECT concat_ws(' in ', stock.sku, stock.warehouse) AS key,
       format('%s on hand and %s reserved, movements say %s and %s', stock.on_hand, stock.reserved, moved.on_hand,
              moved.reserved) AS detail
FROM stock
CROSS JOIN LATERAL (
    SELECT coalesce(sum(on_hand), 0) AS on_hand, coalesce(sum(reserved), 0) AS reserved
    FROM stock_movements
    WHERE sku = stock.sku AND warehouse = stock.warehouse
) AS moved
WHERE updated_at >= $1 AND (stock.on_hand, stock.reserved) IS DISTINCT FROM (moved.on_hand, moved.reserved)
LIMIT 1000
""",
    ),
    Invariant(
        name="stock.holds_follow_movements",
        service="inventory",
        sql="""
SELECT concat_ws(' ', held.holder_id, held.sku, held.warehouse) AS key,
       format('%s of %s, movements say %s held and %s sold', held.status, held.quantity, coalesce(moved.held, 0),
              coalesce(moved.sold, 0)) AS detail
FROM reservations AS held
LEFT JOIN (
    SELECT holder_id, sku, warehouse, sum(reserved) AS held, -sum(on_hand) AS sold
    FROM stock_movements
    WHERE (holder_id, sku) IN (SELECT holder_id, sku FROM reservations WHERE updated_at >= $1)
    GROUP BY holder_id, sku, warehouse
) AS moved USING (holder_id, sku, warehouse)
WHERE held.updated_at >= $1
  AND (coalesce(moved.held, 0), coalesce(moved.sold, 0)) IS DISTINCT FROM (
      CASE held.status WHEN 'PENDING' THEN held.quantity ELSE 0 END::bigint,
      CASE held.status WHEN 'CONFIRMED' THEN held.quantity - held.returned ELSE 0 END::bigint
  )
LIMIT 1000
""",
    ),
    Invariant(
        name="stock.overdue_holds_expire",
        service="inventory",
        sql="""
SELECT concat_ws(' ', holder_id, sku, warehouse) AS key, format('held since it ran out at %s', expires_at) AS detail
FROM reservations
WHERE $1::timestamptz IS NOT NULL AND status = 'PENDING' AND NOT pinned
  AND expires_at < clock_timestamp() - interval '5 minutes'
LIMIT 1000
""",
    ),
)
