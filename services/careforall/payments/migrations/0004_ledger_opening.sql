-- Books what moved before there was a ledger: captures and settled refunds, under the keys that the code uses, so that none of them
-- is ever booked a second time. Whose campaign a gift was for had not been told; its income is booked to `donations`.

WITH captured AS (
    INSERT INTO ledger_entries (id, payment_id, kind, cause_key, livemode, occurred_at)
    SELECT gen_random_uuid(), intent.id, 'CAPTURE', 'CAPTURED', intent.livemode, coalesce(step.event_time, step.received_at)
    FROM payment_intents AS intent
    JOIN payment_transitions AS step ON step.payment_id = intent.id AND step.to_status = 'CAPTURED'
    WHERE intent.captured_amount > 0
    RETURNING id, payment_id
)
INSERT INTO ledger_lines (entry_id, account, amount, currency)
SELECT captured.id, line.account, line.amount, intent.currency
FROM captured
JOIN payment_intents AS intent ON intent.id = captured.payment_id
CROSS JOIN LATERAL (VALUES
    ('gateway:' || coalesce(nullif(intent.captured_via, ''), intent.gateway), intent.captured_amount),
    (CASE WHEN intent.subject_type = 'ORDER' THEN 'sales' ELSE 'donations' END, -intent.captured_amount)
) AS line (account, amount);

WITH refunded AS (
    INSERT INTO ledger_entries (id, payment_id, kind, cause_key, livemode, occurred_at)
    SELECT gen_random_uuid(), refund.intent_id, 'REFUND', refund.id::text, intent.livemode,
           coalesce(refund.settled_at, refund.created_at)
    FROM refunds AS refund
    JOIN payment_intents AS intent ON intent.id = refund.intent_id
    WHERE refund.status = 'SUCCEEDED' AND NOT refund.parked AND NOT refund.unapplied
    RETURNING id, payment_id, cause_key
)
INSERT INTO ledger_lines (entry_id, account, amount, currency)
SELECT refunded.id, line.account, line.amount, intent.currency
FROM refunded
JOIN refunds AS refund ON refund.id::text = refunded.cause_key
JOIN payment_intents AS intent ON intent.id = refunded.payment_id
CROSS JOIN LATERAL (VALUES
    ('refunds', refund.amount),
    ('gateway:' || coalesce(nullif(intent.captured_via, ''), intent.gateway), -refund.amount)
) AS line (account, amount);
