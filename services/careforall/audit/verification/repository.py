"""The SQL of the verification: invariants inside one database, and the reads of comparisons across them.

An invariant is a statement that returns one row (`key`, `detail`) per violation; $1 is the time since when rows changed that are
to be looked at (outboxes by the lowest id of that time, which their key leads to). New invariants are new lines of `INVARIANTS`.
"""

from careforall.audit.verification.coupons import COUPONS
from careforall.audit.verification.customers import CUSTOMERS
from careforall.audit.verification.integrators import INTEGRATORS
from careforall.audit.verification.ledger import LEDGER
from careforall.audit.verification.orders import SHOP_ORDERS
from careforall.audit.verification.report import Invariant
from careforall.audit.verification.reviews import REVIEWS
from careforall.audit.verification.stock import STOCK
from careforall.audit.verification.told import first_id, one_event_for_each_step

INVARIANTS = (
    Invariant(
        name="donations.history_without_holes",
        service="donations",
        sql="""
SELECT donations.id::text AS key,
       format('version %s, %s history rows up to %s', version, coalesce(rows, 0), coalesce(last, 0)) AS detail
FROM donations
LEFT JOIN (
    SELECT donation_id, count(*) AS rows, min(version) AS first, max(version) AS last FROM donation_history GROUP BY donation_id
) AS history ON history.donation_id = donations.id
WHERE updated_at >= $1 AND (rows, first, last) IS DISTINCT FROM (version::bigint, 1, version)
LIMIT 1000
""",
    ),
    Invariant(
        name="donations.history_leads_to_state",
        service="donations",
        sql="""
SELECT donations.id::text AS key, format('%s, history says %s', donations.status, history.to_status) AS detail
FROM donations
JOIN donation_history AS history ON history.donation_id = donations.id AND history.version = donations.version
WHERE donations.updated_at >= $1
  AND (donations.status, donations.refunded_amount, donations.disputed_amount)
      IS DISTINCT FROM (history.to_status, history.refunded_amount, history.disputed_amount)
LIMIT 1000
""",
    ),
    Invariant(
        name="donations.steps_are_legal",
        service="donations",
        sql="""
SELECT donation_id::text AS key, format('%s to %s after %s', from_status, to_status, before) AS detail
FROM (
    SELECT donation_id, version, from_status, to_status,
           lag(to_status) OVER (PARTITION BY donation_id ORDER BY version) AS before
    FROM donation_history
    WHERE donation_id IN (SELECT donation_id FROM donation_history WHERE at >= $1)
) AS steps
WHERE from_status IS DISTINCT FROM before
   OR NOT coalesce(from_status IS NULL AND to_status = 'PENDING'
       OR (from_status, to_status) IN (('PENDING', 'COMPLETED'), ('PENDING', 'FAILED'), ('COMPLETED', 'REFUNDED'),
                                       ('COMPLETED', 'COMPLETED'), ('REFUNDED', 'REFUNDED')), false)
LIMIT 1000
""",
    ),
    Invariant(
        name="donations.event_for_each_version",
        service="donations",
        sql="""
WITH told AS (
    SELECT aggregate_id, (convert_from(payload, 'UTF8')::json ->> 'aggregate_version')::integer AS version
    FROM outbox
    WHERE event_type = ANY(ARRAY['donations.created', 'donations.completed', 'donations.failed', 'donations.refunded',
                               'donations.disputed'])
      AND id >= @first_id@
)
SELECT donation_id::text || ':' || history.version AS key, 'no event tells of this version' AS detail
FROM donation_history AS history
LEFT JOIN told ON told.aggregate_id = donation_id AND told.version = history.version
WHERE at >= greatest($1, clock_timestamp() - interval '71 hours') AND told.version IS NULL
LIMIT 1000
""".replace("@first_id@", first_id("greatest($1::timestamptz - interval '10 minutes', 'epoch')")),
    ),
    Invariant(
        name="donations.history_for_each_event",
        service="donations",
        sql="""
WITH told AS (
    SELECT id, aggregate_id, (convert_from(payload, 'UTF8')::json ->> 'aggregate_version')::integer AS version
    FROM outbox
    WHERE event_type = ANY(ARRAY['donations.created', 'donations.completed', 'donations.failed', 'donations.refunded',
                               'donations.disputed'])
      AND id >= @first_id@
)
SELECT min(told.id::text) AS key, format('%s events of %s version %s', count(*), aggregate_id, told.version) AS detail
FROM told
LEFT JOIN donation_history AS history ON history.donation_id = aggregate_id AND history.version = told.version
GROUP BY aggregate_id, told.version
HAVING count(*) > 1 OR count(history.version) = 0
LIMIT 1000
""".replace("@first_id@", first_id("$1::timestamptz")),
    ),
    Invariant(
        name="donations.one_intent_each",
        service="donations",
        whole=True,
        sql="""
SELECT intent_id::text AS key, format('%s donations', count(*)) AS detail
FROM donations
WHERE $1::timestamptz IS NOT NULL
GROUP BY intent_id
HAVING count(*) > 1
LIMIT 1000
""",
    ),
    Invariant(
        name="payments.transitions_connect",
        service="payments",
        sql="""
SELECT payment_id::text AS key, format('%s to %s after %s', from_status, to_status, before) AS detail
FROM (
    SELECT payment_id, from_status, to_status,
           coalesce(lag(to_status) OVER (PARTITION BY payment_id ORDER BY version), 'INITIATED') AS before
    FROM payment_transitions
    WHERE payment_id IN (SELECT payment_id FROM payment_transitions WHERE received_at >= $1)
) AS steps
WHERE from_status <> before
   OR (from_status, to_status) NOT IN (
       ('INITIATED', 'AUTHORIZED'), ('INITIATED', 'FAILED'), ('AUTHORIZED', 'CAPTURED'), ('AUTHORIZED', 'FAILED'),
       ('AUTHORIZED', 'REFUNDED'), ('CAPTURED', 'REFUNDED'))
LIMIT 1000
""",
    ),
    Invariant(
        name="payments.transitions_lead_to_state",
        service="payments",
        sql="""
SELECT id::text AS key, format('%s, transitions say %s', status, coalesce(last.to_status, 'INITIATED')) AS detail
FROM payment_intents
LEFT JOIN (
    SELECT DISTINCT ON (payment_id) payment_id, to_status FROM payment_transitions ORDER BY payment_id, version DESC
) AS last ON last.payment_id = id
WHERE updated_at >= $1 AND status <> coalesce(last.to_status, 'INITIATED')
LIMIT 1000
""",
    ),
    Invariant(
        name="payments.refunds_within_captured",
        service="payments",
        sql="""
SELECT id::text AS key,
       format('captured %s, refunded %s, refund rows %s', captured_amount, refunded_amount, coalesce(settled, 0)) AS detail
FROM payment_intents
LEFT JOIN (
    SELECT intent_id, sum(amount) AS settled
    FROM refunds
    WHERE status = 'SUCCEEDED' AND NOT parked AND NOT unapplied
    GROUP BY intent_id
) AS refunded ON intent_id = id
WHERE updated_at >= $1 AND (refunded_amount > captured_amount OR refunded_amount <> coalesce(settled, 0))
LIMIT 1000
""",
    ),
    Invariant(
        name="payments.disputes_add_up",
        service="payments",
        sql="""
SELECT id::text AS key, format('disputed %s, dispute rows %s', disputed_amount, coalesce(held, 0)) AS detail
FROM payment_intents
LEFT JOIN (
    SELECT intent_id, sum(amount) AS held FROM disputes WHERE status IN ('OPEN', 'LOST') AND NOT parked GROUP BY intent_id
) AS disputed ON intent_id = id
WHERE updated_at >= $1 AND disputed_amount <> coalesce(held, 0)
LIMIT 1000
""",
    ),
    Invariant(
        name="payments.captured_in_full_once",
        service="payments",
        sql="""
SELECT id::text AS key, format('%s of %s captured, %s capture steps', captured_amount, amount, count(to_status)) AS detail
FROM payment_intents
LEFT JOIN payment_transitions ON payment_id = id AND to_status = 'CAPTURED'
WHERE updated_at >= $1
GROUP BY id
HAVING captured_amount <> amount * count(to_status)
LIMIT 1000
""",
    ),
    one_event_for_each_step(
        service="payments",
        history="payment_transitions",
        owner="payment_id",
        at="received_at",
        states=("authorized", "captured", "failed", "refunded", "voided"),
    ),
    Invariant(
        name="payments.webhooks_behind_steps",
        service="payments",
        sql="""
SELECT payment_id::text AS key, format('the webhook %s behind %s to %s is gone', event_id, from_status, to_status) AS detail
FROM payment_transitions AS steps
WHERE received_at >= $1 AND event_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM webhook_events AS events WHERE events.payment_id = steps.payment_id AND events.id = event_id)
LIMIT 1000
""",
    ),
    *LEDGER,
    *COUPONS,
    *REVIEWS,
    *STOCK,
    *SHOP_ORDERS,
    Invariant(
        name="totals.counters_equal_base",
        service="totals",
        sql="""
SELECT coalesce(totals.campaign_id, base.campaign_id)::text AS key,
       format('counted %s in %s gifts of %s, base %s in %s of %s', totals.total_amount, totals.total_donations,
              totals.unique_donors, base.amount, base.gifts, base.donors) AS detail
FROM campaign_totals AS totals
FULL JOIN (
    SELECT campaign_id, sum(amount) AS amount, sum(refunded_amount) AS refunded, sum(disputed_amount) AS disputed,
           count(*) AS gifts, count(DISTINCT donor_key) AS donors
    FROM completed_donations
    GROUP BY campaign_id
) AS base ON base.campaign_id = totals.campaign_id
WHERE $1::timestamptz IS NOT NULL
  AND (coalesce(totals.total_amount, 0), coalesce(totals.refunded_amount, 0), coalesce(totals.disputed_amount, 0),
       coalesce(totals.total_donations, 0), coalesce(totals.unique_donors, 0))
      IS DISTINCT FROM
      (coalesce(base.amount, 0), coalesce(base.refunded, 0), coalesce(base.disputed, 0), coalesce(base.gifts, 0),
       coalesce(base.donors, 0))
LIMIT 1000
""",
    ),
    Invariant(
        name="totals.donors_equal_base",
        service="totals",
        sql="""
SELECT coalesce(donors.campaign_id, base.campaign_id)::text || ':' || coalesce(donors.donor_key, base.donor_key) AS key,
       format('%s in %s gifts, base %s in %s', donors.amount, donors.gifts, base.amount, base.gifts) AS detail
FROM campaign_donors AS donors
FULL JOIN (
    SELECT campaign_id, donor_key, sum(amount) AS amount, count(*) AS gifts
    FROM completed_donations
    GROUP BY campaign_id, donor_key
) AS base ON (base.campaign_id, base.donor_key) = (donors.campaign_id, donors.donor_key)
WHERE $1::timestamptz IS NOT NULL AND (donors.amount, donors.gifts) IS DISTINCT FROM (base.amount, base.gifts)
LIMIT 1000
""",
    ),
    *CUSTOMERS,
    *INTEGRATORS,
    Invariant(
        name="notifications.told_once",
        service="notifications",
        whole=True,
        sql="""
SELECT fact || ':' || channel AS key, format('%s messages', count(*)) AS detail
FROM notifications
WHERE fact IS NOT NULL AND $1::timestamptz IS NOT NULL
GROUP BY fact, channel
HAVING count(*) > 1
LIMIT 1000
""",
    ),
    Invariant(
        name="notifications.mails_are_those_sent",
        service="notifications",
        sql="""
SELECT mailbox_messages.id::text AS key, 'a mail without its message' AS detail
FROM mailbox_messages
LEFT JOIN notifications USING (id)
WHERE mailbox_messages.created_at >= $1 AND notifications.id IS NULL
LIMIT 1000
""",
    ),
    Invariant(
        name="audit.every_event_is_linked",
        service="audit",
        sql="""
SELECT event_id::text AS key, 'no link commits to it' AS detail
FROM audit_events
LEFT JOIN audit_links USING (batch_id)
WHERE occurred_at >= $1 AND number IS NULL
LIMIT 1000
""",
    ),
)

FACTS = {
    "accounts": """
SELECT 'accounts.users' AS name, count(*)::text AS value FROM users
""",
    "donations": """
SELECT 'donations.' || lower(status) AS name, count(*)::text AS value FROM donations GROUP BY status
UNION ALL
SELECT 'donations.gross.' || currency, sum(amount)::text
FROM donations
WHERE status IN ('COMPLETED', 'REFUNDED') GROUP BY currency
UNION ALL
SELECT 'donations.refunded.' || currency, sum(refunded_amount)::text FROM donations GROUP BY currency
UNION ALL
SELECT 'donations.disputed.' || currency, sum(disputed_amount)::text FROM donations GROUP BY currency
UNION ALL
SELECT 'donations.history', count(*)::text FROM donation_history
""",
    "inventory": """
SELECT 'inventory.on_hand' AS name, coalesce(sum(on_hand), 0)::text AS value FROM stock
UNION ALL
SELECT 'inventory.reserved', coalesce(sum(reserved), 0)::text FROM stock
UNION ALL
SELECT 'inventory.movements', count(*)::text FROM stock_movements
UNION ALL
SELECT 'inventory.' || lower(status), count(*)::text FROM reservations GROUP BY status
""",
    "sync": """
SELECT 'sync.customers' AS name, count(*)::text AS value FROM customers WHERE deleted_at IS NULL
UNION ALL
SELECT 'sync.' || target || '.' || lower(status), count(*)::text FROM deliveries GROUP BY target, status
UNION ALL
SELECT 'sync.webhook_events', last::text FROM webhook_sequence
UNION ALL
SELECT 'sync.webhooks.' || lower(status), count(*)::text FROM webhook_deliveries GROUP BY status
""",
    "payments": """
SELECT 'payments.' || lower(status) AS name, count(*)::text AS value FROM payment_intents GROUP BY status
UNION ALL
SELECT 'payments.captured_amount.' || currency, sum(captured_amount)::text FROM payment_intents GROUP BY currency
UNION ALL
SELECT 'payments.refunded_amount.' || currency, sum(refunded_amount)::text FROM payment_intents GROUP BY currency
UNION ALL
SELECT 'payments.disputed_amount.' || currency, sum(disputed_amount)::text FROM payment_intents GROUP BY currency
UNION ALL
SELECT 'ledger.' || regexp_replace(account, ':.*', '') || '.' || currency, sum(amount)::text
FROM ledger_lines
GROUP BY regexp_replace(account, ':.*', ''), currency
UNION ALL
SELECT 'payments.open_alarms', count(*)::text FROM payment_alarms WHERE settled_at IS NULL
""",
    "pricing": """
SELECT 'pricing.coupons' AS name, count(*)::text AS value FROM coupons
UNION ALL
SELECT 'pricing.coupons_used', coalesce(sum(used), 0)::text FROM coupons
UNION ALL
SELECT 'pricing.coupons_held', coalesce(sum(held), 0)::text FROM coupons
""",
    "totals": """
SELECT 'totals.gifts' AS name, coalesce(sum(total_donations), 0)::text AS value FROM campaign_totals
UNION ALL
SELECT 'totals.gross.' || currency, sum(total_amount)::text FROM campaign_totals GROUP BY currency
UNION ALL
SELECT 'totals.net.' || currency, sum(total_amount - refunded_amount - disputed_amount)::text
FROM campaign_totals GROUP BY currency
""",
    "notifications": """
SELECT 'notifications.' || lower(status) AS name, count(*)::text AS value FROM notifications GROUP BY status
""",
    "audit": """
SELECT 'audit.events' AS name, count(*)::text AS value FROM audit_events
UNION ALL
SELECT 'audit.links', count(*)::text FROM audit_links
""",
}
"""What the report counts, by service; part of the hash."""

OPEN_DEAD_LETTERS = """
SELECT (SELECT count(*) FROM outbox WHERE status = 'DEAD') + (SELECT count(*) FROM dead_letters WHERE status IN ('DEAD', 'RETRY'))
"""
NOW = "SELECT clock_timestamp()"

OUTBOX = """
SELECT id, event_type, status, stream_sequence, created_at, published_at
FROM outbox
WHERE id > $1 AND status <> 'DEAD'
ORDER BY id
LIMIT $2
"""
OUTBOX_KNOWN = "SELECT id FROM outbox WHERE id = ANY($1::uuid[])"
APPLIED = "SELECT message_id FROM inbox WHERE consumer = $1 AND message_id = ANY($2::uuid[])"
INBOX = "SELECT message_id FROM inbox WHERE consumer = $1 AND message_id > $2 ORDER BY message_id LIMIT $3"
EXCUSED = """
SELECT message_key FROM dead_letters WHERE consumer = $1 AND message_key = ANY($2::text[]) AND status <> 'RETRIED'
UNION
SELECT message_key FROM message_failures WHERE consumer = $1 AND message_key = ANY($2::text[])
"""
LOGGED = "SELECT event_id FROM audit_events WHERE event_id = ANY($1::uuid[])"

CAPTURED = """
SELECT id, subject_id, campaign_id, amount, currency, refunded_amount, disputed_amount, updated_at
FROM payment_intents
WHERE subject_type = 'DONATION' AND captured_amount > 0 AND id > $1 AND updated_at >= $2 AND updated_at < $3
ORDER BY id
LIMIT $4
"""
DONATIONS_OF_INTENTS = """
SELECT id, intent_id, campaign_id, amount, currency, status, refunded_amount, disputed_amount, updated_at
FROM donations
WHERE intent_id = ANY($1::uuid[])
"""
SETTLED_DONATIONS = """
SELECT id, intent_id, campaign_id, amount, currency, status, refunded_amount, disputed_amount, donor_key, version
FROM donations
WHERE status IN ('COMPLETED', 'REFUNDED') AND id > $1 AND updated_at >= $2 AND updated_at < $3
ORDER BY id
LIMIT $4
"""
INTENTS = """
SELECT id, subject_id, amount, currency, captured_amount, refunded_amount, disputed_amount, updated_at
FROM payment_intents
WHERE id = ANY($1::uuid[])
"""
BOOKED_OF = """
SELECT payment_id,
       max(campaign_id::text)::uuid AS campaign_id,
       coalesce(-sum(lines.amount) FILTER (WHERE account LIKE 'campaign:%' OR account = 'donations'), 0) AS amount,
       coalesce(sum(lines.amount) FILTER (WHERE account = 'refunds'), 0) AS refunded_amount,
       coalesce(sum(lines.amount) FILTER (WHERE account = 'disputes'), 0) AS disputed_amount,
       max(currency) AS currency,
       max(booked_at) AS updated_at
FROM ledger_entries
JOIN ledger_lines AS lines ON entry_id = id
WHERE payment_id = ANY($1::uuid[])
GROUP BY payment_id
"""
BASE_OF = """
SELECT donation_id, campaign_id, amount, currency, refunded_amount, disputed_amount, version
FROM completed_donations
WHERE donation_id = ANY($1::uuid[])
"""
BASE = """
SELECT donation_id AS id, amount, currency FROM completed_donations
WHERE donation_id > $1 AND updated_at >= $2 AND updated_at < $3
ORDER BY donation_id
LIMIT $4
"""
COMPLETED_OF = "SELECT id FROM donations WHERE id = ANY($1::uuid[]) AND status IN ('COMPLETED', 'REFUNDED')"
RECEIPTS_OF = """
SELECT subject_id FROM notifications
WHERE channel = 'EMAIL' AND fact = ANY(SELECT 'donation_completed:' || id FROM unnest($1::uuid[]) AS id)
"""
ERASED_OF = "SELECT key FROM erased_people WHERE key = ANY($1::text[])"

LINKS = """
SELECT number, batch_id, count, root, previous, hash, created_at FROM audit_links WHERE number > $1 ORDER BY number LIMIT $2
"""
REACHED = "SELECT coalesce(max((reached::json ->> 'link')::bigint), 0) FROM verification_marks"
LINK = "SELECT number, batch_id, count, root, previous, hash, created_at FROM audit_links WHERE number = $1"
BATCHES = """
SELECT event_id, batch_id, event_type, version, aggregate_id, aggregate_version, occurred_at, correlation_id, source, trace_id,
       body, commitment, salt, personal, person
FROM audit_events
WHERE batch_id = ANY($1::uuid[])
"""
