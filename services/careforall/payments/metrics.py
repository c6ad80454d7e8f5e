"""Metrics of payments alone."""

from prometheus_client import Counter, Gauge

WEBHOOKS = Counter("payment_webhook_processed_total", "Webhook events answered", ["status", "idempotency_hit"])
ALARMS = Counter("payment_alarms_total", "Facts stored and not applied, for a person to look at", ["kind"])
FINDINGS = Counter(
    "payments_reconciliation_findings", "What did not agree with a gateway, when it was found", ["gateway", "bucket"]
)
DIVERGENCE = Gauge(
    "payment_gateway_divergence", "Differences with a gateway that wait for a person; 0 is the only good value", ["gateway"]
)
RECONCILED_AGE = Gauge("payment_reconciliation_age_seconds", "Age of the last complete comparison with a gateway", ["gateway"])
UNFINISHED = Counter("payments_announced_again_total", "Captured payments announced again because their gift was not completed")
