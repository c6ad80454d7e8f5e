"""The invariants of orders and sagas: nothing stands still, amounts add up, steps are told of once, what is confirmed is paid."""

from careforall.audit.verification.report import Invariant
from careforall.audit.verification.told import one_event_for_each_step

SHOP_ORDERS = (
    Invariant(
        name="sagas.runnable_make_progress",
        service="orders",
        sql="""
SELECT id::text AS key,
       format('%s at %s, runnable since %s, %s tries: %s', type, current_step, lease_until, tries, error) AS detail
FROM saga_state
WHERE $1::timestamptz IS NOT NULL AND lease_until < clock_timestamp() - interval '5 minutes'
LIMIT 1000
""",
    ),
    Invariant(
        name="sagas.ended_hold_nothing",
        service="orders",
        sql="""
SELECT id::text AS key, format('%s has ended at %s with %s', type, current_step, completed_steps) AS detail
FROM saga_state
WHERE updated_at >= $1 AND type IN ('CHECKOUT', 'DIRECT') AND status IN ('FAILED', 'COMPENSATED')
  AND completed_steps && ARRAY['reserve', 'pin', 'confirm', 'lock']
LIMIT 1000
""",
    ),
    Invariant(
        name="orders.lines_add_up",
        service="orders",
        sql="""
SELECT o.order_number AS key, format('%s, lines %s, shipping %s, tax %s', o.total, l.total, o.shipping, o.tax) AS detail
FROM orders o
CROSS JOIN LATERAL (
    SELECT coalesce(sum(total), 0) AS total, coalesce(sum(unit_price * quantity), 0) AS subtotal
    FROM order_lines WHERE order_id = o.id
) AS l
WHERE o.updated_at >= $1 AND (
    o.total NOT IN (o.subtotal - o.discount + o.shipping, o.subtotal - o.discount + o.shipping + o.tax)
    OR o.total - l.total - o.shipping NOT BETWEEN 0 AND o.tax
    OR l.subtotal <> o.subtotal
)
LIMIT 1000
""",
    ),
    Invariant(
        name="orders.history_leads_to_state",
        service="orders",
        sql="""
SELECT o.order_number AS key,
       format('%s in version %s, history says %s in %s', o.status, o.version, h.to_status, h.version) AS detail
FROM orders o
LEFT JOIN LATERAL (
    SELECT to_status, version FROM order_status_history WHERE order_id = o.id ORDER BY version DESC LIMIT 1
) AS h ON true
WHERE o.updated_at >= $1 AND (o.status, o.version) IS DISTINCT FROM (h.to_status, h.version)
LIMIT 1000
""",
    ),
    Invariant(
        name="orders.history_without_holes",
        service="orders",
        sql="""
SELECT o.order_number AS key, format('version %s, %s history rows from %s on', o.version, h.rows, h.first) AS detail
FROM orders o
CROSS JOIN LATERAL (SELECT count(*) AS rows, min(version) AS first FROM order_status_history WHERE order_id = o.id) AS h
WHERE o.updated_at >= $1 AND (h.rows, h.first) IS DISTINCT FROM (o.version::bigint, 1)
LIMIT 1000
""",
    ),
    one_event_for_each_step(
        service="orders",
        history="order_status_history",
        owner="order_id",
        at="at",
        states=("confirmed", "failed", "processing", "shipped", "delivered", "cancelled", "returned", "refunded"),
    ),
    Invariant(
        name="orders.confirmed_are_paid_and_in_stock",
        service="orders",
        sql="""
SELECT o.order_number AS key,
       format('%s by a saga that did %s', o.status, coalesce(s.completed_steps::text, 'not exist')) AS detail
FROM orders o
LEFT JOIN saga_state s ON s.id = o.saga_id
WHERE o.updated_at >= $1 AND o.confirmed_at IS NOT NULL
  AND NOT coalesce(s.completed_steps @> ARRAY['confirm', 'capture'], false)
LIMIT 1000
""",
    ),
    Invariant(
        name="orders.open_ones_have_somebody_who_ends_them",
        service="orders",
        sql="""
SELECT o.order_number AS key, format('PENDING, its saga %s', coalesce(s.status, 'does not exist')) AS detail
FROM orders o
LEFT JOIN saga_state s ON s.id = o.saga_id
WHERE $1::timestamptz IS NOT NULL AND o.status = 'PENDING' AND s.lease_until IS NULL
LIMIT 1000
""",
    ),
    Invariant(
        name="sagas.completed_made_an_order",
        service="orders",
        sql="""
SELECT s.id::text AS key, format('%s is completed, and has no order', s.type) AS detail
FROM saga_state s
LEFT JOIN orders o ON o.saga_id = s.id
WHERE s.updated_at >= $1 AND s.type IN ('CHECKOUT', 'DIRECT') AND s.status = 'COMPLETED' AND o.id IS NULL
LIMIT 1000
""",
    ),
)
