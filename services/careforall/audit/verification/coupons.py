"""Invariants of pricing: the counters of a coupon are what its holds say, and no limit is exceeded."""

from careforall.audit.verification.report import Invariant

COUPONS = (
    Invariant(
        name="pricing.coupon_counts_are_holds",
        service="pricing",
        sql="""
SELECT coupons.id::text AS key,
       format('%s used and %s held, its holds say %s and %s', used, held, count(*) FILTER (WHERE state = 'USED'),
              count(*) FILTER (WHERE state = 'HELD')) AS detail
FROM coupons
LEFT JOIN coupon_holds ON coupon_id = coupons.id
WHERE $1::timestamptz IS NOT NULL
GROUP BY coupons.id
HAVING (used, held) IS DISTINCT FROM
       (count(*) FILTER (WHERE state = 'USED')::integer, count(*) FILTER (WHERE state = 'HELD')::integer)
LIMIT 1000
""",
    ),
    Invariant(
        name="pricing.coupon_limits_hold",
        service="pricing",
        sql="""
SELECT id::text AS key, format('%s used and %s held of %s', used, held, total_limit) AS detail
FROM coupons
WHERE $1::timestamptz IS NOT NULL AND used + held > total_limit
LIMIT 1000
""",
    ),
    Invariant(
        name="pricing.coupon_limits_hold_for_each_buyer",
        service="pricing",
        sql="""
SELECT format('%s:%s', coupons.id, user_id) AS key, format('%s of %s', count(*), per_user_limit) AS detail
FROM coupons
JOIN coupon_holds ON coupon_id = coupons.id
WHERE $1::timestamptz IS NOT NULL AND user_id IS NOT NULL AND state IN ('HELD', 'USED')
GROUP BY coupons.id, user_id, per_user_limit
HAVING count(*) > per_user_limit
LIMIT 1000
""",
    ),
)
