"""The ledger's invariants: entries add up, and say of each payment what the payment says of itself (see `repository`)."""

from careforall.audit.verification.report import Invariant

PREFIX = "ledger."
"""How the names of checks of the ledger begin."""

LEDGER = (
    Invariant(
        name="ledger.entries_add_up",
        service="payments",
        sql="""
SELECT id::text AS key, format('%s of payment %s: lines %s', kind, payment_id, coalesce(added, 'missing')) AS detail
FROM ledger_entries
LEFT JOIN LATERAL (
    SELECT string_agg(amount || ' ' || currency, ', ') AS added, max(abs(amount)) AS off
    FROM (SELECT currency, sum(amount) AS amount FROM ledger_lines WHERE entry_id = id GROUP BY currency) AS sums
) AS lines ON true
WHERE booked_at >= $1 AND off IS DISTINCT FROM 0
LIMIT 1000
""",
    ),
    Invariant(
        name="ledger.clearing_is_what_payments_say",
        service="payments",
        sql="""
SELECT coalesce(intent.id, booked.payment_id)::text AS key,
       format('captured %s, refunded %s, disputed %s; booked: clearing %s, income %s, refunds %s, disputes %s, unapplied %s',
              captured_amount, refunded_amount, disputed_amount, clearing, income, refunds, disputes, unapplied) AS detail
FROM payment_intents AS intent
FULL JOIN (
    SELECT payment_id,
           coalesce(sum(amount) FILTER (WHERE account LIKE 'gateway:%'), 0) AS clearing,
           coalesce(sum(amount) FILTER (WHERE account LIKE 'campaign:%' OR account IN ('donations', 'sales')), 0) AS income,
           coalesce(sum(amount) FILTER (WHERE account = 'refunds'), 0) AS refunds,
           coalesce(sum(amount) FILTER (WHERE account = 'disputes'), 0) AS disputes,
           coalesce(sum(amount) FILTER (WHERE account = 'unapplied'), 0) AS unapplied,
           max(booked_at) AS booked_at,
           min(currency) AS currency, max(currency) AS other
    FROM ledger_entries
    JOIN ledger_lines ON entry_id = id
    WHERE kind <> 'FEE'
    GROUP BY payment_id
) AS booked ON booked.payment_id = intent.id
WHERE greatest(intent.updated_at, booked.booked_at) >= $1
  AND (
      (intent.currency, intent.currency) IS DISTINCT FROM
          (coalesce(booked.currency, intent.currency), coalesce(other, intent.currency))
      OR coalesce(income, 0) IS DISTINCT FROM -captured_amount
      OR coalesce(refunds, 0) IS DISTINCT FROM refunded_amount
      OR coalesce(disputes, 0) IS DISTINCT FROM disputed_amount
      OR coalesce(clearing, 0) IS DISTINCT FROM captured_amount - refunded_amount - disputed_amount - coalesce(unapplied, 0)
  )
LIMIT 1000
""",
    ),
    Invariant(
        name="ledger.fees_are_of_captures",
        service="payments",
        sql="""
SELECT entry.id::text AS key, format('%s %s kept of %s captured by %s', line.amount, line.currency, captured_amount, captured_via)
    AS detail
FROM ledger_entries AS entry
JOIN ledger_lines AS line ON entry_id = entry.id AND account = 'fees'
JOIN payment_intents AS intent ON intent.id = payment_id
WHERE kind = 'FEE' AND booked_at >= $1
  AND (
      captured_amount = 0 OR line.amount <= 0 OR (line.currency = intent.currency AND line.amount > captured_amount)
      OR NOT EXISTS (SELECT FROM ledger_lines WHERE entry_id = entry.id AND account = 'gateway:' || captured_via)
  )
LIMIT 1000
""",
    ),
    Invariant(
        name="ledger.income_is_where_it_belongs",
        service="payments",
        sql="""
SELECT entry.id::text AS key, format('%s of payment %s for campaign %s', account, intent.id, intent.campaign_id) AS detail
FROM ledger_entries AS entry
JOIN ledger_lines AS line ON entry_id = entry.id
JOIN payment_intents AS intent ON intent.id = payment_id
WHERE booked_at >= $1
  AND (
      entry.campaign_id IS DISTINCT FROM intent.campaign_id
      OR kind = 'CAPTURE' AND account <> CASE
          WHEN line.amount > 0 THEN 'gateway:' || coalesce(nullif(captured_via, ''), intent.gateway)
          WHEN subject_type = 'ORDER' THEN 'sales'
          ELSE coalesce('campaign:' || entry.campaign_id, 'donations') END
  )
LIMIT 1000
""",
    ),
    Invariant(
        name="ledger.unapplied_goes_back",
        service="payments",
        sql="""
SELECT payment_id::text AS key, format('%s held, refunds of %s are to come, payment %s', held, coming, status) AS detail
FROM (
    SELECT payment_id, -sum(amount) AS held, max(booked_at) AS booked_at
    FROM ledger_entries
    JOIN ledger_lines ON entry_id = id AND account = 'unapplied'
    GROUP BY payment_id
) AS unapplied
JOIN payment_intents ON id = payment_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS coming FROM refunds WHERE intent_id = payment_id AND unapplied AND status <> 'SUCCEEDED'
) AS refunds
WHERE booked_at >= $1 AND (held <> coming OR status <> 'FAILED')
LIMIT 1000
""",
    ),
    Invariant(
        name="ledger.sums_equal_lines",
        service="payments",
        sql="""
SELECT concat_ws(' ', account, currency, day) AS key, format('%s kept, %s booked', kept.amount, booked.amount) AS detail
FROM ledger_balances AS kept
FULL JOIN (
    SELECT account, currency, coalesce(campaign_id, '00000000-0000-0000-0000-000000000000') AS campaign_id, livemode,
           (booked_at AT TIME ZONE 'UTC')::date AS day, sum(amount) AS amount
    FROM ledger_entries
    JOIN ledger_lines ON entry_id = id
    WHERE booked_at < (SELECT reached FROM ledger_rollup) AND booked_at >= date_trunc('day', $1::timestamptz, 'UTC')
    GROUP BY 1, 2, 3, 4, 5
) AS booked USING (account, currency, campaign_id, livemode, day)
WHERE kept.amount IS DISTINCT FROM booked.amount AND day >= ($1::timestamptz AT TIME ZONE 'UTC')::date
LIMIT 1000
""",
    ),
)
