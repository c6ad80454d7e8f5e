"""What only orders counts."""

from prometheus_client import Counter, Gauge

SAGA_STEPS = Counter("orders_saga_steps_total", "Steps of checkouts by what came of them", ["step", "outcome"])
SAGAS_PARKED = Counter("orders_sagas_parked_total", "Sagas whose step failed so often that a person must look")
UNFINISHED = Gauge("orders_reconciliation_findings", "What the hourly reconciliation of orders found", ["kind"])
