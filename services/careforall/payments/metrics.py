"""Metrics of payments alone."""

from prometheus_client import Counter

WEBHOOKS = Counter("payment_webhook_processed_total", "Webhook events answered", ["status", "idempotency_hit"])
ALARMS = Counter("payment_alarms_total", "Facts stored and not applied, for a person to look at", ["kind"])
