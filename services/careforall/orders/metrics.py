"""What only orders counts; gauges say what the database said when this process last looked."""

from prometheus_client import Counter, Gauge

ORDERS_CREATED = Counter("orders_created_total", "Orders written")

SAGA_STEPS = Counter("orders_saga_steps_total", "Steps of checkouts by what came of them", ["step", "outcome"])
OPEN_SAGAS = Gauge("orders_open_sagas", "Sagas that have not ended, by the step they are at", ["step"])
SAGA_AGE = Gauge("orders_saga_age_seconds", "Age of the oldest saga that has not ended, by the step it is at", ["step"])
PARKED = Gauge("orders_parked_sagas", "Sagas whose step failed so often that a person must look, not ended yet")
SALES = Gauge("orders_sales_last_day", "Money of orders placed in the last 24 hours and paid for, by currency", ["currency"])
SAGAS_PARKED = Counter("orders_sagas_parked_total", "Sagas whose step failed so often that a person must look")
UNFINISHED = Gauge("orders_reconciliation_findings", "What the hourly reconciliation of orders found", ["kind"])
