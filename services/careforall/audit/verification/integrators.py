"""What `verify` demands of what integrators hear: each event stored, in a list without holes, and delivered to who wanted it."""

from careforall.audit.verification.report import Invariant

INTEGRATORS = (
    Invariant(
        name="sync.every_public_event_is_stored",
        service="sync",
        sql="""
SELECT consumer || ':' || message_id AS key, 'heard, and not in the list' AS detail
FROM inbox
WHERE consumer LIKE 'sync-events-%'
  AND received_at >= greatest($1, clock_timestamp() - interval '29 days')
  AND NOT EXISTS (SELECT FROM webhook_events WHERE event_id = message_id)
LIMIT 1000
""",
    ),
    Invariant(
        name="sync.events_are_numbered_without_holes",
        service="sync",
        whole=True,
        sql="""
SELECT pruned || '-' || last AS key, format('%s events where %s were numbered', count(number), last - pruned - left_out) AS detail
FROM webhook_sequence
CROSS JOIN LATERAL (
    SELECT coalesce(sum(until_number - greatest(after_number, pruned)), 0) AS left_out
    FROM webhook_gaps
    WHERE until_number > pruned
) AS gaps
LEFT JOIN webhook_events
  ON number > pruned AND NOT EXISTS (SELECT FROM webhook_gaps WHERE number > after_number AND number <= until_number)
WHERE $1::timestamptz IS NOT NULL
GROUP BY pruned, last, left_out
HAVING count(number) <> last - pruned - left_out OR max(number) > last
""",
    ),
    Invariant(
        name="sync.one_delivery_to_each_who_wanted_it",
        service="sync",
        sql="""
SELECT number || ':' || wanted.endpoint_id AS key, format('%s deliveries of %s', count(delivery.id), event.event_type) AS detail
FROM webhook_events AS event
JOIN webhook_wants AS wanted
  ON number > after_number
 AND number <= coalesce(until_number, number)
 AND (event.event_type = ANY(wanted.event_types) OR '*' = ANY(wanted.event_types))
LEFT JOIN webhook_deliveries AS delivery ON delivery.event_number = number AND delivery.endpoint_id = wanted.endpoint_id
WHERE stored_at >= $1 AND number > (SELECT pruned FROM webhook_sequence)
GROUP BY number, wanted.endpoint_id, event.event_type
HAVING count(delivery.id) <> 1
LIMIT 1000
""",
    ),
)
