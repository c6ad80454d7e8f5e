"""The SQL of `explain`: which things belong together, and what each service has to say about them. $1 is a list of ids.

A statement of a chapter returns `at`, `id`, optionally `what` and `reason`, and whatever else is worth showing. Names and
addresses of people are left out: a story may be shown to whoever helps.
"""

from typing import Literal

import msgspec


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of thing a service knows about ids."""

    service: str
    kind: Literal["row", "message", "decision"]
    what: str
    sql: str


OF_ORDER_NUMBER = "SELECT id FROM orders WHERE order_number = $1"
OF_CORRELATION = "SELECT event_id, aggregate_id FROM audit_events WHERE correlation_id = $1 LIMIT 200"

RELATIONS = (
    ("audit", "SELECT aggregate_id FROM audit_events WHERE event_id = ANY($1::uuid[])"),
    ("donations", "SELECT id, intent_id FROM donations WHERE id = ANY($1::uuid[]) OR intent_id = ANY($1::uuid[])"),
    ("donations", "SELECT aggregate_id FROM outbox WHERE id = ANY($1::uuid[])"),
    ("payments", "SELECT aggregate_id FROM outbox WHERE id = ANY($1::uuid[])"),
    (
        "payments",
        """
SELECT id, subject_id FROM payment_intents WHERE id = ANY($1::uuid[]) OR (
    subject_type = 'DONATION' AND subject_id = ANY($1::uuid[]) AND status NOT IN ('FAILED', 'REFUNDED'))
""",
    ),
    ("payments", "SELECT intent_id FROM refunds WHERE id = ANY($1::uuid[])"),
    ("payments", "SELECT intent_id FROM disputes WHERE id = ANY($1::uuid[])"),
    ("payments", "SELECT payment_id FROM ledger_entries WHERE id = ANY($1::uuid[])"),
    ("payments", "SELECT payment_id FROM webhook_events WHERE id = ANY($1::uuid[])"),
    ("inventory", "SELECT holder_id FROM reservations WHERE id = ANY($1::uuid[])"),
    (
        "orders",
        """
SELECT id, saga_id, intent_id FROM orders
WHERE id = ANY($1::uuid[]) OR saga_id = ANY($1::uuid[]) OR intent_id = ANY($1::uuid[])
""",
    ),
    ("orders", "SELECT id, intent_id FROM saga_state WHERE id = ANY($1::uuid[])"),
    ("orders", "SELECT id, order_id FROM order_returns WHERE id = ANY($1::uuid[]) OR order_id = ANY($1::uuid[])"),
    ("orders", "SELECT aggregate_id FROM outbox WHERE id = ANY($1::uuid[])"),
    ("notifications", "SELECT subject_id FROM notifications WHERE id = ANY($1::uuid[])"),
)

_OUTBOX = """
SELECT created_at AS at, id, event_type AS what, error_message AS reason, aggregate_id, status, published_at, stream_sequence,
       convert_from(payload, 'UTF8')::json ->> 'aggregate_version' AS version,
       convert_from(payload, 'UTF8')::json ->> 'correlation_id' AS request
FROM outbox
WHERE id = ANY($1::uuid[]) OR aggregate_id = ANY($1::uuid[])
LIMIT 1000
"""

CHAPTERS = (
    *(
        Chapter(service=service, kind="message", what="told", sql=_OUTBOX)
        for service in (
            "accounts",
            "donations",
            "payments",
            "totals",
            "notifications",
            "orders",
            "audit",
            "catalog",
            "inventory",
            "pricing",
            "carts",
            "search",
            "sync",
        )
    ),
    Chapter(
        service="donations",
        kind="row",
        what="donation",
        sql="""
SELECT created_at AS at, id, status AS what, campaign_id, intent_id, amount::text, currency, refunded_amount::text,
       disputed_amount::text, gateway, version
FROM donations
WHERE id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="donations",
        kind="decision",
        what="donation",
        sql="""
SELECT at, donation_id AS id, concat_ws(' to ', from_status, to_status) AS what, cause AS reason, cause_event, version,
       refunded_amount::text, disputed_amount::text
FROM donation_history
WHERE donation_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="row",
        what="intent",
        sql="""
SELECT created_at AS at, id, status AS what, reason, subject_type, subject_id, amount::text, currency, gateway,
       captured_amount::text, refunded_amount::text, disputed_amount::text, declines, gateway_object, version,
       correlation_id AS request
FROM payment_intents
WHERE id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="decision",
        what="intent",
        sql="""
SELECT received_at AS at, payment_id AS id, concat(from_status, ' to ', to_status) AS what, cause AS reason, event_id, event_time,
       version
FROM payment_transitions
WHERE payment_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="row",
        what="attempt",
        sql="""
SELECT created_at AS at, intent_id AS id, concat(number, ' ', status) AS what, reason, code, gateway, gateway_object, asked
FROM payment_attempts
WHERE intent_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="row",
        what="refund",
        sql="""
SELECT created_at AS at, id, status AS what, reason, amount::text, gateway, gateway_refund_id, parked, tries, settled_at
FROM refunds
WHERE id = ANY($1::uuid[]) OR intent_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="row",
        what="dispute",
        sql="""
SELECT opened_at AS at, id, status AS what, reason, amount::text, gateway, gateway_dispute_id, parked, settled_at
FROM disputes
WHERE id = ANY($1::uuid[]) OR intent_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="row",
        what="booked",
        sql="""
SELECT booked_at AS at, id, kind AS what, cause_key, occurred_at,
       (SELECT string_agg(concat_ws(' ', account, amount, currency), ', ' ORDER BY amount DESC)
        FROM ledger_lines WHERE entry_id = id) AS lines
FROM ledger_entries
WHERE id = ANY($1::uuid[]) OR payment_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="decision",
        what="webhook",
        sql="""
SELECT received_at AS at, id, concat(event_type, ' ', outcome) AS what, reason, gateway, http_status, copies, payment_id
FROM webhook_events
WHERE payment_id = ANY($1::uuid[])
LIMIT 1000
""",
    ),
    Chapter(
        service="payments",
        kind="decision",
        what="alarm",
        sql="""
SELECT created_at AS at, id, kind AS what, detail AS reason, gateway, settled_at
FROM payment_alarms
WHERE payment_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="payments",
        kind="decision",
        what="step",
        sql="""
SELECT created_at AS at, step_id AS id, what, convert_from(answer, 'UTF8') AS reason, intent_id, answered_at
FROM payment_steps
WHERE step_id = ANY($1::uuid[]) OR intent_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="orders",
        kind="row",
        what="order",
        sql="""
SELECT created_at AS at, id, status AS what, reason, order_number, total::text, refunded_amount::text, currency, paid_by, saga_id,
       intent_id, version
FROM orders
WHERE id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="orders",
        kind="decision",
        what="order",
        sql="""
SELECT at, order_id AS id, concat_ws(' to ', from_status, to_status) AS what, cause AS reason, version, refunded_amount::text
FROM order_status_history
WHERE order_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="orders",
        kind="row",
        what="saga",
        sql="""
SELECT created_at AS at, id, concat(type, ' ', status, ' at ', current_step) AS what, error AS reason,
       array_to_string(completed_steps, ', ') AS done, epoch, version, tries, lease_until, parked_at
FROM saga_state
WHERE id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="orders",
        kind="decision",
        what="saga",
        sql="""
SELECT at, saga_id AS id, concat(step, ' ', status) AS what, data AS reason, attempt, number
FROM saga_step_log
WHERE saga_id = ANY($1::uuid[])
LIMIT 1000
""",
    ),
    Chapter(
        service="orders",
        kind="row",
        what="return",
        sql="""
SELECT created_at AS at, id, status AS what, reason, label, amount::text, order_id, updated_at, version
FROM order_returns
WHERE id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="inventory",
        kind="row",
        what="hold",
        sql="""
SELECT updated_at AS at, id, concat_ws(' ', status, quantity, sku, warehouse) AS what, returned, holder_id, pinned, expires_at
FROM reservations
WHERE holder_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="inventory",
        kind="decision",
        what="stock",
        sql="""
SELECT at, id, kind AS what, cause AS reason, sku, warehouse, on_hand, reserved, holder_id
FROM stock_movements
WHERE holder_id = ANY($1::uuid[]) AND sku IN (SELECT sku FROM reservations WHERE holder_id = ANY($1::uuid[]))
LIMIT 1000
""",
    ),
    Chapter(
        service="pricing",
        kind="row",
        what="coupon",
        sql="""
SELECT coupon_holds.updated_at AS at, coupon_id AS id, concat_ws(' ', code, state) AS what, holder_id, pinned, expires_at
FROM coupon_holds
JOIN coupons ON coupons.id = coupon_id
WHERE holder_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="pricing",
        kind="row",
        what="locked price",
        sql="""
SELECT updated_at AS at, holder_id AS id, quote_id, locked_until FROM locked_prices WHERE holder_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="totals",
        kind="row",
        what="counted",
        sql="""
SELECT updated_at AS at, donation_id AS id, campaign_id, amount::text, refunded_amount::text, disputed_amount::text, currency,
       version
FROM completed_donations
WHERE donation_id = ANY($1::uuid[])
""",
    ),
    Chapter(
        service="notifications",
        kind="row",
        what="message",
        sql="""
SELECT coalesce(sent_at, created_at) AS at, id, concat(template, ' ', channel, ' ', status) AS what, error AS reason,
       cause_event_id, retry_count, next_retry_at
FROM notifications
WHERE id = ANY($1::uuid[]) OR subject_id = ANY($1::uuid[])
LIMIT 1000
""",
    ),
    Chapter(
        service="audit",
        kind="row",
        what="logged",
        sql="""
SELECT audit_links.created_at AS at, event_id AS id, event_type AS what, number AS link, aggregate_id,
       aggregate_version AS version, correlation_id AS request, trace_id
FROM audit_events
JOIN audit_links USING (batch_id)
WHERE event_id = ANY($1::uuid[]) OR aggregate_id = ANY($1::uuid[])
LIMIT 1000
""",
    ),
)

INBOX = """
SELECT received_at AS at, message_id AS id, consumer AS what FROM inbox WHERE consumer = $1 AND message_id = ANY($2::uuid[])
"""
DEAD_LETTERS = """
SELECT created_at AS at, message_key AS id, concat(consumer, ' ', event_type, ' ', status) AS what, reason, attempts, settled_at
FROM dead_letters
WHERE message_key = ANY($1::text[])
"""
FAILURES = """
SELECT updated_at AS at, message_key AS id, consumer AS what, error_message AS reason, attempts
FROM message_failures
WHERE message_key = ANY($1::text[])
"""
