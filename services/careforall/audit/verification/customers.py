"""What `verify` demands of customers: each newest version is told of, and carried to every target, waiting or given up on."""

from careforall.audit.verification.report import Invariant

CUSTOMERS = (
    Invariant(
        name="sync.newest_version_is_carried_or_waits",
        service="sync",
        sql="""
SELECT customers.id::text || ':' || target AS key,
       format('version %s, %s carries %s of %s', customers.version, status, carried_version, deliveries.version) AS detail
FROM customers
JOIN deliveries ON aggregate_id = customers.id
WHERE updated_at >= $1
  AND (deliveries.version <> customers.version OR (status = 'PROCESSED' AND carried_version <> customers.version))
LIMIT 1000
""",
    ),
    Invariant(
        name="sync.event_for_each_newest_version",
        service="sync",
        sql="""
SELECT customers.id::text || ':' || version AS key, 'no event tells of this version' AS detail
FROM customers
WHERE updated_at >= greatest($1, clock_timestamp() - interval '71 hours')
  AND NOT EXISTS (
      SELECT
      FROM outbox
      WHERE aggregate_id = customers.id
        AND event_type LIKE 'customer.%'
        AND (convert_from(payload, 'UTF8')::json ->> 'aggregate_version')::integer = customers.version
  )
LIMIT 1000
""",
    ),
    Invariant(
        name="sync.one_image_each",
        service="sync",
        whole=True,
        sql="""
SELECT target || ':' || external_id AS key, format('%s customers', count(*)) AS detail
FROM deliveries
WHERE $1::timestamptz IS NOT NULL AND external_id IS NOT NULL
GROUP BY target, external_id
HAVING count(*) > 1
LIMIT 1000
""",
    ),
)
