"""Metrics of payments alone."""

from collections.abc import Mapping
from typing import get_args

from prometheus_client import Counter, Gauge

from careforall.payments.domain import AlarmKind

WEBHOOKS = Counter("payment_webhook_processed_total", "Webhook events answered", ["status", "idempotency_hit"])
_ALARMS = Counter("payment_alarms_total", "Facts stored and not applied, for a person to look at", ["kind"])
ALARMS: Mapping[AlarmKind, Counter] = {kind: _ALARMS.labels(kind=kind) for kind in get_args(AlarmKind)}
"""Each kind from 0 on: a series that begins at 1 has risen for nobody, and the first alarm would wake nobody."""
FINDINGS = Counter(
    "payments_reconciliation_findings", "What did not agree with a gateway, when it was found", ["gateway", "bucket"]
)
DIVERGENCE = Gauge(
    "payment_gateway_divergence", "Differences with a gateway that wait for a person; 0 is the only good value", ["gateway"]
)
RECONCILED_AGE = Gauge("payment_reconciliation_age_seconds", "Age of the last complete comparison with a gateway", ["gateway"])
UNFINISHED = Counter("payments_announced_again_total", "Captured payments announced again because their gift was not completed")
